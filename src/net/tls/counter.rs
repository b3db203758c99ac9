//! The sequence number of a direction and a few marks in one word. It knows nothing of what the marks mean.
//!
//! ```text
//! bit 63            48 47                                    0
//!     | marks, 16 bits | sequence number, 48 bits             |
//! ```
//!
//! 48 bits are enough: a key serves 2^23 records of ours, and a peer that sends 2^48 under one key is refused.

const NUMBER_BITS: u32 = 48;
const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

/// A sequence number and 16 bits of marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter(u64);

impl Counter {
    /// A counter at `number`, without marks; `None` if the number does not fit.
    pub(super) fn at(number: u64) -> Option<Self> {
        (number < NUMBER_MAX).then_some(Self(number))
    }

    /// The number of the next record.
    pub(super) fn number(self) -> u64 {
        self.0 & NUMBER_MAX
    }

    /// Gives the number of a record and goes on to the next; `None` when numbers have run out.
    pub(super) fn take(&mut self) -> Option<u64> {
        let number = self.number();
        if number == NUMBER_MAX {
            return None;
        }
        self.0 += 1;
        Some(number)
    }

    /// Back to 0 for a new key; marks stay.
    pub(super) fn restart(&mut self) {
        self.0 &= !NUMBER_MAX;
    }

    /// The marks within `mask`, from bit 0.
    pub(super) fn marks(self, mask: u16) -> u16 {
        ((self.0 >> NUMBER_BITS) as u16) & mask
    }

    /// Sets the marks within `mask` to `marks`.
    pub(super) fn mark(&mut self, mask: u16, marks: u16) {
        let all = self.marks(!mask) | (marks & mask);
        self.0 = (self.0 & NUMBER_MAX) | (u64::from(all) << NUMBER_BITS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_marks_do_not_touch_each_other() {
        let mut counter = Counter::at(5).expect("it fits");
        counter.mark(0xff00, 0xffff);
        assert_eq!((counter.take(), counter.take(), counter.number()), (Some(5), Some(6), 7));
        assert_eq!((counter.marks(0xffff), counter.marks(0x00ff)), (0xff00, 0));
        counter.mark(0xf00f, 0x3003);
        assert_eq!((counter.marks(0xffff), counter.number()), (0x3f03, 7));
        counter.restart();
        assert_eq!((counter.marks(0xffff), counter.number()), (0x3f03, 0));
    }

    #[test]
    fn numbers_run_out_and_do_not_run_into_the_marks() {
        assert_eq!(Counter::at(NUMBER_MAX), None);
        let mut counter = Counter::at(NUMBER_MAX - 1).expect("it fits");
        assert_eq!(counter.take(), Some(NUMBER_MAX - 1));
        assert_eq!((counter.take(), counter.take(), counter.marks(0xffff)), (None, None, 0));
    }
}
