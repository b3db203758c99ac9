//! One limit of the host: what it is, what is needed, how many agents it lets in.
//!
//! Owns the type and what follows from it. It reads nothing and prints nothing.

use std::fmt;

use serde::Serialize;

/// What a limit bears on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bearing {
    /// The number of agents: no more than it allows can be connected.
    Agents,
    /// Bursts only: more agents can rest, but a storm or a message to all of them at once is slow.
    Bursts,
    /// Nothing by itself; good to know.
    Nothing,
}

/// Whether there is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough.
    Ok,
    /// Too little: the agents do not fit.
    Short,
    /// Too little for bursts.
    Slow,
    /// Not to be seen from here.
    Unknown,
}

impl Verdict {
    /// The word for it in a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Short => "SHORT",
            Self::Slow => "slow",
            Self::Unknown => "?",
        }
    }
}

/// How much there is or must be. In JSON a number, a text or null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Amount {
    /// So many.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// What is no number.
    Text(String),
    /// Not to be seen, or not needed.
    None,
}

impl From<Option<u64>> for Amount {
    fn from(count: Option<u64>) -> Self {
        match count {
            // JSON readers round a number of that size.
            Some(u64::MAX) => Self::Text("unlimited".to_owned()),
            Some(count) => Self::Count(count),
            None => Self::None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => out.pad(&grouped(*count)),
            Self::Bytes(bytes) => out.pad(&format!("{} MiB", grouped(bytes >> 20))),
            Self::Text(text) => out.pad(text),
            Self::None => out.pad("-"),
        }
    }
}

/// A number with a comma after each three digits.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, as the system has it.
    pub limit: &'static str,
    /// What it is in words, for the first line.
    pub about: &'static str,
    /// What there is.
    pub have: Amount,
    /// What must be there for the agents that were asked for.
    pub need: Amount,
    /// How many agents it allows; `None` where it sets no number.
    pub agents: Option<u64>,
    /// What it bears on.
    pub bearing: Bearing,
    /// Whether there is enough.
    pub verdict: Verdict,
    /// The command or setting that lifts it; empty where there is enough.
    pub lift: String,
}

impl Finding {
    /// A limit that lets in so many agents, against the agents that were asked for.
    #[must_use]
    pub fn bound(
        limit: &'static str,
        about: &'static str,
        have: Option<u64>,
        need: u64,
        agents: Option<u64>,
        connections: u64,
        lift: impl FnOnce() -> String,
    ) -> Self {
        let verdict = match agents {
            None => Verdict::Unknown,
            Some(agents) if agents < connections => Verdict::Short,
            Some(_) => Verdict::Ok,
        };
        let lift = if verdict == Verdict::Short { lift() } else { String::new() };
        let (have, need, bearing) = (have.into(), Amount::Count(need), Bearing::Agents);
        Self { limit, about, have, need, agents, bearing, verdict, lift }
    }

    /// A limit below which nothing works, and above which it sets no number.
    #[must_use]
    pub fn threshold(
        limit: &'static str,
        about: &'static str,
        have: Amount,
        need: Amount,
        verdict: Verdict,
        lift: impl FnOnce() -> String,
    ) -> Self {
        let (agents, lift) = match verdict {
            Verdict::Short => (Some(0), lift()),
            Verdict::Ok | Verdict::Slow | Verdict::Unknown => (None, String::new()),
        };
        Self { limit, about, have, need, agents, bearing: Bearing::Agents, verdict, lift }
    }

    /// A limit that only bursts meet.
    #[must_use]
    pub fn burst(
        limit: &'static str,
        about: &'static str,
        have: Option<u64>,
        need: u64,
        agents: Option<u64>,
        lift: impl FnOnce() -> String,
    ) -> Self {
        let (verdict, lift) = match have {
            None => (Verdict::Unknown, String::new()),
            Some(have) if have < need => (Verdict::Slow, lift()),
            Some(_) => (Verdict::Ok, String::new()),
        };
        let (have, need, bearing) = (have.into(), Amount::Count(need), Bearing::Bursts);
        Self { limit, about, have, need, agents, bearing, verdict, lift }
    }

    /// What sets no limit by itself.
    #[must_use]
    pub fn good_to_know(limit: &'static str, about: &'static str, have: Amount) -> Self {
        let (need, verdict, bearing) = (Amount::None, Verdict::Ok, Bearing::Nothing);
        Self { limit, about, have, need, agents: None, bearing, verdict, lift: String::new() }
    }
}

/// The limit on the number of agents that is met first.
#[must_use]
pub fn bites_first(findings: &[Finding]) -> Option<&Finding> {
    let bounding = findings.iter().filter(|finding| finding.bearing == Bearing::Agents && finding.agents.is_some());
    bounding.min_by_key(|finding| finding.agents)
}
