//! What a resting TLS 1.3 connection keeps: a traffic secret and a sequence number for each direction, nothing else.
//!
//! Owns the rules after the handshake (RFC 8446 sections 4.6.3, 5 and 6): which record may come, when keys change, when
//! it ends. It never keeps a buffer, and never shows a secret.
//!
//! Why the secret and not key and IV: no next key follows from those (section 7.2), so they would have to be kept beside it.
//! That is 136 bytes instead of 80 with AES-128, 168 with ChaCha20, 200 instead of 112 with AES-256, and saves their
//! derivation with a record that comes alone. What makes records come in numbers is `ciphers`, 715 bytes for each busy
//! direction, which is as fast as key and IV kept, or faster:
//!
//! | ns to seal / open 64 bytes | secret | key and IV | ready cipher | live rustls session |
//! |---|---|---|---|---|
//! | AES-128-GCM | 764 / 736 | 204 / 201 | 122 / 118 | 166 / 217 |
//! | AES-256-GCM | 1876 / 1830 | 216 / 210 | 124 / 120 | 168 / 219 |
//! | ChaCha20-Poly1305 | 744 / 740 | 233 / 228 | 235 / 226 | 279 / 316 |
//!
//! (`cargo bench --bench tls`, on a machine that did other things too: the ratios hold.) A million agents with a heartbeat
//! each 50 s, every record alone: 2.2 % of a core for the derivation, or 56 MB for none. With SHA-384 it takes three times
//! as long, which is why AES-128 should be first in the order of suites: that is 80 bytes, too.

use zeroize::Zeroize;

use super::alert::Alert;
use super::ciphers::Ciphers;
use super::counter::Counter;
use super::inner::{self, Inner, KEY_UPDATE_ASKED, KEY_UPDATE_TOLD};
use super::pieces::Pieces;
use super::record::{ALERT, APPLICATION_DATA, Front, HANDSHAKE, HEAD_BYTES, PLAIN_BYTES_MAX, front, sealed_head};
use super::records::{Opened, Records, Spent};
use super::suite::{Suite, TAG_BYTES};

/// Records under one key of ours before the next one is taken, whatever the suite. AES-GCM allows 2^24 full ones to keep an
/// attacker's odds under 2^-60 (section 5.5 allows 2^24.5); half of that costs one small record in eight million.
pub const SEALED_RECORDS_MAX: u64 = 1 << 23;

/// Records under one key of the peer's before it is asked for its next one (section 5.5).
pub const OPENED_RECORDS_MAX: u64 = 1 << 24;

/// Records in a row that may bring nothing: empty ones, key updates, user_canceled. Each costs us work and the peer nearly
/// nothing.
pub const IDLE_RECORDS_MAX: u16 = 32;

/// Marks of the sending direction: the suite, whether we have closed, what key update is owed.
const SUITE: u16 = 0b11;
const CLOSED: u16 = 0b100;
const OWED: u16 = 0b11_000;
/// A KeyUpdate that tells, because the peer asked for it.
const OWED_TOLD: u16 = 0b01_000;
/// A KeyUpdate that asks the peer for one.
const OWED_ASKED: u16 = 0b10_000;

/// Marks of the receiving direction: whether the peer has closed or failed, and how many records in a row brought nothing.
const ENDED: u16 = 0b1;
const IDLE: u16 = 0b1111_1110;
const IDLE_ONE: u16 = 0b10;

const _: () = assert!(IDLE_RECORDS_MAX < IDLE / IDLE_ONE);

struct Direction<const N: usize> {
    secret: [u8; N],
    counter: Counter,
}

impl<const N: usize> Drop for Direction<N> {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl<const N: usize> Zeroize for AtRest<N> {
    /// Overwrites both secrets where they lie, before the connection is taken out of a table: that moves it, and what is dropped then is
    /// the copy. Nothing can be opened or sealed afterwards.
    fn zeroize(&mut self) {
        for direction in [&mut self.rx, &mut self.tx] {
            direction.secret.zeroize();
        }
        self.rx.counter.mark(ENDED, ENDED);
        self.tx.counter.mark(CLOSED | OWED, CLOSED);
    }
}

/// A connection at rest, with traffic secrets of `N` bytes: 32 for the suites with SHA-256, 48 for that with SHA-384.
pub struct AtRest<const N: usize> {
    rx: Direction<N>,
    tx: Direction<N>,
}

const _: () = assert!(size_of::<AtRest<32>>() == 80, "AES-128-GCM and ChaCha20-Poly1305: 2 x (32 + 8)");
const _: () = assert!(size_of::<AtRest<48>>() == 112, "AES-256-GCM: 2 x (48 + 8)");

impl<const N: usize> AtRest<N> {
    /// From the secrets of both directions, each with the number of its next record. `None` if a secret has not `N` bytes,
    /// or a number is out of range.
    pub(super) fn new(suite: Suite, rx: (&[u8], u64), tx: (&[u8], u64)) -> Option<Self> {
        if suite.secret_bytes() != N {
            return None;
        }
        let mut tx_counter = Counter::at(tx.1)?;
        tx_counter.mark(SUITE, suite as u16);
        Some(Self {
            rx: Direction { secret: rx.0.try_into().ok()?, counter: Counter::at(rx.1)? },
            tx: Direction { secret: tx.0.try_into().ok()?, counter: tx_counter },
        })
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        Suite::numbered(self.tx.counter.marks(SUITE))
    }

