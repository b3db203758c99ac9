//! Where events are handed in: a bounded list under a lock, and the wake of the writer.
//!
//! Owns what happens when there are too many. Whoever hands one in takes the lock for a push and wakes the writer only where it sleeps:
//! it looks again by itself a moment later, so a batch costs one wake, and not a wake for each call.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::event::{Act, Call, Entry, Event, Kind, Login, OnWritten, Tally, Trespass};
use crate::kit::lock::lock;
use crate::kit::pace::Pace;
use crate::kit::tick::Now;

/// How long the writer lets a batch grow.
const LINGER: Duration = Duration::from_millis(50);
/// Calls leave this part of the queue to refusals and acts.
const RESERVED_PART: usize = 8;

/// Whether calls have lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallLines {
    /// Each has one.
    All,
    /// None has.
    None,
}

/// What becomes of an administrative act that the log cannot be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It is done, and the missing line is counted.
    Count,
    /// It is not done: a line that says what is about to be done must be in the file before.
    Refuse,
}

/// How much is written.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Whether calls are.
    pub calls: CallLines,
    /// What acts need.
    pub acts: Strictness,
    /// Most events that wait to be written.
    pub queue: usize,
    /// Most lines of refused logins a second, and as many of forbidden requests; the others are one line together.
    pub refusals_a_second: u32,
}

/// The way into the audit log. Cheap to clone; from any thread, and never waits for the file.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Desk>>);

/// What all handles share with the writer.
pub(super) struct Desk {
    terms: Terms,
    state: Mutex<State>,
    bell: Condvar,
}

struct State {
    entries: Vec<Entry>,
    missed: Tally,
    more: Tally,
    /// Of refused logins, and of forbidden requests apart: strangers must not hide what a key was used for.
    paces: [Pace; 2],
    /// The writer waits without knowing for how long.
    asleep: bool,
    /// Somebody waits for a line.
    is_waited_for: bool,
    reopen: bool,
    closed: bool,
}

/// What the writer took from the desk, beside the events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) missed: Tally,
    pub(super) more: Tally,
    pub(super) reopen: bool,
    pub(super) closed: bool,
    /// There was nothing for as long as was waited.
    pub(super) nothing: bool,
}

impl Audit {
    /// No audit log.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// A log, and the desk that its writer takes events from.
    pub(super) fn new(terms: Terms) -> (Self, Arc<Desk>) {
        let state = State {
            entries: Vec::new(),
            missed: Tally::default(),
            more: Tally::default(),
            paces: [(); 2].map(|()| Pace::new(terms.refusals_a_second)),
            asleep: false,
            is_waited_for: false,
            reopen: false,
            closed: false,
        };
        let desk = Arc::new(Desk { terms, state: Mutex::new(state), bell: Condvar::new() });
        (Self(Some(Arc::clone(&desk))), desk)
    }

    /// Whether calls have lines.
    #[must_use]
    pub fn wants_calls(&self) -> bool {
        self.0.as_ref().is_some_and(|desk| desk.terms.calls == CallLines::All)
    }

    /// Whether an act must be confirmed before it is done.
    #[must_use]
    pub fn wants_confirmed_acts(&self) -> bool {
        self.0.as_ref().is_some_and(|desk| desk.terms.acts == Strictness::Refuse)
    }

    /// A call ended.
    pub fn call(&self, at: Now, call: Call) {
        self.push(at, Event::Call(call));
    }

    /// A login was refused.
    pub fn login_refused(&self, at: Now, login: Login) {
        self.push(at, Event::Login(Box::new(login)));
    }

    /// A key was used for what it may not do.
    pub fn forbidden(&self, at: Now, trespass: Trespass) {
        self.push(at, Event::Trespass(Box::new(trespass)));
    }

    /// Somebody changed something.
    pub fn act(&self, at: Now, act: Act) {
        self.push(at, Event::Act(Box::new(act)));
    }

