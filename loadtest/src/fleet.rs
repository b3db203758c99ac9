//! Many WebSocket connections on one edge-triggered poll: dial, send, and hear what happened.
//!
//! Owns the sockets and the upgrade. It must never decide what a message means: drivers read a [`Batch`] and act.
//! Every readiness is a hint, so an event for a connection that is gone or renewed does no harm.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use holdfast::net::tls::client::Client;
use mio::{Events, Poll, Token};
use slab::Slab;
use tungstenite::protocol::frame::coding::OpCode;

use crate::frame;
use crate::secured::Secured;
use crate::source::{self, Window};
use crate::target;
use crate::wire::{Ending, Got, Phase, Wire, Written};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// Longest answer to an upgrade that is waited for, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Something that a driver wants to know. `wire` names the connection until it has ended.
#[derive(Debug)]
pub enum Happening {
    /// The upgrade succeeded.
    Opened {
        /// The connection.
        wire: usize,
        /// Its owner's number.
        tag: u32,
    },
    /// A whole message, or a pong.
    Message {
        /// The connection.
        wire: usize,
        /// Its owner's number.
        tag: u32,
        /// Text, binary or pong.
        opcode: OpCode,
        /// Where the payload lies in [`Batch::bytes`].
        payload: Range<usize>,
    },
    /// The connection is gone; its number may be used again.
    Ended {
        /// The connection.
        wire: usize,
        /// Its owner's number.
        tag: u32,
        /// Its owner's mark.
        mark: u8,
        /// Why.
        ending: Ending,
    },
}

/// What one turn brought.
#[derive(Default)]
pub struct Batch {
    /// In order, connection by connection.
    pub happenings: Vec<Happening>,
    /// Payloads of the messages.
    pub bytes: Vec<u8>,
}

/// A connection to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// Where to.
    pub target: SocketAddr,
    /// Its owner's number.
    pub tag: u32,
    /// Its owner's mark, to begin with.
    pub mark: u8,
    /// How much it may receive unread.
    pub window: Window,
}

/// Connections of one thread.
pub struct Fleet {
    poll: Poll,
    events: Events,
    wires: Slab<Wire>,
    scratch: Vec<u8>,
    out: Vec<u8>,
    /// TLS, where the connections have it, with buffers for what it opens and seals.
    secured: Option<Secured>,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    dialled: u32,
    mask_seed: u32,
}

