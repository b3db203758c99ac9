//! Who is let in, and as whom: the rule that a worker applies to each upgrade.

use std::sync::Arc;

use crate::auth::api_key::{ApiKeys, Backend, Fingerprint};
use crate::auth::claims::TENANT_WHEN_ABSENT;
use crate::auth::permissions::Permissions;
use crate::auth::token::{Claims, Login, Refused, Verifier};
use crate::kit::ids::is_name;
use crate::revocations::{Ban, Target};
use crate::session::effect::{Certified, Greeting};
use crate::wire::origin;
use crate::wire::origins::AllowedOrigins;

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
    /// Its key; `None` in development.
    pub key: Option<Fingerprint>,
    /// Whose agents it may call, and what else it may do.
    pub backend: Arc<Backend>,
}

/// The rule in force; swapped whole when keys are read again.
pub struct Gate {
    /// Checks tokens.
    pub verifier: Verifier,
    /// The longest time after `exp` for which a token may still count, of any issuer, in seconds.
    pub leeway_secs: u64,
    /// The longest that a token may live, in seconds, where that is bounded.
    pub lifetime_max_secs: Option<u64>,
    /// Whether tokens are needed.
    pub openness: Openness,
    /// Whose links are let in.
    pub backends: Backends,
    /// Which web pages may connect.
    pub origins: AllowedOrigins,
}

impl Gate {
    /// Who this is.
    ///
    /// # Errors
    /// Why it is not let in: for the log and the metric, never for the peer.
    pub fn identify(&self, greeting: &Greeting, now_unix: u64) -> Result<Login, Refused> {
        self.check_origin(greeting, self.openness == Openness::Dev)?;
        if let Some(certified) = greeting.certified.as_deref() {
            return self.by_certificate(certified, greeting.token.as_deref(), now_unix);
        }
        match (&greeting.token, &greeting.agent) {
            (Some(token), _) => self.vouch(token, now_unix),
            (None, Some(agent)) if self.openness == Openness::Dev && is_name(agent) => Ok(believed(agent)),
            (None, _) => Err(Refused::Missing),
        }
    }

    /// A certificate is proof enough; a token beside it must say the same, and may say more.
    fn by_certificate(&self, certified: &Certified, token: Option<&str>, now_unix: u64) -> Result<Login, Refused> {
        let Certified::Named { agent, tenant, expires_unix } = certified else {
            return Err(Refused::Certificate);
        };
        if let Some(token) = token {
            return with_certificate(certified, self.vouch(token, now_unix)?);
        }
        let claims = Claims {
            agent: agent.clone(),
            tenant: tenant.as_deref().unwrap_or(TENANT_WHEN_ABSENT).to_owned(),
            labels: Vec::new(),
            methods: None,
            expires_unix: *expires_unix,
            issued_unix: None,
            token_id: None,
        };
        Ok(Login { claims, ends_unix: Some(*expires_unix) })
    }
}

/// A login by a token, whoever vouched for it, over a connection with a certificate: both must say the same, and it counts as long as
/// both do.
///
/// # Errors
/// [`Refused::Certificate`] when they do not.
pub fn with_certificate(certified: &Certified, login: Login) -> Result<Login, Refused> {
    let Certified::Named { agent, tenant, expires_unix } = certified else {
        return Err(Refused::Certificate);
    };
    let tenant = tenant.as_deref().unwrap_or(TENANT_WHEN_ABSENT);
    if login.claims.agent != *agent || login.claims.tenant != tenant {
        return Err(Refused::Certificate);
    }
    let ends_unix = login.ends_unix.map_or(*expires_unix, |ends| ends.min(*expires_unix));
    Ok(Login { ends_unix: Some(ends_unix), ..login })
}

