//! Who may come in, by address and by how often: asked right after a connection was accepted, and at each login.
//!
//! Owns the networks of balancers and of those who are exempt, and the counts of accepts and of failed logins, of the node and of each
//! network prefix. All loops and workers share it. It never closes anything: who asks does.
//!
//! One table for the node and not a share for each loop: the kernel deals connections out to loops by a hash, so a prefix with a few
//! of them is not spread evenly, and a share of a small rate would be nothing. Its locks are taken once for a connection and once or
//! twice for a login, for tens of nanoseconds beside the microseconds of `accept4`. While no limit is set, only the limits are looked at.

use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::kit::ids::Generations;
use crate::kit::network::{Networks, PrefixBits};
use crate::kit::prefix_rates::PrefixRates;
use crate::kit::tick::Now;
use crate::kit::token_bucket::{Rate, SharedBucket};
use crate::session::rules::Door;

/// What a limit refused, or slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// It came to a port of balancers, from elsewhere.
    NoBalancer,
    /// Too many connections a second, of the node.
    Accepts,
    /// Too many connections a second, of its prefix.
    PrefixAccepts,
    /// Too many failed logins, of its prefix.
    FailedLogins,
}

impl Shed {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::NoBalancer, Self::Accepts, Self::PrefixAccepts, Self::FailedLogins];

    /// The metric's label, and the word in the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoBalancer => "no_balancer",
            Self::Accepts => "accepts",
            Self::PrefixAccepts => "prefix_accepts",
            Self::FailedLogins => "prefix_failed_logins",
        }
    }
}

/// Whether a PROXY header is the first thing that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// None is: the socket says where it comes from.
    None,
    /// It must come first; until then nobody knows where it comes from.
    First,
}

/// Limits on arrivals. Values come from the settings; there are no defaults here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalLimits {
    /// Connections of agents; `None` for no limit.
    pub accepts: Option<Rate>,
    /// The same, of each prefix.
    pub prefix_accepts: Option<Rate>,
    /// Failed logins of each prefix.
    pub prefix_failed_logins: Option<Rate>,
    /// What a prefix is.
    pub prefix: PrefixBits,
    /// Prefixes that each of the two tables has room for.
    pub prefixes: usize,
    /// Who is not counted.
    pub exempt: Networks,
}

#[cfg(test)]
impl ArrivalLimits {
    /// No limit at all.
    pub(crate) fn none() -> Self {
        Self {
            accepts: None,
            prefix_accepts: None,
            prefix_failed_logins: None,
            prefix: PrefixBits { v4: 24, v6: 56 },
            prefixes: 128,
            exempt: Networks::default(),
        }
    }
}

/// The balancers of each port, by [`Door`]; `None` for a port whose connections begin with no header.
pub type Balancers = [Option<Networks>; 2];

/// The doorkeeper of a node.
pub struct Arrivals {
    balancers: Balancers,
    generations: Generations,
    counts: RwLock<Counts>,
}

struct Counts {
    limits: ArrivalLimits,
    accepts: SharedBucket,
    by_prefix: Option<PrefixRates>,
    failed_logins: Option<PrefixRates>,
}

impl Counts {
    fn of(limits: ArrivalLimits) -> Self {
        let table = |rate: Option<Rate>| rate.map(|rate| PrefixRates::new(rate, limits.prefix, limits.prefixes));
        let (by_prefix, failed_logins) = (table(limits.prefix_accepts), table(limits.prefix_failed_logins));
        Self { limits, accepts: SharedBucket::default(), by_prefix, failed_logins }
    }
}

impl Arrivals {
    /// One that nobody has come to yet.
    #[must_use]
    pub fn new(balancers: Balancers, limits: ArrivalLimits) -> Self {
        Self { balancers, generations: Generations::default(), counts: RwLock::new(Counts::of(limits)) }
    }

    /// Changes the limits. Where they differ, counting begins anew.
    pub fn set(&self, limits: ArrivalLimits) {
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        if counts.limits != limits {
            *counts = Counts::of(limits);
        }
    }

    /// In which order connections were accepted.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Whether connections at some port begin with a header.
    #[must_use]
    pub fn has_balancers(&self) -> bool {
        self.balancers.iter().any(Option::is_some)
    }

    /// Whether connections at a door begin with a header.
    #[must_use]
    pub fn header(&self, door: Door) -> Header {
        if self.balancers[door as usize].is_some() { Header::First } else { Header::None }
    }

    /// A connection was accepted, from what its socket says.
    ///
    /// # Errors
    /// What it must be closed for, before anything is read from it.
    pub fn accepted(&self, now: Now, door: Door, peer: IpAddr) -> Result<Header, Shed> {
        match &self.balancers[door as usize] {
            None => self.enter(now, door, peer).map(|()| self.header(door)),
            Some(balancers) if balancers.contain(peer) => Ok(Header::First),
            Some(_) => Err(Shed::NoBalancer),
        }
    }

