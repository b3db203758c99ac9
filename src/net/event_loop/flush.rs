//! The verb `flush`: reply before sleep. Each connection with something queued gets one vectored write.

use std::io::{self, IoSlice};

use crate::net::io::{Io, Token, Watch};
use crate::net::outbox::SLICES_MAX;
use crate::session::reason::Reason;

use super::carry_out::live;
use super::{EventLoop, SPARES_MAX};

/// Frames that are written without laying out a long list for them.
const SLICES_FEW: usize = 2;

impl<I: Io> EventLoop<I> {
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for token in dirty.drain(..) {
            let Some(conn) = live(&mut self.conns, token) else {
                continue;
            };
            let queue_soft = self.limits.queue_soft(conn.door());
            let Some(outbox) = conn.outbox.as_mut() else {
                continue;
            };
            outbox.dirty = false;
            if outbox.armed {
                outbox.measure(queue_soft, self.now.tick());
            } else {
                self.write(token);
            }
        }
        // What the flush itself queued (a slow consumer's last word) is for the next turn.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// The kernel takes bytes of this connection again.
    pub(super) fn writable(&mut self, token: Token) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let Some(outbox) = conn.outbox.as_mut().filter(|outbox| outbox.armed) else {
            return;
        };
        outbox.armed = false;
        // What it held is given back.
        self.sweep.busy = true;
        if self.io.rewatch(&mut conn.stream, token, Watch::Read).is_err() {
            return self.lose(token, Reason::SocketError);
        }
        self.write(token);
    }

    /// Writes now what would be written at the end of the turn.
    pub(super) fn push_out(&mut self, token: Token) {
        let outbox = live(&mut self.conns, token).and_then(|conn| conn.outbox.as_ref());
        if outbox.is_some_and(|outbox| !outbox.armed) {
            self.write(token);
        }
    }

    fn write(&mut self, token: Token) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        if self.tls[conn.door() as usize].is_some() {
            return self.write_sealed(token);
        }
        let Some(outbox) = conn.outbox.as_mut() else {
            return;
        };
        let before = outbox.queued_bytes();
        let refused = loop {
            // Nearly always one frame waits, and a long list costs more to lay out than a short one to write.
            let (mut few, mut many);
            let slices: &mut [IoSlice<'_>] = if outbox.len() <= SLICES_FEW {
                few = [IoSlice::new(&[]); SLICES_FEW];
                &mut few
            } else {
                many = [IoSlice::new(&[]); SLICES_MAX];
                &mut many
            };
            let count = outbox.gather(slices);
            if count == 0 {
                break false;
            }
            let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            match self.io.write(&mut conn.stream, &slices[..count]) {
                Ok(taken) => {
                    conn.bytes_out += taken as u64;
                    self.meter.bytes_out += taken as u64;
                    outbox.took(taken);
                    if taken < offered {
                        break true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => outbox.took(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    outbox.took(0);
                    break true;
                }
                Err(_) => {
                    outbox.took(0);
                    return self.lose(token, Reason::SocketError);
                }
            }
        };
        self.written(token, before, refused);
    }

    /// After a write: arms what was refused, lets a connection that caught up be read again, and puts an empty outbox away.
    pub(super) fn written(&mut self, token: Token, before: usize, refused: bool) {
        let Some(conn) = live(&mut self.conns, token) else {
            return;
        };
        let queue_soft = self.limits.queue_soft(conn.door());
        let Some(outbox) = conn.outbox.as_mut() else {
            return;
        };
        outbox.measure(queue_soft, self.now.tick());
        let caught_up = before > queue_soft && outbox.queued_bytes() <= queue_soft;
        if refused {
            outbox.armed = true;
            if self.io.rewatch(&mut conn.stream, token, Watch::ReadWrite).is_err() {
                return self.lose(token, Reason::SocketError);
            }
        } else if outbox.is_empty()
            && let Some(mut spare) = conn.outbox.take()
        {
            if self.spare_outboxes.len() < SPARES_MAX {
                spare.clear(|_| {});
                self.spare_outboxes.push(spare);
            }
            self.settle(token);
        }
        if caught_up {
            self.read_again(token);
        }
    }
}
