//! The thread that revokes: written down first, then in force at the door and on live connections, then acknowledged.
//!
//! Owns the journal, and the note in it of how long the gateway has run, by which revocations end as much as by the wall's clock. It may
//! wait for the disk and for a loop's mailbox; nobody waits for it but who asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::directory::TokenMark;
use crate::kit::tick::Clock;
use crate::net::mailbox::Order;
use crate::revocations::journal::{Change, Disk, Journal};
use crate::revocations::set::{Full, Set};
use crate::revocations::{Ban, Moment, Revocation, Target};
use crate::session::reason::Reason;

use super::answers::Answers;
use super::dispatch::Dispatch;
use super::revoking::{Done, Request, Unchanged};

/// Requests that one sync of the disk serves.
const TOGETHER_MAX: usize = 64;
/// How often what is in force no more is taken out.
const SWEEP: Duration = Duration::from_secs(30);
/// How often it is noted how long the gateway has run, while a revocation ends by that. What was not noted when the process ends is
/// not counted: revocations that end are in force for as much longer.
const NOTE_SECS: u64 = 300;

/// What the thread works with.
pub struct Keeper {
    dispatch: Weak<Dispatch>,
    requests: Receiver<Request>,
    journal: Journal<Disk>,
    clock: Clock,
    max: usize,
    /// Seconds that the gateway had run when that was noted last.
    noted_ran: u64,
    /// Seconds that this process had run when it last looked for what is over.
    swept_at: u64,
}

impl Keeper {
    /// Puts what a journal held in force. Call it before the first agent is let in, and run what it returns on a thread.
    #[must_use]
    pub fn new(dispatch: &Arc<Dispatch>, journal: Journal<Disk>, set: Set, max: usize) -> Self {
        dispatch.directory.keep_token_marks();
        let clock = dispatch.clock();
        let now = dispatch.moment(clock.now());
        let noted_ran = set.ran(now);
        dispatch.revocations().change(|empty| *empty = set);
        let requests = dispatch.revocations().open();
        let swept_at = now.running_secs;
        Self { dispatch: Arc::downgrade(dispatch), requests, journal, clock, max, noted_ran, swept_at }
    }

    /// Serves requests as long as the node lives.
    pub fn run(mut self) {
        loop {
            let first = match self.requests.recv_timeout(SWEEP) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(dispatch) = self.dispatch.upgrade() else {
                return;
            };
            let more = self.requests.try_iter().take(TOGETHER_MAX - 1);
            let together = first.into_iter().chain(more).collect();
            self.turn(&dispatch, together, dispatch.moment(self.clock.now()));
        }
    }

    /// Takes out what is over where that is due, and then serves requests: also where they never cease to come, what is over must not
    /// take the room of others.
    fn turn(&mut self, dispatch: &Dispatch, requests: Vec<Request>, now: Moment) {
        if requests.is_empty() || now.running_secs >= self.swept_at.saturating_add(SWEEP.as_secs()) {
            self.swept_at = now.running_secs;
            self.sweep(dispatch, now);
        }
        if !requests.is_empty() {
            self.serve(dispatch, requests, now);
        }
    }

    /// Writes all of them down with one sync, then puts them in force, then tells.
    fn serve(&mut self, dispatch: &Dispatch, requests: Vec<Request>, now: Moment) {
        let mut changes = Vec::new();
        let mut accepted = Vec::new();
        {
            // Drafts see each other: numbers and places are given out in a copy of the counts.
            let set = dispatch.revocations().read();
            let mut added = 0;
            for request in requests {
                match request {
                    Request::Add(mut ban, done) => {
                        ban.expires_unix = ban.expires_unix.or(dispatch.gate().implied_end(&ban, now.unix_secs));
                        match set.draft(ban, now, self.max.saturating_sub(added)) {
                            Err(Full) => done(Err(Unchanged::Full)),
                            Ok(mut revocation) => {
                                revocation.id += added as u64;
                                added += 1;
                                changes.push(Change::Add(revocation));
                                accepted.push(Accepted::Add(done));
                            }
                        }
                    }
                    Request::Drop(tenant, id, done) if set.get(&tenant, id).is_some() => {
                        changes.push(Change::Drop(id));
                        accepted.push(Accepted::Drop(done));
                    }
                    Request::Drop(_, _, done) => done(Err(Unchanged::Unknown)),
                }
            }
        }
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.journal.append(&changes) {
            tracing::error!(%error, "revocations cannot be written down: none of them is in force");
            let why = Unchanged::NotStored(error.to_string());
            accepted.into_iter().for_each(|accepted| accepted.fail(why.clone()));
            return;
        }
        for (change, accepted) in changes.into_iter().zip(accepted) {
            apply(dispatch, change, accepted);
        }
        self.tidy(dispatch, now);
    }