    /// It is known where a connection comes from: counts it. Links are few, and only agents' connections are counted.
    ///
    /// # Errors
    /// What it must be closed for.
    pub fn enter(&self, now: Now, door: Door, source: IpAddr) -> Result<(), Shed> {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        if door == Door::Links || counts.limits.exempt.contain(source) {
            return Ok(());
        }
        // The prefix first: what it is refused costs the others nothing.
        if counts.by_prefix.as_ref().is_some_and(|prefixes| prefixes.take(now, source).is_err()) {
            return Err(Shed::PrefixAccepts);
        }
        let node = counts.limits.accepts.as_ref();
        node.map_or(Ok(()), |rate| counts.accepts.take(now, rate, 1)).map_err(|_| Shed::Accepts)
    }

    /// How long nobody of this address' prefix may log in, because too many have failed to; `None` when they may.
    #[must_use]
    pub fn login_wait(&self, now: Now, source: IpAddr) -> Option<Duration> {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let failed = counts.failed_logins.as_ref()?;
        (!counts.limits.exempt.contain(source)).then(|| failed.wait(now, source)).flatten()
    }

    /// A login from this address has failed.
    pub fn login_failed(&self, now: Now, source: IpAddr) {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = &counts.failed_logins
            && !counts.limits.exempt.contain(source)
        {
            failed.charge(now, source);
        }
    }

    /// Bytes of its tables.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        [&counts.by_prefix, &counts.failed_logins].into_iter().flatten().map(PrefixRates::bytes).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        Networks(text.split_whitespace().map(|network| network.parse().unwrap()).collect())
    }

    fn limits(accepts: u64, prefix_accepts: u64, failed_logins: u64) -> ArrivalLimits {
        let second = Duration::from_secs(1);
        ArrivalLimits {
            accepts: Rate::new(accepts, second, second),
            prefix_accepts: Rate::new(prefix_accepts, second, second),
            prefix_failed_logins: Rate::new(failed_logins, 60 * second, 60 * second),
            prefix: PrefixBits { v4: 24, v6: 56 },
            prefixes: 1000,
            exempt: networks("127.0.0.0/8"),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn balancers_come_from_where_they_are() {
        let arrivals = Arrivals::new([Some(networks("10.0.0.0/8 2001:db8::/32")), None], limits(1, 1, 1));
        for (peer, expected) in [
            ("10.1.2.3", Ok(Header::First)),
            ("10.1.2.4", Ok(Header::First)),
            ("::ffff:10.1.2.3", Ok(Header::First)),
            ("2001:db8::7", Ok(Header::First)),
            ("11.0.0.1", Err(Shed::NoBalancer)),
            ("127.0.0.1", Err(Shed::NoBalancer)),
        ] {
            assert_eq!(arrivals.accepted(Now(0), Door::Agents, ip(peer)), expected, "{peer}");
        }
        assert_eq!(arrivals.accepted(Now(0), Door::Links, ip("11.0.0.1")), Ok(Header::None));
    }

    #[test]
    fn the_prefix_counts_before_the_node() {
        let arrivals = Arrivals::new([None, None], limits(3, 2, 0));
        let accept = |peer: &str| arrivals.accepted(Now(0), Door::Agents, ip(peer)).err();
        assert_eq!([accept("192.0.2.1"), accept("192.0.2.2")], [None, None]);
        assert_eq!([accept("192.0.2.3"), accept("192.0.2.4")], [Some(Shed::PrefixAccepts); 2]);
        assert_eq!([accept("198.51.100.1"), accept("203.0.113.1")], [None, Some(Shed::Accepts)]);
        assert_eq!([accept("127.0.0.1"), accept("127.0.0.2")], [None, None], "exempt");
        assert_eq!(arrivals.enter(Now(0), Door::Links, ip("192.0.2.1")), Ok(()));
        assert_eq!(arrivals.enter(Now(1000), Door::Agents, ip("192.0.2.1")), Ok(()));
    }

    #[test]
    fn failed_logins_close_a_prefix_for_a_while() {
        let arrivals = Arrivals::new([None, None], limits(0, 0, 2));
        let wait = |now, peer: &str| arrivals.login_wait(Now(now), ip(peer));
        for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "127.0.0.1", "127.0.0.1", "127.0.0.1"] {
            arrivals.login_failed(Now(0), ip(peer));
        }
        assert_eq!(wait(0, "192.0.2.99"), Some(Duration::from_secs(30)));
        assert_eq!((wait(0, "192.0.3.1"), wait(0, "127.0.0.1"), wait(30_000, "192.0.2.99")), (None, None, None));
        assert!(arrivals.bytes() > 0);
        arrivals.set(limits(0, 0, 2));
        assert!(wait(0, "192.0.2.99").is_some(), "the same limits count on");
        arrivals.set(limits(0, 0, 0));
        assert_eq!((wait(0, "192.0.2.99"), arrivals.bytes()), (None, 0));
    }
}
