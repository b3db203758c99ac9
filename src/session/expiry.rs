//! When a connection's token runs out, and whether its agent was told: four bytes of the slot.
//!
//! Owns the packing. The time is that of the wall: a wall clock that jumps takes live tokens with it, as it does those that are
//! shown at the door.

/// The second of the UNIX epoch that is counted from: 2024-01-01. With 31 bits times reach to 2092.
const EPOCH_UNIX: u64 = 1_704_067_200;
/// The agent was told that its token runs out.
const TOLD: u32 = 1 << 31;
/// A token that never runs out, and one that would run out after 2092.
const NEVER: u32 = TOLD - 1;

/// The end of a token, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(u32);

/// What a token's end demands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing.
    Nothing,
    /// Telling the agent that its token runs out in so many seconds.
    Tell(u32),
    /// The end of the connection.
    End,
}

impl Expiry {
    /// It never ends.
    pub const NEVER: Self = Self(NEVER);

    /// It is good no more from this second since the UNIX epoch on; `None` for never.
    #[must_use]
    pub fn at(ends_unix: Option<u64>) -> Self {
        let secs = ends_unix.map_or(u64::from(NEVER), |ends| ends.saturating_sub(EPOCH_UNIX));
        Self(u32::try_from(secs).map_or(NEVER, |secs| secs.min(NEVER)))
    }

    /// The same, or that second since the UNIX epoch where it is earlier. Who is told of it is told anew.
    #[must_use]
    pub fn no_later(self, ends_unix: Option<u64>) -> Self {
        Self((self.0 & !TOLD).min(Self::at(ends_unix).0))
    }

    /// Whole seconds that are left at `unix_secs`, seconds since the UNIX epoch; `None` where it never ends.
    #[must_use]
    pub fn left_secs(self, unix_secs: u64) -> Option<u64> {
        let ends = self.0 & !TOLD;
        (ends != NEVER).then(|| (EPOCH_UNIX + u64::from(ends)).saturating_sub(unix_secs))
    }

    /// What is due at `unix_secs`, seconds since the UNIX epoch. The agent is told once, from `notice_secs` ahead on; 0 for not at all.
    #[must_use]
    pub fn demand(self, unix_secs: u64, notice_secs: u32) -> Demand {
        let Some(left) = self.left_secs(unix_secs) else {
            return Demand::Nothing;
        };
        match u32::try_from(left) {
            Ok(0) => Demand::End,
            Ok(left) if left <= notice_secs && self.0 & TOLD == 0 => Demand::Tell(left),
            _ => Demand::Nothing,
        }
    }

    /// The agent was told.
    pub fn set_told(&mut self) {
        self.0 |= TOLD;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: u64 = 1_800_000_000;

    fn demand(expiry: Expiry, ms_before: i64) -> Demand {
        expiry.demand((ENDS * 1000).saturating_add_signed(-ms_before) / 1000, 60)
    }

    #[test]
    fn it_is_told_once_and_ends_at_its_second() {
        let mut expiry = Expiry::at(Some(ENDS));
        for (ms_before, expected) in [
            (61_000, Demand::Nothing),
            (60_001, Demand::Nothing),
            (60_000, Demand::Tell(60)),
            (59_500, Demand::Tell(60)),
            (1, Demand::Tell(1)),
            (0, Demand::End),
            (-1, Demand::End),
            (-1_000_000_000, Demand::End),
        ] {
            assert_eq!(demand(expiry, ms_before), expected, "{ms_before}");
        }
        expiry.set_told();
        for (ms_before, expected) in [(60_000, Demand::Nothing), (1, Demand::Nothing), (0, Demand::End)] {
            assert_eq!(demand(expiry, ms_before), expected, "{ms_before}, told");
        }
        assert_eq!(Expiry::at(Some(ENDS)).demand(ENDS - 1, 0), Demand::Nothing);
        for (ends, cap, expected) in
            [(ENDS, None, ENDS), (ENDS, Some(ENDS - 9), ENDS - 9), (ENDS, Some(ENDS + 9), ENDS)]
        {
            assert_eq!(Expiry::at(Some(ends)).no_later(cap), Expiry::at(Some(expected)));
        }
        assert_eq!(Expiry::NEVER.no_later(Some(ENDS)), Expiry::at(Some(ENDS)));
        let left = |expiry: Expiry, unix_secs| expiry.left_secs(unix_secs);
        assert_eq!((left(expiry, ENDS - 60), left(expiry, ENDS), left(expiry, ENDS + 9)), (Some(60), Some(0), Some(0)));
        assert_eq!(left(Expiry::NEVER, ENDS), None);
    }

    #[test]
    fn the_wall_may_jump_either_way() {
        let mut expiry = Expiry::at(Some(ENDS));
        assert_eq!(demand(expiry, 3_600_000), Demand::Nothing);
        // An hour ahead: over at once. Back again, as by a mistake that was mended: it lives, and is told when its time comes.
        assert_eq!(demand(expiry, -1), Demand::End);
        assert_eq!(demand(expiry, 3_600_000), Demand::Nothing);
        assert_eq!(demand(expiry, 30_000), Demand::Tell(30));
        expiry.set_told();
        assert_eq!((demand(expiry, 7_200_000), demand(expiry, 30_000)), (Demand::Nothing, Demand::Nothing));
        assert_eq!(demand(expiry, 0), Demand::End);
    }

    #[test]
    fn what_cannot_be_counted_is_never_or_at_once() {
        for ends in [None, Some(u64::MAX), Some(EPOCH_UNIX + u64::from(NEVER)), Some(EPOCH_UNIX + (1 << 40))] {
            assert_eq!(Expiry::at(ends), Expiry::NEVER, "{ends:?}");
            assert_eq!(Expiry::at(ends).demand(u64::MAX, u32::MAX), Demand::Nothing);
        }
        let last = EPOCH_UNIX + u64::from(NEVER) - 1;
        assert_eq!(Expiry::at(Some(last)).demand(last, 0), Demand::End);
        assert_eq!(Expiry::at(Some(last)).demand(last - 1, 0), Demand::Nothing);
        for ends in [0, 5, EPOCH_UNIX] {
            assert_eq!(Expiry::at(Some(ends)).demand(EPOCH_UNIX, 0), Demand::End);
        }
    }
}
