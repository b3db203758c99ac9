//! A session over WebSocket: the bytes of one connection in, effects out (RFC 6455).
//!
//! Any cut of the stream gives the same effects. Whole messages stay in the scratch; nothing is allocated for them.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Control as ControlCode, Data, OpCode};

use crate::kit::buffer_pool::{BufferPool, Lease, Purpose};
use crate::kit::secret::Secret;
use crate::wire::decoder::{Decoder, Piece, Terms};
use crate::wire::envelope::Encoding;
use crate::wire::head::Rsv1;
use crate::wire::rules::Violation;
use crate::wire::upgrade::{self, Deflate, Refusal, Upgrade};
use crate::wire::utf8::Utf8;
use crate::wire::{close, encode};

use super::effect::{Body, Effect, Greeting};
use super::partial::Partial;
use super::phase::{Event, Phase};
use super::reason::Reason;
use super::rules::{Door, Rules};
use super::{Lent, Session, message_purpose};

/// Path of the agents' endpoint.
pub const AGENT_PATH: &str = "/v1/agent";
/// Path of the control link.
pub const LINK_PATH: &str = "/v1/link";
/// Path of the echo endpoint, served in development only.
pub const ECHO_PATH: &str = "/dev/echo";

/// Whether the loop may go on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Everything was used.
    Drained,
    /// The budget of the turn is used up; the rest is kept: come again next turn.
    Budget,
}

impl Session {
    /// Puts bytes that were kept back into the front of the scratch; returns how many.
    pub fn restore(&mut self, scratch: &mut [u8], pool: &mut BufferPool) -> usize {
        let Some(pending) = self.partial.as_mut().and_then(|partial| partial.pending.take()) else {
            return 0;
        };
        let kept = pending.len();
        scratch[..kept].copy_from_slice(&pending);
        pool.take_back(pending);
        self.drop_empty_partial();
        kept
    }

    /// Takes the bytes that were restored and read, in this order. All of `input` is used or kept.
    pub fn received(&mut self, input: &mut [u8], lent: &mut Lent<'_>) -> Flow {
        if self.phase.is_open() {
            self.hear(lent.now);
        }
        let mut at = 0;
        if self.phase == Phase::Handshake {
            match upgrade::parse(input, lent.rules.head) {
                Ok(None) => self.keep(Purpose::Head, input, lent),
                Ok(Some(request)) => {
                    at = request.head_bytes;
                    self.asked(input, &request, lent);
                }
                Err(refusal) => self.refuse(refusal, lent),
            }
        }
        match self.phase {
            phase if phase.is_open() || phase == Phase::Closing => self.decode(input, at, lent),
            Phase::Verifying => {
                self.keep(Purpose::Head, &input[at..], lent);
                Flow::Drained
            }
            _ => Flow::Drained,
        }
    }

    /// Keeps what came before a request and has not come whole: it comes back with [`Session::restore`].
    pub fn put_by(&mut self, bytes: &[u8], lent: &mut Lent<'_>) {
        self.keep(Purpose::Head, bytes, lent);
    }

    fn asked(&mut self, head: &[u8], request: &Upgrade, lent: &mut Lent<'_>) {
        // Links carry many short frames in one segment, and their backends are near: nothing is compressed there.
        let deflate = request.deflate.filter(|_| lent.rules.takes_deflate && lent.door == Door::Agents);
        self.measured.set_window(deflate.map(Deflate::window));
        let text = |range: &std::ops::Range<usize>| std::str::from_utf8(&head[range.clone()]).unwrap_or_default();
        match (lent.door, text(&request.path)) {
            (Door::Agents, AGENT_PATH) | (Door::Links, LINK_PATH) => {
                let query = request.query.as_ref().map(text).unwrap_or_default();
                let bearer = request.bearer.as_ref().map(text).map(str::to_owned);
                // A backend can set headers, and what stands in a URL is logged on its way.
                let in_query = || upgrade::query_value(query, "access_token").filter(|_| lent.door == Door::Agents);
                let greeting = Greeting {
                    door: lent.door,
                    peer: None,
                    held_to: None,
                    token: bearer.or_else(in_query).map(Secret::new),
                    agent: upgrade::query_value(query, "agent"),
                    certified: None,
                    origin: request.origin.as_ref().map(text).map(str::to_owned),
                    accept: request.accept,
                    offer: request.offer,
                    deflate,
                };
                self.phase = self.phase.on(Event::AgentAsked);
                lent.effects.push(Effect::Authenticate(Box::new(greeting)));
            }
            (Door::Agents, ECHO_PATH) if lent.rules.echo_bytes_max.is_some() => {
                self.phase = self.phase.on(Event::EchoAsked);
                self.hear(lent.now);
                lent.effects.push(Effect::Send(upgrade::switching(request.accept, request.offer, deflate)));
            }
            _ => self.refuse(Refusal::NotFound, lent),
        }
    }

