//! Two small things of a session in one word of its slot: its last round trip, and what its messages may be compressed with.
//!
//! It owns the packing and nothing else.

use crate::wire::deflate::Window;

/// The lower bits hold milliseconds, those above them the bits of the window; zero for none.
const MS_BITS: u32 = 28;

/// A round trip that was not measured yet. Longer ones than the next lower number, which is three days, are told as that.
const UNMEASURED: u32 = (1 << MS_BITS) - 1;

/// A round trip and a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured(u32);

impl Measured {
    /// Neither.
    pub(super) const NOTHING: Self = Self(UNMEASURED);

    /// The last heartbeat's, in milliseconds.
    pub(super) fn round_trip_ms(self) -> Option<u32> {
        Some(self.0 & UNMEASURED).filter(|ms| *ms != UNMEASURED)
    }

    pub(super) fn set_round_trip_ms(&mut self, ms: u32) {
        self.0 = self.0 & !UNMEASURED | ms.min(UNMEASURED - 1);
    }

    /// How far messages to the peer may look back; `None` where no compression was agreed on.
    pub(super) fn window(self) -> Option<Window> {
        Window::of_bits((self.0 >> MS_BITS) as u8)
    }

    pub(super) fn set_window(&mut self, window: Option<Window>) {
        let bits = window.map_or(0, Window::bits);
        self.0 = self.0 & UNMEASURED | u32::from(bits) << MS_BITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_disturbs_the_other() {
        let mut measured = Measured::NOTHING;
        assert_eq!((measured.round_trip_ms(), measured.window()), (None, None));
        for bits in [8, 15, 0, 9] {
            let window = Window::of_bits(bits);
            measured.set_window(window);
            assert_eq!((measured.round_trip_ms(), measured.window()), (None, window));
        }
        for (ms, told) in [
            (0, 0),
            (40, 40),
            (UNMEASURED - 1, UNMEASURED - 1),
            (UNMEASURED, UNMEASURED - 1),
            (u32::MAX, UNMEASURED - 1),
        ] {
            measured.set_round_trip_ms(ms);
            assert_eq!((measured.round_trip_ms(), measured.window()), (Some(told), Window::of_bits(9)), "{ms}");
        }
        measured.set_window(None);
        assert_eq!((measured.round_trip_ms(), measured.window()), (Some(UNMEASURED - 1), None));
    }
}
