//! A TLS 1.2 connection: its rustls session lives as long as it does, at some kilobytes, because its keys cannot rest.
//!
//! Owns the way from rustls' streams to records that are opened in place. It writes nothing of its own.

use std::io::{IoSlice, Read, Write};

use rustls::{Error, ServerConnection};

use super::alert::Alert;
use super::ciphers::Ciphers;
use super::record::{APPLICATION_DATA, Front, front};
use super::records::{Opened, Records, Spent};

/// A connection of TLS 1.2.
pub struct Live {
    connection: Box<ServerConnection>,
    /// Whether this side has closed or failed it.
    closed: bool,
    /// Whether the peer has, or must not be heard any more.
    ended: bool,
}

impl Live {
    pub(super) fn new(mut connection: Box<ServerConnection>) -> Self {
        // All of what is written is taken out at once; how much may wait is the outbox' to say.
        connection.set_buffer_limit(None);
        Self { connection, closed: false, ended: false }
    }

    fn read(&mut self, record: &mut [u8]) -> Result<Opened, Error> {
        let mut bytes = &*record;
        while !bytes.is_empty() {
            let taken = self.connection.read_tls(&mut Read::by_ref(&mut bytes));
            if !taken.is_ok_and(|taken| taken > 0) {
                return Err(Error::General("rustls takes no more".to_owned()));
            }
        }
        let state = self.connection.process_new_packets()?;
        let plain_bytes = state.plaintext_bytes_to_read();
        if state.peer_has_closed() {
            self.ended = true;
            return Ok(Opened::Closed);
        }
        // What a record carries is always shorter than the record.
        let Some(plain) = record.get_mut(..plain_bytes) else {
            return Err(Error::PeerSentOversizedRecord);
        };
        if plain.is_empty() {
            return Ok(Opened::Nothing);
        }
        match self.connection.reader().read_exact(plain) {
            Ok(()) => Ok(Opened::Data(0..plain_bytes)),
            Err(_) => Err(Error::General("rustls gives less than it said".to_owned())),
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing into a vector does not fail.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }
}

/// Whether the last of some records carries application data: in TLS 1.2 the head says what is in a record.
fn ends_with_data(records: &[u8]) -> bool {
    let (mut at, mut last) = (0, None);
    while let Front::Whole(whole) = front(&records[at..]) {
        last = Some(records[at]);
        at += whole;
    }
    last == Some(APPLICATION_DATA)
}

/// The alert that rustls answers an error with has its number in no public table; this is what is told to logs.
fn alert(error: &Error) -> Alert {
    match error {
        Error::DecryptError => Alert::BadRecordMac,
        Error::PeerSentOversizedRecord => Alert::RecordOverflow,
        Error::InvalidMessage(_) => Alert::DecodeError,
        Error::General(_) => Alert::InternalError,
        _ => Alert::UnexpectedMessage,
    }
}

impl Records for Live {
    fn open(&mut self, _: &mut Ciphers, record: &mut [u8]) -> Opened {
        if self.ended {
            return Opened::Closed;
        }
        let read = if front(record) == Front::Whole(record.len()) {
            self.read(record)
        } else {
            Err(Error::General("not one whole record".to_owned()))
        };
        read.unwrap_or_else(|error| {
            self.ended = true;
            match error {
                Error::AlertReceived(description) => {
                    self.closed = true;
                    Opened::Failed(description.into())
                }
                error => Opened::Refused(alert(&error)),
            }
        })
    }

    fn owes(&self) -> bool {
        self.connection.wants_write() && !self.closed
    }

    fn seal(&mut self, _: &mut Ciphers, fragments: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Spent> {
        if self.closed {
            return Err(Spent);
        }
        let before = out.len();
        let has_data = fragments.iter().any(|fragment| !fragment.is_empty());
        let mut slices: Vec<IoSlice<'_>> = fragments.iter().map(|fragment| IoSlice::new(fragment)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.connection.writer().write_vectored(left).map_err(|_| Spent)?;
            if written == 0 {
                return Err(Spent);
            }
            IoSlice::advance_slices(&mut left, written);
        }
        self.drain(out);
        // Keys of TLS 1.2 serve so many records (2^24 with AES-GCM) and have no successors. After that rustls says that it has taken what it
        // drops, and closes: nobody may be told that it was sealed.
        if has_data && !ends_with_data(&out[before..]) {
            out.truncate(before);
            self.closed = true;
            return Err(Spent);
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Ciphers, out: &mut Vec<u8>) {
        if !self.closed {
            self.connection.send_close_notify();
            self.drain(out);
            self.closed = true;
        }
    }

    /// rustls has its alert ready if it was rustls that refused the record; another one cannot be sent through it.
    fn fail(&mut self, _: &mut Ciphers, _: Alert, out: &mut Vec<u8>) {
        if !self.closed {
            self.drain(out);
            self.closed = true;
        }
        self.ended = true;
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("closed", &self.closed).field("ended", &self.ended).finish_non_exhaustive()
    }
}
