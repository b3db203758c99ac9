//! What backends can ask of this node: the one door from the control floor down to agents.
//!
//! Owns the directory, the calls and the mailboxes of all loops. No method blocks on an agent.

mod look;
mod reach;
mod refusals;
mod view;

pub use super::call_request::{CallRequest, Forbidden, Permitted};
pub use look::{AgentView, Look, SentAway, disconnection};
pub use view::{NodeView, TurnsView};

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;

use crate::audit::Audit;
use crate::auth::api_key::Fingerprint;
use crate::calls::{Abandoned, Calls, End, NewCall, OnEnd, Outcome};
use crate::directory::{Directory, Located, TenantLimits};
use crate::kit::budget::Budget;
use crate::kit::delivery::Delivery;
use crate::kit::ids::{CallId, ConnId, TenantId};
use crate::kit::metric;
use crate::kit::pace::Pace;
use crate::kit::tick::{Clock, Now, millis};
use crate::kit::token_bucket::Rate;
use crate::net::arrivals::Arrivals;
use crate::net::event_loop::LoopStatus;
use crate::net::intake::QueueBytes;
use crate::net::io::Wake;
use crate::net::mailbox::{Full, Mailbox, Order};
use crate::revocations::Moment;
use crate::session::reason::Reason;
use crate::wire::envelope::link_side::{self, Welcome};
use crate::wire::envelope::{self, Encoding, Outbound};

use super::alarm::{Alarm, Due};
use super::answers::Answers;
use super::call_audit;
use super::call_log;
use super::gate::Gate;
use super::key_rates::KeyRates;
use super::links::{LinkTerms, Links};
use super::pending_logins::PendingLogins;
use super::put_off::Checking;
use super::reached::Reached;
use super::revoking::Revocations;
use super::webhook::Webhook;

/// Refused upgrades that are logged in a second: strangers can cause them.
const REFUSALS_LOGGED_A_SECOND: u32 = 50;

/// A call that has its waiter, and is to be sent.
pub(super) struct Opened {
    /// Its id.
    pub(super) id: CallId,
    /// Where it goes.
    pub(super) conn: ConnId,
}

/// One event loop, as others reach it.
pub struct LoopDoor {
    /// The way in.
    pub mailbox: Mailbox,
    /// How it is.
    pub status: Arc<LoopStatus>,
}

/// What a [`Dispatch`] is made of.
pub struct DispatchParts {
    /// The node's name.
    pub name: String,
    /// A random number: tells this process' sessions from those of its predecessors.
    pub epoch: u32,
    /// The process' clock.
    pub clock: Clock,
    /// Agents.
    pub directory: Directory,
    /// Waiters.
    pub calls: Calls,
    /// Event loops, by index.
    pub loops: Vec<LoopDoor>,
    /// Of each worker.
    pub queues: Vec<QueueBytes>,
    /// What all of it may take.
    pub budget: Arc<Budget>,
    /// How often somebody may come.
    pub arrivals: Arc<Arrivals>,
    /// Calls with each API key; `None` for no limit.
    pub key_calls: Option<Rate>,
    /// Who is let in.
    pub gate: Gate,
    /// What links are promised.
    pub links: LinkTerms,
    /// Told to agents, in milliseconds.
    pub heartbeat_ms: u32,
    /// Most connections of the node.
    pub connections_max: u32,
    /// Most connections of one loop.
    pub connections_max_per_loop: u32,
    /// Ends calls at their deadlines.
    pub alarm: Alarm,
    /// Where what is done and refused is written down.
    pub audit: Audit,
    /// Whom to ask about tokens that no key here vouches for.
    pub webhook: Option<Arc<Webhook>>,
}

/// The door to agents. Cheap to share; every method may be called from any thread.
pub struct Dispatch {
    name: String,
    epoch: u32,
    clock: Clock,
    pub(super) directory: Arc<Directory>,
    pub(super) calls: Calls,
    pub(super) links: Links,
    loops: Vec<LoopDoor>,
    queues: Vec<QueueBytes>,
    budget: Arc<Budget>,
    arrivals: Arc<Arrivals>,
    key_calls: KeyRates,
    gate: RwLock<Arc<Gate>>,
    heartbeat_ms: AtomicU32,
    connections_max: u32,
    connections_max_per_loop: u32,
    draining: AtomicBool,
    alarm: Alarm,
    audit: Audit,
    /// Woken when calls have ended, once for all that ended together.
    settled: OnceLock<Arc<dyn Wake>>,
    /// Refused upgrades that are logged.
    refusals_logged: Mutex<Pace>,
    revocations: Revocations,
    webhook: Option<Arc<Webhook>>,
    /// Whose newer tokens are being checked.
    checking: Checking,
    /// Tokens that wait for keys to be judged by.
    pending_logins: PendingLogins,
}

