//! What comes from outside: peers that connect, backends that call and go away, operators that change their mind.

use std::time::Duration;

use crate::directory::Filter;
use crate::kit::tick::Now;
use crate::net::limits::Limits;
use crate::net::mailbox::Order;
use crate::session::rules::Door;
use crate::wire::envelope::{Encoding, Payload};
use crate::work::dispatch::CallRequest;

use super::client::{Client, Role, Surroundings};
use super::kernel::SocketId;
use super::setup;
use super::world::{AGENTS, World};

impl World {
    pub(super) fn connect(&mut self) {
        self.connects_at = Some(self.now() + self.rng.u64(0..250));
        let encoding = if self.rng.bool() { Encoding::Json } else { Encoding::Binary };
        let role = match self.rng.u8(..100) {
            0..8 => Role::Link(encoding),
            8..72 => Role::Agent(self.rng.usize(..AGENTS), encoding),
            72..85 => Role::Echo,
            85..95 => Role::Loiterer,
            _ => Role::Stranger,
        };
        let door = self.rng.usize(..self.loops.len());
        let World { clients, kernel, rng, ledger, .. } = self;
        let mut kernel = kernel.borrow_mut();
        let at = if matches!(role, Role::Link(_)) { Door::Links } else { Door::Agents };
        if let Some(socket) = kernel.connect(door, at) {
            clients.push(Client::new(socket, role, &mut Surroundings { kernel: &mut kernel, rng, ledger }));
        }
    }

    pub(super) fn call(&mut self) {
        let now = self.now();
        self.calls_at = Some(now + self.rng.u64(0..60));
        let odds = self.kernel.borrow().odds.clone();
        if self.chance(odds.operator) {
            return self.operate();
        }
        let agent = format!("agent-{}", self.rng.usize(..=AGENTS));
        let nonce = self.ledger.next_nonce();
        let socket = self.socket_of_agent(&agent);
        let most = if self.rng.bool() { 200 } else { 2500 };
        let timeout_ms = self.rng.u64(5..most);
        let cancels_at = self.chance(odds.caller_cancels).then(|| now + self.rng.u64(0..300));
        let on_end = self.ledger.open(nonce, (now, now + timeout_ms), socket);
        let pad = "x".repeat(if self.rng.bool() { self.rng.usize(..40) } else { self.rng.usize(..1500) });
        let params = format!("{{\"n\":\"nonce-{nonce:08x}\",\"pad\":\"{pad}\"}}");
        self.kernel.borrow_mut().note(format_args!("call {nonce} to {agent} on socket {socket:?}, {timeout_ms} ms"));
        let request = CallRequest {
            by: &self.caller,
            agent: &agent,
            method: "run",
            params: Payload { bytes: params.as_bytes(), json: true },
            timeout: Duration::from_millis(timeout_ms),
        };
        let permitted = self.dispatch.permit(request).expect("whoever has no key may call everything");
        let call = self.dispatch.call(Now(now), &permitted, on_end);
        if let Some(record) = self.ledger.records.get_mut(&nonce) {
            (record.call, record.cancels_at) = (call, cancels_at.filter(|_| call.is_some()));
        }
    }

    /// The connection that an agent is on, as the directory knows it.
    pub(super) fn socket_of_agent(&self, agent: &str) -> Option<SocketId> {
        let filter = Filter { prefix: agent.to_owned(), labels: Vec::new() };
        let page = self.dispatch.agents(&self.caller, filter, 0, 1000);
        page.agents.first().and_then(|listed| {
            let conn = listed.conn;
            self.kernel.borrow().socket_of(conn.loop_index(), conn.slot(), conn.generation())
        })
    }

    pub(super) fn cancel(&mut self, nonce: u64) {
        self.kernel.borrow_mut().note(format_args!("the caller of {nonce} goes away"));
        let record = self.ledger.records.get_mut(&nonce).expect("it was listed");
        record.cancelled = true;
        if let Some(call) = record.call {
            self.dispatch.cancel(call);
        }
    }

    fn operate(&mut self) {
        if self.rng.bool() {
            let agent = format!("agent-{}", self.rng.usize(..AGENTS));
            self.kernel.borrow_mut().note(format_args!("{agent} is disconnected"));
            self.dispatch.disconnect(Now(self.now()), &self.caller, &agent, "bye");
            return;
        }
        // The write deadline stays: the sweep that sees a shorter one may be a second away. So does the bound of cut messages: those
        // that are there are not cut off by a lower one.
        let Limits { write_deadline_ms, lease_bytes, .. } = self.limits;
        let limits = Limits { write_deadline_ms, lease_bytes, ..setup::limits(&mut self.rng) };
        self.kernel.borrow_mut().note(format_args!("new limits: {limits:?}"));
        for mailbox in &self.mailboxes {
            // A full mailbox keeps the old ones; an operator would say so again.
            let _ = mailbox.offer(Order::Limits(Box::new((self.rules, limits))));
        }
    }
}
