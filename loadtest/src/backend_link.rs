//! A backend's control link: one WebSocket, many calls in flight.
//!
//! Owns the socket and the pairing of ids. It must never decide whether an answer is right.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use holdfast::wire::envelope::link_side::client::{self, EndedAs, FromLink, ToLink};
use holdfast::wire::envelope::{Encoding, Payload};
use mio::{Events, Interest, Poll, Token};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::frame;
use crate::secured::Secured;
use crate::source::{self, Window};
use crate::target::{self, Answer as Upgraded, Target};
use crate::wire::{Got, Wire, Written};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// Longest wait for the upgrade and the welcome.
const PATIENCE: Duration = Duration::from_secs(10);

/// What TLS calls the one connection of a link.
const OWN: usize = 0;

/// How a call over the link ended.
#[derive(Clone, Debug)]
pub struct LinkAnswer {
    /// The number that the call was given.
    pub request: u64,
    /// The outcome's word; `refused` when the gateway took it for no call.
    pub outcome: &'static str,
    /// The agent's result; empty for other outcomes than `ok`.
    pub result: Vec<u8>,
    /// From the sending of the call.
    pub took: Duration,
}

/// An open link.
pub struct BackendLink {
    poll: Poll,
    events: Events,
    wire: Wire,
    encoding: Encoding,
    /// TLS, where the link has it.
    secured: Option<Secured>,
    /// Frames that have not come whole, of a link with TLS.
    plain: Vec<u8>,
    /// Frames that the next turn writes at once.
    output: Vec<u8>,
    scratch: Vec<u8>,
    open: HashMap<u64, Instant>,
    /// Calls that may be in flight, as the gateway says.
    pub window: u32,
    /// Answers that nobody asked for.
    pub strays: u64,
}

impl BackendLink {
    /// Connects and waits for the welcome.
    ///
    /// # Errors
    /// No link there, or it does not let us in.
    pub fn connect(target: &Target, encoding: Encoding) -> Result<Self, String> {
        let address = target.link.ok_or("where the link is was not said (--link)")?;
        let failed = |error: io::Error| format!("link: {error}");
        let poll = Poll::new().map_err(failed)?;
        let request = target.link_request(address, encoding);
        let mut wire = Wire::new(source::dial(address, 0, Window::Usual).map_err(failed)?, 0, 0);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(wire.stream(), Token(0), interest).map_err(failed)?;
        let mut all = Self {
            poll,
            events: Events::with_capacity(8),
            wire,
            encoding,
            secured: target.link_tls.clone().map(Secured::new),
            plain: Vec::new(),
            output: Vec::new(),
            scratch: vec![0; READ_BYTES],
            open: HashMap::new(),
            window: 0,
            strays: 0,
        };
        // What the kernel does not take before the connection stands waits for the flush below.
        match &mut all.secured {
            None => all.wire.write(&request),
            Some(secured) => {
                let mut sealed = Vec::new();
                secured.begin(OWN, &request, &mut sealed)?;
                all.wire.write(&sealed)
            }
        };
        let end = Instant::now() + PATIENCE;
        let mut input = Vec::new();
        while all.window == 0 {
            if Instant::now() > end {
                return Err("link: no welcome".to_owned());
            }
            all.wait(Duration::from_millis(20)).map_err(failed)?;
            if !all.wire.flush() {
                return Err("link: the connection ended".to_owned());
            }
            all.greet(&mut input)?;
        }
        Ok(all)
    }

    /// Reads the answer to the upgrade and the welcome behind it.
    fn greet(&mut self, input: &mut Vec<u8>) -> Result<(), String> {
        loop {
            let have = self.restore();
            match self.wire.read(&mut self.scratch[have..]) {
                Got::Bytes(more) => {
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let used = self.unseal(&mut scratch[..have + more], input);
                    self.scratch = scratch;
                    self.wire.keep(&self.scratch[used?..have + more]);
                }
                Got::Dry => {
                    self.wire.keep(&self.scratch[..have]);
                    break;
                }
                Got::End => return Err("link: the connection ended".to_owned()),
            }
        }
        match target::read_answer(input) {
            Upgraded::Cut => Ok(()),
            Upgraded::Refused(status) => Err(format!("link: refused with {status}")),
            Upgraded::Malformed(why) => Err(format!("link: {why}")),
            Upgraded::Switched { head_bytes } => {
                let Some(frame) = frame::parse(&input[head_bytes..]).map_err(|rule| rule.0.to_owned())? else {
                    return Ok(());
                };
                let message = &input[head_bytes..][frame.payload];
                match client::decode(self.encoding, message) {
                    Ok(FromLink::Welcome { window, .. }) => {
                        self.window = window;
                        Ok(())
                    }
                    other => Err(format!("link: no welcome but {other:?}")),
                }
            }
        }
    }

    /// Moves bytes that have not come whole to the front of the scratch, and makes room for a read behind them. How many there are.
    fn restore(&mut self) -> usize {
        let have = self.wire.restore(&mut self.scratch);
        if self.scratch.len() < have + READ_BYTES {
            self.scratch.resize(have + READ_BYTES, 0);
        }
        have
    }

