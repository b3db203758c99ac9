//! Why a handshake failed, in a label for metrics and a sentence for logs. It says nothing that the peer could not say.

use rustls::Error;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    label: &'static str,
    text: String,
}

impl Failure {
    fn new(label: &'static str, text: &str) -> Self {
        Self { label, text: text.to_owned() }
    }

    pub(super) fn too_long() -> Self {
        Self::new("too_long", "the handshake is longer than allowed")
    }

    pub(super) fn not_tls() -> Self {
        Self::new("message", "what came is no record of TLS")
    }

    pub(super) fn closed() -> Self {
        Self::new("closed", "the client closed in the middle of the handshake")
    }

    pub(super) fn not_at_rest() -> Self {
        Self::new("internal", "the finished handshake gave no secrets that can be kept")
    }

    /// One word, of few: for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let label = match &error {
            Error::AlertReceived(_) => "alert",
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => "certificate",
            Error::NoCertificatesPresented => "no_certificate",
            Error::PeerIncompatible(_) => "incompatible",
            Error::NoApplicationProtocol => "no_protocol",
            Error::PeerMisbehaved(_) | Error::DecryptError | Error::PeerSentOversizedRecord => "misbehaved",
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => "message",
            _ => "internal",
        };
        Self { label, text: error.to_string() }
    }
}
