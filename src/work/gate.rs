//! Who is let in, and as whom: the rule that a worker applies to each upgrade.

use crate::auth::token::{Claims, Refused, Verifier};
use crate::kit::ids::is_name;
use crate::session::effect::Greeting;

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
            (None, Some(agent)) if self.openness == Openness::Dev && is_name(agent) => Ok(Claims {
                agent: agent.clone(),
                tenant: DEV_TENANT.to_owned(),
                labels: Vec::new(),
                expires_unix: u64::MAX,
            }),
            (None, _) => Err(Refused::Missing),
        }
    }
}
