//! What a panic does: one last line in the log, and the process ends.
//!
//! Owns that decision, for every thread and every build. A panic is a defect of ours, and what it leaves behind is not known. A loop
//! that is gone takes its connections along, which nobody would serve or free any more; a worker takes half of a batch along, and the
//! calls in it would wait for their deadlines although they were answered. A process that ends is started again by its supervisor
//! within a second, agents come back with back-off, and callers see a connection that broke, which promises nothing.
//! Catching it and going on would be a guess that all tables are whole.

use std::panic::{self, PanicHookInfo};
use std::thread;

/// The variable with the name of a place, in builds with debug assertions.
#[cfg(debug_assertions)]
const PLANTED: &str = "PLANTED_PANIC";

/// From now on a panic of any thread is logged and ends the process by SIGABRT.
pub(super) fn end_the_process() {
    panic::set_hook(Box::new(|told| {
        tell(told);
        std::process::abort();
    }));
    #[cfg(debug_assertions)]
    if let Ok(name) = std::env::var(PLANTED) {
        assert!(crate::kit::planted::plant(&name), "no such place");
    }
}

/// The last line. Words that were put together while it ran may quote a token or a payload (slicing a text quotes the text), so only
/// those are shown that stand in the program; the place says the rest.
fn tell(told: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("?");
    let at = told.location().map(tracing::field::display);
    let words = told.payload().downcast_ref::<&'static str>().copied();
    tracing::error!(thread, at, words, "panic: this is a defect of holdfast; the process ends");
}
