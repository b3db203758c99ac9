//! Giving memory back to the system when a thread falls quiet.
//!
//! An allocator keeps what a burst freed, above all what another thread freed, until the thread that it belongs to asks
//! for more. A quiet thread never asks, so it says here that it is quiet. Which allocator there is, only a binary knows.

use std::sync::OnceLock;

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();

/// What gives back what the calling thread's heap does not use. The first one that is set stays.
pub fn set_give_back(give_back: fn()) {
    let _ = GIVE_BACK.set(give_back);
}

/// The calling thread has had nothing to do for a while. Takes about a millisecond after a burst.
pub fn quiet() {
    if let Some(give_back) = GIVE_BACK.get() {
        give_back();
    }
}
