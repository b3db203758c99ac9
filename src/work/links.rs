//! Control links: who is linked, which calls each has in flight, and the answers that wait to be posted.
//!
//! Owns the window and the pairing of a backend's id with a call. A call's completion appends its answer, as a whole frame,
//! to the bytes that wait for its link; whoever ends calls collects them afterwards, so that the answers of a batch are
//! one order to a loop. It touches no connection, and decides no outcome.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;

use crate::auth::api_key::Backend;
use crate::calls::{Body, End, OnEnd, Outcome};
use crate::kit::ids::{AgentId, CallId, ConnId};
use crate::kit::lock::lock;
use crate::kit::slots::Slots;
use crate::kit::tick::Now;
use crate::net::mailbox::Order;
use crate::wire::envelope::link_side::{self, Ended, Ending, Failure};
use crate::wire::envelope::{Encoding, Payload};

use super::answers::Answers;
use super::call_count::{CallCount, Way};
use super::caller::Caller;

/// What links are promised.
#[derive(Clone, Copy, Debug)]
pub struct LinkTerms {
    /// Calls in flight on one link; one more is `busy`.
    pub window: u32,
    /// How long a call waits when the backend does not say.
    pub timeout: Duration,
    /// The most that it may say.
    pub timeout_max: Duration,
}

/// Calls in flight come and go in chunks of so many: a link that was busy once gives the memory of it back.
const FLIGHTS_CHUNK: usize = 64;

/// All links of this node.
pub(super) struct Links {
    by_conn: Mutex<HashMap<ConnId, Arc<Link>, foldhash::fast::RandomState>>,
    terms: RwLock<LinkTerms>,
    desk: Arc<Desk>,
}

/// What all links share.
struct Desk {
    count: CallCount,
    /// Links with answers that nobody has collected.
    ready: Mutex<Vec<Arc<Link>>>,
}

/// One backend's link.
pub(super) struct Link {
    /// Its connection.
    pub(super) conn: ConnId,
    /// How its envelopes are written.
    pub(super) encoding: Encoding,
    /// Whose it is, and what it may do; that may change while it is open.
    caller: RwLock<Arc<Caller>>,
    window: usize,
    desk: Arc<Desk>,
    state: Mutex<State>,
}

struct State {
    flights: Slots<Flight>,
    /// Counts flights: places in the table are used again.
    serial: u32,
    /// Frames that wait to be posted.
    answers: Vec<u8>,
    /// The connection has ended: nobody is to be answered.
    over: bool,
    /// How far the end of its stay has come.
    stay: Stay,
}

impl Default for State {
    fn default() -> Self {
        Self {
            flights: Slots::with_chunk(FLIGHTS_CHUNK),
            serial: 0,
            answers: Vec::new(),
            over: false,
            stay: Stay::Welcome,
        }
    }
}

/// How far a drain has come with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It has heard of no end.
    Welcome,
    /// Its `goaway` is with its loop.
    ToldToGo,
    /// Its close is with its loop.
    SentAway,
}

/// One call in flight.
struct Flight {
    serial: u32,
    id: RequestId,
    agent: AgentId,
    call: Option<CallId>,
}

/// A backend's own id: JSON text, or the bytes of a binary head.
#[derive(PartialEq, Eq)]
enum RequestId {
    Json(CompactString),
    Binary([u8; 8]),
}

impl RequestId {
    fn of(id: &[u8], encoding: Encoding) -> Self {
        match (encoding, id.try_into()) {
            (Encoding::Binary, Ok(bytes)) => Self::Binary(bytes),
            _ => Self::Json(CompactString::from_utf8_lossy(id)),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// When the answers that wait began to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// With this one: nobody knows of them yet.
    Now,
    /// Before, or nobody is there to be answered.
    Before,
}

/// A place among the calls in flight of a link.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    place: u32,
    serial: u32,
}

impl Links {
    pub(super) fn new(terms: LinkTerms) -> Self {
        let desk = Arc::new(Desk { count: CallCount::new(Way::Link), ready: Mutex::default() });
        Self { by_conn: Mutex::default(), terms: RwLock::new(terms), desk }
    }

    /// Bytes of calls in flight and of answers that wait to be posted. Looks at each link, of which there are a few.
    pub(super) fn bytes(&self) -> usize {
        let of_one = |link: Arc<Link>| {
            let state = lock(&link.state);
            let seat = size_of::<Link>() + size_of::<(ConnId, Arc<Link>)>();
            seat + state.flights.bytes() + state.answers.capacity()
        };
        self.all().into_iter().map(of_one).sum()
    }

