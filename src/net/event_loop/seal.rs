//! TLS on the way out: frames are sealed as they are written, several into one record, and what the kernel does not take waits sealed.
//!
//! Owns when something is sealed: not before it can be written, so that calls can be withdrawn until then. It keeps a connection's last
//! word: close_notify goes out with the last frame.

use std::io::{self, IoSlice};

use crate::net::intake::Event;
use crate::net::io::{Io, Token};
use crate::net::outbox::{Outbox, SLICES_MAX};
use crate::net::tls::ciphers::Ciphers;
use crate::net::tls::record::PLAIN_BYTES_MAX;
use crate::net::tls::records::{Records, Spent};
use crate::session::phase::Phase;
use crate::session::reason::Reason;

use super::EventLoop;
use super::carry_out::live;

/// Sealed at once, about: what a kernel takes of a peer that reads. What is sealed cannot be withdrawn.
const BATCH_BYTES: usize = 64 * 1024;

/// Whether something follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The connection goes on.
    No,
    /// When all frames are sealed, nothing else will be: close_notify is next.
    Word,
}

impl<I: Io> EventLoop<I> {
    /// Has a connection written to in this turn though no frame was queued.
    pub(super) fn stir(&mut self, token: Token) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let outbox = conn.outbox.get_or_insert_with(|| self.spare_outboxes.pop().unwrap_or_default());
        if !outbox.dirty {
            outbox.dirty = true;
            self.dirty.push(token);
        }
    }

    /// Writes what is sealed, then seals more, as long as the kernel takes it.
    pub(super) fn write_sealed(&mut self, token: Token) {
        let id = self.conn_id(token);
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let phase = conn.session.phase();
        let Some(outbox) = conn.outbox.as_mut() else {
            return;
        };
        let ends = self.stopping || matches!(phase, Phase::Finishing | Phase::Lingering);
        let before = outbox.queued_bytes();
        let refused = loop {
            if outbox.wire().is_empty() {
                let mut wire = outbox.take_wire();
                if wire.capacity() < self.sealing.capacity() {
                    wire = std::mem::take(&mut self.sealing);
                }
                let speaks = self.secured.speaks(token.slot);
                if let Some(ticket) = self.secured.take_ticket(token.slot) {
                    wire.extend_from_slice(&ticket);
                }
                let sealed = match self.secured.records(token.slot).filter(|_| speaks) {
                    Some(parts) => seal(outbox, parts, if ends { Last::Word } else { Last::No }, &mut wire),
                    // Before a handshake is done, and after a failure, there is nothing to say it in.
                    None => {
                        outbox.cut_unsealed(|call| self.intake.push(id, Event::NotWritten { call }));
                        Ok(Last::No)
                    }
                };
                outbox.put_wire(wire);
                match sealed {
                    Ok(Last::Word) => self.secured.close(token.slot),
                    Ok(Last::No) => {}
                    Err(Spent) => return self.lose(token, Reason::TlsBroken),
                }
                if outbox.wire().is_empty() {
                    break false;
                }
            }
            match self.io.write(&mut conn.stream, &[IoSlice::new(outbox.wire())]) {
                Ok(taken) => {
                    conn.bytes_out += taken as u64;
                    self.meter.bytes_out += taken as u64;
                    outbox.wire_took(taken);
                    if !outbox.wire().is_empty() {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(_) => return self.lose(token, Reason::SocketError),
            }
        };
        let spare = outbox.spare_wire();
        if spare.capacity() > self.sealing.capacity() {
            self.sealing = spare;
        }
        self.written(token, before, refused);
    }
}

/// Seals what is owed and frames, a batch of them; whether the last word was among it.
fn seal(
    outbox: &mut Outbox,
    (records, ciphers): (&mut dyn Records, &mut Ciphers),
    last: Last,
    wire: &mut Vec<u8>,
) -> Result<Last, Spent> {
    if records.owes() {
        records.seal(ciphers, &[], wire)?;
    }
    while wire.len() < BATCH_BYTES {
        let mut slices = [&[][..]; SLICES_MAX];
        let (count, plain) = outbox.gather_open(&mut slices, PLAIN_BYTES_MAX);
        if plain == 0 {
            if last == Last::Word {
                records.close(ciphers, wire);
            }
            return Ok(last);
        }
        records.seal(ciphers, &slices[..count], wire)?;
        outbox.sealed(plain, wire.len());
    }
    Ok(Last::No)
}
