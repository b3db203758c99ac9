//! How overloaded something is, as one of four levels, from one number that is looked at again and again.
//!
//! Owns the levels, the marks at which each is entered and left, and how long a number must stay beyond one. It measures nothing and
//! does nothing: what each level means is for whoever asks.
//!
//! ```text
//!  Calm ⇄ Refuse ⇄ Shed ⇄ Close      up: at once to the level that the number has stayed above; down: one level at a time
//! ```

use std::time::Duration;

use super::tick::Now;

/// How overloaded something is. Each level does what those below it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Not at all.
    #[default]
    Calm,
    /// Nobody else is let in.
    Refuse,
    /// The largest queues are cut.
    Shed,
    /// Peers that are slow are not waited for.
    Close,
}

impl Level {
    /// All of them, from calm upwards.
    pub const ALL: [Self; 4] = [Self::Calm, Self::Refuse, Self::Shed, Self::Close];

    /// Its word in the API and in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Refuse => "refuse",
            Self::Shed => "shed",
            Self::Close => "close",
        }
    }

    /// The level of a number that [`Level`] was turned into; calm for any other.
    #[must_use]
    pub fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }
}

/// Where a level begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// From here on.
    pub enter: u64,
    /// Below this no more; not above `enter`.
    pub leave: u64,
}

/// The marks of one number, and its patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// Of each level above calm; none begins below the one before it.
    pub marks: [Mark; 3],
    /// How long the number must stay at a higher level's mark before that is entered.
    pub rise: Duration,
    /// How long it must stay below its own level's mark before the next lower one is entered.
    pub fall: Duration,
}

impl Ladder {
    /// One that is never climbed.
    pub const NONE: Self =
        Self { marks: [Mark { enter: u64::MAX, leave: u64::MAX }; 3], rise: Duration::ZERO, fall: Duration::ZERO };

    /// The level whose mark a number has reached.
    fn reached(&self, number: u64) -> Level {
        let marks = self.marks.iter().take_while(|mark| number >= mark.enter);
        Level::ALL[marks.count()]
    }

    /// Whether a number is below the mark that keeps it at a level.
    fn leaves(&self, level: Level, number: u64) -> bool {
        let mark = (level as usize).checked_sub(1).map(|place| self.marks[place]);
        mark.is_some_and(|mark| number < mark.leave)
    }
}

/// A level has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: Level,
    /// What it is.
    pub to: Level,
}

/// Follows one number.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overload {
    level: Level,
    leaving: Option<Leaving>,
}

/// Where the number wants to go, and since when it has wanted to.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// To at least this level.
    Up(Level, Now),
    Down(Now),
}

impl Overload {
    /// The level now.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The number has been this much from `since` until `now`.
    pub fn note(&mut self, number: u64, since: Now, now: Now, ladder: &Ladder) -> Option<Change> {
        let from = self.level;
        let reached = ladder.reached(number);
        if reached > self.level {
            let (lowest, since) = match self.leaving {
                Some(Leaving::Up(lowest, since)) => (lowest.min(reached), since),
                _ => (reached, since),
            };
            self.leaving = Some(Leaving::Up(lowest, since));
            if now.since(since) >= ladder.rise {
                (self.level, self.leaving) = (lowest, None);
            }
        } else {
            self.fall(number, since, now, ladder);
        }
        (self.level != from).then_some(Change { from, to: self.level })
    }

