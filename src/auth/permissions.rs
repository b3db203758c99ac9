//! What an API key may do, and what may be done over the connection of an agent's token: the one place that decides it.
//!
//! Owns the rights, the methods and the agents that a key is bound to, and how they are written in the settings. It looks for no
//! agent and answers nobody: whoever asks turns a [`Ruling`] into an answer, and [`Ruling::Hidden`] into the one for an agent that
//! does not exist.

use std::str::FromStr;

use crate::kit::labels::{self, Condition};
pub use crate::kit::methods::Methods;

/// One thing that a key may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Call agents.
    Call,
    /// List agents, and look at one.
    List,
    /// End agents' connections.
    Disconnect,
    /// Look at the node: its figures are those of all tenants.
    Observe,
    /// Change who may come in.
    Administer,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Call, Self::List, Self::Disconnect, Self::Observe, Self::Administer];

    /// What a key may do whose settings name no right: what every key could do before there were rights. What came later must be
    /// named.
    const UNNAMED: [Self; 4] = [Self::Call, Self::List, Self::Disconnect, Self::Observe];

    /// Its word, in the settings and wherever one is told of it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::List => "list",
            Self::Disconnect => "disconnect",
            Self::Observe => "observe",
            Self::Administer => "administer",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Right {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|right| right.word() == text).ok_or_else(|| {
            let words: Vec<_> = Self::ALL.iter().map(|right| format!("\"{}\"", right.word())).collect();
            format!("must be one of {}", words.join(", "))
        })
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Anything that takes this right, before it is known what it is done to.
    Use(Right),
    /// Call this method, whoever is called.
    Call {
        /// Its name.
        method: &'a str,
    },
    /// Do something to an agent with these labels, sorted by key.
    Reach {
        /// They.
        labels: &'a [(Box<str>, Box<str>)],
    },
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may.
    Allowed,
    /// It may not, and is told so: what it named is its own, or is written in the API.
    Forbidden,
    /// It may not, and must not learn whether there is such an agent.
    Hidden,
}

/// What one key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    rights: u8,
    /// `None`: all of them.
    methods: Option<Vec<Methods>>,
    /// Conditions that agents must fulfil.
    agents: Vec<Condition>,
}

impl Permissions {
    /// Everything, to all agents: in development.
    #[must_use]
    pub fn everything() -> Self {
        Self::of(&Right::ALL, None, Vec::new())
    }

    /// From the settings: without `rights` those that are not named (`Right::UNNAMED`), without `methods` all of them, without
    /// conditions all agents of the tenant.
    #[must_use]
    pub fn new(rights: Option<&[Right]>, methods: Option<Vec<Methods>>, agents: Vec<Condition>) -> Self {
        Self::of(rights.unwrap_or(&Right::UNNAMED), methods, agents)
    }

    fn of(rights: &[Right], methods: Option<Vec<Methods>>, agents: Vec<Condition>) -> Self {
        Self { rights: rights.iter().fold(0, |bits, right| bits | right.bit()), methods, agents }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, act: Act<'_>) -> Ruling {
        let (allowed, otherwise) = match act {
            Act::Use(right) => (self.has(right), Ruling::Forbidden),
            Act::Call { method } => {
                (self.has(Right::Call) && are_listed(self.methods.as_deref(), method), Ruling::Forbidden)
            }
            Act::Reach { labels } => (labels::all_hold(&self.agents, labels), Ruling::Hidden),
        };
        if allowed { Ruling::Allowed } else { otherwise }
    }

    /// The conditions that agents must fulfil; none where all agents are reached, so that nobody need look at labels.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.agents
    }

    fn has(&self, right: Right) -> bool {
        self.rights & right.bit() != 0
    }
}

/// Whether an agent may be called with this method, by the `methods` of its own token (`None` where it names none), whatever the key of
/// the caller allows. Asked of agents that the caller reaches: it is never [`Ruling::Hidden`].
#[must_use]
pub fn by_token(methods: Option<&[Methods]>, method: &str) -> Ruling {
    if are_listed(methods, method) { Ruling::Allowed } else { Ruling::Forbidden }
}

