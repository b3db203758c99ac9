//! At most so many of something in a second: what a stranger can cause must not fill a log.
//!
//! Owns the count of the second that runs. It never waits and never decides what is left out: the caller does, and is
//! told later how much that was.

use super::tick::Now;

/// Counts what happens in each second, up to a limit.
#[derive(Debug)]
pub struct Pace {
    a_second_max: u32,
    second: u64,
    used: u32,
    left_out: u64,
}

impl Pace {
    /// Lets `a_second_max` through in each second.
    #[must_use]
    pub fn new(a_second_max: u32) -> Self {
        Self { a_second_max, second: 0, used: 0, left_out: 0 }
    }

    /// One more at `now`: how many were left out since the last one that got through; `None` when this one is left out too.
    pub fn step(&mut self, now: Now) -> Option<u64> {
        let second = now.0 / 1000;
        if second > self.second {
            (self.second, self.used) = (second, 0);
        }
        if self.used == self.a_second_max {
            self.left_out += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_full_and_the_next_one_tells() {
        let mut pace = Pace::new(2);
        let steps =
            [(900, Some(0)), (901, Some(0)), (902, None), (999, None), (1000, Some(2)), (1001, Some(0)), (1999, None)];
        for (now, expected) in steps {
            assert_eq!(pace.step(Now(now)), expected, "{now}");
        }
        assert_eq!(pace.step(Now(9000)), Some(1));
    }
}
