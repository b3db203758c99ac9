//! The workers: a few threads that apply what the loops heard.
//!
//! Each has a queue of its own, and everything about one connection goes to one worker: its messages stay in order
//! without a lock. A worker may wait for a loop's mailbox, never for an agent.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::kit::memory;
use crate::kit::tick::Now;
use crate::net::intake::{Batch, Event, Tray, Waited};

use super::answers::Answers;
use super::dispatch::Dispatch;
use super::handlers;

/// Quiet for this long, a worker gives memory back, and once more later: by then the control thread has freed the samples of
/// histograms, which lie in the worker's heap. Then it waits without end.
const QUIET: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Knocks that are answered before the worker looks at what agents say again: about a millisecond of the slowest signatures.
const KNOCKS_AT_ONCE: usize = 16;

/// Starts one worker for each queue. They end when every loop has ended.
///
/// # Errors
/// Of starting a thread.
pub fn start(trays: Vec<Tray>, dispatch: &Arc<Dispatch>) -> io::Result<Vec<JoinHandle<()>>> {
    let worker = |(index, tray): (usize, Tray)| {
        let dispatch = Arc::clone(dispatch);
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || run(&tray, &dispatch))
    };
    trays.into_iter().enumerate().map(worker).collect()
}

fn run(tray: &Tray, dispatch: &Dispatch) {
    let clock = dispatch.clock();
    // Those who knock wait behind what agents say: a signature takes longer to check than a reply, and strangers send them.
    // How many can wait is bounded by the half-open connections of the loops.
    let mut knocks = VecDeque::new();
    let mut answers = Answers::default();
    while let Some(batch) = next(tray, &mut knocks) {
        let now = clock.now();
        for event in batch {
            match event {
                Event::Knock { .. } => knocks.push_back(event),
                other => apply(dispatch, &mut answers, other, now),
            }
        }
        for knock in knocks.drain(..knocks.len().min(KNOCKS_AT_ONCE)) {
            apply(dispatch, &mut answers, knock, now);
        }
        settle(dispatch, &mut answers);
    }
}

/// Posts what a batch left to say: the answers of calls that it ended on links, too. Waits while a mailbox is full.
pub fn settle(dispatch: &Dispatch, answers: &mut Answers) {
    dispatch.settle(answers);
}

/// The next batch: waits for one when nobody knocks, else it may be empty. `None` when every loop has ended.
fn next(tray: &Tray, knocks: &mut VecDeque<Event>) -> Option<Batch> {
    if !knocks.is_empty() {
        return Some(tray.take().unwrap_or_default());
    }
    for patience in QUIET {
        match tray.wait_at_most(patience) {
            Waited::Batch(batch) => return Some(batch),
            Waited::Ended => return None,
            Waited::Nothing => {
                // A storm of newcomers makes it a megabyte long.
                knocks.shrink_to_fit();
                memory::quiet();
            }
        }
    }
    tray.wait()
}

/// Applies one event; what it has to say to the loops goes into `answers`, to be posted by the caller with [`settle`].
pub fn apply(dispatch: &Dispatch, answers: &mut Answers, event: Event, now: Now) {
    match event {
        Event::Knock { conn, greeting } => handlers::knock::apply(dispatch, answers, conn, &greeting, now),
        Event::Message { conn, encoding, body } => handlers::message::apply(dispatch, answers, conn, encoding, &body),
        Event::LinkMessage { conn, encoding, body } => {
            handlers::link::apply(dispatch, answers, conn, encoding, &body, now);
        }
        Event::LinkEnded { conn, reason } => handlers::link::ended(dispatch, answers, conn, reason),
        Event::NotWritten { call } => dispatch.calls.not_written(call),
        Event::NoRoom { call } => dispatch.calls.refused(call),
        Event::Ended { conn, agent, reason } => handlers::ended::apply(dispatch, conn, agent, reason, now),
    }
}