    /// Opens a record and says what it holds, or which alert answers it.
    fn read(&mut self, ciphers: &mut Ciphers, record: &mut [u8]) -> Result<Inner, Alert> {
        if front(record) != Front::Whole(record.len()) {
            return Err(Alert::DecodeError);
        }
        let (head, body) = record.split_first_chunk_mut::<HEAD_BYTES>().ok_or(Alert::DecodeError)?;
        // Nothing comes in the clear any more. A change_cipher_spec is ignored before the client's Finished alone
        // (section 5), and this connection is past it.
        if head[0] != APPLICATION_DATA {
            return Err(Alert::UnexpectedMessage);
        }
        let suite = self.suite();
        let number = self.rx.counter.take().ok_or(Alert::InternalError)?;
        let cipher = ciphers.of(suite, &self.rx.secret).map_err(|_| Alert::InternalError)?;
        let plain = cipher.open(number, *head, body).map_err(|_| Alert::BadRecordMac)?;
        inner::read(plain)
    }

    /// Counts a record that brought nothing.
    fn idle(&mut self) -> Result<(), Alert> {
        let idle = self.rx.counter.marks(IDLE) + IDLE_ONE;
        if idle > IDLE_RECORDS_MAX * IDLE_ONE {
            return Err(Alert::UnexpectedMessage);
        }
        self.rx.counter.mark(IDLE, idle);
        Ok(())
    }

    /// What a record means for this connection.
    fn heed(&mut self, inner: Inner) -> Result<Opened, Alert> {
        match inner {
            Inner::Data(range) if range.is_empty() => self.idle().map(|()| Opened::Nothing),
            Inner::Data(range) => {
                self.rx.counter.mark(IDLE, 0);
                Ok(Opened::Data(HEAD_BYTES + range.start..HEAD_BYTES + range.end))
            }
            Inner::KeyUpdate { asks } => {
                self.idle()?;
                self.suite().next_secret(&mut self.rx.secret).map_err(|_| Alert::InternalError)?;
                self.rx.counter.restart();
                // What we wanted to ask for, if we did, has come.
                let owed = self.tx.counter.marks(OWED) & OWED_TOLD;
                self.tx.counter.mark(OWED, if asks { OWED_TOLD } else { owed });
                Ok(Opened::Nothing)
            }
            Inner::UserCanceled => self.idle().map(|()| Opened::Nothing),
            Inner::CloseNotify => {
                self.rx.counter.mark(ENDED, ENDED);
                Ok(Opened::Closed)
            }
            Inner::Failed(description) => {
                self.rx.counter.mark(ENDED, ENDED);
                self.tx.counter.mark(CLOSED | OWED, CLOSED);
                Ok(Opened::Failed(description))
            }
        }
    }

    /// Appends a KeyUpdate under the old key, and takes the next one.
    fn update(&mut self, ciphers: &mut Ciphers, message: &[u8], out: &mut Vec<u8>) -> Result<(), Spent> {
        self.put(ciphers, HANDSHAKE, &mut Pieces::new(&[message]), out)?;
        self.suite().next_secret(&mut self.tx.secret).map_err(|_| Spent)?;
        self.tx.counter.restart();
        self.tx.counter.mark(OWED, 0);
        Ok(())
    }

    /// Appends one record of this kind with as many of the pieces' bytes as it holds.
    fn put(
        &mut self,
        ciphers: &mut Ciphers,
        kind: u8,
        pieces: &mut Pieces<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Spent> {
        let suite = self.suite();
        let cipher = ciphers.of(suite, &self.tx.secret).map_err(|_| Spent)?;
        let number = self.tx.counter.take().ok_or(Spent)?;
        let inner_bytes = pieces.left().min(PLAIN_BYTES_MAX) + 1;
        let head = sealed_head(inner_bytes + TAG_BYTES);
        let start = out.len();
        out.reserve(HEAD_BYTES + inner_bytes + TAG_BYTES);
        out.extend_from_slice(&head);
        pieces.copy(inner_bytes - 1, out);
        out.push(kind);
        match cipher.seal(number, head, &mut out[start + HEAD_BYTES..]) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            Err(_) => {
                // Plaintext must not stay where ciphertext is sent from.
                out.truncate(start);
                return Err(Spent);
            }
        }
        Ok(())
    }

