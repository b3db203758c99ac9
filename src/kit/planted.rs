//! Panics that a test plants in a running gateway, to see what becomes of it.
//!
//! Owns the one mark that says where. Builds without debug assertions, so every release, have neither the mark nor the look at it:
//! nobody outside can reach it there. It never decides what a panic does.

#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicU8, Ordering};

/// Where a panic may be planted: a thread, at something that it does for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// An event loop that is given a call.
    Loop = 1,
    /// A worker that is given an agent's message.
    Worker,
    /// The alarm, as it wakes.
    Alarm,
    /// The control thread that is asked for a call.
    Control,
}

impl Place {
    /// All of them, with their names.
    pub const ALL: [(Self, &str); 4] =
        [(Self::Loop, "loop"), (Self::Worker, "worker"), (Self::Alarm, "alarm"), (Self::Control, "control")];
}

#[cfg(debug_assertions)]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// From now on the place of this name panics; whether there is one.
#[cfg(debug_assertions)]
pub fn plant(name: &str) -> bool {
    let place = Place::ALL.into_iter().find(|(_, known)| *known == name);
    place.inspect(|(place, _)| PLANTED.store(*place as u8, Ordering::Relaxed)).is_some()
}

/// Panics where a panic was planted here.
#[cfg_attr(debug_assertions, track_caller)]
#[inline]
pub fn here(place: Place) {
    #[cfg(debug_assertions)]
    if PLANTED.load(Ordering::Relaxed) == place as u8 {
        panic!("a planted panic");
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}
