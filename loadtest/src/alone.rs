//! A server that is rustls and nothing else: what a full or resumed handshake takes without a gateway around it.
//!
//! Owns one thread, one poll, and rustls' buffered connections. It checks no token, knows no agent and answers each request with the same
//! bytes: an upgrade and a welcome, so that the client of a gateway can measure it. It is to be measured, and never to serve.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
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
    /// PEM file with the certificate and what leads to a root.
    #[arg(long)]
    certificate: PathBuf,
    /// PEM file with its key.
    #[arg(long)]
    key: PathBuf,
}

/// A connection.
struct Visitor {
    stream: TcpStream,
    tls: ServerConnection,
    /// What it has asked so far; empty again once it is answered.
    request: Vec<u8>,
}

/// Serves until a signal comes.
///
/// # Errors
/// The certificate cannot be used, or the address not be listened on.
pub fn run(options: &Options) -> Result<(), String> {
    let config = config(options)?;
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
                LISTENER => accept(&listener, &poll, &config, &mut visitors)?,
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
fn config(options: &Options) -> Result<Arc<ServerConfig>, String> {
    let told = |path: &PathBuf, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&options.certificate)
        .map_err(|error| told(&options.certificate, &error))?
        .collect();
    let chain = chain.map_err(|error| told(&options.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(&options.key).map_err(|error| told(&options.key, &error))?;
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
    config: &Arc<ServerConfig>,
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
        let tls = ServerConnection::new(Arc::clone(config)).map_err(|error| error.to_string())?;
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
        let read = visitor.tls.read_tls(&mut visitor.stream);
        match read {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return write(visitor),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return false,
        }
        let Ok(state) = visitor.tls.process_new_packets() else {
            // The alert; nobody waits for it to be taken.
            write(visitor);
            return false;
        };
        let (have, more) = (visitor.request.len(), state.plaintext_bytes_to_read());
        visitor.request.resize(have + more, 0);
        if visitor.tls.reader().read_exact(&mut visitor.request[have..]).is_err()
            || visitor.request.len() > REQUEST_BYTES_MAX
        {
            return false;
        }
        if target::find(&visitor.request, b"\r\n\r\n").is_some() {
            visitor.request.clear();
            // Into a buffer of rustls', which takes it.
            let _ = visitor.tls.writer().write_all(answer);
        }
        if !write(visitor) {
            return false;
        }
    }
}

/// Writes what rustls has; the rest waits for the socket. Returns false when that is dead.
fn write(visitor: &mut Visitor) -> bool {
    while visitor.tls.wants_write() {
        match visitor.tls.write_tls(&mut visitor.stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    true
}
