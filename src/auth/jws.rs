//! The outside of a token: its three parts, its header, and which of some keys made its signature (RFC 7515).
//!
//! Owns how a key is chosen. The header names one; it never says how a key is used.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::claims::Text;
use super::key::VerifyingKey;
use super::refused::Fault;

/// The key that made the signature. With a `kid` that key alone is asked, and only for its own algorithm; without
/// one, each key of the header's algorithm. The header never chooses how a key is used.
pub(super) fn key_of<'k>(
    keys: &'k [VerifyingKey],
    header: &Header<'_>,
    parts: &Parts<'_>,
) -> Result<&'k VerifyingKey, Fault> {
    let algorithm: Algorithm = header.alg.parse().map_err(|_| Fault::Algorithm(header.alg.to_string()))?;
    let Some(kid) = &header.kid else {
        let mut of_algorithm = keys.iter().filter(|key| key.algorithm == algorithm);
        let mut asked = of_algorithm.clone();
        if asked.next().is_none() {
            return Err(Fault::Algorithm(header.alg.to_string()));
        }
        return of_algorithm.find(|key| key.made(parts.signature, parts.signed)).ok_or(Fault::Signature);
    };
    // A key of a set may be there once for each algorithm that it is for.
    let mut of_id = keys.iter().filter(|key| key.id == kid.0);
    let first = of_id.clone().next().ok_or_else(|| Fault::UnknownKey(kid.0.to_string()))?;
    let Some(key) = of_id.find(|key| key.algorithm == algorithm) else {
        return Err(Fault::PinnedAlgorithm { key: first.id.clone(), pinned: first.algorithm, header: algorithm });
    };
    if !key.made(parts.signature, parts.signed) {
        return Err(Fault::Signature);
    }
    Ok(key)
}

/// A token's parts, still in base64url, and what the signature is over (RFC 7515 section 7.1).
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn cut(token: &'a str) -> Result<Self, Fault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Fault::NotThreeParts)?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::NotThreeParts)?;
        // A further dot would make a JWE (five parts) or nonsense.
        if payload.contains('.') {
            return Err(Fault::NotThreeParts);
        }
        Ok(Self { header, payload, signature, signed })
    }
}

/// The header fields that matter. Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
#[derive(Deserialize)]
pub(super) struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) kid: Option<Text<'a>>,
    pub(super) crit: Option<IgnoredAny>,
}

/// The one claim that is looked at before the signature.
#[derive(Deserialize)]
pub(super) struct Named<'a> {
    #[serde(borrow)]
    pub(super) iss: Option<Text<'a>>,
}