    /// Takes out what is in force no more, of the file first: what was over once must not come back with the next process. Notes from
    /// time to time how long the gateway has run.
    fn sweep(&mut self, dispatch: &Dispatch, now: Moment) {
        let (over, ran, has_ends) = {
            let set = dispatch.revocations().read();
            (set.over(now), set.ran(now), set.has_ends())
        };
        let is_note_due = has_ends && ran >= self.noted_ran.saturating_add(NOTE_SECS);
        if over.is_empty() && !is_note_due {
            return;
        }
        let mut changes: Vec<Change> = over.iter().map(|id| Change::Drop(*id)).collect();
        changes.push(Change::Ran(ran));
        if let Err(error) = self.journal.append(&changes) {
            tracing::warn!(%error, over = over.len(), "the file of revocations cannot be written: those that are over stay");
            return;
        }
        self.noted_ran = ran;
        if !over.is_empty() {
            tracing::debug!(count = over.len(), "revocations are over");
            // The newest first, which stand at the end where many mean the same: logins wait meanwhile.
            dispatch.revocations().change(|set| over.iter().rev().for_each(|id| drop(set.remove(*id))));
        }
        self.tidy(dispatch, now);
    }

    fn tidy(&mut self, dispatch: &Dispatch, now: Moment) {
        let set = dispatch.revocations().read();
        if let Err(error) = self.journal.tidy(&set, set.ran(now)) {
            tracing::warn!(%error, "the file of revocations cannot be written anew: it stays as long as it is");
        }
    }
}

/// Who is told of a change that was written down.
enum Accepted {
    Add(Done<Revocation>),
    Drop(Done<()>),
}

impl Accepted {
    fn fail(self, why: Unchanged) {
        match self {
            Self::Add(done) => done(Err(why)),
            Self::Drop(done) => done(Err(why)),
        }
    }
}

fn apply(dispatch: &Dispatch, change: Change, accepted: Accepted) {
    match (change, accepted) {
        (Change::Add(revocation), Accepted::Add(done)) => {
            dispatch.revocations().change(|set| set.insert(revocation.clone()));
            let closed = end_live(dispatch, &revocation.ban);
            let what = match &revocation.ban.target {
                Target::TokenId(_) => "token",
                Target::Agent(_) => "agent",
                Target::Tenant => "tenant",
            };
            tracing::info!(id = revocation.id, tenant = %revocation.ban.tenant, what, closed, "revoked");
            done(Ok(revocation));
        }
        (Change::Drop(id), Accepted::Drop(done)) => {
            let gone = dispatch.revocations().read().all().any(|revocation| revocation.id == id);
            dispatch.revocations().change(|set| drop(set.remove(id)));
            tracing::info!(id, "revocation taken back");
            // Somebody else may have been first within this batch: it is gone all the same.
            done(if gone { Ok(()) } else { Err(Unchanged::Unknown) });
        }
        // They were made in pairs.
        (_, accepted) => accepted.fail(Unchanged::Unknown),
    }
}

/// Closes the connections of those who are meant; how many.
fn end_live(dispatch: &Dispatch, ban: &Ban) -> usize {
    let revocations = dispatch.revocations();
    let token = match &ban.target {
        Target::TokenId(id) => Some(revocations.hash(&ban.tenant, id)),
        _ => None,
    };
    let before = |mark: TokenMark| ban.issued_before.is_none_or(|before| mark.is_before(before));
    let is_meant = |agent: &str, mark: TokenMark| match &ban.target {
        Target::Tenant => before(mark),
        Target::Agent(id) => id == agent && before(mark),
        Target::TokenId(_) => token.is_some_and(|token| mark.has_id(token)) && before(mark),
    };
    let conns = dispatch.directory.search(dispatch.tenant(&ban.tenant), is_meant);
    let mut answers = Answers::default();
    for conn in &conns {
        answers.push(*conn, Order::Close { conn: *conn, reason: Reason::Revoked, last_words: None });
    }
    // It may wait for a loop: no loop ever waits for it.
    dispatch.settle(&mut answers);
    conns.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