    /// Down by a level for each span of calm that has passed.
    fn fall(&mut self, number: u64, since: Now, now: Now, ladder: &Ladder) {
        let mut since = match self.leaving {
            Some(Leaving::Down(since)) => since,
            _ => since,
        };
        while ladder.leaves(self.level, number) {
            if now.since(since) < ladder.fall {
                self.leaving = Some(Leaving::Down(since));
                return;
            }
            self.level = Level::of(self.level as u8 - 1);
            since = if ladder.fall.is_zero() { now } else { since.after(ladder.fall) };
        }
        self.leaving = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Level::{Calm, Close, Refuse, Shed};
    use super::*;

    const LADDER: Ladder = Ladder {
        marks: [Mark { enter: 100, leave: 90 }, Mark { enter: 200, leave: 150 }, Mark { enter: 300, leave: 250 }],
        rise: Duration::from_millis(20),
        fall: Duration::from_millis(100),
    };

    /// The levels after each (moment, number), each number from its moment to the next one's.
    fn levels(ladder: &Ladder, steps: &[(u64, u64)]) -> Vec<Level> {
        let mut overload = Overload::default();
        let mut before = 0;
        let level = |(at, number): &(u64, u64)| {
            let was = overload.level();
            let change = overload.note(*number, Now(before), Now(*at), ladder);
            before = *at;
            assert_eq!(change, (was != overload.level()).then_some(Change { from: was, to: overload.level() }));
            overload.level()
        };
        steps.iter().map(level).collect()
    }

    #[test]
    fn up_when_it_stays_and_down_one_at_a_time() {
        for (steps, expected) in [
            // Not before it has stayed.
            (&[(10, 99), (20, 100), (29, 500), (30, 100)][..], &[Calm, Calm, Calm, Refuse][..]),
            // To the lowest that it has stayed above, and from there on again.
            (&[(10, 0), (20, 500), (30, 220), (40, 500), (50, 500)], &[Calm, Calm, Shed, Shed, Close]),
            // A look below the mark begins anew.
            (&[(10, 0), (20, 120), (25, 99), (35, 120), (44, 120), (45, 120)], &[Calm, Calm, Calm, Calm, Calm, Refuse]),
            // One that has been so for long counts as long.
            (&[(10, 0), (40, 350)], &[Calm, Close]),
            // Between the marks nothing changes, however long.
            (&[(40, 150), (1000, 90), (9000, 99)], &[Refuse, Refuse, Refuse]),
            (&[(40, 150), (139, 89), (140, 89)], &[Refuse, Refuse, Calm]),
            (&[(40, 150), (100, 89), (110, 95), (200, 89), (210, 89)], &[Refuse, Refuse, Refuse, Refuse, Calm]),
            (&[(40, 300), (140, 0), (239, 0), (240, 0), (340, 0)], &[Close, Shed, Shed, Refuse, Calm]),
            // A long calm that nobody looked at counts for each level.
            (&[(40, 300), (240, 0)], &[Close, Refuse]),
            (&[(40, 300), (9000, 0)], &[Close, Calm]),
            // On the way down it stops where the number is.
            (&[(40, 300), (9000, 160)], &[Close, Shed]),
        ] {
            assert_eq!(levels(&LADDER, steps), expected, "{steps:?}");
        }
    }

    #[test]
    fn without_patience_it_follows_at_once() {
        let ladder = Ladder { rise: Duration::ZERO, fall: Duration::ZERO, ..LADDER };
        let steps = [(1, 300), (1, 0), (2, 100), (2, 90), (3, 89)];
        assert_eq!(levels(&ladder, &steps), [Close, Calm, Refuse, Refuse, Calm]);
    }

    #[test]
    fn numbers_are_levels_again() {
        for level in Level::ALL {
            assert_eq!(Level::of(level as u8), level);
        }
        assert_eq!(Level::of(4), Calm);
    }

    proptest! {
        /// However a number jumps about, a level lasts as long as the ladder says, and is never above what the number has reached.
        #[test]
        fn it_does_not_flap(steps in prop::collection::vec((1u64..60, 0u64..400), 1..200)) {
            let mut overload = Overload::default();
            let (mut now, mut changed, mut most) = (0, 0, 0);
            for (span, number) in steps {
                let since = Now(now);
                now += span;
                most = most.max(number);
                if let Some(Change { from, to }) = overload.note(number, since, Now(now), &LADDER) {
                    if to > from {
                        prop_assert!(number >= LADDER.marks[to as usize - 1].enter);
                    } else {
                        prop_assert!(number < LADDER.marks[from as usize - 1].leave);
                        // One level for each span of calm, but for what was too much of the last one.
                        prop_assert!(now - changed + 59 >= 100 * u64::from(from as u8 - to as u8));
                    }
                    changed = now;
                }
                prop_assert!(overload.level() <= LADDER.reached(most));
            }
        }
    }
}
