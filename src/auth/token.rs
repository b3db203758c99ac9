//! Agents' tokens: JSON Web Tokens (RFC 7519), the algorithm pinned to each key.
//!
//! Owns the order of the checks: size, header, key, signature, and only then the claims. The library does the
//! cryptography; its own `decode` is not used, because it reads the system's clock, allocates each header field and
//! parses header and claims twice.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use super::claims::Claims;
pub use super::key::{Algorithm, KeySource};
pub use super::limits::TOKEN_BYTES_MAX;
pub use super::refused::{Fault, Refused};

use super::claims::{self, Rules, Text, Wire};
use super::key::{VerifyingKey, signing_key};
use crate::kit::ids::is_name;

/// The keys and rules that tokens are checked by.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    rules: Rules,
}

impl Verifier {
    /// Prepares the keys. `audience`: tokens must name it when set, and must name none when not. `leeway_secs` for
    /// clocks that differ. Without keys every token is refused.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn new(keys: &[KeySource], audience: Option<&str>, leeway_secs: u64) -> Result<Self, String> {
        for (place, key) in keys.iter().enumerate() {
            if keys[..place].iter().any(|before| before.id == key.id) {
                return Err(format!("key {:?}: two keys have this id", key.id));
            }
        }
        Ok(Self {
            keys: keys.iter().map(VerifyingKey::new).collect::<Result<_, _>>()?,
            rules: Rules { audience: audience.map(str::to_owned), leeway_secs },
        })
    }

    /// Checks a token at `now_unix` (seconds since the UNIX epoch).
    ///
    /// # Errors
    /// Why it was refused.
    pub fn verify(&self, token: &str, now_unix: u64) -> Result<Claims, Refused> {
        self.examine(token, now_unix).map_err(|fault| fault.refused())
    }

    /// As [`Verifier::verify`], for the person who holds the token.
    ///
    /// # Errors
    /// Exactly what is wrong with it.
    pub fn examine(&self, token: &str, now_unix: u64) -> Result<Claims, Fault> {
        if token.is_empty() {
            return Err(Fault::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong(token.len()));
        }
        let parts = Parts::cut(token)?;
        let header = URL_SAFE_NO_PAD.decode(parts.header).map_err(|error| Fault::Header(error.to_string()))?;
        let key = self.key_of(&parts, &header)?;
        let payload = URL_SAFE_NO_PAD.decode(parts.payload).map_err(|error| Fault::Payload(error.to_string()))?;
        let claims = claims::read(&payload, &self.rules, now_unix)?;
        match &key.tenant {
            Some(only) if *only != claims.tenant => Err(Fault::TenantOfKey(only.clone())),
            _ => Ok(claims),
        }
    }

    /// The key that made the signature. With a `kid` that key alone is asked, and only for its own algorithm; without
    /// one, each key of the header's algorithm. The header never chooses how a key is used.
    fn key_of(&self, parts: &Parts<'_>, header: &[u8]) -> Result<&VerifyingKey, Fault> {
        let header: Header<'_> = serde_json::from_slice(header).map_err(|error| Fault::Header(error.to_string()))?;
        if header.crit.is_some() {
            return Err(Fault::Critical);
        }
        let algorithm: Algorithm = header.alg.parse().map_err(|_| Fault::Algorithm(header.alg.to_string()))?;
        let Some(kid) = header.kid else {
            let mut of_algorithm = self.keys.iter().filter(|key| key.algorithm == algorithm);
            let mut asked = of_algorithm.clone();
            if asked.next().is_none() {
                return Err(Fault::Algorithm(header.alg.to_string()));
            }
            return of_algorithm.find(|key| key.made(parts.signature, parts.signed)).ok_or(Fault::Signature);
        };
        let key = self.keys.iter().find(|key| key.id == kid.0).ok_or_else(|| Fault::UnknownKey(kid.0.to_string()))?;
        if key.algorithm != algorithm {
            return Err(Fault::PinnedAlgorithm { key: key.id.clone(), pinned: key.algorithm, header: algorithm });
        }
        if !key.made(parts.signature, parts.signed) {
            return Err(Fault::Signature);
        }
        Ok(key)
    }
}

/// Who a token says that it is for, as `tenant/agent`; `None` where it names nobody that could be one. Only for a token whose signature
/// was found good: nothing is checked here.
#[must_use]
pub fn claimed_agent(token: &str) -> Option<String> {
    /// The two claims that name somebody.
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        sub: Option<Text<'a>>,
        #[serde(borrow)]
        tenant: Option<Text<'a>>,
    }
    let payload = URL_SAFE_NO_PAD.decode(Parts::cut(token).ok()?.payload).ok()?;
    let named: Named<'_> = serde_json::from_slice(&payload).ok()?;
    let tenant = named.tenant.map_or(Cow::Borrowed(claims::TENANT_WHEN_ABSENT), |tenant| tenant.0);
    let agent = named.sub?.0;
    (is_name(&tenant) && is_name(&agent)).then(|| format!("{tenant}/{agent}"))
}

/// Signs a token (for `holdfast token mint` and tests). `key.material` is the secret or the private key in PEM; an
/// empty `key.id` gives a token without `kid`.
///
/// # Errors
/// What is wrong with the key or the claims.
pub fn mint(key: &KeySource, audience: Option<&str>, claims: &Claims) -> Result<String, String> {
    let encoding = signing_key(key)?;
    claims.check_form().map_err(|fault| fault.to_string())?;
    if let Some(only) = key.tenant.as_ref().filter(|only| **only != claims.tenant) {
        return Err(format!("key {:?} is for tenant {only:?} only, not for {:?}", key.id, claims.tenant));
    }
    let mut header = jsonwebtoken::Header::new(key.algorithm.backend());
    header.kid = Some(key.id.clone()).filter(|id| !id.is_empty());
    let token = jsonwebtoken::encode(&header, &Wire { claims, audience }, &encoding)
        .map_err(|error| format!("key {:?} cannot sign: {error}", key.id))?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Fault::TooLong(token.len()).to_string());
    }
    Ok(token)
}

/// A token's parts, still in base64url, and what the signature is over (RFC 7515 section 7.1).
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn cut(token: &'a str) -> Result<Self, Fault> {
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
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Option<Text<'a>>,
    crit: Option<IgnoredAny>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
