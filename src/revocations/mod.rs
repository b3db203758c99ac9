//! Tokens that are good by themselves and are to let nobody in any more: by id, by agent, by tenant, or issued before a moment.
//!
//! Owns what is revoked, in memory and in a file that outlives the process. It knows no connection: who is in and what becomes of
//! them is decided above.
//!
//! A revocation that ends is over when two clocks say so: the one on the wall, and the count of the seconds that the gateway has run
//! since. A wall that jumps ahead, or was behind when somebody was revoked, lets nobody back in; neither does a restart while it is
//! wrong, since the count is in the file. What the count does not know of, the time between two processes, makes it late, never early.

pub mod journal;
pub mod set;

use serde::{Deserialize, Serialize};

/// Longest id of a token that can be revoked, and longest reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// Whose tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The token with this id (`jti`).
    TokenId(String),
    /// All of this agent.
    Agent(String),
    /// All of the tenant.
    Tenant,
}

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The tenant whose tokens are meant; those of others are never touched.
    pub tenant: String,
    /// Which of them.
    pub target: Target,
    /// Only those that were issued before this second since the UNIX epoch, and those that do not say when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<u64>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// From this second since the UNIX epoch on it is in force no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix: Option<u64>,
}

/// A revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Its number; they only grow.
    pub id: u64,
    /// When it was made, in seconds since the UNIX epoch.
    pub created_unix: u64,
    /// The same, in seconds that the gateway had run by then, by [`Moment::running_secs`]. 0 in files that are older than that count.
    #[serde(default)]
    pub created_ran: u64,
    /// What it revokes.
    #[serde(flatten)]
    pub ban: Ban,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall, in seconds since the UNIX epoch.
    pub unix_secs: u64,
    /// Seconds that this process has run.
    pub running_secs: u64,
}

/// A token at the door, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// Its agent.
    pub agent: &'a str,
    /// Its id.
    pub token_id: Option<&'a str>,
    /// When it was issued, in seconds since the UNIX epoch.
    pub issued_unix: Option<u64>,
}

impl Revocation {
    /// Whether it is in force no more, at a second since the UNIX epoch and after so many seconds that the gateway has run, of this
    /// process and those before it. Both must say so.
    #[must_use]
    pub fn is_over(&self, unix_secs: u64, ran_secs: u64) -> bool {
        self.ban.expires_unix.is_some_and(|expires| {
            let span = expires.saturating_sub(self.created_unix);
            unix_secs >= expires && ran_secs.saturating_sub(self.created_ran) >= span
        })
    }
}

/// Whether a token that was issued then is meant by a revocation of those issued before a moment: one that does not say when is, and
/// without a moment all are.
fn is_before(issued_unix: Option<u64>, issued_before: Option<u64>) -> bool {
    issued_before.is_none_or(|before| issued_unix.is_none_or(|issued| issued < before))
}