impl Fleet {
    /// No connections yet.
    ///
    /// # Errors
    /// No descriptor is left for the poll.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            wires: Slab::new(),
            scratch: vec![0; READ_BYTES],
            out: Vec::new(),
            secured: None,
            plain: Vec::new(),
            sealed: Vec::new(),
            dialled: fastrand::u32(..),
            mask_seed: fastrand::u32(..),
        })
    }

    /// Has all connections to come speak TLS, where there are settings for it.
    pub fn secure(&mut self, client: Option<Arc<Client>>) {
        self.secured = client.map(Secured::new);
    }

    /// How many handshakes of TLS were resumed with a ticket so far.
    pub fn resumed(&self) -> u64 {
        self.secured.as_ref().map_or(0, Secured::resumed)
    }

    /// Makes room for so many connections, so that the table does not double while they come.
    pub fn reserve(&mut self, connections: usize) {
        self.wires.reserve_exact(connections);
    }

    /// Starts a connection that sends `request` and then speaks WebSocket.
    ///
    /// # Errors
    /// The kernel refuses at once: no descriptor, no port.
    pub fn dial(&mut self, target: SocketAddr, tag: u32, request: &[u8]) -> io::Result<usize> {
        self.dial_as(Dial { target, tag, mark: 0, window: Window::Usual }, request)
    }

    /// The same, with all that can be said of a connection.
    ///
    /// # Errors
    /// The kernel refuses at once: no descriptor, no port.
    pub fn dial_as(&mut self, dial: Dial, request: &[u8]) -> io::Result<usize> {
        self.dialled = self.dialled.wrapping_add(1);
        let stream = source::dial(dial.target, self.dialled, dial.window)?;
        let mut wire = Wire::new(stream, dial.tag, dial.mark);
        let entry = self.wires.vacant_entry();
        let key = entry.key();
        // On loopback TCP stands already, so the request can leave before the poll knows of the socket.
        match &mut self.secured {
            None => wire.write(request),
            Some(secured) => {
                self.sealed.clear();
                secured.begin(key, request, &mut self.sealed).map_err(io::Error::other)?;
                wire.write(&self.sealed)
            }
        };
        let interest = wire.interest();
        self.poll.registry().register(wire.stream(), Token(key), interest)?;
        entry.insert(wire);
        Ok(key)
    }

    /// Sends a message or a control frame. A connection that is gone is none of the caller's concern: it will hear of it.
    pub fn send(&mut self, wire: usize, opcode: OpCode, payload: &[u8]) {
        // A predictable key: masking protects proxies from scripts in browsers, and there are none here.
        self.mask_seed = self.mask_seed.wrapping_mul(747_796_405).wrapping_add(1);
        self.out.clear();
        frame::masked(opcode, payload, self.mask_seed.to_be_bytes(), &mut self.out);
        let key = wire;
        let out = sealed(&mut self.secured, key, &self.out, &mut self.sealed);
        if let Some(wire) = self.wires.get_mut(key)
            && wire.write(out) == Written::Refused
        {
            // Where this fails the socket is dead, and the next turn says so.
            let interest = wire.interest();
            let _ = self.poll.registry().reregister(wire.stream(), Token(key), interest);
        }
    }

    /// Notes something of a connection for its owner.
    pub fn mark(&mut self, wire: usize, mark: u8) {
        if let Some(wire) = self.wires.get_mut(wire) {
            wire.mark = mark;
        }
    }

    /// Nothing that comes for this connection is read any more, not even its end.
    pub fn deafen(&mut self, wire: usize) {
        if let Some(wire) = self.wires.get_mut(wire) {
            // A socket that cannot be taken out of the poll is dead.
            let _ = self.poll.registry().deregister(wire.stream());
        }
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        self.wires.len()
    }

    /// All connections with their owner's numbers and marks.
    pub fn each(&self) -> impl Iterator<Item = (usize, u32, u8)> {
        self.wires.iter().map(|(key, wire)| (key, wire.tag, wire.mark))
    }

    /// The first connection at or behind a random place; `None` when there are none.
    pub fn any(&self) -> Option<(usize, u32, u8)> {
        let begin = fastrand::usize(0..self.wires.capacity().max(1));
        let places = (begin..self.wires.capacity()).chain(0..begin);
        places.into_iter().find_map(|key| self.wires.get(key).map(|wire| (key, wire.tag, wire.mark)))
    }

    /// Starts the closing handshake with code 1000; [`Happening::Ended`] follows when the peer has answered.
    pub fn close(&mut self, wire: usize) {
        self.send(wire, OpCode::from(8), &1000u16.to_be_bytes());
        if let Some(wire) = self.wires.get_mut(wire) {
            wire.phase = Phase::Closing;
        }
    }

    /// Resets a connection's TCP now, without a close frame. Nothing more is heard of it, and the kernel keeps nothing of it.
    pub fn drop_wire(&mut self, wire: usize) {
        if let Some(gone) = self.wires.try_remove(wire) {
            gone.reset();
            self.forget(wire);
        }
    }

    fn forget(&mut self, wire: usize) {
        if let Some(secured) = &mut self.secured {
            secured.forget(wire);
        }
    }

    /// Its owner's number for a connection; `None` when it is gone.
    pub fn tag(&self, wire: usize) -> Option<u32> {
        self.wires.get(wire).map(|wire| wire.tag)
    }

    /// Waits for at most `patience`, then reads and writes all that is ready. `batch` is emptied first.
    ///
    /// # Errors
    /// The poll itself failed.
    pub fn turn(&mut self, batch: &mut Batch, patience: Duration) -> io::Result<()> {
        batch.happenings.clear();
        batch.bytes.clear();
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.serve(event.token().0, event.is_read_closed(), batch);
        }
        self.events = events;
        Ok(())
    }

    /// Flushes, then reads one connection until it is dry.
    fn serve(&mut self, key: usize, read_closed: bool, batch: &mut Batch) {
        let Some(wire) = self.wires.get_mut(key) else {
            return;
        };
        // A failed write is not the end: what the peer said before it closed is still to be read.
        wire.flush();
        let ending = loop {
            let have = wire.restore(&mut self.scratch);
            if self.scratch.len() < have + READ_BYTES {
                self.scratch.resize(have + READ_BYTES, 0);
            }
            let more = match wire.read(&mut self.scratch[have..]) {
                Got::Bytes(more) => more,
                Got::Dry => {
                    wire.keep(&self.scratch[..have]);
                    break None;
                }
                Got::End if wire.phase == Phase::Upgrading => break Some(Ending::Unreachable),
                Got::End => break Some(Ending::Vanished),
            };
            self.out.clear();
            let input = &mut self.scratch[..have + more];
            let digested = match &mut self.secured {
                None => digest(wire, key, input, batch, &mut self.out).map(|used| wire.keep(&input[used..])),
                Some(secured) => {
                    self.plain.clear();
                    self.sealed.clear();
                    let opened = secured.open(key, input, &mut self.plain, &mut self.sealed);
                    wire.write(&self.sealed);
                    opened.map_err(Ending::Malformed).and_then(|used| {
                        wire.keep(&input[used..]);
                        let used = digest(wire, key, &self.plain, batch, &mut self.out)?;
                        secured.keep(key, &self.plain[used..]);
                        Ok(())
                    })
                }
            };
            if !self.out.is_empty() {
                wire.write(sealed(&mut self.secured, key, &self.out, &mut self.sealed));
            }
            if let Err(ending) = digested {
                break Some(ending);
            }
            // A short read has emptied the socket, unless the end came in the same event.
            if have + more < self.scratch.len() && !read_closed {
                break None;
            }
        };
        if ending.is_none() && wire.interest().is_writable() {
            // Where this fails the socket is dead, and the next turn says so.
            let interest = wire.interest();
            let _ = self.poll.registry().reregister(wire.stream(), Token(key), interest);
        }
        if let Some(ending) = ending {
            let Wire { tag, mark, .. } = self.wires.remove(key);
            self.forget(key);
            batch.happenings.push(Happening::Ended { wire: key, tag, mark, ending });
        }
    }
}

