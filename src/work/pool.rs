//! The workers: a few threads that apply what the loops heard.
//!
//! Each has a queue of its own, and everything about one connection goes to one worker: its messages stay in order
//! without a lock. A worker may wait for a loop's mailbox, never for an agent.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::kit::tick::Now;
use crate::net::intake::{Event, Tray};

use super::dispatch::Dispatch;
use super::handlers;

/// Starts one worker for each queue. They end when every loop has ended.
///
/// # Errors
/// Of starting a thread.
pub fn start(trays: Vec<Tray>, dispatch: &Arc<Dispatch>) -> io::Result<Vec<JoinHandle<()>>> {
    let worker = |(index, tray): (usize, Tray)| {
        let dispatch = Arc::clone(dispatch);
        thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let clock = dispatch.clock();
                while let Some(batch) = tray.wait() {
                    let now = clock.now();
                    batch
                        .into_iter()
                        .for_each(|event| apply(&dispatch, event, now));
                }
            })
    };
    trays.into_iter().enumerate().map(worker).collect()
}

/// Applies one event.
pub fn apply(dispatch: &Dispatch, event: Event, now: Now) {
    match event {
        Event::Knock { conn, greeting } => handlers::knock::apply(dispatch, conn, &greeting, now),
        Event::Message {
            conn,
            encoding,
            body,
        } => handlers::message::apply(dispatch, conn, encoding, &body),
        Event::NotWritten { call } => dispatch.calls.not_written(call),
        Event::Ended {
            conn,
            agent,
            reason,
        } => handlers::ended::apply(dispatch, conn, agent, reason, now),
    }
}
