//! The client protocol of NATS inside of WebSocket: lines, and payloads behind the lines that announce them.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>. One shared token is all that is proved.

use std::io::Write;
use std::net::SocketAddr;

use tungstenite::protocol::frame::coding::OpCode;

use super::{Broker, Dialect, HEAD_BYTES_MAX, Heard, Message, Opening, Reading, Role};
use crate::target::{self, find};

/// A nats-server.
#[derive(Clone, Debug)]
pub struct Nats {
    /// Where its WebSocket listener is.
    pub listen: SocketAddr,
    /// What it asks of clients.
    pub token: Option<String>,
}

impl Dialect for Nats {
    fn upgrade(&self, _agent: u32) -> Result<Vec<u8>, String> {
        Ok(target::upgrade(self.listen, "/", ""))
    }

    fn opening(&self) -> Opening {
        Opening::Wait
    }

    fn login(&self, role: Role, out: &mut Vec<u8>) {
        let mut options = serde_json::json!({"verbose": false, "pedantic": false, "echo": true, "lang": "load"});
        if let Some(token) = &self.token {
            options["auth_token"] = token.as_str().into();
        }
        // The PONG says that all before it is done.
        line(out, format_args!("CONNECT {options}\r\nSUB {} 1\r\nPING", subscription(role)));
    }

    fn read<'a>(&self, opcode: OpCode, bytes: &'a [u8]) -> Reading<'a> {
        if opcode != super::data() {
            return Err("NATS must travel in binary messages".to_owned());
        }
        let Some(line_bytes) = find(&bytes[..bytes.len().min(HEAD_BYTES_MAX)], b"\r\n") else {
            return if bytes.len() < HEAD_BYTES_MAX { Ok(None) } else { Err("an endless line".to_owned()) };
        };
        let line = &bytes[..line_bytes];
        let heard = match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"MSG" => return message(line, bytes),
            b"INFO" => Heard::Greeting,
            b"PING" => Heard::Ping,
            b"PONG" => Heard::Pong,
            b"+OK" => Heard::Notice,
            _ => return Err(format!("NATS says {:?}", String::from_utf8_lossy(&line[..line.len().min(200)]))),
        };
        Ok(Some((heard, line_bytes + 2)))
    }

    fn echo(&self, agent: u32, body: &[u8], out: &mut Vec<u8>) {
        line(out, format_args!("PUB agent.{agent} {}", body.len()));
        payload(out, body);
    }

    fn ping(&self, out: &mut Vec<u8>) -> OpCode {
        line(out, format_args!("PING"));
        super::data()
    }

    fn pong(&self, out: &mut Vec<u8>) {
        line(out, format_args!("PONG"));
    }
}

impl Broker for Nats {
    fn reply_subject(&self, _agent: u32, number: u64) -> String {
        format!("reply.{number}")
    }

    fn ask(&self, agent: u32, number: u64, body: &[u8], out: &mut Vec<u8>) {
        let reply_to = self.reply_subject(agent, number);
        line(out, format_args!("PUB agent.{agent} {reply_to} {}", body.len()));
        payload(out, body);
    }

    fn answer(&self, _agent: u32, question: &Message, body: &[u8], out: &mut Vec<u8>) {
        line(out, format_args!("PUB {} {}", String::from_utf8_lossy(question.reply_to), body.len()));
        payload(out, body);
    }
}

fn subscription(role: Role) -> String {
    match role {
        Role::Agent(agent) => format!("agent.{agent}"),
        Role::Backend => "reply.*".to_owned(),
    }
}

/// `MSG subject sid [reply-to] length`, then the payload and an end of line.
fn message<'a>(line: &'a [u8], bytes: &'a [u8]) -> Reading<'a> {
    let mut words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let length = words.pop().and_then(|word| std::str::from_utf8(word).ok()?.parse::<usize>().ok());
    let (subject, reply_to) = match words[..] {
        [_, subject, _sid] => (subject, &b""[..]),
        [_, subject, _sid, reply_to] => (subject, reply_to),
        _ => return Err("a MSG of another form".to_owned()),
    };
    let begin = line.len() + 2;
    let Some(end) = length.and_then(|length| begin.checked_add(length)?.checked_add(2)).map(|end| end - 2) else {
        return Err("a MSG without a length".to_owned());
    };
    if bytes.len() < end + 2 {
        return Ok(None);
    }
    if &bytes[end..end + 2] != b"\r\n" {
        return Err("a payload of another length than was told".to_owned());
    }
    Ok(Some((Heard::Message(Message { subject, reply_to, body: &bytes[begin..end] }), end + 2)))
}

fn line(out: &mut Vec<u8>, text: std::fmt::Arguments) {
    // A vector takes every byte.
    let _ = out.write_fmt(text);
    out.extend_from_slice(b"\r\n");
}

fn payload(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::data;
    use crate::dialect::tests::every_cut;

    fn nats() -> Nats {
        Nats { listen: ([127, 0, 0, 1], 1).into(), token: Some("secret \"word\"".to_owned()) }
    }

    #[test]
    fn every_cut_of_a_stream_says_the_same() {
        let stream = b"INFO {\"server_id\":\"x\"} \r\nPONG\r\n+OK\r\nMSG agent.7 1 reply.41 5\r\na\r\nbc\r\nPING\r\nMSG agent.7 1 0\r\n\r\n";
        let message = Message { subject: b"agent.7", reply_to: b"reply.41", body: b"a\r\nbc" };
        let empty = Message { subject: b"agent.7", reply_to: b"", body: b"" };
        let expected =
            [Heard::Greeting, Heard::Pong, Heard::Notice, Heard::Message(message), Heard::Ping, Heard::Message(empty)];
        every_cut(&nats(), stream, &expected);
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        let endless = vec![b'x'; HEAD_BYTES_MAX];
        for bytes in [
            &b"-ERR 'Authorization Violation'\r\n"[..],
            b"MSG a 1\r\n",
            b"MSG a 1 r x 3\r\nabc\r\n",
            b"MSG a 1 -3\r\nabc\r\n",
            b"MSG a 1 18446744073709551615\r\n",
            b"MSG a 1 2\r\nabc\r\n",
            b"\r\n",
            &endless,
        ] {
            assert!(nats().read(data(), bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_said_is_what_the_protocol_wants() {
        let mut out = Vec::new();
        nats().login(Role::Agent(7), &mut out);
        let text = String::from_utf8(out).expect("text");
        let options = text.strip_prefix("CONNECT ").and_then(|rest| rest.split("\r\n").next()).expect("CONNECT");
        let options: serde_json::Value = serde_json::from_str(options).expect("JSON");
        assert_eq!(options["auth_token"], "secret \"word\"");
        assert!(text.ends_with("}\r\nSUB agent.7 1\r\nPING\r\n"), "{text}");

        let mut out = Vec::new();
        nats().ask(7, 41, b"what", &mut out);
        let question = Message { subject: b"agent.7", reply_to: b"reply.41", body: b"what" };
        nats().answer(7, &question, b"that", &mut out);
        nats().echo(7, b"", &mut out);
        assert_eq!(out, b"PUB agent.7 reply.41 4\r\nwhat\r\nPUB reply.41 4\r\nthat\r\nPUB agent.7 0\r\n\r\n");
    }
}
