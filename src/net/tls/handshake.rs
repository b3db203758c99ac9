//! One handshake: rustls' connection, for as long as it takes, fed so that it never sees a byte of application data.
//!
//! Owns the count of bytes up to the end of the record at hand, and a cap on all of them. Lives in a box of some 9 kB; what
//! remains afterwards is a [`Rest`]. It never reads a clock: how long a handshake may take is the loop's to say.

use std::io::Read;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};

use super::captured::Captured;
use super::failure::Failure;
use super::live::Live;
use super::record::{BODY_BYTES_MAX, Front, HEAD_BYTES, front};
use super::rest::Rest;
use super::server::Server;

/// Most bytes that a client may send before its handshake is done: a hello takes up to some 4 kB, half of it for a post-quantum
/// key. rustls keeps a message until it is whole, so this bounds what half a handshake costs.
pub const HANDSHAKE_BYTES_MAX: usize = 16 << 10;

/// The same where certificates of clients are asked for: a chain, and a ticket that has it inside.
pub const HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES: usize = 48 << 10;

/// How far a handshake has come.
#[derive(Debug)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// It is done: bytes that were not taken are the session's, and what was appended must be sent before anything else.
    Done,
    /// It has failed. What was appended, an alert as a rule, is the last to be sent.
    Failed(Failure),
}

/// What the bytes that were taken end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Nothing,
    Record,
    /// A head that no record has.
    Refused,
}

/// A handshake under way.
pub struct Handshake {
    connection: ServerConnection,
    server: Arc<Server>,
    captured: Arc<Captured>,
    /// Bytes of the next record's head that are here.
    head: [u8; HEAD_BYTES],
    head_bytes: u8,
    /// Bytes that the record at hand still lacks, once its head is whole.
    body_left: u16,
    /// Bytes that may still come before the handshake must be done.
    bytes_left: u32,
    /// Why it has failed: rustls may think that it is done, and nothing must come of it.
    failed: Option<Failure>,
}

const _: () = assert!(BODY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES <= u32::MAX as usize);

/// What a handshake has found out about the client.
#[derive(Debug)]
pub struct Client<'a> {
    /// The name that it asked for (SNI, RFC 6066 section 3), in lower case.
    pub server_name: Option<&'a str>,
    /// The protocol agreed on (RFC 7301).
    pub alpn: Option<&'a [u8]>,
    /// Its certificate and what leads to a root, in DER; checked. Empty if none was asked for or given.
    pub certificates: &'a [CertificateDer<'static>],
    /// Whether a ticket spared the certificates and their check.
    pub resumed: bool,
}

impl Handshake {
    /// A handshake that waits for a client's first bytes.
    ///
    /// # Errors
    ///
    /// The settings of `server` do not serve, which its own checks have ruled out.
    pub fn new(server: &Arc<Server>) -> Result<Box<Self>, Failure> {
        let captured = Arc::new(Captured::default());
        let connection = ServerConnection::new(server.config(Arc::clone(&captured)))?;
        Ok(Box::new(Self {
            connection,
            server: Arc::clone(server),
            captured,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            body_left: 0,
            bytes_left: if server.asks_for_certificates() {
                HANDSHAKE_BYTES_MAX_WITH_CERTIFICATES
            } else {
                HANDSHAKE_BYTES_MAX
            } as u32,
            failed: None,
        }))
    }

    /// Takes bytes up to the end of the record that ends the handshake, appends what is to be sent, and says how many bytes
    /// were taken: all of them, unless it is done or has failed.
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (usize, Step) {
        if let Some(failure) = &self.failed {
            return (0, Step::Failed(failure.clone()));
        }
        let mut taken = 0;
        while taken < bytes.len() {
            if !self.connection.is_handshaking() {
                return (taken, Step::Done);
            }
            let (part, end) = self.part(&bytes[taken..]);
            let result = self.give(&bytes[taken..taken + part], end);
            taken += part;
            self.drain(out);
            if let Err(failure) = result {
                self.failed = Some(failure.clone());
                return (taken, Step::Failed(failure));
            }
        }
        let step = if self.connection.is_handshaking() { Step::More } else { Step::Done };
        (taken, step)
    }

