//! When whoever was refused may come again: the number of a `Retry-After` field (RFC 9110 section 10.2.3).
//!
//! Owns the random part, which is drawn from a number that the caller has at hand: there is no generator here. It refuses nobody.

use std::time::Duration;

/// Nobody is sent away for longer than an hour, whatever the settings come to.
const RETRY_AFTER_SECS_MAX: u32 = 3600;

/// Whole seconds for a `Retry-After`: not before `wait` is over, and not all at once. Of two that wait equally long the one
/// with another `seed` is told another time, up to half as long again and two seconds at least.
#[must_use]
pub fn retry_after_secs(wait: Duration, seed: u64) -> u32 {
    let secs = u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).clamp(1, RETRY_AFTER_SECS_MAX);
    // The finaliser of MurmurHash3: seeds that differ in one bit differ in half of what comes out.
    let mut mixed = (seed ^ seed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    let spread = u64::from((secs / 2).max(2));
    secs + u32::try_from(mixed % (spread + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(span: u64) -> Duration {
        Duration::from_millis(span)
    }

    #[test]
    fn those_who_are_sent_away_do_not_come_back_together() {
        for (wait, secs) in
            [(Duration::ZERO, 1..=3), (ms(1001), 2..=4), (ms(60_000), 60..=90), (Duration::MAX, 3600..=5400)]
        {
            let told: Vec<u32> = (0..200).map(|seed| retry_after_secs(wait, seed)).collect();
            assert!(told.iter().all(|told| secs.contains(told)), "{wait:?}: {told:?}");
            assert!(
                secs.clone().all(|second| secs.clone().count() > 40 || told.contains(&second)),
                "{wait:?}: {told:?}"
            );
        }
    }
}