/// Frames as they go out.
fn sealed<'a>(secured: &mut Option<Secured>, wire: usize, frames: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(secured) = secured else {
        return frames;
    };
    buffer.clear();
    secured.seal(wire, frames, buffer);
    buffer
}

/// Takes whole parts off `input`, and appends answers to heartbeats and to a close to `out`; returns how many bytes were used.
fn digest(wire: &mut Wire, key: usize, input: &[u8], batch: &mut Batch, out: &mut Vec<u8>) -> Result<usize, Ending> {
    let mut at = 0;
    if wire.phase == Phase::Upgrading {
        match target::read_answer(input) {
            target::Answer::Cut if input.len() > ANSWER_BYTES_MAX => {
                return Err(Ending::Malformed("an endless answer to the upgrade"));
            }
            target::Answer::Cut => return Ok(0),
            target::Answer::Refused(status) => return Err(Ending::Refused(status)),
            target::Answer::Malformed(rule) => return Err(Ending::Malformed(rule)),
            target::Answer::Switched { head_bytes } => at = head_bytes,
        }
        wire.phase = Phase::Open;
        batch.happenings.push(Happening::Opened { wire: key, tag: wire.tag });
    }
    loop {
        let frame = match frame::parse(&input[at..]) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(at),
            Err(frame::Malformed(rule)) => return Err(Ending::Malformed(rule)),
        };
        let payload = &input[at + frame.payload.start..at + frame.payload.end];
        at += frame.payload.end;
        match u8::from(frame.opcode) {
            8 => {
                let code = payload.first_chunk().map_or(1005, |b| u16::from_be_bytes(*b));
                // Answered once, as section 5.5.1 asks; TCP is then closed.
                if wire.phase != Phase::Closing {
                    frame::masked(frame.opcode, &payload[..payload.len().min(2)], [0; 4], out);
                }
                return Err(Ending::Closed(code));
            }
            9 => {
                frame::masked(OpCode::from(10), payload, [0; 4], out);
            }
            _ => {
                let begin = batch.bytes.len();
                batch.bytes.extend_from_slice(payload);
                batch.happenings.push(Happening::Message {
                    wire: key,
                    tag: wire.tag,
                    opcode: frame.opcode,
                    payload: begin..batch.bytes.len(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use tungstenite::Message;
    use tungstenite::protocol::CloseFrame;
    use tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    /// Turns until something of interest has happened.
    fn wait(fleet: &mut Fleet, batch: &mut Batch) {
        loop {
            fleet.turn(batch, Duration::from_millis(20)).expect("a turn");
            if !batch.happenings.is_empty() {
                return;
            }
        }
    }

    fn messages(batch: &Batch) -> Vec<&[u8]> {
        let payload = |happening: &Happening| match happening {
            Happening::Message { payload, .. } => Some(payload.clone()),
            _ => None,
        };
        let ranges = batch.happenings.iter().filter_map(payload);
        ranges.map(|range| &batch.bytes[range]).collect()
    }

    #[test]
    fn a_connection_opens_talks_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut socket = tungstenite::accept(stream).expect("an upgrade");
            // Large enough to come in several reads, and to leave in several writes.
            let large = socket.read().expect("a message");
            assert_eq!(large.len(), 3 << 20);
            socket.send(large).expect("sent");
            socket.send(Message::Ping("p".into())).expect("sent");
            assert_eq!(socket.read().expect("a pong"), Message::Pong("p".into()));
            let close = CloseFrame { code: CloseCode::Library(4003), reason: "".into() };
            socket.close(Some(close)).expect("closing");
            while socket.read().is_ok() {}
        });

        let mut fleet = Fleet::new().expect("a poll");
        let mut batch = Batch::default();
        let request = crate::target::upgrade(address, "/", "");
        let wire = fleet.dial(address, 7, &request).expect("dialled");
        wait(&mut fleet, &mut batch);
        assert!(matches!(batch.happenings[..], [Happening::Opened { tag: 7, .. }]));
        assert_eq!(fleet.tag(wire), Some(7));

        let large = vec![b'x'; 3 << 20];
        fleet.send(wire, OpCode::from(2), &large);
        wait(&mut fleet, &mut batch);
        assert!(messages(&batch) == [&large[..]], "the same came back");

        while !matches!(batch.happenings.last(), Some(Happening::Ended { .. })) {
            wait(&mut fleet, &mut batch);
        }
        let Some(Happening::Ended { ending, .. }) = batch.happenings.last() else {
            panic!("not ended");
        };
        assert_eq!(*ending, Ending::Closed(4003));
        assert_eq!(fleet.tag(wire), None);
        server.join().expect("the server saw what it should");
    }

    #[test]
    fn nobody_there_is_an_ending_too() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut fleet = Fleet::new().expect("a poll");
        let mut batch = Batch::default();
        fleet.dial(address, 0, b"x").expect("dialled");
        wait(&mut fleet, &mut batch);
        assert!(matches!(batch.happenings[..], [Happening::Ended { ending: Ending::Unreachable, .. }]));
    }
}
