//! The gateway under test: where it listens, and how its agents and backends prove who they are.
//!
//! Owns the text of requests and the reading of the answer to an upgrade. It must never open a socket.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use holdfast::auth::token::{self, Algorithm, Claims, KeySource};
use holdfast::wire::envelope::Encoding;

/// Key of every upgrade (the example of RFC 6455 section 1.3) and the answer that it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How long minted tokens live, in seconds.
const TOKEN_SECS: u64 = 24 * 3600;

/// Where the gateway is and what opens its doors.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Address where the gateway serves agents.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address where the gateway serves backends.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub control: SocketAddr,
    /// Address where the gateway serves control links.
    #[arg(long)]
    pub link: Option<SocketAddr>,
    /// The gateway runs with --dev: agents name themselves, no token is sent.
    #[arg(long, conflicts_with = "secret", required_unless_present = "secret")]
    pub dev: bool,
    /// HS256 secret that agents' tokens are minted with.
    #[arg(long)]
    pub secret: Option<String>,
    /// Id of that key, as in the gateway's settings.
    #[arg(long, default_value = "load")]
    pub key_id: String,
    /// Audience of the tokens.
    #[arg(long)]
    pub audience: Option<String>,
    /// Tenant of agents and backends.
    #[arg(long, default_value = "default")]
    pub tenant: String,
    /// API key for the control port.
    #[arg(long)]
    pub api_key: Option<String>,
}

impl Target {
    /// The upgrade request of agent number `agent`.
    ///
    /// # Errors
    /// The secret cannot sign.
    pub fn agent_request(&self, agent: u32) -> Result<Vec<u8>, String> {
        let id = agent_id(agent);
        let Some(secret) = &self.secret else {
            return Ok(upgrade(self.listen, &format!("/v1/agent?agent={id}"), ""));
        };
        let key = KeySource {
            id: self.key_id.clone(),
            algorithm: Algorithm::Hs256,
            material: secret.clone().into_bytes(),
            tenant: None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let claims = Claims {
            agent: id,
            tenant: self.tenant.clone(),
            labels: Vec::new(),
            expires_unix: now.as_secs() + TOKEN_SECS,
        };
        let token = token::mint(&key, self.audience.as_deref(), &claims)?;
        let credentials = format!("Authorization: Bearer {token}\r\n");
        Ok(upgrade(self.listen, "/v1/agent", &credentials))
    }

    /// The upgrade request for a path without credentials, such as an echo.
    pub fn plain_request(&self, path: &str) -> Vec<u8> {
        upgrade(self.listen, path, "")
    }

    /// A backend's request for a control link.
    pub fn link_request(&self, address: SocketAddr, encoding: Encoding) -> Vec<u8> {
        let key = self.api_key.as_ref().map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
        let fields = format!("{key}Sec-WebSocket-Protocol: {}\r\n", encoding.subprotocol());
        upgrade(address, "/v1/link", &fields)
    }

    /// A backend's request to call agent number `agent`; `body` is the JSON body.
    pub fn call_request(&self, agent: u32, body: &str) -> Vec<u8> {
        let credentials =
            self.api_key.as_ref().map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
        format!(
            "POST /v1/agents/{}/calls HTTP/1.1\r\nHost: {}\r\n{credentials}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            agent_id(agent),
            self.control,
            body.len(),
        )
        .into_bytes()
    }
}

/// The id of agent number `agent`.
pub fn agent_id(agent: u32) -> String {
    format!("load-{agent}")
}

/// An upgrade request (RFC 6455 section 4.1); `fields` are whole header lines.
pub fn upgrade(host: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// The answer to an upgrade request, so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head has not ended.
    Cut,
    /// Frames follow the head.
    Switched {
        /// Length of the head.
        head_bytes: usize,
    },
    /// Another status than 101.
    Refused(u16),
    /// Not an answer to our request.
    Malformed(&'static str),
}

/// Reads the answer to one of our upgrade requests.
pub fn read_answer(input: &[u8]) -> Answer {
    let Some(end) = find(input, b"\r\n\r\n") else {
        return Answer::Cut;
    };
    let head = &input[..end];
    match status(head) {
        None => Answer::Malformed("an answer without a status"),
        Some(101) if find(head, ACCEPT).is_none() => {
            Answer::Malformed("an upgrade without the right Sec-WebSocket-Accept")
        }
        Some(101) => Answer::Switched { head_bytes: end + 4 },
        Some(other) => Answer::Refused(other),
    }
}

/// The status of an HTTP/1.1 response.
pub fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_at_every_cut() {
        let good = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for cut in 0..good.len() {
            assert_eq!(read_answer(&good[..cut]), Answer::Cut, "at {cut}");
        }
        let mut more = good.to_vec();
        more.extend_from_slice(b"\x81\x00");
        let head_bytes = good.len();
        assert_eq!(read_answer(&more), Answer::Switched { head_bytes });
        for (input, answer) in [
            (&b"HTTP/1.1 503 Full\r\n\r\n"[..], Answer::Refused(503)),
            (
                b"HTTP/1.1 101 Hm\r\nSec-WebSocket-Accept: x\r\n\r\n",
                Answer::Malformed("an upgrade without the right Sec-WebSocket-Accept"),
            ),
            (b"SSH-2.0\r\n\r\n", Answer::Malformed("an answer without a status")),
        ] {
            assert_eq!(read_answer(input), answer);
        }
    }
}