    /// Appends what came to `plain`, without its TLS where it has that. How many bytes were used.
    fn unseal(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, String> {
        let Some(secured) = &mut self.secured else {
            plain.extend_from_slice(input);
            return Ok(input.len());
        };
        let mut out = Vec::new();
        let used = secured.open(OWN, input, plain, &mut out).map_err(|rule| format!("link: {rule}"))?;
        if !out.is_empty() {
            self.wire.write(&out);
        }
        Ok(used)
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// Sends a call with the next turn.
    pub fn ask(&mut self, request: u64, agent: &str, method: &str, params: &str, timeout_ms: u32) {
        let params = Payload { bytes: params.as_bytes(), json: true };
        let call = ToLink::Call { id: request, agent, method, params, timeout_ms };
        let message = client::encode(self.encoding, &call);
        let data = if self.encoding == Encoding::Json { Data::Text } else { Data::Binary };
        frame::masked(OpCode::Data(data), &message, [7, 1, 9, 3], &mut self.output);
        self.open.insert(request, Instant::now());
    }

    /// Writes what is asked, waits for at most `patience`, and appends what came to `answers`.
    ///
    /// # Errors
    /// The link has ended, or says what is no envelope.
    pub fn turn(&mut self, answers: &mut Vec<LinkAnswer>, patience: Duration) -> Result<(), String> {
        let ended = || "link: the connection ended".to_owned();
        if !self.write_output() {
            return Err(ended());
        }
        self.wait(patience).map_err(|error| format!("link: {error}"))?;
        if !self.wire.flush() {
            return Err(ended());
        }
        loop {
            let have = self.restore();
            let more = match self.wire.read(&mut self.scratch[have..]) {
                Got::Bytes(more) => more,
                Got::Dry => {
                    self.wire.keep(&self.scratch[..have]);
                    return Ok(());
                }
                Got::End => return Err(ended()),
            };
            let length = have + more;
            let mut scratch = std::mem::take(&mut self.scratch);
            let used = self.take_bytes(&mut scratch[..length], answers);
            self.scratch = scratch;
            let used = used?;
            self.wire.keep(&self.scratch[used..length]);
            if length < self.scratch.len() {
                return Ok(());
            }
        }
    }

    /// Writes what is asked; returns false when the link has ended.
    fn write_output(&mut self) -> bool {
        if self.output.is_empty() {
            return true;
        }
        let written = match &mut self.secured {
            None => self.wire.write(&self.output),
            Some(secured) => {
                let mut sealed = Vec::with_capacity(self.output.len() + 64);
                secured.seal(OWN, &self.output, &mut sealed);
                self.wire.write(&sealed)
            }
        };
        self.output.clear();
        written != Written::Dead
    }

    /// Takes what is whole off the front of what came; how many bytes that was.
    fn take_bytes(&mut self, input: &mut [u8], answers: &mut Vec<LinkAnswer>) -> Result<usize, String> {
        if self.secured.is_none() {
            return self.take_frames(input, answers);
        }
        let mut plain = std::mem::take(&mut self.plain);
        let used = self.unseal(input, &mut plain)?;
        let taken = self.take_frames(&plain, answers)?;
        plain.drain(..taken);
        self.plain = plain;
        Ok(used)
    }

    /// Takes whole frames off the front of `input`; how many bytes they were.
    fn take_frames(&mut self, input: &[u8], answers: &mut Vec<LinkAnswer>) -> Result<usize, String> {
        let mut at = 0;
        while let Some(frame) = frame::parse(&input[at..]).map_err(|rule| format!("link: {}", rule.0))? {
            let payload = &input[at..][frame.payload.clone()];
            at += frame.payload.end;
            match frame.opcode {
                OpCode::Control(Control::Ping) => {
                    frame::masked(OpCode::Control(Control::Pong), payload, [7, 1, 9, 3], &mut self.output);
                }
                OpCode::Control(Control::Close) => return Err("link: the gateway closed it".to_owned()),
                OpCode::Data(_) => self.hear(payload, answers)?,
                OpCode::Control(_) => {}
            }
        }
        Ok(at)
    }

    fn hear(&mut self, message: &[u8], answers: &mut Vec<LinkAnswer>) -> Result<(), String> {
        let said = client::decode(self.encoding, message)
            .map_err(|fault| format!("link: {fault:?}: {:?}", String::from_utf8_lossy(message)))?;
        let (request, outcome, result) = match said {
            FromLink::Ended { id, ended: EndedAs::Ok(body), .. } => (id, "ok", body.bytes.into_owned()),
            FromLink::Ended { id, ended: EndedAs::AgentError { .. }, .. } => (id, "agent_error", Vec::new()),
            FromLink::Ended { id, ended: EndedAs::Failed(failure), .. } => (id, failure.row().0, Vec::new()),
            FromLink::Refused { id, .. } => (id.unwrap_or(0), "refused", Vec::new()),
            FromLink::Welcome { .. } | FromLink::Goaway { .. } | FromLink::Other => return Ok(()),
        };
        match self.open.remove(&request) {
            Some(since) => answers.push(LinkAnswer { request, outcome, result, took: since.elapsed() }),
            None => self.strays += 1,
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other,
        }
    }
}
