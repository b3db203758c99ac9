//! Who is let in, and as whom: the rule that a worker applies to each upgrade.

use crate::auth::api_key::{ApiKeys, Fingerprint};
use crate::auth::token::{Claims, Refused, Verifier};
use crate::kit::ids::is_name;
use crate::session::effect::Greeting;
use crate::wire::origin;

/// The tenant of agents and backends that come without proof, in development.
pub const DEV_TENANT: &str = "default";

/// Whether agents may come without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// A good token is needed.
    TokensOnly,
    /// Development, on loopback: `?agent=ID` is believed where no token is given.
    Dev,
}

/// Who may open a control link.
pub enum Backends {
    /// Development, on loopback: everybody, as the tenant [`DEV_TENANT`]; keys are not looked at.
    Dev,
    /// Holders of these keys.
    Keys(ApiKeys),
}

/// A backend that may open a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// Whose agents it may call.
    pub tenant: String,
    /// Its key; `None` in development.
    pub key: Option<Fingerprint>,
}

/// The rule in force; swapped whole when keys are read again.
pub struct Gate {
    /// Checks tokens.
    pub verifier: Verifier,
    /// How long after `exp` a token still counts, in seconds: for entry, and for staying.
    pub leeway_secs: u64,
    /// Whether tokens are needed.
    pub openness: Openness,
    /// Whose links are let in.
    pub backends: Backends,
}

impl Gate {
    /// Who this is.
    ///
    /// # Errors
    /// Why it is not let in: for the log and the metric, never for the peer.
    pub fn identify(&self, greeting: &Greeting, now_unix: u64) -> Result<Claims, Refused> {
        match (&greeting.token, &greeting.agent) {
            (Some(token), _) => self.verifier.verify(token, now_unix),
            (None, Some(agent)) if self.openness == Openness::Dev && is_name(agent) => believed(agent, greeting),
            (None, _) => Err(Refused::Missing),
        }
    }
}

impl Gate {
    /// Whose link this is to be.
    ///
    /// # Errors
    /// Why it is not let in: for the log and the metric, never for the peer.
    pub fn identify_backend(&self, greeting: &Greeting) -> Result<Linker, Refused> {
        match &self.backends {
            // As on the control port: a page of another site must not get in through a browser of this machine.
            Backends::Dev if is_foreign(greeting) => Err(Refused::Origin),
            Backends::Dev => Ok(Linker { tenant: DEV_TENANT.to_owned(), key: None }),
            Backends::Keys(keys) => {
                let key = Fingerprint::of(greeting.token.as_deref().ok_or(Refused::Missing)?);
                let backend = keys.find(key).ok_or(Refused::Unverified)?;
                Ok(Linker { tenant: backend.tenant.clone(), key: Some(key) })
            }
        }
    }

    /// Whether a link that was let in would be let in again.
    #[must_use]
    pub fn still_admits(&self, tenant: &str, key: Option<Fingerprint>) -> bool {
        match (&self.backends, key) {
            (Backends::Dev, None) => true,
            (Backends::Keys(keys), Some(key)) => keys.find(key).is_some_and(|backend| backend.tenant == tenant),
            _ => false,
        }
    }
}

fn is_foreign(greeting: &Greeting) -> bool {
    greeting.origin.as_deref().is_some_and(|origin| !origin::is_loopback(origin))
}

/// Believes an id without proof, but not when the page of another site brings it through a browser of this machine.
fn believed(agent: &str, greeting: &Greeting) -> Result<Claims, Refused> {
    if is_foreign(greeting) {
        return Err(Refused::Origin);
    }
    Ok(Claims { agent: agent.to_owned(), tenant: DEV_TENANT.to_owned(), labels: Vec::new(), expires_unix: u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::rules::Door;
    use crate::wire::upgrade::Offer;

    #[test]
    fn development_believes_this_machine_alone() {
        let gate = |openness| Gate {
            verifier: Verifier::new(&[], None, 0).expect("no keys are no wrong keys"),
            leeway_secs: 0,
            openness,
            backends: Backends::Dev,
        };
        let asked = |agent: &str, origin: Option<&str>| Greeting {
            door: Door::Agents,
            token: None,
            agent: Some(agent.to_owned()),
            origin: origin.map(str::to_owned),
            accept: [0; 28],
            offer: Offer::Nothing,
        };
        for (openness, agent, origin, expected) in [
            (Openness::Dev, "web-1", None, Ok("web-1")),
            (Openness::Dev, "web-1", Some("http://localhost:3000"), Ok("web-1")),
            (Openness::Dev, "web-1", Some("https://evil.example"), Err(Refused::Origin)),
            (Openness::Dev, "web-1", Some("null"), Err(Refused::Origin)),
            (Openness::Dev, "no name", None, Err(Refused::Missing)),
            (Openness::TokensOnly, "web-1", None, Err(Refused::Missing)),
        ] {
            let identified = gate(openness).identify(&asked(agent, origin), 0).map(|claims| claims.agent);
            assert_eq!(identified, expected.map(str::to_owned), "{openness:?} {agent} {origin:?}");
        }
    }
}