    /// Sends what is owed before any other record.
    fn pay(&mut self, ciphers: &mut Ciphers, out: &mut Vec<u8>) -> Result<(), Spent> {
        match self.tx.counter.marks(OWED) {
            OWED_ASKED => self.update(ciphers, &KEY_UPDATE_ASKED, out),
            OWED_TOLD => self.update(ciphers, &KEY_UPDATE_TOLD, out),
            _ if self.tx.counter.number() >= SEALED_RECORDS_MAX => self.update(ciphers, &KEY_UPDATE_TOLD, out),
            _ => Ok(()),
        }
    }

    /// Appends a record that says anything at all, and takes the next key if that was a key update. For fuzzing: the other end
    /// of a connection is a peer that keeps no rule. Whether it could be sent.
    pub(super) fn say(&mut self, ciphers: &mut Ciphers, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((kind, content)) = plain.split_last() else {
            return false;
        };
        if self.closed() || self.put(ciphers, *kind, &mut Pieces::new(&[content]), out).is_err() {
            return false;
        }
        if matches!(inner::read(plain), Ok(Inner::KeyUpdate { .. })) {
            self.tx.counter.restart();
            return self.suite().next_secret(&mut self.tx.secret).is_ok();
        }
        true
    }

    fn closed(&self) -> bool {
        self.tx.counter.marks(CLOSED) != 0
    }

    fn end(&mut self, ciphers: &mut Ciphers, alert: Alert, out: &mut Vec<u8>) {
        if self.closed() {
            return;
        }
        // A key update that is owed is owed before data alone (section 4.6.3). Whether the alert could be sealed changes
        // nothing: this side has ended.
        let _ = self.put(ciphers, ALERT, &mut Pieces::new(&[&alert.body()]), out);
        self.tx.counter.mark(CLOSED | OWED, CLOSED);
    }
}

impl<const N: usize> Records for AtRest<N> {
    fn open(&mut self, ciphers: &mut Ciphers, record: &mut [u8]) -> Opened {
        if self.rx.counter.marks(ENDED) != 0 {
            return Opened::Closed;
        }
        let opened = self.read(ciphers, record).and_then(|inner| self.heed(inner));
        if self.rx.counter.number() == OPENED_RECORDS_MAX {
            self.tx.counter.mark(OWED, OWED_ASKED);
        }
        opened.unwrap_or_else(|alert| {
            self.rx.counter.mark(ENDED, ENDED);
            Opened::Refused(alert)
        })
    }

    fn owes(&self) -> bool {
        self.tx.counter.marks(OWED) != 0 && !self.closed()
    }

    fn seal(&mut self, ciphers: &mut Ciphers, fragments: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Spent> {
        if self.closed() {
            return Err(Spent);
        }
        self.pay(ciphers, out)?;
        let mut pieces = Pieces::new(fragments);
        while pieces.left() > 0 {
            self.put(ciphers, APPLICATION_DATA, &mut pieces, out)?;
            self.pay(ciphers, out)?;
        }
        Ok(())
    }

    fn close(&mut self, ciphers: &mut Ciphers, out: &mut Vec<u8>) {
        self.end(ciphers, Alert::CloseNotify, out);
    }

    fn fail(&mut self, ciphers: &mut Ciphers, alert: Alert, out: &mut Vec<u8>) {
        self.end(ciphers, alert, out);
        self.rx.counter.mark(ENDED, ENDED);
    }
}

impl<const N: usize> std::fmt::Debug for AtRest<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AtRest")
            .field("suite", &self.suite())
            .field("rx", &self.rx.counter)
            .field("tx", &self.tx.counter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_one_that_was_wiped() {
        let mut rest = AtRest::<32>::new(Suite::Aes128Gcm, (&[7; 32], 3), (&[8; 32], 4)).expect("secrets that fit");
        rest.zeroize();
        assert_eq!([rest.rx.secret, rest.tx.secret], [[0; 32]; 2]);
        let (mut ciphers, mut out) = (Ciphers::new(1), Vec::new());
        assert_eq!(rest.seal(&mut ciphers, &[b"x"], &mut out), Err(Spent));
        rest.close(&mut ciphers, &mut out);
        assert!(out.is_empty(), "nothing is sealed with a key that everybody knows");
        assert_eq!(rest.open(&mut ciphers, &mut [23, 3, 3, 0, 1, 0]), Opened::Closed);
    }
}
