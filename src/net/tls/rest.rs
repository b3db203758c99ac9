//! A connection at rest, whichever its suite. Owns the choice between the two sizes of secrets, and nothing else.

use rustls::{ExtractedSecrets, SupportedCipherSuite};

use super::alert::Alert;
use super::at_rest::AtRest;
use super::ciphers::Ciphers;
use super::failure::Failure;
use super::records::{Opened, Records, Spent};
use super::suite::{Suite, agrees};

/// A connection at rest as the handshake leaves it. A loop that keeps many puts the two kinds into tables of their own, so
/// that the small ones stay small.
#[derive(Debug)]
pub enum Rest {
    /// AES-128-GCM or ChaCha20-Poly1305: 80 bytes.
    Short(AtRest<32>),
    /// AES-256-GCM: 112 bytes.
    Long(AtRest<48>),
}

impl Rest {
    pub(super) fn new(suite: Suite, rx: (&[u8], u64), tx: (&[u8], u64)) -> Option<Self> {
        match suite {
            Suite::Aes128Gcm | Suite::ChaCha20Poly1305 => AtRest::new(suite, rx, tx).map(Self::Short),
            Suite::Aes256Gcm => AtRest::new(suite, rx, tx).map(Self::Long),
        }
    }

    /// What a finished handshake leaves: `heard` and `own` are the secrets that were caught, of the peer and of this side.
    ///
    /// # Errors
    ///
    /// The suite is none of TLS 1.3, or the secrets that were caught are not those that rustls' own keys follow from.
    pub(super) fn of_handshake(
        suite: Option<SupportedCipherSuite>,
        extracted: &ExtractedSecrets,
        (heard, own): (&[u8], &[u8]),
    ) -> Result<Self, Failure> {
        let suite = suite.and_then(|suite| Suite::of(suite.suite())).ok_or_else(Failure::not_at_rest)?;
        let ((rx_number, rx_keys), (tx_number, tx_keys)) = (&extracted.rx, &extracted.tx);
        if !agrees(suite, heard, rx_keys) || !agrees(suite, own, tx_keys) {
            return Err(Failure::not_at_rest());
        }
        Self::new(suite, (heard, *rx_number), (own, *tx_number)).ok_or_else(Failure::not_at_rest)
    }

    /// The records of it.
    pub fn records(&mut self) -> &mut dyn Records {
        match self {
            Self::Short(rest) => rest,
            Self::Long(rest) => rest,
        }
    }

    /// Says anything at all, for fuzzing: [`AtRest::say`].
    pub(super) fn say(&mut self, ciphers: &mut Ciphers, plain: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Short(rest) => rest.say(ciphers, plain, out),
            Self::Long(rest) => rest.say(ciphers, plain, out),
        }
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match self {
            Self::Short(rest) => rest.suite(),
            Self::Long(rest) => rest.suite(),
        }
    }
}

impl Records for Rest {
    fn open(&mut self, ciphers: &mut Ciphers, record: &mut [u8]) -> Opened {
        self.records().open(ciphers, record)
    }

    fn owes(&self) -> bool {
        match self {
            Self::Short(rest) => rest.owes(),
            Self::Long(rest) => rest.owes(),
        }
    }

    fn seal(&mut self, ciphers: &mut Ciphers, fragments: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Spent> {
        self.records().seal(ciphers, fragments, out)
    }

    fn close(&mut self, ciphers: &mut Ciphers, out: &mut Vec<u8>) {
        self.records().close(ciphers, out);
    }

    fn fail(&mut self, ciphers: &mut Ciphers, alert: Alert, out: &mut Vec<u8>) {
        self.records().fail(ciphers, alert, out);
    }
}