/// Without a list every method is listed; an empty one lists none.
fn are_listed(methods: Option<&[Methods]>, method: &str) -> bool {
    methods.is_none_or(|methods| methods.iter().any(|methods| methods.hold(method)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn methods(text: &str) -> Vec<Methods> {
        text.split_whitespace().map(|one| one.parse().unwrap()).collect()
    }

    fn conditions(text: &str) -> Vec<Condition> {
        text.split_whitespace().map(|one| labels::condition(one).unwrap()).collect()
    }

    fn stored(text: &str) -> Vec<(Box<str>, Box<str>)> {
        conditions(text).into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn a_right_is_what_it_is_and_no_other() {
        for has in Right::ALL {
            let key = Permissions::new(Some(&[has]), None, Vec::new());
            for asked in Right::ALL {
                let expected = if has == asked { Ruling::Allowed } else { Ruling::Forbidden };
                assert_eq!(key.may(Act::Use(asked)), expected, "{has:?} {asked:?}");
                assert_eq!(Permissions::everything().may(Act::Use(asked)), Ruling::Allowed);
            }
        }
    }

    #[test]
    fn a_key_without_permissions_keeps_what_it_could_do_before_and_gets_nothing_new() {
        let key = Permissions::new(None, None, Vec::new());
        let may: Vec<_> = Right::ALL.into_iter().filter(|right| key.may(Act::Use(*right)) == Ruling::Allowed).collect();
        assert_eq!(may, [Right::Call, Right::List, Right::Disconnect, Right::Observe]);
        assert_eq!(key.may(Act::Call { method: "any.thing" }), Ruling::Allowed);
        assert_eq!(key.may(Act::Reach { labels: &[] }), Ruling::Allowed);
    }

    #[test]
    fn methods_are_by_name_or_by_beginning() {
        let key = Permissions::new(Some(&[Right::Call]), Some(methods("backup.* disk.free")), Vec::new());
        for (method, expected) in [
            ("backup.start", Ruling::Allowed),
            ("backup.", Ruling::Allowed),
            ("backup", Ruling::Forbidden),
            ("Backup.start", Ruling::Forbidden),
            ("xbackup.start", Ruling::Forbidden),
            ("disk.free", Ruling::Allowed),
            ("disk.freeze", Ruling::Forbidden),
            ("disk", Ruling::Forbidden),
            ("", Ruling::Forbidden),
        ] {
            assert_eq!(key.may(Act::Call { method }), expected, "{method}");
        }
        let all = Permissions::new(Some(&[Right::Call]), Some(methods("*")), Vec::new());
        assert_eq!(all.may(Act::Call { method: "any" }), Ruling::Allowed);
        let none = Permissions::new(Some(&[Right::List]), Some(methods("*")), Vec::new());
        assert_eq!(none.may(Act::Call { method: "any" }), Ruling::Forbidden, "without the right no method is one");
    }

    #[test]
    fn a_token_names_the_methods_that_its_agent_is_called_with() {
        let (listed, none) = (methods("disk.* ping"), Vec::new());
        for (named, method, expected) in [
            (None, "any", Ruling::Allowed),
            (Some(&listed), "disk.free", Ruling::Allowed),
            (Some(&listed), "ping", Ruling::Allowed),
            (Some(&listed), "pings", Ruling::Forbidden),
            (Some(&listed), "", Ruling::Forbidden),
            (Some(&none), "ping", Ruling::Forbidden),
            (Some(&none), "", Ruling::Forbidden),
        ] {
            assert_eq!(by_token(named.map(Vec::as_slice), method), expected, "{named:?} {method}");
        }
    }

    #[test]
    fn agents_of_others_are_hidden_and_never_forbidden() {
        let key = Permissions::new(None, None, conditions("site=ams tier=gold"));
        for (labels, expected) in [
            ("site=ams tier=gold", Ruling::Allowed),
            ("a=b site=ams tier=gold z=z", Ruling::Allowed),
            ("site=ams", Ruling::Hidden),
            ("site=ams tier=silver", Ruling::Hidden),
            ("", Ruling::Hidden),
        ] {
            assert_eq!(key.may(Act::Reach { labels: &stored(labels) }), expected, "{labels}");
        }
    }

    #[test]
    fn what_is_no_right_is_refused() {
        for bad in ["", "Call", "publish", "calls"] {
            assert!(bad.parse::<Right>().unwrap_err().contains("\"call\", \"list\""), "{bad}");
        }
        for right in Right::ALL {
            assert_eq!(right.word().parse(), Ok(right));
        }
    }

    proptest! {
        /// More rights, more methods or fewer conditions never forbid what was allowed.
        #[test]
        fn permissions_only_grow(
            rights in vec(0usize..5, 0..5), more in 0usize..5, patterns in vec("[a-c]{0,2}\\*?", 1..4),
            method in "[a-c]{0,3}", wanted in vec(("[ab]", "[xy]"), 0..3), labels in vec(("[ab]", "[xy]"), 0..3),
        ) {
            let rights: Vec<Right> = rights.into_iter().map(|index| Right::ALL[index]).collect();
            let patterns: Vec<Methods> = patterns.iter().filter_map(|text| text.parse().ok()).collect();
            let mut stored: Vec<(Box<str>, Box<str>)> =
                labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            stored.sort();
            stored.dedup_by(|one, other| one.0 == other.0);
            let narrow = Permissions::new(Some(&rights), Some(patterns.clone()), wanted.clone());
            let wider = [rights.as_slice(), &[Right::ALL[more]]].concat();
            let wide = Permissions::new(Some(&wider), None, wanted.into_iter().skip(1).collect());
            let mut acts: Vec<Act<'_>> = Right::ALL.into_iter().map(Act::Use).collect();
            acts.extend([Act::Call { method: &method }, Act::Reach { labels: &stored }]);
            for act in acts {
                prop_assert!(narrow.may(act) != Ruling::Allowed || wide.may(act) == Ruling::Allowed, "{:?}", act);
            }
        }
    }
}
