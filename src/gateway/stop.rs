//! Signals, and stopping in order: agents are sent away in a paced way, calls in flight finish, then the threads end.

use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use crate::kit::tick::Now;
use crate::net::mailbox::Order;
use crate::work::drain::Drain;

use super::{GatewayError, Running, reload};

/// One step of the drain.
const STEP: Duration = Duration::from_millis(20);

/// How long answers that are ready may take to go out when a second signal ended the drain.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Serves until a signal says to stop, then stops.
pub(super) fn until_stopped(mut running: Running, signals: &mut Signals) -> Result<(), GatewayError> {
    let mut name = "";
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload::reload(&mut running),
            SIGUSR1 => running.auditor.reopen(),
            stop => {
                name = low_level::signal_name(stop).unwrap_or_default();
                break;
            }
        }
    }
    running.auditor.act("stop", "begun", Some(name.to_owned()));
    let clock = running.dispatch.clock();
    let begun = clock.now();
    tracing::info!(window = ?running.settings.drain.window, hard_end = ?running.settings.drain.hard_end, "stopping");
    let drained = drain(&running, signals, begun);
    if drained == Drained::Interrupted {
        tracing::warn!("second signal: ending at once");
    }
    end(running, drained, begun)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// Nobody is left.
    Clean,
    /// The hard end came first.
    TimedOut,
    /// A second signal came first.
    Interrupted,
}

fn drain(running: &Running, signals: &mut Signals, begun: Now) -> Drained {
    let (dispatch, settings) = (&running.dispatch, &running.settings);
    dispatch.begin_drain();
    dispatch.tell_loops(|| Order::StopAccepting);
    let hard_end = begun.after(settings.drain.hard_end);
    let mut drain = Drain::begin(dispatch, begun, settings.drain.window);
    loop {
        let now = dispatch.clock().now();
        let left = drain.step(dispatch, now, |below| fastrand::u32(0..below.max(1)));
        let node = dispatch.node(now);
        let connections = node.connections.iter().sum::<u32>() + node.links;
        // Connections that are no agents have no one to tell, and are waited for no longer than the window.
        let over = now >= begun.after(settings.drain.window);
        if left == 0 && (connections == 0 || over) {
            return Drained::Clean;
        }
        if now >= hard_end {
            tracing::warn!(left, connections, "hard end of the drain");
            return Drained::TimedOut;
        }
        // All that came are looked at, so that no file is kept that was moved away.
        if signals.pending().filter(|signal| is_stop(running, *signal)).count() > 0 {
            return Drained::Interrupted;
        }
        thread::sleep(STEP);
    }
}

/// Whether a signal that came during the drain is a second one. Settings are not read any more.
fn is_stop(running: &Running, signal: i32) -> bool {
    if signal == SIGUSR1 {
        running.auditor.reopen();
    }
    !matches!(signal, SIGHUP | SIGUSR1)
}

/// Ends the threads: loops, then workers, then control, each when nothing more can come to it.
fn end(running: Running, drained: Drained, begun: Now) -> Result<(), GatewayError> {
    let Running { dispatch, control: (stop, control), loops, workers, auditor, .. } = running;
    if drained == Drained::Interrupted {
        // Nothing is waited for but that callers read how their calls ended; the kernel closes what is open.
        dispatch.end_all_calls();
        stop.stop(LAST_WORDS);
        let ended = control.join().ok().and_then(Result::ok).ok_or_else(in_error);
        auditor.end("interrupted");
        return ended;
    }
    dispatch.tell_loops(|| Order::Stop);
    let mut broken = false;
    for thread in loops.into_iter().chain(workers) {
        broken |= thread.join().is_err();
    }
    dispatch.end_all_calls();
    // Answers that are ready go out; who holds a connection open without asking is not waited for long.
    stop.stop(Duration::from_secs(1));
    broken |= !matches!(control.join(), Ok(Ok(())));
    auditor.end(if drained == Drained::Clean { "done" } else { "timed_out" });
    tracing::info!(took = ?dispatch.clock().now().since(begun), "stopped");
    if broken { Err(in_error()) } else { Ok(()) }
}

fn in_error() -> GatewayError {
    GatewayError("a thread ended in an error; see the log".to_owned())
}
