//! One rate for each network prefix, in memory that has a bound however many prefixes there are.
//!
//! Owns the buckets and which of them are kept. It never lets a prefix off that an endless table would refuse.
//!
//! A prefix has a place in one set of eight, by a hash with a random key. Where none of the eight is free (a bucket that is full
//! again is free), the newcomer takes the place of the fullest bucket, and its debt with it, as in the Space-Saving sketch (Metwally,
//! Agrawal, El Abbadi 2005): whoever has lost its place owes no more than the fullest of its set, so it is never treated better than
//! with a bucket of its own. The price is paid by newcomers while a set is crowded: they may be refused early.
//!
//! ```text
//!  hash(prefix) ──> shard, set ──> [bucket][bucket][bucket][bucket][bucket][bucket][bucket][bucket]
//! ```

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::lock::lock;
use super::network::PrefixBits;
use super::tick::Now;
use super::token_bucket::{Rate, TokenBucket};

/// Buckets in a set.
const WAYS: usize = 8;
/// Parts with a lock each, so that loops which accept at the same moment seldom meet.
const SHARDS: usize = 16;

/// One bucket and whose it is: 16 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// All 64 bits of the prefix' hash. Two prefixes with one hash would share a bucket: among a million that is one chance in
    /// 37 million.
    name: u64,
    bucket: TokenBucket,
}

const _: () = assert!(size_of::<Seat>() == 16);

/// Buckets by prefix, shared by all threads. A lock is held for one look at one set.
pub struct PrefixRates<S = RandomState> {
    rate: Rate,
    bits: PrefixBits,
    sets: usize,
    /// Each is made when it is first needed.
    shards: Box<[Mutex<Box<[Seat]>>]>,
    /// Keyed at random: strangers choose their addresses.
    hashing: S,
}

impl PrefixRates {
    /// The same rate for each prefix, with room for about `places` prefixes that are not idle.
    #[must_use]
    pub fn new(rate: Rate, bits: PrefixBits, places: usize) -> Self {
        Self::with_hashing(rate, bits, places, RandomState::new())
    }
}

impl<S: BuildHasher> PrefixRates<S> {
    fn with_hashing(rate: Rate, bits: PrefixBits, places: usize, hashing: S) -> Self {
        let sets = places.div_ceil(SHARDS * WAYS).max(1);
        Self { rate, bits, sets, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hashing }
    }

    /// Takes one unit of an address' prefix.
    ///
    /// # Errors
    /// None is there: how long until one is.
    pub fn take(&self, now: Now, address: IpAddr) -> Result<(), Duration> {
        self.with_bucket(now, address, |bucket| bucket.take(now, &self.rate, 1))
    }

    /// Takes one unit of an address' prefix where there is one: something was done that counts against it.
    pub fn charge(&self, now: Now, address: IpAddr) {
        let _ = self.take(now, address);
    }

    /// How long until a prefix has a unit; `None` when it has. Takes none, and makes no bucket.
    #[must_use]
    pub fn wait(&self, now: Now, address: IpAddr) -> Option<Duration> {
        let (name, shard, set) = self.place(address);
        let seats = lock(&self.shards[shard]);
        let set = seats.get(set..set + WAYS)?;
        let own = set.iter().find(|seat| seat.name == name);
        // Whoever has no place owes what the fullest owes, at most.
        let bucket = own.or_else(|| set.iter().min_by_key(|seat| seat.bucket))?.bucket;
        bucket.wait(now, &self.rate, 1)
    }

    /// Bytes of its buckets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len() * size_of::<Seat>()).sum()
    }

    fn with_bucket<R>(&self, now: Now, address: IpAddr, run: impl FnOnce(&mut TokenBucket) -> R) -> R {
        let (name, shard, set) = self.place(address);
        let mut seats = lock(&self.shards[shard]);
        if seats.is_empty() {
            *seats = vec![Seat::default(); self.sets * WAYS].into_boxed_slice();
        }
        let set = &mut seats[set..set + WAYS];
        let own = set.iter().position(|seat| seat.name == name);
        let index = own.unwrap_or_else(|| fullest(set));
        let seat = &mut set[index];
        if own.is_none() {
            // A bucket that is not full goes over as it is, debt and all.
            let bucket = if seat.bucket.is_full(now) { TokenBucket::default() } else { seat.bucket };
            *seat = Seat { name, bucket };
        }
        run(&mut seat.bucket)
    }

    fn place(&self, address: IpAddr) -> (u64, usize, usize) {
        let name = self.hashing.hash_one(self.bits.prefix(address));
        let place = (name >> 4) as usize % self.sets;
        (name, name as usize % SHARDS, place * WAYS)
    }
}