    /// As [`Audit::act`], for who goes on only when the line is in the file: `on_written` runs once, maybe before this returns.
    pub fn confirm(&self, at: Now, act: Act, on_written: OnWritten) {
        let Some(desk) = &self.0 else {
            return on_written(true);
        };
        if let Some(entry) = desk.push(Entry { at, event: Event::Act(Box::new(act)), on_written: Some(on_written) }) {
            entry.on_written.into_iter().for_each(|tell| tell(false));
        }
    }

    /// The file was moved away: opens one of the same name. False where there is no audit log.
    pub fn reopen(&self) -> bool {
        self.0.as_ref().is_some_and(|desk| {
            desk.order(|state| state.reopen = true);
            true
        })
    }

    /// The process ends: the writer writes what there is, and ends.
    pub fn close(&self) {
        self.0.iter().for_each(|desk| desk.order(|state| state.closed = true));
    }

    fn push(&self, at: Now, event: Event) {
        if let Some(desk) = &self.0 {
            // What does not fit is counted.
            let _ = desk.push(Entry { at, event, on_written: None });
        }
    }
}

impl Desk {
    /// Puts an event on the list. Hands back the one that does not fit, and is counted.
    fn push(&self, entry: Entry) -> Option<Entry> {
        let kind = entry.event.kind();
        let wake = {
            let mut state = lock(&self.state);
            if state.is_over_its_pace(kind, entry.at) {
                state.more.count(kind);
            } else if state.entries.len() >= self.room(kind) {
                state.missed.count(kind);
                return Some(entry);
            } else {
                state.is_waited_for |= entry.on_written.is_some();
                state.entries.push(entry);
            }
            let is_half_full = state.entries.len() == self.half();
            std::mem::take(&mut state.asleep) || is_half_full || state.is_waited_for
        };
        if wake {
            self.bell.notify_one();
        }
        None
    }

    /// Takes what there is, once there is something; waits for `patience` at most, where one is given. `entries` is empty, and its
    /// memory is used again.
    pub(super) fn take(&self, entries: &mut Vec<Entry>, patience: Option<Duration>) -> Taken {
        let mut state = lock(&self.state);
        while !state.has_news() {
            state.asleep = true;
            let Some(patience) = patience else {
                state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.bell.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && !state.has_news() {
                state.asleep = false;
                return Taken { nothing: true, ..Taken::default() };
            }
        }
        state.asleep = false;
        let grows = |state: &mut State| !state.is_due(self.half());
        let waited = self.bell.wait_timeout_while(state, LINGER, grows).unwrap_or_else(PoisonError::into_inner);
        let mut state = waited.0;
        state.hand_out(entries)
    }

    /// Takes all events out, without waiting.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<Entry> {
        std::mem::take(&mut lock(&self.state).entries)
    }

    /// Gives back the memory of a burst.
    pub(super) fn rest(&self) {
        let mut state = lock(&self.state);
        if state.entries.is_empty() {
            state.entries = Vec::new();
        }
    }

    fn order(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.bell.notify_one();
    }

    fn room(&self, kind: Kind) -> usize {
        match kind {
            Kind::Call => self.terms.queue - self.terms.queue / RESERVED_PART,
            Kind::Login | Kind::Trespass | Kind::Act => self.terms.queue,
        }
    }

    fn half(&self) -> usize {
        self.terms.queue / 2
    }
}

impl State {
    fn has_news(&self) -> bool {
        !self.entries.is_empty() || self.missed.any() || self.more.any() || self.reopen || self.closed
    }

    /// Whether there were so many of this kind in this second that one more has no line.
    fn is_over_its_pace(&mut self, kind: Kind, at: Now) -> bool {
        let [logins, trespasses] = &mut self.paces;
        match kind {
            Kind::Login => logins.step(at).is_none(),
            Kind::Trespass => trespasses.step(at).is_none(),
            Kind::Call | Kind::Act => false,
        }
    }

    /// Whether the batch grows no longer.
    fn is_due(&self, half: usize) -> bool {
        self.entries.len() >= half || self.is_waited_for || self.reopen || self.closed
    }

