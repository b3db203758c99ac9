//! The agent's socket, with TLS (`wss://`) or without. Nothing of it ever blocks: what cannot be done yet is `WouldBlock`.
//!
//! Owns the handshake's place: it happens within the first reads and writes, as rustls does it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned};

/// A connected socket.
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// TLS over it.
    Secured(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// TLS over a socket.
    pub fn secured(connection: ClientConnection, socket: TcpStream) -> Self {
        Self::Secured(Box::new(StreamOwned::new(connection, socket)))
    }

    /// The socket, to be waited for.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secured(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(into),
            Self::Secured(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Secured(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Secured(stream) => stream.flush(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Self::Secured(stream) = self {
            stream.conn.send_close_notify();
            // The connection is over: what the kernel does not take now is not said.
            let _ = stream.conn.write_tls(&mut stream.sock);
        }
    }
}
