//! What an event loop needs of the system: the seam between the loop and the kernel, or its simulation.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use crate::kit::tick::{Now, Took};
use crate::session::rules::Door;

/// What a registered socket is called: slot (low 32 bits) and generation (high 32 bits), so that an event that
/// outlived its connection is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Slot in the loop's table.
    pub slot: u32,
    /// The connection's generation.
    pub generation: u32,
}

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A listener: accept until it would block.
    Listener(Door),
    /// Another thread posted to the mailbox.
    Mailbox,
    /// A connection. Events are edges: a reader reads until less comes than fits, a writer writes until the kernel refuses.
    Conn {
        /// Which.
        token: Token,
        /// Bytes, the peer's end of stream, or an error can be read.
        readable: bool,
        /// The end of the stream or an error is behind the bytes: no edge will tell of it again.
        ended: bool,
        /// The kernel takes bytes again.
        writable: bool,
    },
}

/// What to be told about a socket. Reading is always watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Only when it can be read.
    Read,
    /// Also when it can be written again.
    ReadWrite,
}

/// The system, as one event loop sees it. Errors are the system's own; none of the methods blocks but [`Io::wait`].
pub trait Io {
    /// A connected, non-blocking socket; closed when dropped.
    type Stream;

    /// Waits at most `timeout` (`None`: for ever), replaces what is in `ready`, and reads the clock once. Being
    /// interrupted is no error: nothing is ready then.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Now;

    /// Lets other threads have the core first, where they share one. Workers that are behind finish their batch then, instead of being
    /// interrupted by the loop for each event that comes in.
    fn give_way(&mut self) {}

    /// What the clock on the wall says of this moment, in seconds since the UNIX epoch. It is looked at anew: it may have been set.
    fn unix_secs(&mut self, now: Now) -> u64;

    /// The turn is over: how long it took since the wait. A system without a clock of its own says zero.
    fn turn_took(&mut self) -> Took {
        Took::default()
    }

    /// Takes the next connection off a listener, and where its other end is.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, or no such listener; others of the accept system call.
    fn accept(&mut self, door: Door) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Ends listening at all doors: connections that were not accepted are reset by the kernel.
    fn stop_listening(&mut self);

    /// Begins to watch a socket for reading.
    ///
    /// # Errors
    /// Of epoll: out of memory or of watches.
    fn watch(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// Changes what a watched socket is watched for. What is ready already is told again.
    ///
    /// # Errors
    /// Of epoll.
    fn rewatch(&mut self, stream: &mut Self::Stream, token: Token, watch: Watch) -> io::Result<()>;

    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is; `Interrupted`; others end the connection.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Writes what the kernel takes.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing; `Interrupted`; others end the connection.
    fn write(&mut self, stream: &mut Self::Stream, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends our side of the stream; errors do not matter, the connection is over.
    fn shut(&mut self, stream: &mut Self::Stream);

    /// The other end's address.
    fn peer(&self, stream: &Self::Stream) -> Option<SocketAddr>;
}

/// Ends another thread's wait. An implementation must stay valid while the loop may be posted to.
pub trait Wake: Send + Sync {
    /// Makes the loop's wait return with [`Ready::Mailbox`].
    fn wake(&self);
}
