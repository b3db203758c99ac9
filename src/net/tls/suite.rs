//! The three cipher suites of TLS 1.3 (RFC 8446 section B.4): from a traffic secret to a cipher, and to the next secret.
//!
//! The one place that names ciphers and the key schedule; all of it is aws-lc-rs, put together as sections 5.2, 5.3, 7.2
//! and 7.3 say. rustls' own door to the same (`Tls13AeadAlgorithm`) is not used: its `AeadKey` cannot be made with 16
//! bytes from outside of rustls, which shuts out AES-128, it boxes a cipher and a copy of each record, and it changes in
//! rustls 0.24. The handshake checks that what is derived here is what rustls derived.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{self, KeyType, Prk};
use rustls::{CipherSuite, ConnectionTrafficSecrets};
use zeroize::{Zeroize, Zeroizing};

use super::record::HEAD_BYTES;

/// Bytes that each cipher adds to what it seals.
pub(super) const TAG_BYTES: usize = 16;

/// Bytes of the longest traffic secret.
pub(super) const SECRET_BYTES_MAX: usize = 48;

const IV_BYTES: usize = 12;
const KEY_BYTES_MAX: usize = 32;

/// A cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256.
    Aes128Gcm,
    /// TLS_AES_256_GCM_SHA384.
    Aes256Gcm,
    /// TLS_CHACHA20_POLY1305_SHA256.
    ChaCha20Poly1305,
}

/// How many bytes are to be derived.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

impl Suite {
    /// The suite that rustls calls by this name.
    pub(super) fn of(suite: CipherSuite) -> Option<Self> {
        match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => Some(Self::Aes128Gcm),
            CipherSuite::TLS13_AES_256_GCM_SHA384 => Some(Self::Aes256Gcm),
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The suite whose number, as an enum, this is: two bits that a resting connection keeps.
    pub(super) fn numbered(number: u16) -> Self {
        match number {
            0 => Self::Aes128Gcm,
            1 => Self::Aes256Gcm,
            _ => Self::ChaCha20Poly1305,
        }
    }

    /// Bytes of a traffic secret: as long as the suite's hash.
    #[must_use]
    pub fn secret_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => 32,
            Self::Aes256Gcm => 48,
        }
    }

    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes128Gcm | Self::ChaCha20Poly1305 => hkdf::HKDF_SHA256,
            Self::Aes256Gcm => hkdf::HKDF_SHA384,
        }
    }

    /// The secret that follows this one, in its place (section 7.2).
    pub(super) fn next_secret(self, secret: &mut [u8]) -> Result<(), Unspecified> {
        let prk = Prk::new_less_safe(self.hash(), secret);
        expand(&prk, b"tls13 traffic upd", secret)
    }
}

/// HKDF-Expand-Label with an empty context (section 7.1): `label` has its "tls13 " already.
fn expand(prk: &Prk, label: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
    let bytes = u16::try_from(out.len()).map_err(|_| Unspecified)?.to_be_bytes();
    let label_bytes = u8::try_from(label.len()).map_err(|_| Unspecified)?;
    prk.expand(&[&bytes, &[label_bytes], label, &[0]], Bytes(out.len()))?.fill(out)
}

/// A cipher, ready for the records of one direction and one traffic secret.
pub(super) struct Cipher {
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
}

impl Drop for Cipher {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}

impl Cipher {
    /// Derives key and IV (section 7.3).
    pub(super) fn new(suite: Suite, secret: &[u8]) -> Result<Self, Unspecified> {
        let (key, iv) = derive(suite, secret)?;
        let algorithm = suite.aead();
        let key = UnboundKey::new(algorithm, &key[..algorithm.key_len()])?;
        Ok(Self { key: LessSafeKey::new(key), iv })
    }

    /// Opens a record's body in place and gives its TLSInnerPlaintext.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        head: [u8; HEAD_BYTES],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unspecified> {
        self.key.open_in_place(self.nonce(number), Aad::from(head), body)
    }

    /// Seals a TLSInnerPlaintext in place and gives the tag that follows it.
    pub(super) fn seal(&self, number: u64, head: [u8; HEAD_BYTES], inner: &mut [u8]) -> Result<aead::Tag, Unspecified> {
        self.key.seal_in_place_separate_tag(self.nonce(number), Aad::from(head), inner)
    }

    /// The IV with the record's number on its last eight bytes (section 5.3).
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, part) in nonce[IV_BYTES - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= part;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

type KeyAndIv = (Zeroizing<[u8; KEY_BYTES_MAX]>, [u8; IV_BYTES]);

fn derive(suite: Suite, secret: &[u8]) -> Result<KeyAndIv, Unspecified> {
    let prk = Prk::new_less_safe(suite.hash(), secret);
    let mut iv = [0; IV_BYTES];
    expand(&prk, b"tls13 iv", &mut iv)?;
    Ok((derive_key(suite, &prk)?, iv))
}

fn derive_key(suite: Suite, prk: &Prk) -> Result<Zeroizing<[u8; KEY_BYTES_MAX]>, Unspecified> {
    let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
    expand(prk, b"tls13 key", &mut key[..suite.aead().key_len()])?;
    Ok(key)
}

/// Whether the key that rustls gave out is the one that this secret leads to. Then the secret is the one that rustls has, and its IV
/// follows from it too.
pub(super) fn agrees(suite: Suite, secret: &[u8], given: &ConnectionTrafficSecrets) -> bool {
    let (given_suite, given_key) = match given {
        ConnectionTrafficSecrets::Aes128Gcm { key, .. } => (Suite::Aes128Gcm, key),
        ConnectionTrafficSecrets::Aes256Gcm { key, .. } => (Suite::Aes256Gcm, key),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => (Suite::ChaCha20Poly1305, key),
        _ => return false,
    };
    let Ok(key) = derive_key(suite, &Prk::new_less_safe(suite.hash(), secret)) else {
        return false;
    };
    given_suite == suite && verify_slices_are_equal(&key[..suite.aead().key_len()], given_key.as_ref()).is_ok()
}
