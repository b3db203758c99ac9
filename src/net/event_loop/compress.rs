//! Messages to agents that agreed on permessage-deflate, made smaller on their way into the outbox.
//!
//! Owns the choice of which: those for which it pays and that do not keep the loop from its other connections for long, each by itself and
//! all of a turn together. A message that stays as it is breaks no rule: the bit in its head says so (RFC 7692 section 6).

use bytes::Bytes;

use crate::net::io::{Io, Token};
use crate::wire::encode;

use super::EventLoop;
use super::carry_out::live;

impl<I: Io> EventLoop<I> {
    /// A frame as it goes to this peer.
    pub(super) fn shorten(&mut self, token: Token, frame: Bytes) -> Bytes {
        let Some(limits) = self.limits.deflate else {
            return frame;
        };
        let window = live(&mut self.conns, token).and_then(|conn| conn.session.window());
        let (Some(window), Some((opcode, message))) = (window, encode::message_of(&frame)) else {
            return frame;
        };
        if !(limits.from..=limits.to).contains(&message.len()) || self.deflater.given_bytes() >= limits.turn {
            return frame;
        }
        match self.deflater.deflate(message, window, limits.level) {
            Some(compressed) => encode::compressed(opcode, compressed),
            None => frame,
        }
    }
}
