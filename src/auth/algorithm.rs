//! The algorithms that tokens may be signed with, and what kind of key each needs.
//!
//! Owns their names. Whether a token may be checked with one is for the key to say, never for the token.

use std::fmt;
use std::str::FromStr;

/// What a key must be for an algorithm: no key serves two of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A secret that both sides have.
    Secret,
    /// RSA.
    Rsa,
    /// ECDSA on the curve P-256.
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// With its article, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Secret => "a secret",
            KeyKind::Rsa => "an RSA key",
            KeyKind::P256 => "an EC key on the curve P-256",
            KeyKind::P384 => "an EC key on the curve P-384",
            KeyKind::Ed25519 => "an Ed25519 key",
        }
    }
}

/// An algorithm that a key is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256; the key is a secret of 32 bytes or more.
    Hs256,
    /// RSA (PKCS #1 v1.5) with SHA-256, 2048 bits or more; the key is a public key in PEM.
    Rs256,
    /// As [`Algorithm::Rs256`], with SHA-384.
    Rs384,
    /// As [`Algorithm::Rs256`], with SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256, 2048 bits or more; the key is a public key in PEM.
    Ps256,
    /// As [`Algorithm::Ps256`], with SHA-384.
    Ps384,
    /// As [`Algorithm::Ps256`], with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256; the key is a public key in PEM.
    Es256,
    /// ECDSA on P-384 with SHA-384; the key is a public key in PEM.
    Es384,
    /// Ed25519; the key is a public key in PEM.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::Hs256,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// Its name in a token's `alg` (RFC 7518 section 3.1, RFC 8037 section 3.1) and in the settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// What its keys must be.
    #[must_use]
    pub fn key_kind(self) -> KeyKind {
        match self {
            Algorithm::Hs256 => KeyKind::Secret,
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => KeyKind::Rsa,
            Algorithm::Es256 => KeyKind::P256,
            Algorithm::Es384 => KeyKind::P384,
            Algorithm::EdDsa => KeyKind::Ed25519,
        }
    }

    /// The library's word for it.
    pub(super) fn backend(self) -> jsonwebtoken::Algorithm {
        match self {
            Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
            Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
            Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
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
        f.write_str("not an algorithm: HS256, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")
    }
}

impl std::error::Error for NotAnAlgorithm {}

impl FromStr for Algorithm {
    type Err = NotAnAlgorithm;

    /// Case matters, as it does in a token (RFC 7515 section 4.1.1).
    fn from_str(text: &str) -> Result<Self, NotAnAlgorithm> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == text).ok_or(NotAnAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_read_back_and_told_in_the_error() {
        let told = NotAnAlgorithm.to_string();
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
            assert!(told.contains(algorithm.name()), "{algorithm}");
        }
        for other in ["none", "hs256", "HS384", "HS512", "ES512", "ES256K", "Ed25519", ""] {
            assert_eq!(other.parse::<Algorithm>(), Err(NotAnAlgorithm), "{other}");
        }
    }
}
