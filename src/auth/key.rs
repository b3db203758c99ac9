//! Keys that tokens are checked and signed with.
//!
//! Owns the algorithms' names, what a key must be like, and how its bytes are read. It never reads a file and never
//! lets key bytes out: not in an error, not through `Debug`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::kit::ids::is_name;

/// Shortest HS256 secret, in bytes: as long as the hash (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Shortest RSA modulus, in bits (RFC 7518 section 3.3).
pub const RSA_BITS_MIN: usize = 2048;
/// Longest RSA modulus, in bits: a longer one makes each check cost milliseconds, and the backend refuses it.
pub const RSA_BITS_MAX: usize = 8192;
/// Longest key id, in bytes.
pub const KEY_ID_BYTES_MAX: usize = 128;

/// An algorithm that a key is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256; the key is a secret of 32 bytes or more.
    Hs256,
    /// RSA with SHA-256, 2048 bits or more; the key is a public key in PEM.
    Rs256,
    /// ECDSA on P-256 with SHA-256; the key is a public key in PEM.
    Es256,
    /// Ed25519; the key is a public key in PEM.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Hs256,
        Algorithm::Rs256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ];

    /// Its name in a token's `alg` (RFC 7518 section 3.1, RFC 8037 section 3.1) and in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The library's word for it.
    pub(super) fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no algorithm that holdfast takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnAlgorithm;

impl fmt::Display for NotAnAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an algorithm: HS256, RS256, ES256 or EdDSA")
    }
}

impl std::error::Error for NotAnAlgorithm {}

impl FromStr for Algorithm {
    type Err = NotAnAlgorithm;

    /// Case matters, as it does in a token (RFC 7515 section 4.1.1).
    fn from_str(text: &str) -> Result<Self, NotAnAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or(NotAnAlgorithm)
    }
}

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
        let decoding = match source.algorithm {
            Algorithm::Hs256 => secret(&source.material).map(DecodingKey::from_secret),
            Algorithm::Rs256 => public_key(Kind::Rsa, &source.material),
            Algorithm::Es256 => public_key(Kind::Ec, &source.material),
            Algorithm::EdDsa => public_key(Kind::Ed25519, &source.material),
        }
        .map_err(named)?;
        Ok(Self {
            id: source.id.clone(),
            algorithm: source.algorithm,
            tenant: source.tenant.clone(),
            decoding,
        })
    }

    /// Whether this key made `signature` (base64url) over `message`, with its pinned algorithm. HMACs are compared in
    /// constant time by the backend.
    pub(super) fn made(&self, signature: &str, message: &str) -> bool {
        jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &self.decoding,
            self.algorithm.backend(),
        )
        .unwrap_or(false)
    }
}

/// Reads and checks a key to sign with. The error names the key's id, where it has one.
pub(super) fn signing_key(source: &KeySource) -> Result<EncodingKey, String> {
    let read = match source.algorithm {
        Algorithm::Hs256 => secret(&source.material).map(EncodingKey::from_secret),
        Algorithm::Rs256 => private_key(Kind::Rsa, &source.material),
        Algorithm::Es256 => private_key(Kind::Ec, &source.material),
        Algorithm::EdDsa => private_key(Kind::Ed25519, &source.material),
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
        Some(tenant) if !is_name(tenant) => Err(format!(
            "its tenant {tenant:?} is no name: 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"
        )),
        _ => Ok(()),
    }
}

/// The secret's bytes, without the line endings of a text file.
fn secret(material: &[u8]) -> Result<&[u8], String> {
    // A public key is no secret. Taking one as an HMAC secret is the classic confusion, so it is refused by its looks.
    if let Some(tag) = pem_tag(material) {
        return Err(format!(
            "HS256 needs a secret, and this is a PEM file ({tag})"
        ));
    }
    let bytes = match std::str::from_utf8(material) {
        Ok(text)
            if !text
                .trim_end_matches(['\r', '\n'])
                .contains(char::is_control) =>
        {
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

/// What a PEM file may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    Ec,
    Ed25519,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Rsa => "an RSA key",
            Kind::Ec => "an EC key",
            Kind::Ed25519 => "an Ed25519 key",
        }
    }

    /// Picks what was found; the kinds are told apart by the object identifier within the file.
    fn of<K, E>(
        ec: Result<K, E>,
        ed: Result<K, E>,
        rsa: impl FnOnce() -> Result<K, E>,
    ) -> Result<(Kind, K), String> {
        match (ec, ed) {
            (Ok(key), _) => Ok((Kind::Ec, key)),
            (_, Ok(key)) => Ok((Kind::Ed25519, key)),
            _ => rsa().map(|key| (Kind::Rsa, key)).map_err(|_| {
                "damaged PEM, or a type of key that is neither RSA, EC nor Ed25519".into()
            }),
        }
    }

    fn must_be(self, wanted: Kind) -> Result<(), String> {
        if self == wanted {
            return Ok(());
        }
        Err(format!(
            "its algorithm needs {}, and this is {}",
            wanted.name(),
            self.name()
        ))
    }
}