/// The bucket that owes least.
fn fullest(set: &[Seat]) -> usize {
    let mut best = 0;
    for (index, seat) in set.iter().enumerate() {
        if seat.bucket < set[best].bucket {
            best = index;
        }
    }
    best
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;
    use std::hash::{BuildHasherDefault, DefaultHasher};
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const BITS: PrefixBits = PrefixBits { v4: 24, v6: 56 };

    /// The hash without a random key, so that a test repeats.
    type Fixed = BuildHasherDefault<DefaultHasher>;

    fn rates(units: u64, depth_ms: u64, places: usize) -> PrefixRates<Fixed> {
        let rate = Rate::new(units, Duration::from_secs(1), Duration::from_millis(depth_ms)).unwrap();
        PrefixRates::with_hashing(rate, BITS, places, Fixed::default())
    }

    fn v4(network: u32, host: u8) -> IpAddr {
        Ipv4Addr::from_bits(network << 8 | u32::from(host)).into()
    }

    fn v6(network: u64) -> IpAddr {
        Ipv6Addr::from_bits(u128::from(network) << 72 | 7).into()
    }

    #[test]
    fn a_prefix_is_one_and_another_is_another() {
        let rates = rates(1, 2000, 1000);
        assert_eq!((rates.wait(Now(0), v4(1, 1)), rates.bytes()), (None, 0), "asking makes nothing");
        assert!(rates.take(Now(0), v4(1, 1)).is_ok() && rates.take(Now(0), v4(1, 2)).is_ok());
        let wait = Duration::from_secs(1);
        assert_eq!((rates.take(Now(0), v4(1, 3)), rates.wait(Now(0), v4(1, 9))), (Err(wait), Some(wait)));
        assert!(rates.take(Now(0), v4(2, 1)).is_ok() && rates.take(Now(0), v6(1)).is_ok());
        assert!(rates.take(Now(1000), v4(1, 1)).is_ok());
    }

    #[test]
    fn millions_of_prefixes_take_no_more_memory_and_let_no_hot_one_off() {
        let rates = rates(10, 1000, 4096);
        let hot = v4(77, 1);
        for _ in 0..10 {
            assert!(rates.take(Now(0), hot).is_ok());
        }
        let mut let_in = 0u64;
        for spoofed in 0..300_000 {
            // A hundred thousand a second.
            let now = Now(spoofed / 100);
            let _ = rates.take(now, v6(spoofed));
            if spoofed % 1000 == 0 {
                let_in += u64::from(rates.take(now, hot).is_ok());
            }
        }
        assert_eq!(rates.bytes(), 4096 * 16);
        assert!((20..=30).contains(&let_in), "{let_in} in 3 s, at 10 a second");
    }

    #[test]
    fn without_a_crowd_nobody_pays_for_others() {
        let rates = rates(1, 1000, 65_536);
        let refused = (0..5_000).filter(|prefix| rates.take(Now(0), v6(*prefix)).is_err()).count();
        assert_eq!(refused, 0);
    }

    proptest! {
        /// Whatever comes, in a table that is far too small: who is let in would be let in by a table without end.
        #[test]
        fn nobody_is_let_off(steps in vec((0u64..200, 0u64..3000), 1..1500)) {
            let rates = rates(2, 1500, 1);
            let mut endless: HashMap<u64, TokenBucket> = HashMap::new();
            let mut now = 0;
            for (pause, prefix) in steps {
                now += pause / 50;
                let waits = rates.wait(Now(now), v6(prefix % 300));
                let taken = rates.take(Now(now), v6(prefix % 300));
                prop_assert!(waits.is_none() || taken.is_err());
                let bucket = endless.entry(prefix % 300).or_default();
                if taken.is_ok() {
                    prop_assert!(bucket.take(Now(now), &rates.rate, 1).is_ok(), "{} at {}", prefix, now);
                }
            }
        }
    }
}
