//! holdfast's own dialect, as far as an agent needs it: it is welcomed, and answers calls (`docs/protocol.md`).

use tungstenite::protocol::frame::coding::OpCode;

use super::{Dialect, Heard, Message, Opening, Reading, Role};
use crate::target::Target;

/// The start of the first message. A call has an id in this place.
const WELCOME: &[u8] = br#"{"jsonrpc":"2.0","method":"welcome""#;

/// A gateway. Its token is checked in the upgrade; a call stays the JSON that it is, for `question::hear`.
#[derive(Clone, Copy, Debug)]
pub struct Gateway<'a> {
    /// Where it is and what opens it.
    pub target: &'a Target,
}

impl Dialect for Gateway<'_> {
    fn upgrade(&self, agent: u32) -> Result<Vec<u8>, String> {
        let mut request = String::new();
        self.target.agent_request(agent, &mut request);
        Ok(request.into_bytes())
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn login(&self, _role: Role, _out: &mut Vec<u8>) {}

    fn read<'a>(&self, opcode: OpCode, bytes: &'a [u8]) -> Reading<'a> {
        let heard = match u8::from(opcode) {
            1 if bytes.starts_with(WELCOME) => Heard::Ready,
            1 => Heard::Message(Message { subject: b"", reply_to: b"", body: bytes }),
            10 => Heard::Pong,
            _ => return Err("a binary message on a JSON connection".to_owned()),
        };
        Ok(Some((heard, bytes.len())))
    }

    /// An agent's connection echoes nothing: `plain` measures `/dev/echo`.
    fn echo(&self, _agent: u32, _body: &[u8], _out: &mut Vec<u8>) {}

    fn ping(&self, _out: &mut Vec<u8>) -> OpCode {
        OpCode::from(9)
    }

    fn pong(&self, _out: &mut Vec<u8>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_told_from_a_call() {
        let target = Target {
            listen: ([127, 0, 0, 1], 1).into(),
            control: ([127, 0, 0, 1], 2).into(),
            signer: None,
            link: None,
            api_key: None,
            tls: None,
            link_tls: None,
        };
        let gateway = Gateway { target: &target };
        let welcome = br#"{"jsonrpc":"2.0","method":"welcome","params":{}}"#;
        assert_eq!(gateway.read(OpCode::from(1), welcome), Ok(Some((Heard::Ready, welcome.len()))));
        let call = br#"{"jsonrpc":"2.0","id":"00","method":"welcome"}"#;
        assert!(matches!(gateway.read(OpCode::from(1), call), Ok(Some((Heard::Message(_), _)))));
        assert!(gateway.read(OpCode::from(2), call).is_err());
    }
}
