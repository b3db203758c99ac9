//! Records of TLS that no honest client sends, to the real gateway: each is answered by its alert, and who is in does not notice.
//!
//! The client seals and opens records by itself (RFC 8446 section 5.2), so that anything at all can be in one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConfig, ConnectionTrafficSecrets, StreamOwned};

use crate::gateway::Gateway;
use crate::secured::{SecuredAgent, called, shake};
use crate::secured_files::{Authority, NAME};

/// Descriptions of alerts (RFC 8446 section 6).
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;

/// Content types of what is inside of a record.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const HEAD_BYTES: usize = 5;
const TAG_BYTES: usize = 16;

/// The keys of one direction.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Keys {
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else {
            panic!("the gateway prefers AES-128-GCM");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("a key of 16 bytes");
        Self { key: LessSafeKey::new(key), iv: iv.as_ref().try_into().expect("12 bytes"), number }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A client that has shaken hands and keeps no rule any more.
struct Rude {
    stream: TcpStream,
    sealing: Keys,
    opening: Keys,
}

impl Rude {
    fn connect(gateway: &Gateway, config: &Arc<ClientConfig>) -> Self {
        let StreamOwned { conn, sock } = shake(gateway.agents, config, NAME).expect("a handshake");
        #[allow(deprecated, reason = "what it does not support, tickets and key updates, is not needed here")]
        let secrets = conn.dangerous_extract_secrets().expect("they may be taken");
        Self { stream: sock, sealing: Keys::new(secrets.tx), opening: Keys::new(secrets.rx) }
    }

    /// A record with this content and type.
    fn seal(&mut self, content: &[u8], kind: u8) -> Vec<u8> {
        let bytes = u16::try_from(content.len() + 1 + TAG_BYTES).expect("a short one");
        let mut record = [&[DATA, 3, 3], &bytes.to_be_bytes()[..], content, &[kind]].concat();
        let (head, body) = record.split_at_mut(HEAD_BYTES);
        let nonce = self.sealing.nonce();
        let tag = self.sealing.key.seal_in_place_separate_tag(nonce, Aad::from(&*head), body).expect("sealed");
        record.extend_from_slice(tag.as_ref());
        record
    }

    fn send(&mut self, bytes: &[u8]) {
        // The gateway may have closed already, and its alert is there to be read all the same.
        let _ = self.stream.write_all(bytes);
    }

    /// The next record's content and type; `None` where the stream ends.
    fn read(&mut self) -> Option<(Vec<u8>, u8)> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).ok()?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        self.stream.read_exact(&mut body).expect("whole records come");
        let nonce = self.opening.nonce();
        let plain = self.opening.key.open_in_place(nonce, Aad::from(head), &mut body).expect("under the gateway's key");
        let (kind, content) = plain.split_last().expect("a type");
        Some((content.to_vec(), *kind))
    }

    /// Asks for an upgrade as an agent, and reads the welcome.
    fn upgrade(&mut self, token: &str) {
        let request = format!(
            "GET /v1/agent HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let record = self.seal(request.as_bytes(), DATA);
        self.send(&record);
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("welcome") {
            let (content, kind) = self.read().expect("it is let in");
            if kind == DATA {
                heard.extend(content);
            }
        }
    }

    /// The alert that the gateway ends with, where it says one, and that nothing but alerts came. Tickets come first.
    fn told(&mut self) -> Option<u8> {
        let mut told = None;
        while let Some((content, kind)) = self.read() {
            assert!(told.is_none(), "something behind the alert: {kind} {content:?}");
            match kind {
                HANDSHAKE => {}
                ALERT => told = content.get(1).copied(),
                _ => panic!("data: {content:?}"),
            }
        }
        told
    }
}

/// What is sent: bytes as they are, or what is inside of a record, its type at the end.
enum Sent {
    Wire(&'static [u8]),
    Inside(&'static [u8]),
    /// The same, so many times.
    Flood(&'static [u8], usize),
    /// So many bytes of data with their type, and one of padding.
    Long(usize),
}

#[test]
fn records_that_no_honest_client_sends_are_answered_by_their_alert() {
    use Sent::{Flood, Inside, Long, Wire};
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let mut config = authority.client(None);
    config.enable_secret_extraction = true;
    let config = Arc::new(config);
    let mut friend = SecuredAgent::connect(&gateway, &config, Some(gateway.token("friend")));
    let cases = [
        (Wire(&[99, 3, 3, 0, 1, 0]), Some(UNEXPECTED_MESSAGE)),
        (Wire(&[21, 3, 3, 0, 2, 1, 0]), Some(UNEXPECTED_MESSAGE)),
        (Wire(&[20, 3, 3, 0, 1, 1]), Some(UNEXPECTED_MESSAGE)),
        (Wire(&[23, 2, 3, 0, 1]), Some(DECODE_ERROR)),
        (Wire(&[23, 3, 3, 0x41, 1]), Some(RECORD_OVERFLOW)),
        (Wire(&[23, 3, 3, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]), Some(BAD_RECORD_MAC)),
        (Long(16_384), Some(RECORD_OVERFLOW)),
        (Inside(&[0]), Some(UNEXPECTED_MESSAGE)),
        (Inside(&[1, 20]), Some(UNEXPECTED_MESSAGE)),
        (Inside(&[1, 99]), Some(UNEXPECTED_MESSAGE)),
        // A hello, and key updates with more behind them, cut, and with a value that there is not.
        (Inside(&[1, 0, 0, 2, 3, 3, HANDSHAKE]), Some(UNEXPECTED_MESSAGE)),
        (Inside(&[24, 0, 0, 1, 0, 24, HANDSHAKE]), Some(UNEXPECTED_MESSAGE)),
        (Inside(&[24, 0, 0, 2, 0, HANDSHAKE]), Some(DECODE_ERROR)),
        (Inside(&[24, 0, 0, 1, 2, HANDSHAKE]), Some(ILLEGAL_PARAMETER)),
        (Inside(&[2, ALERT]), Some(DECODE_ERROR)),
        (Flood(&[DATA], 33), Some(UNEXPECTED_MESSAGE)),
        (Flood(&[1, 90, ALERT], 33), Some(UNEXPECTED_MESSAGE)),
        // Who says goodbye hears it, and who has failed is not answered.
        (Inside(&[1, 0, ALERT]), Some(CLOSE_NOTIFY)),
        (Inside(&[2, 40, ALERT]), None),
    ];
    for (at, (sent, alert)) in cases.into_iter().enumerate() {
        for is_in in [false, true] {
            let mut rude = Rude::connect(&gateway, &config);
            if is_in {
                rude.upgrade(&gateway.token("rude"));
            }
            let bytes = match sent {
                Wire(bytes) => bytes.to_vec(),
                Long(bytes) => rude.seal(&[&vec![7; bytes][..], &[DATA]].concat(), 0),
                Inside(plain) | Flood(plain, _) => {
                    let times = if let Flood(_, times) = sent { times } else { 1 };
                    let (kind, content) = plain.split_last().expect("a type");
                    (0..times).flat_map(|_| rude.seal(content, *kind)).collect()
                }
            };
            rude.send(&bytes);
            assert_eq!(rude.told(), alert, "case {at}, let in: {is_in}");
        }
        called(&gateway, &mut friend, "friend", &serde_json::json!(at));
    }
    gateway.wait_metric("holdfast_agents", "", 1);
    gateway.wait_metric("holdfast_tls_connections", "1.3", 1);
}