    /// What new links and new calls are promised.
    pub(super) fn terms(&self) -> LinkTerms {
        *self.terms.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it. Links that are there keep their window.
    pub(super) fn set_terms(&self, terms: LinkTerms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// A link was let in.
    pub(super) fn open(&self, conn: ConnId, encoding: Encoding, caller: Caller) -> LinkTerms {
        let terms = self.terms();
        let link = Link {
            conn,
            encoding,
            caller: RwLock::new(Arc::new(caller)),
            window: terms.window as usize,
            desk: Arc::clone(&self.desk),
            state: Mutex::default(),
        };
        lock(&self.by_conn).insert(conn, Arc::new(link));
        terms
    }

    /// The link on this connection.
    pub(super) fn get(&self, conn: ConnId) -> Option<Arc<Link>> {
        lock(&self.by_conn).get(&conn).map(Arc::clone)
    }

    /// All of them, by connection.
    pub(super) fn all(&self) -> Vec<Arc<Link>> {
        let mut all: Vec<_> = lock(&self.by_conn).values().map(Arc::clone).collect();
        all.sort_by_key(|link| link.conn);
        all
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.by_conn).len()
    }

    /// A link has ended: nobody is answered any more. Its calls in flight, to be cancelled.
    pub(super) fn close(&self, conn: ConnId) -> Vec<CallId> {
        let Some(link) = lock(&self.by_conn).remove(&conn) else {
            return Vec::new();
        };
        let mut state = lock(&link.state);
        state.over = true;
        state.answers = Vec::new();
        state.flights.range(0, u32::MAX).filter_map(|(_, flight)| flight.call).collect()
    }

    /// Turns the answers that wait into orders, one for each link. Whoever has ended calls does this afterwards.
    pub(super) fn collect(&self, answers: &mut Answers) {
        let ready = std::mem::take(&mut *lock(&self.desk.ready));
        for link in ready {
            let conn = link.conn;
            let frames = std::mem::take(&mut lock(&link.state).answers);
            if !frames.is_empty() {
                answers.push(conn, Order::Send { conn, frame: Bytes::from(frames) });
            }
        }
    }
}

impl Link {
    /// Whose it is, and what it may do now.
    pub(super) fn caller(&self) -> Arc<Caller> {
        Arc::clone(&self.caller.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its key stands for something else from now on.
    pub(super) fn set_backend(&self, backend: Arc<Backend>) {
        let mut caller = self.caller.write().unwrap_or_else(PoisonError::into_inner);
        *caller = Arc::new(Caller { backend, ..Caller::clone(&caller) });
    }

    /// Takes a place in the window; `None` when there is none.
    pub(super) fn begin(&self, id: &[u8], agent: &str) -> Option<Ticket> {
        let mut state = lock(&self.state);
        if state.flights.len() >= self.window {
            return None;
        }
        state.serial = state.serial.wrapping_add(1);
        let serial = state.serial;
        let flight = Flight { serial, id: RequestId::of(id, self.encoding), agent: AgentId::from(agent), call: None };
        Some(Ticket { place: state.flights.insert(flight), serial })
    }

    /// The call got an id. Nothing happens when it has ended already.
    pub(super) fn sent(&self, ticket: Ticket, call: CallId) {
        if let Some(flight) = lock(&self.state).flights.get_mut(ticket.place).filter(|f| f.serial == ticket.serial) {
            flight.call = Some(call);
        }
    }

    /// Calls in flight under a backend's id.
    pub(super) fn calls_of(&self, id: &[u8]) -> Vec<CallId> {
        let id = RequestId::of(id, self.encoding);
        let state = lock(&self.state);
        state
            .flights
            .range(0, u32::MAX)
            .filter(|(_, flight)| flight.id == id)
            .filter_map(|(_, flight)| flight.call)
            .collect()
    }

    /// Whether no call is in flight.
    pub(super) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.flights.is_empty() && state.answers.is_empty()
    }

    /// How far a drain has come with it.
    pub(super) fn stay(&self) -> Stay {
        lock(&self.state).stay
    }

    /// A drain has come further.
    pub(super) fn set_stay(&self, stay: Stay) {
        lock(&self.state).stay = stay;
    }

    /// What to run when the call of this ticket ends.
    pub(super) fn on_end(self: &Arc<Self>, ticket: Ticket, start: Now) -> OnEnd {
        let link = Arc::clone(self);
        Box::new(move |end| link.end(ticket, start, &end))
    }

    /// A call was refused before it took a place.
    pub(super) fn refuse(self: &Arc<Self>, id: &[u8], agent: &str, outcome: &Outcome) {
        self.desk.count.call(outcome, Duration::ZERO);
        let ended = Ended { id, call: None, agent, ending: ending(outcome) };
        let begun = self.append(&mut lock(&self.state), &ended);
        self.note(begun);
    }

    fn end(self: &Arc<Self>, ticket: Ticket, start: Now, end: &End) {
        self.desk.count.call(&end.outcome, end.at.since(start));
        let begun = {
            let mut state = lock(&self.state);
            let Some(flight) = state.flights.remove(ticket.place) else {
                return;
            };
            debug_assert_eq!(flight.serial, ticket.serial, "a place is kept until its call has ended");
            let id = flight.id.bytes();
            let ended = Ended { id, call: end.call, agent: &flight.agent, ending: ending(&end.outcome) };
            self.append(&mut state, &ended)
        };
        self.note(begun);
    }

    /// Appends an answer; whether it is the first that waits.
    fn append(&self, state: &mut State, ended: &Ended<'_>) -> Begun {
        if state.over {
            return Begun::Before;
        }
        let begun = if state.answers.is_empty() { Begun::Now } else { Begun::Before };
        link_side::append_ended(self.encoding, ended, &mut state.answers);
        begun
    }

    /// Has the answers collected. Whoever appends a further one before that may miss this link when it collects, and whoever
    /// appended the first does not: it collects after this.
    fn note(self: &Arc<Self>, begun: Begun) {
        if begun == Begun::Now {
            lock(&self.desk.ready).push(Arc::clone(self));
        }
    }
}

fn payload(body: &Body) -> Payload<'_> {
    Payload { bytes: &body.bytes, json: body.json }
}

fn ending(outcome: &Outcome) -> Ending<'_> {
    Ending::Failed(match outcome {
        Outcome::Ok(body) => return Ending::Ok(payload(body)),
        Outcome::AgentError { code, message, data } => {
            return Ending::AgentError { code: *code, message, data: data.as_ref().map(payload) };
        }
        Outcome::Offline => Failure::Offline,
        Outcome::NotDelivered => Failure::NotDelivered,
        Outcome::NoReceipt => Failure::NoReceipt,
        Outcome::NoReply => Failure::NoReply,
        Outcome::Lost => Failure::Lost,
        Outcome::Busy => Failure::Busy,
        Outcome::Cancelled => Failure::Cancelled,
        Outcome::Draining => Failure::Draining,
    })
}
