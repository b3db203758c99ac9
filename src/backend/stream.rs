//! One socket for a reader, which answers pings, and for many writers; with TLS (`wss://`) or without.
//!
//! Owns the rule that keeps their frames apart: each write is whole, under one lock. It reads no envelopes. Under TLS the reader waits for the
//! socket without a lock, and writers seal under one and write under another, so that neither ever waits for the other's socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::ClientConnection;

use crate::kit::lock::lock;

/// One read of records.
const READ_BYTES: usize = 16 * 1024;

/// A handle on the socket. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    socket: Arc<TcpStream>,
    writing: Arc<Mutex<()>>,
    secured: Option<Arc<Mutex<ClientConnection>>>,
}

impl Stream {
    pub fn new(socket: TcpStream) -> Self {
        Self { socket: Arc::new(socket), writing: Arc::default(), secured: None }
    }

    /// TLS over a blocking socket: shakes hands first.
    pub fn secured(socket: TcpStream, mut connection: ClientConnection) -> io::Result<Self> {
        while connection.is_handshaking() {
            connection.complete_io(&mut &socket)?;
        }
        connection.set_buffer_limit(None);
        let plain = Self::new(socket);
        Ok(Self { secured: Some(Arc::new(Mutex::new(connection))), ..plain })
    }

    /// The socket, for its options.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes all of `bytes`, with nothing of anybody else's in between.
    pub fn write_whole(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = lock(&self.writing);
        let written = match &self.secured {
            None => (&*self.socket).write_all(bytes),
            Some(connection) => seal(connection, bytes).and_then(|wire| (&*self.socket).write_all(&wire)),
        };
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

/// The bytes as records, behind whatever the connection has to say before them.
fn seal(connection: &Mutex<ClientConnection>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = lock(connection);
    connection.writer().write_all(bytes)?;
    let mut wire = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut wire)?;
    }
    Ok(wire)
}

fn open(connection: &Mutex<ClientConnection>, mut socket: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
    let mut wire = [0; READ_BYTES];
    loop {
        match lock(connection).reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
        let count = socket.read(&mut wire)?;
        let mut bytes = &wire[..count];
        let mut connection = lock(connection);
        // The end of the stream is told by no bytes, once.
        while connection.read_tls(&mut bytes)? > 0 {
            connection.process_new_packets().map_err(io::Error::other)?;
            if bytes.is_empty() {
                break;
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &self.secured {
            None => (&*self.socket).read(into),
            Some(connection) => open(connection, &self.socket, into),
        }
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
