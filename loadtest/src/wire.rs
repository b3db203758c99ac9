//! One simulated connection: a socket and, only while bytes are cut, the cut bytes.
//!
//! Owns its socket and phase. It knows nothing of what messages mean.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::Interest;
use mio::net::TcpStream;
use socket2::SockRef;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP is not yet there, or the answer to the upgrade is not.
    Upgrading,
    /// Frames travel.
    Open,
    /// Our close frame is on its way.
    Closing,
}

/// Bytes that a connection holds only while a read or a write is cut.
#[derive(Default)]
struct Cut {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// A connection. At rest it is a descriptor, a tag and a null pointer.
pub struct Wire {
    stream: TcpStream,
    /// What its owner calls it.
    pub tag: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// What its owner has noted of it.
    pub mark: u8,
    cut: Option<Box<Cut>>,
}

/// The harness simulates a million of these. Debug builds of mio add a word for their own checks.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Wire>() <= 24);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// TCP could not be connected.
    Unreachable,
    /// The upgrade was answered with this HTTP status.
    Refused(u16),
    /// The peer sent a close frame with this code (1005: none).
    Closed(u16),
    /// The peer ended TCP, or it was reset.
    Vanished,
    /// The peer broke the protocol.
    Malformed(&'static str),
}

impl Ending {
    /// Whether coming back is of no use: the door stays shut, or the gateway said so (4500 and up, `docs/protocol.md`).
    pub fn is_final(self) -> bool {
        match self {
            Self::Refused(status) => (400..500).contains(&status) && status != 429,
            Self::Closed(code) => (4500..5000).contains(&code),
            Self::Malformed(_) => true,
            Self::Unreachable | Self::Vanished => false,
        }
    }
}

/// What a read brought.
pub enum Got {
    /// So many bytes in the buffer.
    Bytes(usize),
    /// Nothing for now.
    Dry,
    /// The end.
    End,
}

/// What became of bytes that were to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The kernel has them all.
    All,
    /// The kernel refused some: ask to hear when it takes more ([`Wire::interest`]).
    Refused,
    /// They wait behind others that the kernel refused before.
    Queued,
    /// The socket is dead, which shows as the end of its input at the next turn.
    Dead,
}

impl Wire {
    /// A connection that waits for the answer to its upgrade.
    pub fn new(stream: TcpStream, tag: u32, mark: u8) -> Self {
        Self { stream, tag, phase: Phase::Upgrading, mark, cut: None }
    }

    /// What to wait for: room to write only while something waits for it.
    pub fn interest(&self) -> Interest {
        match &self.cut {
            Some(cut) if !cut.output.is_empty() => Interest::READABLE | Interest::WRITABLE,
            _ => Interest::READABLE,
        }
    }

    /// Ends TCP with a reset. After an orderly end the kernel would remember the connection for a minute (TIME_WAIT), and
    /// a hundred thousand of those slow down whoever is measured.
    pub fn reset(self) {
        // When it cannot be set, the end is an orderly one.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// The socket, to register it.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Moves cut input to the front of `buffer`; returns how many bytes.
    pub fn restore(&mut self, buffer: &mut Vec<u8>) -> usize {
        let Some(cut) = &mut self.cut else {
            return 0;
        };
        let length = cut.input.len();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer[..length].copy_from_slice(&cut.input);
        cut.input = Vec::new();
        self.settle();
        length
    }

    /// Keeps input that waits for more.
    pub fn keep(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.cut.get_or_insert_default().input = input.to_vec();
        }
    }

    /// Reads once.
    pub fn read(&mut self, buffer: &mut [u8]) -> Got {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Got::End,
                Ok(bytes) => Got::Bytes(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Got::Dry,
                // The kernel says so while TCP is being connected.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Got::Dry,
                Err(_) => Got::End,
            };
        }
    }

    /// Writes `bytes` behind what still waits; what the kernel does not take waits for [`Wire::flush`].
    pub fn write(&mut self, bytes: &[u8]) -> Written {
        if let Some(cut) = &mut self.cut
            && !cut.output.is_empty()
        {
            cut.output.extend_from_slice(bytes);
            return Written::Queued;
        }
        match self.push(bytes) {
            None => Written::Dead,
            Some(taken) if taken < bytes.len() => {
                self.cut.get_or_insert_default().output = bytes[taken..].to_vec();
                Written::Refused
            }
            Some(_) => Written::All,
        }
    }

    /// Writes what waits. Returns false when the socket is dead.
    pub fn flush(&mut self) -> bool {
        let Some(cut) = &mut self.cut else {
            return true;
        };
        let output = std::mem::take(&mut cut.output);
        let Some(taken) = self.push(&output) else {
            return false;
        };
        if let Some(cut) = &mut self.cut {
            cut.output = output[taken..].to_vec();
        }
        self.settle();
        true
    }

    /// How many bytes the kernel took; `None` when the socket is dead.
    fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.stream.write(&bytes[taken..]) {
                Ok(0) => return None,
                Ok(more) => taken += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => break,
                Err(_) => return None,
            }
        }
        Some(taken)
    }

    /// A wire at rest owns nothing.
    fn settle(&mut self) {
        if let Some(cut) = &self.cut
            && cut.input.is_empty()
            && cut.output.is_empty()
        {
            self.cut = None;
        }
    }
}
