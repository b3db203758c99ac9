//! One socket for a reader, which answers pings, and for many writers.
//!
//! Owns the rule that keeps their frames apart: each write is whole, under one lock. It reads no envelopes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use crate::kit::lock::lock;

/// A handle on the socket. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    socket: Arc<TcpStream>,
    writing: Arc<Mutex<()>>,
}

impl Stream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), writing: Arc::default() }
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes all of `bytes`, with nothing of anybody else's in between.
    pub fn write_whole(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = lock(&self.writing);
        let written = (&*self.socket).write_all(bytes);
        if written.is_err() {
            // A part of a frame may be out: nothing can be said any more.
            self.end();
        }
        written
    }

    /// Ends both sides: reads and writes that wait end too.
    pub fn end(&self) {
        // When that fails, it is over already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.socket).read(into)
    }
}

/// For the WebSocket library, which hands over whole frames as long as all of what it hands over is taken.
impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_whole(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