impl Dispatch {
    /// A node without agents.
    #[must_use]
    pub fn new(parts: DispatchParts) -> Self {
        Self {
            name: parts.name,
            epoch: parts.epoch,
            clock: parts.clock,
            directory: Arc::new(parts.directory),
            calls: parts.calls,
            links: Links::new(parts.links),
            loops: parts.loops,
            queues: parts.queues,
            budget: parts.budget,
            arrivals: parts.arrivals,
            key_calls: KeyRates::new(parts.key_calls),
            gate: RwLock::new(Arc::new(parts.gate)),
            heartbeat_ms: AtomicU32::new(parts.heartbeat_ms),
            connections_max: parts.connections_max,
            connections_max_per_loop: parts.connections_max_per_loop,
            draining: AtomicBool::new(false),
            alarm: parts.alarm,
            audit: parts.audit,
            settled: OnceLock::new(),
            refusals_logged: Mutex::new(Pace::new(REFUSALS_LOGGED_A_SECOND)),
            revocations: Revocations::default(),
            webhook: parts.webhook,
            checking: Checking::default(),
            pending_logins: PendingLogins::default(),
        }
    }

    /// The id of a tenant, made when it is new.
    pub fn tenant(&self, name: &str) -> TenantId {
        self.directory.tenant(name)
    }

    /// Sends a call; `on_end` runs exactly once with its outcome, maybe before this returns. `None` when the call ended
    /// before it was sent.
    pub fn call(&self, now: Now, call: &Permitted<'_>, on_end: OnEnd) -> Option<CallId> {
        let call = self.call_quietly(now, call, on_end);
        self.rouse_loops();
        call
    }

    /// As [`Dispatch::call`], for who sends many: wakes no loop, and owes a [`Dispatch::rouse_loops`] before it sleeps.
    pub fn call_quietly(&self, now: Now, call: &Permitted<'_>, on_end: OnEnd) -> Option<CallId> {
        let (Opened { id, conn }, order) = self.open_call(now, call, on_end)?;
        match self.mailbox(conn).map(|mailbox| mailbox.offer_quietly(order)) {
            Some(Ok(())) => Some(id),
            Some(Err(Full(_))) | None => {
                self.calls.refused(id, now);
                None
            }
        }
    }

    /// As [`Dispatch::call`], but hands the order out that sends the call: whoever may wait for a loop posts it with others.
    pub(super) fn open_call(&self, now: Now, call: &Permitted<'_>, on_end: OnEnd) -> Option<(Opened, Order)> {
        let (request, reached) = (call.request(), call.reached());
        let on_end = call_log::logged(request.agent, on_end);
        let on_end = call_audit::audited(&self.audit, now, request, &reached, on_end);
        if self.is_draining() {
            on_end(End::unopened(Outcome::Draining, now));
            return None;
        }
        // Whoever it may not reach is not connected: the same answer, and at the same point.
        let Reached::There(Located { conn, encoding }) = reached else {
            on_end(End::unopened(Outcome::Offline, now));
            return None;
        };
        let Some(tenant) = self.directory.tenant_calls(request.tenant()).hold() else {
            on_end(End::unopened(Outcome::Busy, now));
            return None;
        };
        let delivery = Delivery::waiting();
        let deadline = now.after(request.timeout);
        // The waiter is opened before the order is posted: whatever the loop says of the call finds it.
        let opened = self.calls.open(NewCall { conn, tenant, deadline, encoding, delivery: delivery.clone(), on_end });
        let call = match opened {
            Ok(call) => call,
            Err(on_end) => {
                on_end(End::unopened(Outcome::Busy, now));
                return None;
            }
        };
        self.alarm.set(deadline);
        let envelope = Outbound::Call {
            call,
            method: request.method,
            params: request.params,
            deadline_ms: u32::try_from(millis(request.timeout)).unwrap_or(u32::MAX),
        };
        let frame = envelope::encode(encoding, &envelope);
        Some((Opened { id: call, conn }, Order::Call { conn, frame, call, delivery }))
    }