    fn decode(&mut self, input: &mut [u8], mut at: usize, lent: &mut Lent<'_>) -> Flow {
        let now = lent.now.tick();
        let (mut decoder, mut body, mut since) = match self.partial.take() {
            Some(partial) if partial.body.is_some() => (partial.decoder, partial.body, partial.since),
            Some(partial) => (partial.decoder, None, now),
            None => (Decoder::default(), None, now),
        };
        let rsv1 = if self.window().is_some() { Rsv1::Compressed } else { Rsv1::Reserved };
        let terms = Terms { message_bytes_max: self.message_bytes_max(lent.rules), rsv1 };
        let mut flow = Flow::Drained;
        let mut frames = 0;
        let mut inflated_bytes = 0;
        while at < input.len() {
            let spent = frames >= lent.rules.turn_frames || inflated_bytes >= lent.rules.turn_inflated_bytes;
            if spent && lent.has_room_to_keep(input.len() - at) {
                flow = Flow::Budget;
                break;
            }
            frames += 1;
            match decoder.next(input, &mut at, terms) {
                Ok(None) => {}
                Ok(Some(piece)) => {
                    inflated_bytes += self.take(piece, input, &mut body, lent);
                    // Whatever is open at the end began in this call, unless it has been open all the time.
                    if body.is_none() {
                        since = now;
                    }
                }
                Err(violation) => self.fail(Reason::of(violation), lent),
            }
            if !self.phase.decodes() {
                // Nothing is processed after a close.
                lent.pool.give_back(body);
                return Flow::Drained;
            }
        }
        let partial = Partial { decoder, body, since, pending: None };
        if !partial.is_empty() {
            self.partial = Some(Box::new(partial));
        }
        self.keep(Purpose::Kept, &input[at..], lent);
        flow
    }

    fn message_bytes_max(&self, rules: &Rules) -> u64 {
        match self.phase {
            Phase::Echo => rules.echo_bytes_max.unwrap_or(0),
            Phase::LinkJson | Phase::LinkBinary => rules.link_message_bytes_max,
            _ => rules.message_bytes_max,
        }
    }

    /// Takes a piece; returns what a compressed message came to, in bytes.
    fn take(&mut self, piece: Piece, input: &[u8], body: &mut Option<Lease>, lent: &mut Lent<'_>) -> u64 {
        let closing = self.phase == Phase::Closing;
        match piece {
            Piece::Close(control) => self.peer_closed(control.payload(), lent),
            _ if closing => {}
            Piece::Ping(control) => {
                lent.effects.push(Effect::Send(encode::frame(OpCode::Control(ControlCode::Pong), control.payload())))
            }
            Piece::Pong(control) => self.pong(control.payload(), lent),
            Piece::Data { text, first, .. } if first && !self.speaks(text) => self.fail(Reason::WrongType, lent),
            Piece::Data { text, compressed, range, first: true, last: true } => {
                return self.whole(text, compressed, Body::Scratch(range), input, lent);
            }
            Piece::Data { text, compressed, range, last, .. } => {
                let lease = body.get_or_insert_with(|| lent.pool.lend(message_purpose(lent.door)));
                lent.pool.extend(lease, &input[range]);
                if last && let Some(lease) = body.take() {
                    return self.whole(text, compressed, Body::Leased(lease), input, lent);
                }
            }
        }
        0
    }

