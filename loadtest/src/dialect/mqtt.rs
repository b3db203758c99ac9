//! MQTT 3.1.1 inside of WebSocket (OASIS standard, section 6): packets with a type, a length and QoS 0.
//!
//! 3.1.1 has no place for the address of a reply, so an agent's replies go to a topic of its own.

use std::net::SocketAddr;

use tungstenite::protocol::frame::coding::OpCode;

use super::{Broker, Dialect, Heard, Message, Opening, Reading, Role};
use crate::target;

/// Packet types with their flags, section 2.2.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;

/// Seconds between heartbeats that the client promises: longer than any run.
const KEEP_ALIVE_SECS: u16 = 3600;

/// Largest remaining length, section 2.2.3.
const LENGTH_MAX: usize = 268_435_455;

/// An MQTT broker.
#[derive(Clone, Debug)]
pub struct Mqtt {
    /// Where its WebSocket listener is.
    pub listen: SocketAddr,
}

impl Dialect for Mqtt {
    fn upgrade(&self, _agent: u32) -> Result<Vec<u8>, String> {
        Ok(target::upgrade(self.listen, "/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n"))
    }

    fn opening(&self) -> Opening {
        Opening::Login
    }

    /// CONNECT with a clean session, and SUBSCRIBE behind it at once, as section 3.1.4 allows.
    fn login(&self, role: Role, out: &mut Vec<u8>) {
        let (name, topic) = match role {
            Role::Agent(agent) => (target::agent_id(agent), topic(agent)),
            Role::Backend => ("backend".to_owned(), "reply/+".to_owned()),
        };
        let mut body = Vec::new();
        string(&mut body, "MQTT");
        body.extend_from_slice(&[4, 0b10]);
        body.extend_from_slice(&KEEP_ALIVE_SECS.to_be_bytes());
        string(&mut body, &name);
        packet(out, CONNECT, &[&body]);

        body = vec![0, 1];
        string(&mut body, &topic);
        body.push(0);
        packet(out, SUBSCRIBE, &[&body]);
    }

    fn read<'a>(&self, opcode: OpCode, bytes: &'a [u8]) -> Reading<'a> {
        if opcode != super::data() {
            return Err("MQTT must travel in binary messages".to_owned());
        }
        let Some((kind, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let Some((length, length_bytes)) = remaining_length(rest)? else {
            return Ok(None);
        };
        let begin = 1 + length_bytes;
        let Some(body) = bytes.get(begin..begin + length) else {
            return Ok(None);
        };
        let heard = match (*kind, body) {
            (CONNACK, [_, 0]) => Heard::Notice,
            (CONNACK, [_, code]) => return Err(format!("MQTT refused the connection with code {code}")),
            (SUBACK, [0, 1, 0]) => Heard::Ready,
            (SUBACK, _) => return Err("MQTT refused the subscription".to_owned()),
            (PINGRESP, []) => Heard::Pong,
            // Retained and doubled ones have flags, and none are asked for.
            (PUBLISH, body) => Heard::Message(message(body)?),
            (kind, _) => return Err(format!("an MQTT packet that has no place here: {kind:#04x}")),
        };
        Ok(Some((heard, begin + length)))
    }

    fn echo(&self, agent: u32, body: &[u8], out: &mut Vec<u8>) {
        publish(out, &topic(agent), body);
    }

    fn ping(&self, out: &mut Vec<u8>) -> OpCode {
        packet(out, PINGREQ, &[]);
        super::data()
    }

    /// An MQTT server sends no heartbeats.
    fn pong(&self, _out: &mut Vec<u8>) {}
}

impl Broker for Mqtt {
    fn reply_subject(&self, agent: u32, _number: u64) -> String {
        format!("reply/{agent}")
    }

    fn ask(&self, agent: u32, _number: u64, body: &[u8], out: &mut Vec<u8>) {
        publish(out, &topic(agent), body);
    }

    fn answer(&self, agent: u32, _question: &Message, body: &[u8], out: &mut Vec<u8>) {
        publish(out, &self.reply_subject(agent, 0), body);
    }
}

fn topic(agent: u32) -> String {
    format!("agent/{agent}")
}

/// Topic and payload of a PUBLISH with QoS 0, section 3.3.
fn message(body: &[u8]) -> Result<Message<'_>, String> {
    body.split_first_chunk::<2>()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))))
        .map(|(subject, body)| Message { subject, reply_to: b"", body })
        .ok_or_else(|| "a PUBLISH that ends within its topic".to_owned())
}

/// The remaining length and its own bytes, section 2.2.3; `None` when it is cut.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((length, place + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err("a length of more than four bytes".to_owned()) }
}

/// Appends a packet. Callers send less than [`LENGTH_MAX`] bytes.
fn packet(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    assert!(length <= LENGTH_MAX, "a packet of {length} bytes");
    out.push(kind);
    loop {
        let [low, ..] = (length & 0x7f).to_le_bytes();
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn publish(out: &mut Vec<u8>, topic: &str, body: &[u8]) {
    let mut name = Vec::new();
    string(&mut name, topic);
    packet(out, PUBLISH, &[&name, body]);
}

/// A string with its length before it, section 1.5.3. Ours are short.
fn string(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::data;
    use crate::dialect::tests::every_cut;

    fn mqtt() -> Mqtt {
        Mqtt { listen: ([127, 0, 0, 1], 1).into() }
    }

    #[test]
    fn every_cut_of_a_stream_says_the_same() {
        let body = [b'x'; 300];
        let mut stream = vec![CONNACK, 2, 0, 0, SUBACK, 3, 0, 1, 0];
        mqtt().ask(7, 41, &body, &mut stream);
        stream.extend_from_slice(&[PINGRESP, 0]);
        mqtt().echo(7, b"", &mut stream);
        let message = |body| Heard::Message(Message { subject: b"agent/7", reply_to: b"", body });
        let expected = [Heard::Notice, Heard::Ready, message(&body), Heard::Pong, message(b"")];
        every_cut(&mqtt(), &stream, &expected);
    }

    #[test]
    fn lengths_are_those_of_the_standard() {
        for (length, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        ] {
            assert_eq!(remaining_length(bytes), Ok(Some((length, bytes.len()))));
            let mut out = Vec::new();
            packet(&mut out, PUBLISH, &[&vec![0; length]]);
            assert_eq!(&out[1..=bytes.len()], bytes, "{length}");
        }
        assert_eq!(remaining_length(&[0xff; 3]), Ok(None));
        assert!(remaining_length(&[0xff; 4]).is_err());
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        for bytes in [
            &[CONNACK, 2, 0, 5][..],
            &[CONNACK, 0],
            &[SUBACK, 3, 0, 1, 0x80],
            &[SUBACK, 3, 0, 2, 0],
            &[PUBLISH, 3, 0, 9, b'a'],
            &[PUBLISH, 1, 0],
            &[PUBLISH | 2, 4, 0, 1, b'a', 0],
            &[PINGRESP, 1, 0],
            &[0xff, 0],
        ] {
            assert!(mqtt().read(data(), bytes).is_err(), "{bytes:02x?}");
        }
        assert!(mqtt().read(OpCode::from(1), &[PINGRESP, 0]).is_err());
    }

    #[test]
    fn the_login_is_what_the_standard_wants() {
        let mut out = Vec::new();
        mqtt().login(Role::Agent(7), &mut out);
        let connect = b"\x10\x12\0\x04MQTT\x04\x02\x0e\x10\0\x06load-7";
        let subscribe = b"\x82\x0c\0\x01\0\x07agent/7\0";
        assert_eq!(out, [&connect[..], subscribe].concat());
    }
}
