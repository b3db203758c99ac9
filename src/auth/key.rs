//! Keys that tokens are checked and signed with.
//!
//! Owns what a key must be like, and how its bytes are read. It never reads a file and never
//! lets key bytes out: not in an error, not through `Debug`.

use std::fmt;

use jsonwebtoken::{DecodingKey, EncodingKey};

use super::algorithm::{Algorithm, KeyKind};
use super::pem::{pem_tag, private_key, public_key};
use crate::kit::ids::is_name;

/// Shortest HS256 secret, in bytes: as long as the hash (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Longest key id, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 128;

/// A key as the settings give it, its file read.
#[derive(Clone)]
pub struct KeySource {
    /// `kid`: tokens that name one are checked with that key alone; tokens that name none with each key of their algorithm.
    pub id: String,
    /// What it may be used for.
    pub algorithm: Algorithm,
    /// Secret bytes, or PEM: the public key to check tokens, the private one (PKCS #8) to sign them. Line endings after
    /// a secret that is text are not part of it, since editors and `openssl rand` add one; bytes stay as they are.
    pub material: Vec<u8>,
    /// Where set, the only tenant that this key's tokens may name.
    pub tenant: Option<String>,
}

impl fmt::Debug for KeySource {
    /// Without the key's bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// A key that is ready to check signatures of its one algorithm.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) tenant: Option<String>,
    decoding: DecodingKey,
}

impl VerifyingKey {
    /// Reads and checks a key. The error names the key's id and what is wrong.
    pub(super) fn new(source: &KeySource) -> Result<Self, String> {
        let named = |why: String| format!("key {:?}: {why}", source.id);
        check_form(source).map_err(named)?;
        let decoding = match source.algorithm.key_kind() {
            KeyKind::Secret => secret(&source.material).map(DecodingKey::from_secret),
            _ => public_key(source.algorithm, &source.material),
        }
        .map_err(named)?;
        Ok(Self { id: source.id.clone(), algorithm: source.algorithm, tenant: source.tenant.clone(), decoding })
    }

    /// A key that was read elsewhere, and is fit for its algorithm.
    pub(super) fn of_set(id: String, algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self { id, algorithm, tenant: None, decoding }
    }

    /// Whether this key made `signature` (base64url) over `message`, with its pinned algorithm. HMACs are compared in
    /// constant time by the backend.
    pub(super) fn made(&self, signature: &str, message: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.decoding, self.algorithm.backend())
            .unwrap_or(false)
    }
}

/// Reads and checks a key to sign with. The error names the key's id, where it has one.
pub(super) fn signing_key(source: &KeySource) -> Result<EncodingKey, String> {
    let read = match source.algorithm.key_kind() {
        KeyKind::Secret => secret(&source.material).map(EncodingKey::from_secret),
        _ => private_key(source.algorithm, &source.material),
    };
    read.map_err(|why| match source.id.as_str() {
        "" => format!("the key: {why}"),
        id => format!("key {id:?}: {why}"),
    })
}

fn check_form(source: &KeySource) -> Result<(), String> {
    if source.id.is_empty() || source.id.len() > KEY_ID_BYTES_MAX {
        return Err(format!("its id must have 1 to {KEY_ID_BYTES_MAX} bytes"));
    }
    match &source.tenant {
        Some(tenant) if !is_name(tenant) => {
            Err(format!("its tenant {tenant:?} is no name: 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"))
        }
        _ => Ok(()),
    }
}

/// The secret's bytes, without the line endings of a text file.
fn secret(material: &[u8]) -> Result<&[u8], String> {
    // A public key is no secret. Taking one as an HMAC secret is the classic confusion, so it is refused by its looks.
    if let Some(tag) = pem_tag(material) {
        return Err(format!("HS256 needs a secret, and this is a PEM file ({tag})"));
    }
    let bytes = match std::str::from_utf8(material) {
        Ok(text) if !text.trim_end_matches(['\r', '\n']).contains(char::is_control) => {
            text.trim_end_matches(['\r', '\n']).as_bytes()
        }
        _ => material,
    };
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!(
            "an HS256 secret needs {SECRET_BYTES_MIN} bytes or more, and this one has {}: make one with `openssl rand -hex 32`",
            bytes.len()
        ));
    }
    Ok(bytes)
}