    /// Wakes every loop that sleeps and has orders waiting.
    pub fn rouse_loops(&self) {
        self.loops.iter().for_each(|door| door.mailbox.rouse_if_any());
    }

    /// From now on `wake` is called after calls have ended, once for all that ended together. The first one that is set stays.
    pub fn wake_when_settled(&self, wake: Arc<dyn Wake>) {
        let _ = self.settled.set(wake);
    }

    /// Calls have ended: tells who waits to be told. Who ends calls does it once, after the last one.
    fn tell_settled(&self) {
        if let Some(settled) = self.settled.get() {
            settled.wake();
        }
    }

    /// The caller went away: ends the call as cancelled and tells the agent. Nothing happens when it has ended.
    ///
    /// It tells best effort: a full mailbox has worse to carry.
    pub fn cancel(&self, call: CallId) {
        if let Some((conn, order)) = self.calls.cancel(call, self.clock.now()).map(to_abandoned)
            && let Some(mailbox) = self.mailbox(conn)
        {
            let _ = mailbox.offer(order);
        }
    }

    /// As [`Dispatch::cancel`], with others. Who calls it owes a [`Dispatch::settle`].
    pub(super) fn cancel_all(&self, calls: Vec<CallId>, answers: &mut Answers, now: Now) {
        for (conn, order) in calls.into_iter().filter_map(|call| self.calls.cancel(call, now)).map(to_abandoned) {
            answers.push(conn, order);
        }
    }

    /// Whether the node is stopping: no new calls, no new agents.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Begins to stop: new calls and new agents are refused from now on.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Ends every call that is left, because the process ends.
    pub fn end_all_calls(&self) {
        self.calls.end_all(self.clock.now());
        // Links hear of it as long as their loops turn.
        self.settle(&mut Answers::default());
    }

    /// Swaps the keys. Links whose key is none any more are closed, and the others may do what their keys may now: HTTP asks at each
    /// request, and a link would live on. Waits while a mailbox is full.
    pub fn set_gate(&self, gate: Gate) {
        *self.gate.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(gate);
        let gate = self.gate();
        for link in self.links.all() {
            let (caller, conn) = (link.caller(), link.conn);
            match gate.admits_still(&caller.backend, caller.key) {
                Some(backend) => link.set_backend(backend),
                // Waits for room: a link that a full mailbox kept open would outlive its key.
                None => {
                    let order = Order::Close { conn, reason: Reason::Revoked, last_words: None };
                    self.post(conn.loop_index(), order);
                }
            }
        }
    }

    /// Changes the limits that are kept here.
    pub fn set_limits(
        &self,
        calls_per_agent: u32,
        tenants: TenantLimits,
        heartbeat_ms: u32,
        links: LinkTerms,
        key_calls: Option<Rate>,
    ) {
        self.links.set_terms(links);
        self.key_calls.set(key_calls);
        self.calls.set_per_agent_max(calls_per_agent);
        self.directory.set_tenant_limits(tenants);
        self.heartbeat_ms.store(heartbeat_ms, Ordering::Relaxed);
    }

    /// Posts an order that `make` builds to every loop; waits while a mailbox is full.
    pub fn tell_loops(&self, make: impl Fn() -> Order) {
        self.loops.iter().for_each(|door| door.mailbox.post(make()));
    }

    /// What the process may take.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// How often somebody may come.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// One more call with this key; without a key, in development, there is no limit.
    ///
    /// # Errors
    /// There were too many: how long until there may be one.
    pub fn may_call(&self, key: Option<Fingerprint>, now: Now) -> Result<(), Duration> {
        let allowed = key.map_or(Ok(()), |key| self.key_calls.take(key, now));
        if allowed.is_err() {
            counter!(metric::SHED, "limit" => "key_calls").increment(1);
            if let Some(left_out) = self.may_log_refusal(now) {
                tracing::info!(limit = "key_calls", left_out, "call refused by a limit");
            }
        }
        allowed
    }