impl Gate {
    /// Whose link this is to be.
    ///
    /// # Errors
    /// Why it is not let in: for the log and the metric, never for the peer.
    pub fn identify_backend(&self, greeting: &Greeting) -> Result<Linker, Refused> {
        self.check_origin(greeting, matches!(self.backends, Backends::Dev))?;
        match &self.backends {
            Backends::Dev => Ok(Linker { key: None, backend: anybody() }),
            Backends::Keys(keys) => {
                let key = Fingerprint::of(greeting.token.as_deref().ok_or(Refused::Missing)?);
                let backend = keys.find(key).ok_or(Refused::Unverified)?;
                Ok(Linker { key: Some(key), backend: Arc::clone(backend) })
            }
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// As for [`Gate::identify`].
    pub fn vouch(&self, token: &str, now_unix: u64) -> Result<Login, Refused> {
        self.verifier.vouch(token, now_unix).map_err(|fault| fault.refused())
    }

    /// When a revocation has outlived every token that it means, where it names no end: those were issued before it, and live no
    /// longer than they may. Clocks of issuers may be off both ways.
    #[must_use]
    pub fn implied_end(&self, ban: &Ban, now_unix: u64) -> Option<u64> {
        let issued_before = match ban.target {
            Target::TokenId(_) => Some(ban.issued_before.unwrap_or(now_unix)),
            Target::Agent(_) | Target::Tenant => ban.issued_before,
        };
        let life = self.lifetime_max_secs?.saturating_add(self.leeway_secs.saturating_mul(2));
        Some(issued_before?.max(now_unix).saturating_add(life))
    }

    /// A browser says which page asks. Before tokens and keys, so that a page learns nothing about those that it may have brought. In
    /// development pages of this machine pass: others must not get in through a browser of this machine.
    fn check_origin(&self, greeting: &Greeting, dev: bool) -> Result<(), Refused> {
        let Some(page) = greeting.origin.as_deref() else {
            return Ok(());
        };
        let allowed = self.origins.allow(page) || dev && origin::is_loopback(page);
        if allowed { Ok(()) } else { Err(Refused::Origin) }
    }

    /// What a backend that was let in would be let in as now; `None` when it would not be.
    #[must_use]
    pub fn admits_still(&self, backend: &Arc<Backend>, key: Option<Fingerprint>) -> Option<Arc<Backend>> {
        match (&self.backends, key) {
            (Backends::Dev, None) => Some(Arc::clone(backend)),
            (Backends::Keys(keys), Some(key)) => keys.find(key).filter(|now| now.tenant == backend.tenant).cloned(),
            _ => None,
        }
    }
}

/// Whoever comes without a key, in development: it may do everything.
#[must_use]
pub fn anybody() -> Arc<Backend> {
    Arc::new(Backend { name: "".into(), tenant: DEV_TENANT.into(), permissions: Permissions::everything() })
}

/// Believes an id without proof.
fn believed(agent: &str) -> Login {
    let claims = Claims {
        agent: agent.to_owned(),
        tenant: DEV_TENANT.to_owned(),
        labels: Vec::new(),
        methods: None,
        expires_unix: u64::MAX,
        issued_unix: None,
        token_id: None,
    };
    Login { claims, ends_unix: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::token::{self, Algorithm, KeySource};
    use crate::session::rules::Door;
    use crate::wire::upgrade::Offer;

    fn gate(openness: Openness) -> Gate {
        Gate {
            verifier: Verifier::new(&[], None, 0).expect("no keys are no wrong keys"),
            leeway_secs: 0,
            lifetime_max_secs: None,
            openness,
            backends: match openness {
                Openness::Dev => Backends::Dev,
                Openness::TokensOnly => Backends::Keys(ApiKeys::new(&[]).expect("no keys are no wrong keys")),
            },
            origins: AllowedOrigins(vec!["https://*.good.example".parse().expect("an origin")]),
        }
    }

    fn asked(agent: &str, origin: Option<&str>) -> Greeting {
        Greeting {
            door: Door::Agents,
            peer: None,
            held_to: None,
            token: None,
            agent: Some(agent.to_owned()),
            certified: None,
            origin: origin.map(str::to_owned),
            accept: [0; 28],
            offer: Offer::Nothing,
            deflate: None,
        }
    }

    #[test]
    fn development_believes_this_machine_and_listed_pages_alone() {
        for (openness, agent, origin, expected) in [
            (Openness::Dev, "web-1", None, Ok("web-1")),
            (Openness::Dev, "web-1", Some("http://localhost:3000"), Ok("web-1")),
            (Openness::Dev, "web-1", Some("https://app.good.example"), Ok("web-1")),
            (Openness::Dev, "web-1", Some("https://evil.example"), Err(Refused::Origin)),
            (Openness::Dev, "web-1", Some("null"), Err(Refused::Origin)),
            (Openness::Dev, "no name", None, Err(Refused::Missing)),
            (Openness::TokensOnly, "web-1", None, Err(Refused::Missing)),
        ] {
            let identified = gate(openness).identify(&asked(agent, origin), 0).map(|login| login.claims.agent);
            assert_eq!(identified, expected.map(str::to_owned), "{openness:?} {agent} {origin:?}");
        }
    }

    #[test]
    fn a_certificate_and_a_token_must_agree() {
        let key = KeySource { id: "k".to_owned(), algorithm: Algorithm::Hs256, material: vec![7; 32], tenant: None };
        let mut gate = gate(Openness::TokensOnly);
        gate.verifier = Verifier::new(std::slice::from_ref(&key), None, 0).expect("a good key");
        let token = |agent: &str, tenant: &str| {
            let (agent, tenant) = (agent.to_owned(), tenant.to_owned());
            let claims = Claims {
                agent,
                tenant,
                labels: Vec::new(),
                methods: None,
                expires_unix: 500,
                issued_unix: None,
                token_id: None,
            };
            token::mint(&key, None, &claims).expect("a token")
        };
        let named = |tenant: Option<&str>, expires_unix| Certified::Named {
            agent: "a".to_owned(),
            tenant: tenant.map(str::to_owned),
            expires_unix,
        };
        for (certified, token, expected) in [
            (named(None, 900), None, Ok(("default", Some(900)))),
            (named(Some("acme"), 900), None, Ok(("acme", Some(900)))),
            (named(Some("acme"), 900), Some(token("a", "acme")), Ok(("acme", Some(500)))),
            (named(Some("acme"), 300), Some(token("a", "acme")), Ok(("acme", Some(300)))),
            (named(Some("acme"), 900), Some(token("a", "other")), Err(Refused::Certificate)),
            (named(None, 900), Some(token("b", "default")), Err(Refused::Certificate)),
            (named(None, 900), Some("none".to_owned()), Err(Refused::Unverified)),
            (Certified::Nameless, None, Err(Refused::Certificate)),
            (Certified::Nameless, Some(token("a", "default")), Err(Refused::Certificate)),
        ] {
            let greeting =
                Greeting { certified: Some(Box::new(certified)), token: token.map(Into::into), ..asked("x", None) };
            let login = gate.identify(&greeting, 100);
            let seen = login.as_ref().map(|login| (login.claims.tenant.as_str(), login.ends_unix)).map_err(|e| *e);
            assert_eq!(seen, expected, "{greeting:?}");
        }
    }

    #[test]
    fn a_revocation_ends_when_no_token_that_it_means_can_be_good() {
        let gate = Gate { leeway_secs: 30, lifetime_max_secs: Some(3600), ..gate(Openness::TokensOnly) };
        let boundless = Gate { lifetime_max_secs: None, ..self::gate(Openness::TokensOnly) };
        let ban = |target: &Target, issued_before| Ban {
            tenant: "t".to_owned(),
            target: target.clone(),
            issued_before,
            reason: String::new(),
            expires_unix: None,
        };
        let token = Target::TokenId("j".to_owned());
        for (target, before, end) in [
            (&token, None, Some(5_000 + 3660)),
            (&Target::Agent("a".to_owned()), None, None),
            (&Target::Tenant, None, None),
            (&Target::Tenant, Some(4_000), Some(5_000 + 3660)),
            (&Target::Tenant, Some(6_000), Some(6_000 + 3660)),
        ] {
            assert_eq!(gate.implied_end(&ban(target, before), 5_000), end, "{target:?} {before:?}");
            assert_eq!(boundless.implied_end(&ban(target, before), 5_000), None);
        }
    }

    #[test]
    fn pages_are_turned_away_before_anything_else_is_looked_at() {
        for (openness, origin, refused) in [
            (Openness::TokensOnly, None, Refused::Missing),
            (Openness::TokensOnly, Some("https://app.good.example"), Refused::Missing),
            (Openness::TokensOnly, Some("http://localhost:3000"), Refused::Origin),
            (Openness::TokensOnly, Some("https://evil.example"), Refused::Origin),
        ] {
            let gate = gate(openness);
            for token in [None, Some("a token that is none".to_owned())] {
                let greeting = Greeting { token: token.clone().map(Into::into), agent: None, ..asked("", origin) };
                let expected =
                    if token.is_some() && refused == Refused::Missing { Refused::Unverified } else { refused };
                assert_eq!(gate.identify(&greeting, 0).err(), Some(expected), "{origin:?} {token:?}");
                assert_eq!(gate.identify_backend(&greeting).err(), Some(expected), "{origin:?} {token:?}");
            }
        }
    }
}
