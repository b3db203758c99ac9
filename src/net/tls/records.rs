//! What a loop asks of a connection's TLS, whichever way its keys are kept: open, seal, close.
//!
//! Owns the words of that conversation and no state. It never says how a record is made.

use std::ops::Range;

use super::alert::Alert;
use super::ciphers::Ciphers;

/// What became of a record that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Application data: it lies, as plaintext, at this range of the record. Never empty.
    Data(Range<usize>),
    /// Nothing for the session. [`Records::owes`] may have become true.
    Nothing,
    /// The peer sends nothing more, by its close_notify now or before. Bytes after it are ignored (RFC 8446 section 6.1).
    Closed,
    /// The peer has failed the connection with this alert: end it, send nothing (section 6.2).
    Failed(u8),
    /// The record is against the rules: [`Records::fail`] with this alert, then end the connection.
    Refused(Alert),
}

/// Nothing can be sent any more: this side has closed or failed the connection, or its numbers have run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent;

/// The records of one connection after its handshake.
pub trait Records {
    /// Opens one whole record in place; `record` is what [`super::record::front`] said is whole.
    fn open(&mut self, ciphers: &mut Ciphers, record: &mut [u8]) -> Opened;

    /// Whether something waits to be sent that is no data: a key update. `seal` sends it first, with no fragments too.
    fn owes(&self) -> bool;

    /// Appends to `out` records that hold the fragments, one after the other, up to 16,384 bytes a record.
    ///
    /// # Errors
    ///
    /// [`Spent`] once nothing can be sent; what was appended before remains valid.
    fn seal(&mut self, ciphers: &mut Ciphers, fragments: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Spent>;

    /// Appends a close_notify (RFC 8446 section 6.1), once. Nothing can be sealed after it; records may still come in.
    fn close(&mut self, ciphers: &mut Ciphers, out: &mut Vec<u8>);

    /// Appends a fatal alert, unless this side has closed. Nothing can be sealed or opened after it.
    fn fail(&mut self, ciphers: &mut Ciphers, alert: Alert, out: &mut Vec<u8>);
}