fn public_key(wanted: Kind, pem: &[u8]) -> Result<DecodingKey, String> {
    let tag = pem_tag(pem).ok_or("not PEM: there is no \"-----BEGIN PUBLIC KEY-----\" line")?;
    match tag.as_str() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            return Err("a certificate, not a public key: take the key out with `openssl x509 -in FILE -noout -pubkey`".into());
        }
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err("a private key, and the gateway must not have it: give it the public half, `openssl pkey -in FILE -pubout`".into());
        }
        tag => return Err(format!("a PEM block {tag:?}, not a public key")),
    }
    let (found, key) = Kind::of(
        DecodingKey::from_ec_pem(pem),
        DecodingKey::from_ed_pem(pem),
        || DecodingKey::from_rsa_pem(pem),
    )?;
    found.must_be(wanted)?;
    let bytes = key
        .try_get_as_bytes()
        .map_err(|_| "a form of key that is not supported")?;
    match wanted {
        Kind::Rsa => {
            let components = DEFAULT_PROVIDER
                .key_utils
                .rsa_pub_components_from_public_key;
            let (modulus, _) = components(bytes).map_err(|_| "the RSA key in it is damaged")?;
            rsa_bits_fit(&modulus)?;
        }
        Kind::Ec => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes)
                .map_err(|_| "ES256 needs a key on the curve P-256 (prime256v1)")?;
        }
        Kind::Ed25519 => {
            ParsedPublicKey::new(&ED25519, bytes)
                .map_err(|_| "the Ed25519 key in it is damaged")?;
        }
    }
    Ok(key)
}

fn private_key(wanted: Kind, pem: &[u8]) -> Result<EncodingKey, String> {
    let tag = pem_tag(pem).ok_or("not PEM: there is no \"-----BEGIN PRIVATE KEY-----\" line")?;
    match tag.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" => {}
        "EC PRIVATE KEY" | "EC PARAMETERS" => {
            return Err(
                "not in PKCS #8: convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`"
                    .into(),
            );
        }
        "ENCRYPTED PRIVATE KEY" => {
            return Err("encrypted: decrypt it with `openssl pkey -in FILE -out NEW`".into());
        }
        tag => {
            return Err(format!(
                "a PEM block {tag:?}: signing needs the private key"
            ));
        }
    }
    let (found, key) = Kind::of(
        EncodingKey::from_ec_pem(pem),
        EncodingKey::from_ed_pem(pem),
        || EncodingKey::from_rsa_pem(pem),
    )?;
    found.must_be(wanted)?;
    let utils = &DEFAULT_PROVIDER.key_utils;
    match wanted {
        Kind::Rsa => {
            let (modulus, _) = (utils.rsa_pub_components_from_private_key)(key.as_bytes())
                .map_err(|_| {
                    format!("the RSA key in it is damaged or shorter than {RSA_BITS_MIN} bits")
                })?;
            rsa_bits_fit(&modulus)?;
        }
        Kind::Ec => {
            let es256 = Algorithm::Es256.backend();
            (utils.ec_pub_components_from_private_key)(key.as_bytes(), es256)
                .map_err(|_| "ES256 needs a key on the curve P-256 (prime256v1)")?;
        }
        Kind::Ed25519 => {
            let curve = jsonwebtoken::jwk::EllipticCurve::Ed25519;
            (utils.ed_pub_components_from_private_key)(key.as_bytes(), &curve)
                .map_err(|_| "the Ed25519 key in it is damaged")?;
        }
    }
    Ok(key)
}

/// `modulus` is big-endian and may start with zeros.
fn rsa_bits_fit(modulus: &[u8]) -> Result<(), String> {
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let top = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() - zeros) * 8 - top as usize;
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Ok(());
    }
    Err(format!(
        "an RSA key needs {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, and this one has {bits}"
    ))
}

/// The label of the first PEM block (RFC 7468), `None` where there is none.
fn pem_tag(material: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(material).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (tag, _) = rest.split_once("-----")?;
    Some(tag.to_owned())
}