    /// How many of the bytes, at least one, belong to the record at hand, and what they end. A head is judged when it is whole,
    /// so that cuts make no difference.
    fn part(&mut self, bytes: &[u8]) -> (usize, End) {
        let mut part = 0;
        if self.body_left == 0 {
            let have = usize::from(self.head_bytes);
            part = bytes.len().min(HEAD_BYTES - have);
            self.head[have..have + part].copy_from_slice(&bytes[..part]);
            self.head_bytes += part as u8;
            if have + part < HEAD_BYTES {
                return (part, End::Nothing);
            }
            self.head_bytes = 0;
            match front(&self.head) {
                Front::Part(whole) => self.body_left = (whole - HEAD_BYTES) as u16,
                Front::Whole(_) => return (part, End::Record),
                Front::Refused(_) => return (part, End::Refused),
            }
        }
        let body = usize::from(self.body_left).min(bytes.len() - part);
        self.body_left -= body as u16;
        (part + body, if self.body_left == 0 { End::Record } else { End::Nothing })
    }

    /// Gives bytes to rustls, and lets it act on them when they end a record. It refuses a bad head too, as a rule, and has the
    /// alert that the client can read at this stage.
    fn give(&mut self, mut bytes: &[u8], end: End) -> Result<(), Failure> {
        let left = usize::try_from(self.bytes_left).unwrap_or(usize::MAX).checked_sub(bytes.len());
        self.bytes_left = left.ok_or_else(Failure::too_long)? as u32;
        while !bytes.is_empty() {
            let read = self.connection.read_tls(&mut Read::by_ref(&mut bytes)).map_err(|_| Failure::too_long())?;
            if read == 0 {
                return Err(Failure::closed());
            }
        }
        if end == End::Nothing {
            return Ok(());
        }
        let state = self.connection.process_new_packets()?;
        match end {
            End::Refused => Err(Failure::not_tls()),
            _ if state.peer_has_closed() => Err(Failure::closed()),
            _ if self.connection.is_handshaking() => Ok(()),
            _ => self.check_resumed(),
        }
    }

    /// rustls does not look at the certificates of a client again that resumes.
    fn check_resumed(&mut self) -> Result<(), Failure> {
        let client = self.client();
        if !client.resumed {
            return Ok(());
        }
        let checked = self.server.check_resumed(client.certificates);
        checked.map_err(|error| {
            self.connection.send_close_notify();
            Failure::from(error)
        })
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing into a vector does not fail.
            if self.connection.write_tls(out).is_err() {
                return;
            }
        }
    }

    /// What is known of the client; all of it once the handshake is done.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        Client {
            server_name: self.connection.server_name(),
            alpn: self.connection.alpn_protocol(),
            certificates: self.connection.peer_certificates().unwrap_or_default(),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Whether the client speaks TLS 1.2 only, so that [`Handshake::into_live`] is the way on.
    #[must_use]
    pub fn is_tls12(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_2)
    }

    /// Takes the secrets out of a finished TLS 1.3 handshake and drops all else.
    ///
    /// # Errors
    ///
    /// The handshake has failed or is not done, or is of TLS 1.2, or the secrets that were caught are not those that rustls uses.
    pub fn into_rest(self: Box<Self>) -> Result<Rest, Failure> {
        let Self { connection, captured, failed, .. } = *self;
        if let Some(failure) = failed {
            return Err(failure);
        }
        let (suite, extracted) = (connection.negotiated_cipher_suite(), connection.dangerous_extract_secrets()?);
        let secrets = captured.take();
        Rest::of_handshake(suite, &extracted, (&secrets.client, &secrets.server))
    }
}

impl Handshake {
    /// Keeps the rustls session of a finished TLS 1.2 handshake.
    ///
    /// # Errors
    ///
    /// The handshake has failed or is not done, or is not of TLS 1.2.
    pub fn into_live(self: Box<Self>) -> Result<Live, Failure> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        if self.connection.is_handshaking() || !self.is_tls12() {
            return Err(Failure::not_at_rest());
        }
        Ok(Live::new(Box::new(self.connection)))
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("bytes_left", &self.bytes_left).finish_non_exhaustive()
    }
}
