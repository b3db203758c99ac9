//! Simulated backends: the calls that they made, what became of each, and what the agents know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fastrand::Rng;

use crate::calls::{OnEnd, Outcome};
use crate::kit::ids::CallId;
use crate::kit::lock::lock;

use super::kernel::SocketId;

/// One call, as the world knows it.
#[derive(Debug)]
pub(super) struct Record {
    /// When it was made; of a call on a link: when it was taken from there.
    pub(super) opened: u64,
    /// When waiting ends.
    pub(super) deadline: u64,
    /// The connection that the agent was on; `None` when it was offline.
    pub(super) socket: Option<SocketId>,
    pub(super) call: Option<CallId>,
    /// The connection of the link that it came in on, where it did.
    pub(super) link: Option<SocketId>,
    /// When the caller goes away, if it does.
    pub(super) cancels_at: Option<u64>,
    pub(super) cancelled: bool,
    /// The connections on which an agent read it.
    pub(super) received: Vec<SocketId>,
    /// Answers: on which connection, and behind how many bytes.
    pub(super) answers: Vec<(SocketId, u64)>,
    /// Connections on which a receipt was sent.
    pub(super) receipts: Vec<SocketId>,
    pub(super) outcome: Option<Outcome>,
}

/// All calls, by nonce.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) records: BTreeMap<u64, Record>,
    open: BTreeSet<u64>,
    ended: Arc<Mutex<Vec<(u64, Outcome)>>>,
    recent: Vec<(CallId, SocketId)>,
    nonces: u64,
    /// Calls on links that their backends took back.
    taken_back: BTreeSet<u64>,
    /// Calls on links that ended: nobody waits, though an answer may be on its way.
    given_up: BTreeSet<u64>,
}

impl Ledger {
    /// Opens a record; what to run when the call ends.
    pub(super) fn open(&mut self, nonce: u64, (opened, deadline): (u64, u64), socket: Option<SocketId>) -> OnEnd {
        self.insert(nonce, (opened, deadline), socket, None);
        let ended = Arc::clone(&self.ended);
        Box::new(move |end| lock(&ended).push((nonce, end.outcome)))
    }

    /// A number for one more call.
    pub(super) fn next_nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    /// Opens the record of a call that came in on a link.
    pub(super) fn open_on_link(&mut self, nonce: u64, life: (u64, u64), socket: Option<SocketId>, link: SocketId) {
        self.insert(nonce, life, socket, Some(link));
    }

    fn insert(&mut self, nonce: u64, (opened, deadline): (u64, u64), socket: Option<SocketId>, link: Option<SocketId>) {
        let record = Record {
            opened,
            deadline,
            socket,
            call: None,
            link,
            cancels_at: None,
            cancelled: self.taken_back.contains(&nonce),
            received: Vec::new(),
            answers: Vec::new(),
            receipts: Vec::new(),
            outcome: None,
        };
        let twice = self.records.insert(nonce, record);
        assert!(twice.is_none(), "call {nonce} was taken from its link twice");
        self.open.insert(nonce);
    }

    /// A backend takes a call on its link back.
    pub(super) fn taken_back(&mut self, nonce: u64) {
        self.taken_back.insert(nonce);
        if let Some(record) = self.records.get_mut(&nonce) {
            record.cancelled = true;
        }
    }

    /// A backend read on its link how a call ended.
    pub(super) fn told_on_link(&mut self, nonce: u64, outcome: Outcome, link: SocketId) {
        let record = self.records.get(&nonce).expect("a call that nobody made");
        assert_eq!(record.link, Some(link), "call {nonce} ends on somebody else's link");
        lock(&self.ended).push((nonce, outcome));
    }

    /// Nobody waits any more for calls on links that are gone.
    pub(super) fn give_up_links(&mut self, gone: impl Fn(SocketId) -> bool) {
        let records = &self.records;
        let given_up: Vec<u64> =
            self.open.iter().copied().filter(|nonce| records[nonce].link.is_some_and(&gone)).collect();
        for nonce in given_up {
            self.open.remove(&nonce);
            self.given_up.insert(nonce);
        }
    }

    /// Calls that ended since this was asked last, by nonce.
    pub(super) fn take_ended(&mut self) -> Vec<(u64, Outcome)> {
        let mut ended = std::mem::take(&mut *lock(&self.ended));
        ended.sort_by_key(|(nonce, _)| *nonce);
        ended
    }

    /// Calls without an outcome.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = (&u64, &Record)> {
        self.open.iter().map(|nonce| (nonce, &self.records[nonce]))
    }

    /// Notes how a call ended.
    pub(super) fn close(&mut self, nonce: u64, outcome: Outcome) {
        let record = self.records.get_mut(&nonce).expect("it was opened");
        let waits = self.open.remove(&nonce) || self.given_up.remove(&nonce);
        assert!(waits, "call {nonce} has a second outcome: {outcome:?} after {:?}", record.outcome);
        record.outcome = Some(outcome);
    }

    /// An agent read a call.
    pub(super) fn received(&mut self, nonce: u64, call: CallId, socket: SocketId) {
        let record = self.records.get_mut(&nonce).expect("a call that nobody made");
        assert!(record.received.is_empty(), "call {nonce} came twice");
        assert_eq!(record.socket, Some(socket), "call {nonce} came to a connection that it was not for");
        record.received.push(socket);
        self.recent.push((call, socket));
    }

    /// An agent sent an answer whose last byte is the connection's `end`-th.
    pub(super) fn answered(&mut self, nonce: u64, socket: SocketId, end: u64) {
        if let Some(record) = self.records.get_mut(&nonce) {
            record.answers.push((socket, end));
        }
    }

    /// An agent is about to send a receipt.
    pub(super) fn receipted(&mut self, nonce: u64, socket: SocketId) {
        if let Some(record) = self.records.get_mut(&nonce) {
            record.receipts.push(socket);
        }
    }

    /// The id of some call of late on another connection, to answer in somebody else's name.
    pub(super) fn some_call(&self, mine: SocketId, rng: &mut Rng) -> Option<CallId> {
        let late = self.recent.len().saturating_sub(6);
        let (call, socket) = *self.recent.get(late..)?.get(rng.usize(..6))?;
        (socket != mine).then_some(call)
    }
}
