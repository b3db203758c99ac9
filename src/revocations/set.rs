//! All revocations, to be asked at each login.
//!
//! Owns them in memory, by number and by whom they mean, and how long the gateway had run before this process. Bounded; what is in
//! force no more can be taken out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::{Ban, Moment, Revocation, Shown, Target, is_before};

/// There are as many revocations as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Whom revocations mean: a tenant and one of its targets.
type Meant = (String, Target);

/// One of those that mean the same, the newest last: what a login looks at first.
#[derive(Debug)]
struct Mark {
    id: u64,
    issued_before: Option<u64>,
}

/// The revocations of a node.
#[derive(Debug, Default)]
pub struct Set {
    by_id: BTreeMap<u64, Revocation>,
    // Keyed SipHash: ids of tokens and agents are chosen by strangers.
    by_target: HashMap<Meant, Vec<Mark>>,
    last_id: u64,
    /// Seconds that the gateway ran before this process, as far as the file tells.
    ran_before: u64,
}

impl Set {
    /// Those that were read from a file.
    #[must_use]
    pub fn of(revocations: impl IntoIterator<Item = Revocation>) -> Self {
        let mut set = Self::default();
        revocations.into_iter().for_each(|revocation| set.insert(revocation));
        set
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The next revocation, not put in yet.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn draft(&self, ban: Ban, now: Moment, max: usize) -> Result<Revocation, Full> {
        if self.len() >= max {
            return Err(Full);
        }
        let (created_unix, created_ran) = (now.unix_secs, self.ran(now));
        Ok(Revocation { id: self.last_id + 1, created_unix, created_ran, ban })
    }

    /// Seconds that the gateway has run, of this process and of those before it.
    #[must_use]
    pub fn ran(&self, now: Moment) -> u64 {
        self.ran_before.saturating_add(now.running_secs)
    }

    /// The file says that the gateway had run for so long.
    pub fn set_ran_before(&mut self, ran_secs: u64) {
        self.ran_before = self.ran_before.max(ran_secs);
    }

    /// Whether any of them ends: only then it matters how long the gateway runs.
    #[must_use]
    pub fn has_ends(&self) -> bool {
        self.all().any(|revocation| revocation.ban.expires_unix.is_some())
    }

    /// Puts one in.
    pub fn insert(&mut self, revocation: Revocation) {
        self.last_id = self.last_id.max(revocation.id);
        let meant = (revocation.ban.tenant.clone(), revocation.ban.target.clone());
        let mark = Mark { id: revocation.id, issued_before: revocation.ban.issued_before };
        self.by_target.entry(meant).or_default().push(mark);
        self.by_id.insert(revocation.id, revocation);
    }

    /// The last number that was given, where its revocation is not here any more.
    #[must_use]
    pub fn last_gone(&self) -> Option<u64> {
        (self.last_id > 0 && !self.by_id.contains_key(&self.last_id)).then_some(self.last_id)
    }

    /// Takes one out. Its number is not given again.
    pub fn remove(&mut self, id: u64) -> Option<Revocation> {
        self.last_id = self.last_id.max(id);
        let gone = self.by_id.remove(&id)?;
        let meant = (gone.ban.tenant.clone(), gone.ban.target.clone());
        if let Some(marks) = self.by_target.get_mut(&meant) {
            if let Some(at) = marks.iter().rposition(|mark| mark.id == id) {
                marks.remove(at);
            }
            if marks.is_empty() {
                self.by_target.remove(&meant);
            }
        }
        Some(gone)
    }

    /// One of a tenant.
    #[must_use]
    pub fn get(&self, tenant: &str, id: u64) -> Option<&Revocation> {
        self.by_id.get(&id).filter(|revocation| revocation.ban.tenant == tenant)
    }

    /// Those of a tenant whose numbers are above `after`, the oldest first.
    pub fn page<'a>(&'a self, tenant: &'a str, after: u64) -> impl Iterator<Item = &'a Revocation> {
        let later = self.by_id.range((Bound::Excluded(after), Bound::Unbounded));
        later.map(|(_, revocation)| revocation).filter(move |revocation| revocation.ban.tenant == tenant)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Revocation> {
        self.by_id.values()
    }

    /// The numbers of those that are in force no more.
    #[must_use]
    pub fn over(&self, now: Moment) -> Vec<u64> {
        let ran = self.ran(now);
        let over = self.all().filter(|revocation| revocation.is_over(now.unix_secs, ran));
        over.map(|revocation| revocation.id).collect()
    }

    /// Whether a token is revoked.
    #[must_use]
    pub fn means(&self, shown: &Shown<'_>, now: Moment) -> bool {
        if self.is_empty() {
            return false;
        }
        let targets = [
            Some(Target::Tenant),
            Some(Target::Agent(shown.agent.to_owned())),
            shown.token_id.map(|id| Target::TokenId(id.to_owned())),
        ];
        let ran = self.ran(now);
        targets.into_iter().flatten().any(|target| {
            let marks = self.by_target.get(&(shown.tenant.to_owned(), target));
            let meant = marks.into_iter().flatten().filter(|mark| is_before(shown.issued_unix, mark.issued_before));
            let mut meant = meant.filter_map(|mark| self.by_id.get(&mark.id));
            meant.any(|one| !one.is_over(now.unix_secs, ran))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// The process has run for as long as the wall has moved.
    fn at(unix_secs: u64) -> Moment {
        Moment { unix_secs, running_secs: unix_secs.saturating_sub(NOW - 10_000) }
    }

    fn ban(target: Target, issued_before: Option<u64>, expires_unix: Option<u64>) -> Ban {
        Ban { tenant: "acme".into(), target, issued_before, reason: String::new(), expires_unix }
    }

    fn shown<'a>(tenant: &'a str, agent: &'a str, token_id: Option<&'a str>, issued: Option<u64>) -> Shown<'a> {
        Shown { tenant, agent, token_id, issued_unix: issued }
    }

    #[test]
    fn each_target_means_its_own_and_no_other_tenant() {
        let agent = || Target::Agent("web-1".into());
        let token = || Target::TokenId("j1".into());
        for (target, before, until, expected) in [
            // web-1 with j1 of now, without an id, of an hour ago, without a time; web-2; another tenant's web-1 with j1.
            (token(), None, None, [true, false, true, true, false, false]),
            (agent(), None, None, [true, true, true, true, false, false]),
            (agent(), Some(NOW - 60), None, [false, false, true, true, false, false]),
            (Target::Tenant, None, None, [true, true, true, true, true, false]),
            (Target::Tenant, Some(NOW - 60), None, [false, false, true, true, false, false]),
            (Target::Tenant, None, Some(NOW), [false; 6]),
            (Target::Tenant, None, Some(NOW + 1), [true, true, true, true, true, false]),
        ] {
            let mut set = Set::default();
            let revocation = set.draft(ban(target.clone(), before, until), at(NOW), 1).unwrap();
            set.insert(revocation);
            let tokens = [
                shown("acme", "web-1", Some("j1"), Some(NOW)),
                shown("acme", "web-1", None, Some(NOW)),
                shown("acme", "web-1", Some("j1"), Some(NOW - 3600)),
                shown("acme", "web-1", Some("j1"), None),
                shown("acme", "web-2", None, Some(NOW)),
                shown("globex", "web-1", Some("j1"), Some(NOW - 3600)),
            ];
            let found = tokens.each_ref().map(|token| set.means(token, at(NOW)));
            assert_eq!(found, expected, "{target:?} {before:?} {until:?}");
            assert_eq!(set.draft(ban(Target::Tenant, None, None), at(NOW), 1), Err(Full));
            assert_eq!(set.over(at(NOW)).len(), usize::from(until == Some(NOW)));
            let id = set.all().next().unwrap().id;
            assert!(set.get("globex", id).is_none() && set.get("acme", id).is_some());
            assert!(set.remove(id).is_some() && set.remove(id).is_none());
            assert!(tokens.iter().all(|token| !set.means(token, at(NOW))) && set.by_target.is_empty());
        }
    }

    /// The wall jumps and is mended, the process is started anew: who was revoked for an hour stays so for an hour.
    #[test]
    fn a_wall_that_jumps_ends_no_revocation() {
        let hour = 3600;
        let token = shown("acme", "web-1", Some("j1"), Some(NOW));
        let means = |set: &Set, unix_secs, running_secs| {
            let now = Moment { unix_secs, running_secs };
            assert_eq!(set.means(&token, now), set.over(now).is_empty());
            set.means(&token, now)
        };
        let made = |unix_secs, expires| {
            let mut set = Set::default();
            set.set_ran_before(1_000_000);
            let now = Moment { unix_secs, running_secs: 500 };
            let revocation = set.draft(ban(Target::TokenId("j1".into()), None, Some(expires)), now, 9).unwrap();
            assert_eq!(revocation.created_ran, 1_000_500);
            set.insert(revocation);
            set
        };
        let mut set = made(NOW, NOW + hour);
        // Years ahead, for a minute; mended; then its time comes.
        assert!(means(&set, NOW + 100_000_000, 560) && means(&set, NOW + 60, 560));
        assert!(means(&set, NOW + hour - 1, 500 + hour - 1) && !means(&set, NOW + hour, 500 + hour));
        // Behind: the count alone ends nothing.
        assert!(means(&set, 0, 500 + 100 * hour));
        // Another process begins while the wall is ahead: it goes on counting where the file says, and is late by what it does not know.
        set.set_ran_before(1_000_500 + 600);
        assert!(means(&set, NOW + 100_000_000, 0) && means(&set, NOW + 100_000_000, hour - 601));
        assert!(!means(&set, NOW + 100_000_000, hour - 600));
        // Made while the wall was ahead, or behind: it lasts its time from then on, and to its end by the wall.
        let set = made(NOW + 100_000_000, NOW + 100_000_000 + hour);
        assert!(means(&set, NOW, 500 + hour) && !means(&set, NOW + 100_000_000 + hour, 500 + hour));
        let set = made(0, hour);
        assert!(means(&set, NOW, 500 + hour - 1) && !means(&set, NOW, 500 + hour));
        // Whoever is revoked for ever is, by all clocks.
        let mut set = made(NOW, NOW);
        assert!(set.has_ends());
        let forever = set.draft(ban(Target::TokenId("j1".into()), None, None), at(NOW), 9).unwrap();
        set.insert(forever);
        assert!(set.means(&token, Moment { unix_secs: u64::MAX, running_secs: u64::MAX }));
        set.remove(1);
        assert!(!set.has_ends());
    }

    #[test]
    fn numbers_are_not_given_twice() {
        let mut set = Set::default();
        for expected in 1..=3 {
            let revocation = set.draft(ban(Target::Tenant, None, None), at(NOW), 9).unwrap();
            assert_eq!(revocation.id, expected);
            set.insert(revocation);
            if expected == 2 {
                set.remove(2);
            }
        }
        let ids: Vec<u64> = set.page("acme", 0).map(|revocation| revocation.id).collect();
        assert_eq!(ids, [1, 3]);
        assert_eq!(set.page("acme", 1).count() + set.page("globex", 0).count(), 1);
    }

    proptest! {
        /// Against a list that is looked through.
        #[test]
        fn the_index_finds_what_a_list_would(
            bans in prop::collection::vec((0..3_u8, 0..3_u8, prop::option::of(0..4_u64), prop::option::of(0..4_u64)), 0..12),
            tokens in prop::collection::vec((0..2_u8, 0..3_u8, prop::option::of(0..3_u8), prop::option::of(0..4_u64)), 1..12),
            removed in prop::collection::vec(1..12_u64, 0..4),
        ) {
            let mut set = Set::default();
            for (kind, name, before, until) in bans {
                let target = match kind {
                    0 => Target::Tenant,
                    1 => Target::Agent(format!("a{name}")),
                    _ => Target::TokenId(format!("t{name}")),
                };
                let draft = set.draft(ban(target, before, until), Moment { unix_secs: 0, running_secs: 0 }, 99).unwrap();
                set.insert(draft);
            }
            for id in removed {
                set.remove(id);
            }
            for (tenant, agent, token, issued) in tokens {
                let tenant = if tenant == 0 { "acme" } else { "globex" };
                let (agent, token) = (format!("a{agent}"), token.map(|token| format!("t{token}")));
                let shown = shown(tenant, &agent, token.as_deref(), issued);
                let naive = set.all().any(|revocation| {
                    let ban = &revocation.ban;
                    let whom = match &ban.target {
                        Target::Tenant => true,
                        Target::Agent(id) => *id == agent,
                        Target::TokenId(id) => Some(id) == token.as_ref(),
                    };
                    let when = match (ban.issued_before, issued) {
                        (Some(before), Some(issued)) => issued < before,
                        _ => true,
                    };
                    ban.tenant == tenant && whom && when && ban.expires_unix.is_none_or(|until| until > 2)
                });
                prop_assert_eq!(set.means(&shown, Moment { unix_secs: 2, running_secs: 2 }), naive);
            }
        }
    }
}