    /// What is revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whom to ask about tokens that no key here vouches for.
    pub(super) fn webhook(&self) -> Option<&Webhook> {
        self.webhook.as_deref()
    }

    /// Whose newer tokens are being checked.
    pub(super) fn checking(&self) -> &Checking {
        &self.checking
    }

    /// Tokens that wait for keys to be judged by.
    pub(super) fn pending_logins(&self) -> &PendingLogins {
        &self.pending_logins
    }

    /// A moment by both clocks.
    pub(super) fn moment(&self, now: Now) -> Moment {
        Moment { unix_secs: self.clock.unix_ms(now) / 1000, running_secs: now.0 / 1000 }
    }

    /// The node's name.
    pub(super) fn node_name(&self) -> &str {
        &self.name
    }

    /// The process' clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Ends the calls that are due and tells their agents.
    pub fn expire(&self, now: Now) {
        let mut abandoned = Vec::new();
        self.calls.expire(now, &mut abandoned);
        let mut answers = Answers::default();
        abandoned.into_iter().map(to_abandoned).for_each(|(conn, order)| answers.push(conn, order));
        // The thread of the alarm may wait for a loop: no loop ever waits for it.
        self.settle(&mut answers);
    }

    /// Posts what is to be said to the loops, and the answers that calls left for links; waits while a mailbox is full.
    pub(super) fn settle(&self, answers: &mut Answers) {
        self.links.collect(answers);
        answers.post(|index, order| self.post(index, order));
        self.tell_settled();
    }

    pub(super) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Posts an order to a loop; waits while its mailbox is full, so neither a loop nor the control thread may call it.
    pub(super) fn post(&self, loop_index: usize, order: Order) {
        if let Some(door) = self.loops.get(loop_index) {
            door.mailbox.post(order);
        }
    }

    /// The first frame on a connection.
    pub(super) fn welcome(&self, conn: ConnId, encoding: Encoding) -> Bytes {
        let session = format!("{:08x}-{conn:?}", self.epoch);
        let heartbeat_ms = self.heartbeat_ms.load(Ordering::Relaxed);
        envelope::encode(encoding, &Outbound::Welcome { session: &session, heartbeat_ms, node: &self.name })
    }

    /// The first frame on a link.
    pub(super) fn link_welcome(&self, conn: ConnId, encoding: Encoding, window: u32) -> Bytes {
        let session = format!("{:08x}-{conn:?}", self.epoch);
        let heartbeat_ms = self.heartbeat_ms.load(Ordering::Relaxed);
        link_side::encode_welcome(encoding, &Welcome { session: &session, heartbeat_ms, node: &self.name, window })
    }

    /// Queues a frame to a link; false when its loop has too many orders waiting.
    pub(super) fn tell_link(&self, conn: ConnId, frame: Bytes) -> bool {
        self.mailbox(conn).is_some_and(|mailbox| mailbox.offer(Order::Send { conn, frame }).is_ok())
    }

    /// Closes a link; false when its loop has too many orders waiting.
    pub(super) fn close_link(&self, conn: ConnId, reason: Reason) -> bool {
        let order = Order::Close { conn, reason, last_words: None };
        self.mailbox(conn).is_some_and(|mailbox| mailbox.offer(order).is_ok())
    }

    pub(super) fn loops(&self) -> &[LoopDoor] {
        &self.loops
    }

    /// Bytes of the workers' queues.
    pub(super) fn worker_queue_bytes(&self) -> usize {
        self.queues.iter().map(QueueBytes::get).sum()
    }

    fn mailbox(&self, conn: ConnId) -> Option<&Mailbox> {
        self.loops.get(conn.loop_index()).map(|door| &door.mailbox)
    }
}

/// Tells an agent that nobody waits any more.
fn to_abandoned(abandoned: Abandoned) -> (ConnId, Order) {
    let Abandoned { call, conn, encoding } = abandoned;
    (conn, Order::Send { conn, frame: envelope::encode(encoding, &Outbound::Cancel { call }) })
}

impl Due for Dispatch {
    fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    fn end_due(&self, now: Now) {
        self.expire(now);
    }

    fn next_due(&self) -> Option<Now> {
        self.calls.next_deadline()
    }
}
