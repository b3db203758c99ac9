//! Agents' tokens: JSON Web Tokens (RFC 7519), the algorithm pinned to each key.
//!
//! Owns the order of the checks: size, header, key, signature, and only then the claims. The library does the
//! cryptography; its own `decode` is not used, because it reads the system's clock, allocates each header field and
//! parses header and claims twice.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

pub use super::algorithm::Algorithm;
pub use super::claims::Claims;
pub use super::issuer::Issuer;
pub use super::key::KeySource;
pub use super::limits::TOKEN_BYTES_MAX;
pub use super::refused::{Fault, Refused};

use super::claims::{self, Rules, Text, Wire};
use super::jws::{Header, Named, Parts, key_of};
use super::key::{VerifyingKey, signing_key};
use crate::kit::ids::is_name;

/// The keys and rules that tokens are checked by.
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    rules: Rules,
    issuers: Vec<Issuer>,
}

/// What a good token gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What it says.
    pub claims: Claims,
    /// From this second since the UNIX epoch on it is good no more, leeway included; `None` for never.
    pub ends_unix: Option<u64>,
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
            rules: Rules {
                audiences: audience.map(str::to_owned).into_iter().collect(),
                leeway_secs,
                ..Rules::default()
            },
            issuers: Vec::new(),
        })
    }

    /// Takes tokens of these issuers too. A token that names one of them in `iss` is checked with its keys and by its rules alone.
    #[must_use]
    pub fn with_issuers(mut self, issuers: Vec<Issuer>) -> Self {
        self.issuers = issuers;
        self.set_lifetime_max();
        self
    }

    /// Bounds the time from `iat` to `exp` of every token.
    #[must_use]
    pub fn with_lifetime_max(mut self, secs: Option<u64>) -> Self {
        self.rules.lifetime_max_secs = secs;
        self.set_lifetime_max();
        self
    }

    fn set_lifetime_max(&mut self) {
        for issuer in &mut self.issuers {
            issuer.rules.lifetime_max_secs = self.rules.lifetime_max_secs;
        }
    }

    /// How often keys of issuers have been fetched: where this has changed, a token whose key was not known may be judged.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.issuers.iter().map(|issuer| issuer.ring.fetches()).sum()
    }

    /// Whether there is anything that could vouch for a token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.issuers.is_empty()
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
        self.vouch(token, now_unix).map(|login| login.claims)
    }

    /// As [`Verifier::examine`], with the time when it ends.
    ///
    /// # Errors
    /// Exactly what is wrong with it.
    pub fn vouch(&self, token: &str, now_unix: u64) -> Result<Login, Fault> {
        if token.is_empty() {
            return Err(Fault::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Fault::TooLong(token.len()));
        }
        let parts = Parts::cut(token)?;
        let header = URL_SAFE_NO_PAD.decode(parts.header).map_err(|error| Fault::Header(error.to_string()))?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|error| Fault::Header(error.to_string()))?;
        if header.crit.is_some() {
            return Err(Fault::Critical);
        }
        let payload = URL_SAFE_NO_PAD.decode(parts.payload).map_err(|error| Fault::Payload(error.to_string()));
        let (rules, tenant) = match self.issuer_of(payload.as_deref().unwrap_or_default()) {
            Some(issuer) => {
                issuer.check_signature(&header, &parts)?;
                (&issuer.rules, None)
            }
            None => (&self.rules, key_of(&self.keys, &header, &parts)?.tenant.as_ref()),
        };
        let claims = claims::read(&payload?, rules, now_unix)?;
        match tenant {
            Some(only) if *only != claims.tenant => Err(Fault::TenantOfKey(only.clone())),
            _ => {
                let ends_unix = Some(claims.expires_unix.saturating_add(rules.leeway_secs));
                Ok(Login { claims, ends_unix })
            }
        }
    }

    /// Who a token says that it is for, as `tenant/agent`; `None` where it names nobody that could be one. Only for a token whose signature
    /// was found good: nothing is checked here.
    #[must_use]
    pub fn claimed_agent(&self, token: &str) -> Option<String> {
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
        let rules = self.issuer_of(&payload).map_or(&self.rules, |issuer| &issuer.rules);
        let tenant = named.tenant.map_or(Cow::Borrowed(rules.tenant_when_absent()), |tenant| tenant.0);
        let agent = named.sub?.0;
        (is_name(&tenant) && is_name(&agent)).then(|| format!("{tenant}/{agent}"))
    }

    /// The issuer that the token says it is from. What it says is not verified yet; it chooses the keys that have to verify it.
    fn issuer_of(&self, payload: &[u8]) -> Option<&Issuer> {
        if self.issuers.is_empty() {
            return None;
        }
        let named = serde_json::from_slice::<Named<'_>>(payload).ok()?.iss?;
        self.issuers.iter().find(|issuer| issuer.iss == named.0)
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
