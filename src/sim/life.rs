//! How a peer begins, and what it plans for its time on a connection.

use fastrand::Rng;

use super::client::{Act, Client, Role, Surroundings};

impl Client {
    /// Plans what it does while it is connected.
    pub(super) fn plan_life(&mut self, around: &mut Surroundings<'_>) {
        let (now, odds) = (around.kernel.now, around.kernel.odds.clone());
        if self.role == Role::Echo {
            self.plan(now, Act::Chatter);
        }
        if matches!(self.role, Role::Link(_)) {
            self.plan(now, Act::Burst);
        }
        if around.rng.bool() {
            self.plan(now + around.rng.u64(0..3000), Act::Ping);
        }
        let ends: [(f64, fn() -> Act); 4] = [
            (odds.peer_reset, || Act::Reset),
            (odds.peer_half_close, || Act::HalfClose),
            (odds.peer_vanish, || Act::Vanish),
            (odds.peer_illegal, || Act::Illegal),
        ];
        for (odds, act) in ends {
            // Many chances in a life.
            if around.chance(odds * 8.0) {
                self.plan(now + around.rng.u64(0..4000), act());
            }
        }
        if around.rng.u8(..) < 80 {
            self.plan(now + around.rng.u64(0..6000), Act::Close);
        }
    }
}

/// The request for an upgrade.
pub(super) fn request(role: Role) -> Vec<u8> {
    let (path, more) = match role {
        Role::Stranger => return b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        Role::Echo => ("/dev/echo".to_owned(), String::new()),
        Role::Link(encoding) => {
            ("/v1/link".to_owned(), format!("Sec-WebSocket-Protocol: {}\r\n", encoding.subprotocol()))
        }
        Role::Loiterer => ("/v1/agent?agent=loiterer".to_owned(), String::new()),
        Role::Agent(number, encoding) => (
            format!("/v1/agent?agent=agent-{number}"),
            format!("Sec-WebSocket-Protocol: {}\r\n", encoding.subprotocol()),
        ),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
    .into_bytes()
}

/// The request that a web page of another site has a browser make.
pub(super) fn page() -> Vec<u8> {
    let head = request(Role::Loiterer);
    let end = head.len() - 2;
    [&head[..end], b"Origin: https://evil.example\r\n\r\n"].concat()
}

/// What a balancer writes before a peer's own bytes.
pub(super) fn header(rng: &mut Rng) -> Vec<u8> {
    let source = [192, 0, rng.u8(2..5), rng.u8(..)];
    let [a, b, c, d] = source;
    match rng.u8(..4) {
        0 => b"PROXY UNKNOWN\r\n".to_vec(),
        1 => format!("PROXY TCP4 {a}.{b}.{c}.{d} 198.51.100.1 50000 443\r\n").into_bytes(),
        kind => {
            let command = if kind == 2 { 0x20 } else { 0x21 };
            let head = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12]].concat();
            [&head[..], &source, &[198, 51, 100, 1, 0xc3, 0x50, 1, 0xbb]].concat()
        }
    }
}
