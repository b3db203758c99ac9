//! The self-pipe that ends the agent's wait. Owns both ends, and waits for nothing itself.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Ends the agent's wait from any thread.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<UnixStream>);

impl Waker {
    /// The present wait ends, or the next one ends at once.
    pub fn wake(&self) {
        // A full pipe already wakes, and a closed one has nobody left to wake.
        let _ = (&*self.0).write(&[1]);
    }
}

/// The waiting side of a [`Waker`].
#[derive(Debug)]
pub(super) struct Wakened(pub(super) UnixStream);

/// A connected pair, both ends non-blocking.
pub(super) fn waker() -> io::Result<(Waker, Wakened)> {
    let (write, read) = UnixStream::pair()?;
    write.set_nonblocking(true)?;
    read.set_nonblocking(true)?;
    Ok((Waker(Arc::new(write)), Wakened(read)))
}

/// Empties a self-pipe. Drained before the work is looked at, so that a wake in between is never lost.
pub(super) fn drain(mut pipe: &UnixStream) {
    let mut bytes = [0; 64];
    while matches!(pipe.read(&mut bytes), Ok(n) if n > 0) {}
}
