//! A set of public keys as an issuer publishes it: JWKS (RFC 7517), bounded, with all that is of no use passed over.
//!
//! Owns what of a set becomes a key. Secrets in it are never taken: who can read a set could sign with them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::algorithm::{Algorithm, KeyKind};
use super::key::{KEY_ID_BYTES_MAX, VerifyingKey};
use super::pem::{curve_fits, rsa_bits_fit};

/// How large a set may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLimits {
    /// Bytes of its text.
    pub bytes_max: usize,
    /// Keys in it, those that are passed over too.
    pub keys_max: usize,
}

/// The keys of an issuer, ready to use. A key that may be used with several algorithms is there for each.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<VerifyingKey>,
    /// How many keys of the set could be used.
    pub usable: usize,
    /// How many could not: another use, an algorithm that is not allowed, a form that is not known.
    pub passed_over: usize,
}

impl KeySet {
    /// Reads a set; its keys are for no algorithm but those `allowed`.
    ///
    /// # Errors
    /// It is too large, no JSON, no set, or has no key that can be used: then the keys before stay in force.
    pub fn parse(text: &[u8], allowed: &[Algorithm], limits: SetLimits) -> Result<Self, String> {
        if text.len() > limits.bytes_max {
            return Err(format!("it has {} bytes or more, and {} are allowed", text.len(), limits.bytes_max));
        }
        let set: Set<'_> = serde_json::from_slice(text).map_err(|error| format!("it is no JWKS: {error}"))?;
        if set.keys.len() > limits.keys_max {
            return Err(format!("it has {} keys, and {} are allowed", set.keys.len(), limits.keys_max));
        }
        let mut ready = Self::default();
        for raw in &set.keys {
            // A key of an unknown form is no reason to refuse the others (RFC 7517 section 5).
            let added = serde_json::from_str::<Jwk<'_>>(raw.get()).ok().is_some_and(|key| ready.add(&key, allowed));
            if added {
                ready.usable += 1;
            } else {
                ready.passed_over += 1;
            }
        }
        if ready.usable == 0 {
            return Err(format!("none of its {} keys is for an algorithm that is allowed here", set.keys.len()));
        }
        Ok(ready)
    }

    /// The ids of its keys, for logs and tests.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    fn add(&mut self, key: &Jwk<'_>, allowed: &[Algorithm]) -> bool {
        let Some((kind, decoding)) = key.read() else {
            return false;
        };
        let id = key.kid.as_deref().unwrap_or_default();
        let fits = |algorithm: &&Algorithm| {
            algorithm.key_kind() == kind && key.alg.as_deref().is_none_or(|alg| alg == algorithm.name())
        };
        let before = self.keys.len();
        for algorithm in allowed.iter().filter(fits) {
            // The first key of an id is the one that counts.
            if id.is_empty() || !self.keys.iter().any(|other| other.id == id && other.algorithm == *algorithm) {
                self.keys.push(VerifyingKey::of_set(id.to_owned(), *algorithm, decoding.clone()));
            }
        }
        self.keys.len() > before
    }
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// The members that matter (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct Jwk<'a> {
    #[serde(borrow)]
    kty: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    alg: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "use")]
    usage: Option<Cow<'a, str>>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(borrow, default)]
    crv: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    n: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    e: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    x: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    y: Option<Cow<'a, str>>,
}

impl Jwk<'_> {
    /// The key and its kind; `None` for one that is for something else, or is not as it must be.
    fn read(&self) -> Option<(KeyKind, DecodingKey)> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
            && self.kid.as_ref().is_none_or(|kid| kid.len() <= KEY_ID_BYTES_MAX);
        if !signs {
            return None;
        }
        let kind = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => KeyKind::Rsa,
            ("EC", Some("P-256")) => KeyKind::P256,
            ("EC", Some("P-384")) => KeyKind::P384,
            ("OKP", Some("Ed25519")) => KeyKind::Ed25519,
            _ => return None,
        };
        let key = match kind {
            KeyKind::Rsa => {
                let (modulus, exponent) = (number(&self.n)?, number(&self.e)?);
                rsa_bits_fit(&modulus).ok()?;
                exponent_fits(&exponent).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))?
            }
            KeyKind::Ed25519 => {
                let point = number(&self.x)?;
                curve_fits(kind, &point).ok()?;
                DecodingKey::from_ed_der(&point)
            }
            _ => {
                let mut point = vec![UNCOMPRESSED];
                point.extend(number(&self.x)?);
                point.extend(number(&self.y)?);
                curve_fits(kind, &point).ok()?;
                DecodingKey::from_ec_der(&point)
            }
        };
        Some((kind, key))
    }
}

/// What stands before the coordinates of a point (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

fn number(text: &Option<Cow<'_, str>>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_deref()?.as_bytes()).ok()
}

/// An exponent of 1 or an even one signs nothing; a long one makes each check slow.
fn exponent_fits(exponent: &[u8]) -> bool {
    let first = exponent.iter().position(|byte| *byte != 0).unwrap_or(exponent.len());
    let digits = &exponent[first..];
    (1..=4).contains(&digits.len()) && *digits != [1] && digits.last().is_some_and(|last| last % 2 == 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
