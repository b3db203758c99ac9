//! The workers: a few threads that apply what the loops heard.
//!
//! Each has a queue of its own, and everything about one connection goes to one worker: its messages stay in order
//! without a lock. A worker may wait for a loop's mailbox, never for an agent.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::kit::memory;
use crate::kit::tick::Now;
use crate::net::intake::{Event, Tray, Waited};

use super::dispatch::Dispatch;
use super::handlers;

/// Quiet for this long, a worker gives memory back and then waits without end.
const QUIET: Duration = Duration::from_secs(1);

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
    loop {
        let batch = match tray.wait_at_most(QUIET) {
            Waited::Batch(batch) => batch,
            Waited::Ended => return,
            Waited::Nothing => {
                memory::quiet();
                let Some(batch) = tray.wait() else { return };
                batch
            }
        };
        let now = clock.now();
        batch.into_iter().for_each(|event| apply(dispatch, event, now));
    }
}

/// Applies one event.
pub fn apply(dispatch: &Dispatch, event: Event, now: Now) {
    match event {
        Event::Knock { conn, greeting } => handlers::knock::apply(dispatch, conn, &greeting, now),
        Event::Message { conn, encoding, body } => handlers::message::apply(dispatch, conn, encoding, &body),
        Event::NotWritten { call } => dispatch.calls.not_written(call),
        Event::NoRoom { call } => dispatch.calls.refused(call),
        Event::Ended { conn, agent, reason } => handlers::ended::apply(dispatch, conn, agent, reason, now),
    }
}
