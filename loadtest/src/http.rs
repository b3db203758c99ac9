//! Backends: HTTP/1.1 connections that are kept open, one request in flight on each.
//!
//! Owns the sockets and the framing of responses. It must never decide whether an answer is right.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::callers::{Answer, Callers, Response};
use crate::question::{Question, Worth};
use crate::source::{self, Window};
use crate::target::{self, Target};
use crate::wire::{Got, Wire};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Connections that are opened at a time; more would overflow the backlog of a usual server.
const DIALS_MAX: usize = 64;

/// Longest wait for a connection to stand before the next one is opened.
const STAND: Duration = Duration::from_secs(1);

struct Caller {
    wire: Wire,
    in_flight: Option<(u64, Instant)>,
}

/// Keep-alive connections to one control port.
pub struct HttpCallers {
    target: Target,
    poll: Poll,
    events: Events,
    callers: Vec<Caller>,
    idle: Vec<usize>,
    scratch: Vec<u8>,
    strays: u64,
}

impl HttpCallers {
    /// Connects `count` callers.
    ///
    /// # Errors
    /// No descriptor or port is left.
    pub fn connect(target: &Target, count: usize) -> io::Result<Self> {
        let mut all = Self {
            target: target.clone(),
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            callers: Vec::with_capacity(count),
            idle: (0..count).collect(),
            scratch: vec![0; READ_BYTES],
            strays: 0,
        };
        let mut stand = 0;
        for key in 0..count {
            let caller = all.dial(key)?;
            all.callers.push(caller);
            if all.callers.len() - stand >= DIALS_MAX {
                stand += all.arrived()?;
            }
        }
        Ok(all)
    }

    /// Waits until some of the connections stand, or are known not to; returns how many do. Nothing comes on them yet that could be missed.
    fn arrived(&mut self) -> io::Result<usize> {
        match self.poll.poll(&mut self.events, Some(STAND)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        let some = self.events.iter().count();
        // Where nothing comes in time the server is slow, and the calls will tell.
        Ok(if some == 0 { DIALS_MAX } else { some })
    }

    fn dial(&self, key: usize) -> io::Result<Caller> {
        let turn = u32::try_from(key).unwrap_or(0);
        let mut wire = Wire::new(source::dial(self.target.control, turn, Window::Usual)?, turn, 0);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(wire.stream(), Token(key), interest)?;
        Ok(Caller { wire, in_flight: None })
    }

    /// Replaces a connection that has ended.
    fn renew(&mut self, key: usize, answers: &mut Vec<Answer>) -> io::Result<()> {
        self.callers[key] = match self.callers[key].in_flight.take() {
            Some((request, since)) => {
                answers.push(Answer { number: request, response: None, took: since.elapsed() });
                self.idle.push(key);
                self.dial(key)?
            }
            None => self.dial(key)?,
        };
        Ok(())
    }

    /// Reads until dry; returns false when the connection has ended.
    fn serve(&mut self, key: usize, read_closed: bool, answers: &mut Vec<Answer>) -> bool {
        let caller = &mut self.callers[key];
        if !caller.wire.flush() {
            return false;
        }
        loop {
            let have = caller.wire.restore(&mut self.scratch);
            if self.scratch.len() < have + READ_BYTES {
                self.scratch.resize(have + READ_BYTES, 0);
            }
            let more = match caller.wire.read(&mut self.scratch[have..]) {
                Got::Bytes(more) => more,
                Got::Dry => {
                    caller.wire.keep(&self.scratch[..have]);
                    return true;
                }
                Got::End => return false,
            };
            let input = &self.scratch[..have + more];
            let mut at = 0;
            while let Some((status, body_at, end)) = response(&input[at..]) {
                let body = input[at + body_at..at + end].to_vec();
                at += end;
                let Some((request, since)) = caller.in_flight.take() else {
                    self.strays += 1;
                    continue;
                };
                answers.push(Answer {
                    number: request,
                    response: Some(Response { status, body }),
                    took: since.elapsed(),
                });
                self.idle.push(key);
            }
            caller.wire.keep(&input[at..]);
            if have + more < self.scratch.len() && !read_closed {
                return true;
            }
        }
    }
}

impl Callers for HttpCallers {
    fn ask(&mut self, question: &Question, timeout_ms: u64) -> bool {
        let Some(key) = self.idle.pop() else {
            return false;
        };
        let request = self.target.call_request(question.agent, &question.body(timeout_ms));
        let caller = &mut self.callers[key];
        caller.in_flight = Some((question.number, Instant::now()));
        // A dead socket shows as the end of its input at the next turn, and its readiness to write is always heard of.
        caller.wire.write(&request);
        true
    }

    fn has_room(&self) -> bool {
        !self.idle.is_empty()
    }

    fn turn(&mut self, answers: &mut Vec<Answer>, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let key = event.token().0;
            if !self.serve(key, event.is_read_closed(), answers) {
                self.renew(key, answers)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn judge(&self, question: &Question, response: &Response) -> Worth {
        question.judge(response.status, &response.body)
    }

    fn take_strays(&mut self) -> u64 {
        std::mem::take(&mut self.strays)
    }
}

/// A whole response at the start of `input`: status, where its body begins, where it ends.
fn response(input: &[u8]) -> Option<(u16, usize, usize)> {
    let body_at = target::find(input, b"\r\n\r\n")? + 4;
    let head = &input[..body_at];
    // A head that cannot be read counts as status 0 and swallows the input: its owner reports it.
    let Some(status) = target::status(head) else {
        return Some((0, 0, input.len()));
    };
    let end = body_at + content_length(head)?;
    (input.len() >= end).then_some((status, body_at, end))
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    match value {
        Some(value) => value.trim().parse().ok(),
        None => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_end_where_their_length_says() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..bytes.len() {
            assert_eq!(response(&bytes[..cut]), None, "at {cut}");
        }
        let two = [&bytes[..], b"HTTP/1.1 404 No\r\ncontent-length:0\r\n\r\n"].concat();
        let (status, body_at, end) = response(&two).expect("whole");
        assert_eq!((status, &two[body_at..end]), (200, &b"hello"[..]));
        let rest = &two[end..];
        assert_eq!(response(rest), Some((404, rest.len(), rest.len())));
        assert_eq!(response(b"nonsense\r\n\r\n"), Some((0, 0, 12)));
    }
}
