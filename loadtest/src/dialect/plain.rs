//! No dialect: a WebSocket server that sends each message back, and answers pings of RFC 6455.

use std::net::SocketAddr;

use tungstenite::protocol::frame::coding::OpCode;

use super::{Dialect, Heard, Message, Opening, Reading, Role};
use crate::target;

/// An echo server.
#[derive(Clone, Debug)]
pub struct Plain {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The path that echoes.
    pub path: String,
}

impl Dialect for Plain {
    fn upgrade(&self, _agent: u32) -> Result<Vec<u8>, String> {
        Ok(target::upgrade(self.listen, &self.path, ""))
    }

    fn opening(&self) -> Opening {
        Opening::Ready
    }

    fn login(&self, _role: Role, _out: &mut Vec<u8>) {}

    fn read<'a>(&self, opcode: OpCode, bytes: &'a [u8]) -> Reading<'a> {
        let heard = match u8::from(opcode) {
            2 => Heard::Message(Message { subject: b"", reply_to: b"", body: bytes }),
            10 => Heard::Pong,
            _ => return Err("text came back for binary".to_owned()),
        };
        Ok(Some((heard, bytes.len())))
    }

    fn echo(&self, _agent: u32, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(body);
    }

    fn ping(&self, _out: &mut Vec<u8>) -> OpCode {
        OpCode::from(9)
    }

    fn pong(&self, _out: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_itself_and_text_is_a_fault() {
        let plain = Plain { listen: ([127, 0, 0, 1], 1).into(), path: "/".to_owned() };
        let message = Message { subject: b"", reply_to: b"", body: b"abc" };
        assert_eq!(plain.read(OpCode::from(2), b"abc"), Ok(Some((Heard::Message(message), 3))));
        assert_eq!(plain.read(OpCode::from(10), b"p"), Ok(Some((Heard::Pong, 1))));
        assert!(plain.read(OpCode::from(1), b"abc").is_err());
    }
}