    fn hand_out(&mut self, entries: &mut Vec<Entry>) -> Taken {
        std::mem::swap(&mut self.entries, entries);
        self.is_waited_for = false;
        Taken {
            missed: std::mem::take(&mut self.missed),
            more: std::mem::take(&mut self.more),
            reopen: std::mem::take(&mut self.reopen),
            closed: self.closed,
            nothing: false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::event::Who;

    fn terms(queue: usize, refusals_a_second: u32) -> Terms {
        Terms { calls: CallLines::All, acts: Strictness::Refuse, queue, refusals_a_second }
    }

    fn act() -> Act {
        Act { what: "reload", who: None, agent: None, outcome: "done", detail: None }
    }

    fn call() -> Call {
        let who = Who { over: "http", key: None, tenant: "t".into(), remote: None };
        let (agent, method) = ("web-1".into(), "m".into());
        Call { who, agent, method, call: None, outcome: "ok", took_ms: 0, params_bytes: 0, result_bytes: 0 }
    }

    fn taken(desk: &Desk) -> (usize, Taken) {
        let mut entries = Vec::new();
        let taken = desk.take(&mut entries, Some(Duration::ZERO));
        (entries.len(), taken)
    }

    #[test]
    fn calls_leave_room_for_what_matters_more() {
        let (audit, desk) = Audit::new(terms(16, 100));
        (0..20).for_each(|_| audit.call(Now(0), call()));
        audit.act(Now(0), act());
        audit.login_refused(Now(0), Login::of_a_stranger("links", "missing", None));
        audit.act(Now(0), act());
        let (entries, taken) = taken(&desk);
        assert_eq!((entries, taken.missed), (16, Tally([6, 0, 0, 1])));
    }

    #[test]
    fn refusals_have_a_pace_and_the_rest_is_counted() {
        let (audit, desk) = Audit::new(terms(100, 3));
        for now in [0, 1, 2, 3, 4, 999, 1000] {
            audit.login_refused(Now(now), Login::of_a_stranger("agents", "missing", None));
        }
        // A flood of strangers leaves the lines of trespasses alone.
        let who = Who { over: "http", key: None, tenant: "t".into(), remote: None };
        audit.forbidden(Now(1000), Trespass { who, right: "list", what: "list", agent: None, method: None });
        let (entries, taken) = taken(&desk);
        assert_eq!((entries, taken.more, taken.missed), (5, Tally([0, 3, 0, 0]), Tally::default()));
    }

    #[test]
    fn who_must_be_sure_is_told_at_once_that_there_is_no_room() {
        let (audit, desk) = Audit::new(terms(1, 1));
        assert!(audit.wants_confirmed_acts() && audit.wants_calls());
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |told: &Arc<Mutex<Vec<bool>>>| {
            let told = Arc::clone(told);
            Box::new(move |is_written| lock(&told).push(is_written))
        };
        audit.confirm(Now(0), act(), tell(&told));
        audit.confirm(Now(0), act(), tell(&told));
        assert_eq!(*lock(&told), [false], "the first one waits for its line");
        assert_eq!(taken(&desk).0, 1);
        Audit::off().confirm(Now(0), act(), tell(&told));
        assert_eq!(*lock(&told), [false, true]);
    }

    #[test]
    fn nothing_is_nothing_and_orders_are_news() {
        let (audit, desk) = Audit::new(terms(4, 1));
        assert!(taken(&desk).1.nothing);
        assert!(audit.reopen() && !Audit::off().reopen());
        assert_eq!(taken(&desk).1, Taken { reopen: true, ..Taken::default() });
        audit.close();
        assert!(taken(&desk).1.closed && taken(&desk).1.closed, "it stays closed");
    }

    #[test]
    fn a_writer_that_sleeps_is_woken() {
        let (audit, desk) = Audit::new(terms(1000, 1));
        let writer = std::thread::spawn(move || {
            let mut entries = Vec::new();
            let mut seen = 0;
            while seen < 300 {
                desk.take(&mut entries, None);
                seen += entries.drain(..).count();
            }
        });
        for _ in 0..300 {
            audit.act(Now(0), act());
            std::thread::yield_now();
        }
        assert!(writer.join().is_ok());
    }
}
