//! A server that is rustls and nothing else: what a full or resumed handshake takes without a gateway around it.
//!
//! Owns one thread, one poll, and rustls' buffered connections. It checks no token, knows no agent and answers each request with the same
//! bytes: an upgrade and a welcome, so that the client of a gateway can measure it. It is to be measured, and never to serve.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;

use crate::{stop, target};

/// The token of the listener; connections have lower ones.
const LISTENER: Token = Token(usize::MAX);

/// How long a turn waits, so that a signal is obeyed.
const PATIENCE: Duration = Duration::from_millis(200);

/// Bytes that one read takes at most, as rustls' own.
const READ_BYTES: usize = 4096;

/// Longest request that is waited for, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What every request gets (RFC 6455 section 4.2.2, for the key of the harness), before the welcome.
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The first message, as short as one that an agent of the harness understands.
const WELCOME: &[u8] = br#"{"jsonrpc":"2.0","method":"welcome","params":{}}"#;

/// Options of `rustls-alone`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// PEM file with the certificate and what leads to a root; without it all is plaintext, which tells what sockets cost by themselves.
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file with its key.
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
}

/// A connection.
struct Visitor {
    stream: TcpStream,
    /// None where all is plaintext.
    tls: Option<ServerConnection>,
    /// What it has asked so far; empty again once it is answered.
    request: Vec<u8>,
}

/// Serves until a signal comes.
///
/// # Errors
/// The certificate cannot be used, or the address not be listened on.
pub fn run(options: &Options) -> Result<(), String> {
    let config = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => Some(config(certificate, key)?),
        _ => None,
    };
    let failed = |error: io::Error| error.to_string();
    let mut listener = TcpListener::bind(options.listen).map_err(failed)?;
    let mut poll = Poll::new().map_err(failed)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
    let mut out = io::stdout();
    let address = listener.local_addr().map_err(failed)?;
    writeln!(out, "ready agents={address}").and_then(|()| out.flush()).map_err(failed)?;
    let answer = [SWITCH, &[0x81, WELCOME.len() as u8], WELCOME].concat();
    let mut events = Events::with_capacity(1024);
    let mut visitors = Slab::new();
    while !stop::asked() {
        match poll.poll(&mut events, Some(PATIENCE)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(failed)?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, config.as_ref(), &mut visitors)?,
                Token(key) => {
                    if visitors.get_mut(key).is_some_and(|visitor| !serve(visitor, &answer)) {
                        visitors.remove(key);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The gateway's own choices: its suites in its order, TLS 1.3, ALPN, one ticket.
fn config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let told = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(|error| told(certificate, &error))?.collect();
    let chain = chain.map_err(|error| told(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, &error))?;
    let provider = CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        ..default_provider()
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.send_tls13_tickets = 1;
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

/// Takes in all who wait.
fn accept(
    listener: &TcpListener,
    poll: &Poll,
    config: Option<&Arc<ServerConfig>>,
    visitors: &mut Slab<Visitor>,
) -> Result<(), String> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // Who has gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error.to_string()),
        };
        // Where this fails the socket is dead, and so is its visitor.
        let _ = stream.set_nodelay(true);
        let tls = config.map(|config| ServerConnection::new(Arc::clone(config))).transpose();
        let tls = tls.map_err(|error| error.to_string())?;
        let entry = visitors.vacant_entry();
        let registered =
            poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE | Interest::WRITABLE);
        if registered.is_ok() {
            entry.insert(Visitor { stream, tls, request: Vec::new() });
        }
    }
}

/// Reads until dry, answers and writes; returns false when the visitor has gone or broken the rules.
fn serve(visitor: &mut Visitor, answer: &[u8]) -> bool {
    loop {
        match visitor.read() {
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return visitor.write(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                // The alert, where there is one; nobody waits for it to be taken.
                visitor.write();
                return false;
            }
        }
        if visitor.request.len() > REQUEST_BYTES_MAX {
            return false;
        }
        if target::find(&visitor.request, b"\r\n\r\n").is_some() {
            visitor.request.clear();
            // The socket of a visitor that has asked once takes so little, and so does a buffer of rustls'.
            let _ = match &mut visitor.tls {
                Some(tls) => tls.writer().write_all(answer),
                None => visitor.stream.write_all(answer),
            };
        }
        if !visitor.write() {
            return false;
        }
    }
}

impl Visitor {
    /// Reads once, and appends what was asked to the request; false at the end.
    fn read(&mut self) -> io::Result<bool> {
        let have = self.request.len();
        let Some(tls) = &mut self.tls else {
            self.request.resize(have + READ_BYTES, 0);
            let read = self.stream.read(&mut self.request[have..]);
            self.request.truncate(have + *read.as_ref().unwrap_or(&0));
            return read.map(|bytes| bytes > 0);
        };
        if tls.read_tls(&mut self.stream)? == 0 {
            return Ok(false);
        }
        let state = tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.request.resize(have + state.plaintext_bytes_to_read(), 0);
        tls.reader().read_exact(&mut self.request[have..])?;
        Ok(true)
    }

    /// Writes what rustls has; the rest waits for the socket. Returns false when that is dead.
    fn write(&mut self) -> bool {
        let Some(tls) = &mut self.tls else {
            return true;
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
