//! The gateway under test: where it listens, and how its agents and backends prove who they are.
//!
//! Owns the text of requests and the reading of the answer to an upgrade. It must never open a socket.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use holdfast::net::tls::client::Client;

use crate::credentials::Signer;
use holdfast::wire::envelope::Encoding;

/// Key of every upgrade (the example of RFC 6455 section 1.3) and the answer that it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where the gateway is and what opens its doors.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address where the gateway serves agents.
    pub listen: SocketAddr,
    /// Address where the gateway serves backends.
    pub control: SocketAddr,
    /// Address where the gateway serves control links, where it does.
    pub link: Option<SocketAddr>,
    /// Makes agents' tokens; without it agents name themselves, which `serve --dev` allows.
    pub signer: Option<Signer>,
    /// API key for the control port.
    pub api_key: Option<String>,
    /// Settings of agents' TLS, where they have it.
    pub tls: Option<Arc<Client>>,
    /// Settings of links' TLS, where they have it.
    pub link_tls: Option<Arc<Client>>,
}

impl Target {
    /// The upgrade request of agent number `agent`, in place of what `request` held.
    pub fn agent_request(&self, agent: u32, request: &mut String) {
        request.clear();
        // A String takes every write.
        let _ = match &self.signer {
            None => append_upgrade(self.listen, format_args!("/v1/agent?agent={ID_PREFIX}{agent}"), request),
            Some(signer) => append_upgrade(self.listen, "/v1/agent", request).map(|()| {
                request.push_str("Authorization: Bearer ");
                signer.append(&agent_id(agent), request);
                request.push_str("\r\n");
            }),
        };
        request.push_str("\r\n");
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
            "POST /v1/agents/{ID_PREFIX}{agent}/calls HTTP/1.1\r\nHost: {}\r\n{credentials}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.control,
            body.len(),
        )
        .into_bytes()
    }
}

/// What every agent's id begins with.
const ID_PREFIX: &str = "load-";

/// The id of agent number `agent`.
pub fn agent_id(agent: u32) -> String {
    format!("{ID_PREFIX}{agent}")
}

/// A whole upgrade request for `path` of `host`; `fields` are whole header lines.
pub fn upgrade(host: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    let mut request = String::new();
    // A String takes every write.
    let _ = append_upgrade(host, path, &mut request);
    (request + fields + "\r\n").into_bytes()
}

/// Appends an upgrade request (RFC 6455 section 4.1) without the empty line at its end.
fn append_upgrade(host: SocketAddr, path: impl std::fmt::Display, request: &mut String) -> std::fmt::Result {
    write!(
        request,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    )
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
