//! Who is let in, and as whom: the rule that a worker applies to each upgrade.

use crate::auth::token::{Claims, Refused, Verifier};
use crate::kit::ids::is_name;
use crate::session::effect::Greeting;
use crate::wire::origin;

/// The tenant of agents that come without proof, in development.
pub const DEV_TENANT: &str = "default";

/// Whether agents may come without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Openness {
    /// A good token is needed.
    TokensOnly,
    /// Development, on loopback: `?agent=ID` is believed where no token is given.
    Dev,
}

/// The rule in force; swapped whole when keys are read again.
pub struct Gate {
    /// Checks tokens.
    pub verifier: Verifier,
    /// How long after `exp` a token still counts, in seconds: for entry, and for staying.
    pub leeway_secs: u64,
    /// Whether tokens are needed.
    pub openness: Openness,
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

/// Believes an id without proof, but not when the page of another site brings it through a browser of this machine.
fn believed(agent: &str, greeting: &Greeting) -> Result<Claims, Refused> {
    if greeting.origin.as_deref().is_some_and(|origin| !origin::is_loopback(origin)) {
        return Err(Refused::Origin);
    }
    Ok(Claims { agent: agent.to_owned(), tenant: DEV_TENANT.to_owned(), labels: Vec::new(), expires_unix: u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::upgrade::Offer;

    #[test]
    fn development_believes_this_machine_alone() {
        let gate = |openness| Gate {
            verifier: Verifier::new(&[], None, 0).expect("no keys are no wrong keys"),
            leeway_secs: 0,
            openness,
        };
        let asked = |agent: &str, origin: Option<&str>| Greeting {
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