    /// A message as it came; returns what it came to where it was compressed, in bytes.
    fn whole(&mut self, text: bool, compressed: bool, body: Body, input: &[u8], lent: &mut Lent<'_>) -> u64 {
        if !compressed {
            self.message(text, body, input, lent);
            return 0;
        }
        match self.inflate(text, body, input, lent) {
            Ok(plain) => {
                let bytes = plain.len() as u64;
                self.message(text, Body::Leased(plain), input, lent);
                bytes
            }
            Err(violation) => {
                self.fail(Reason::of(violation), lent);
                0
            }
        }
    }

    /// Inflates a message into a buffer on loan, which never takes more than the largest message does, and checks its text on the way.
    fn inflate(&mut self, text: bool, body: Body, input: &[u8], lent: &mut Lent<'_>) -> Result<Lease, Violation> {
        let bytes_max = self.message_bytes_max(lent.rules);
        let mut plain = lent.pool.lend(Purpose::Inflated);
        let mut utf8 = Utf8::default();
        let compressed = match &body {
            Body::Scratch(range) => &input[range.clone()],
            Body::Leased(lease) => lease,
        };
        let inflated = lent.inflater.inflate(compressed, bytes_max, |piece| {
            if text {
                utf8.feed(piece).map_err(|_| Violation::BadUtf8)?;
            }
            lent.pool.extend(&mut plain, piece);
            Ok(())
        });
        if let Body::Leased(lease) = body {
            lent.pool.take_back(lease);
        }
        match inflated {
            Ok(()) if utf8.is_complete() => Ok(plain),
            wrong => {
                lent.pool.take_back(plain);
                Err(wrong.err().unwrap_or(Violation::BadUtf8))
            }
        }
    }

    fn message(&mut self, text: bool, body: Body, input: &[u8], lent: &mut Lent<'_>) {
        if let Some(encoding) = self.phase.encoding() {
            let deliver = if self.phase.is_link() { Effect::DeliverLink } else { Effect::Deliver };
            return lent.effects.push(deliver(encoding, body));
        }
        let opcode = OpCode::Data(if text { Data::Text } else { Data::Binary });
        let frame = match &body {
            Body::Scratch(range) => encode::frame(opcode, &input[range.clone()]),
            Body::Leased(lease) => encode::frame(opcode, lease),
        };
        if let Body::Leased(lease) = body {
            lent.pool.take_back(lease);
        }
        lent.effects.push(Effect::Send(frame));
    }

    fn peer_closed(&mut self, payload: &[u8], lent: &mut Lent<'_>) {
        let code = match close::parse(payload) {
            Ok(code) => code,
            Err(violation) => return self.fail(Reason::of(violation), lent),
        };
        if self.phase != Phase::Closing {
            let answer = match code {
                Some(code) => encode::close(code, ""),
                None => Bytes::from_static(&[0x88, 0]),
            };
            lent.effects.push(Effect::Send(answer));
        }
        self.end(Event::PeerClosed, Reason::PeerClosed, lent);
    }

    /// Whether a message of this type belongs to the connection's subprotocol.
    fn speaks(&self, text: bool) -> bool {
        match self.phase.encoding() {
            Some(Encoding::Json) => text,
            Some(Encoding::Binary) => !text,
            None => true,
        }
    }

    /// Keeps what was not used. Nothing is kept already: it was restored before.
    fn keep(&mut self, purpose: Purpose, bytes: &[u8], lent: &mut Lent<'_>) {
        if bytes.is_empty() {
            return;
        }
        let partial = self.partial.get_or_insert_default();
        debug_assert!(partial.pending.is_none(), "what was kept was restored");
        partial.pending = Some(lent.pool.lend_with(purpose, bytes));
    }

    fn drop_empty_partial(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.partial = None;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
