//! A simulated backend on a control link: it calls in bursts, takes calls back, overruns its window, and judges nothing itself.

use std::borrow::Cow;

use crate::calls::{Body, Outcome};
use crate::net::intake::Event;
use crate::wire::envelope::link_side::client::{EndedAs, FromLink, ToLink, decode, encode};
use crate::wire::envelope::link_side::{self, Failure, FromBackend};
use crate::wire::envelope::{Encoding, Payload};

use super::client::{Act, Client, Role, Surroundings};
use super::frames::nonce_in;
use super::world::{AGENTS, World};

/// The gateway's default in [`super::setup`].
const TIMEOUT_MS: u64 = 2_000;

impl Client {
    /// Sends some calls, and plans to send more.
    pub(super) fn burst(&mut self, around: &mut Surroundings<'_>) {
        let Role::Link(encoding) = self.role else {
            return;
        };
        let now = around.kernel.now;
        for _ in 0..around.rng.usize(1..10) {
            let nonce = around.ledger.next_nonce();
            let agent = format!("agent-{}", around.rng.usize(..=AGENTS));
            let pad = "x".repeat(around.rng.usize(..300));
            let params = format!("{{\"n\":\"nonce-{nonce:08x}\",\"pad\":\"{pad}\"}}");
            let timeout_ms = if around.rng.bool() { around.rng.u32(5..2500) } else { 0 };
            let params = Payload { bytes: params.as_bytes(), json: true };
            let call = ToLink::Call { id: nonce, agent: &agent, method: "run", params, timeout_ms };
            around.kernel.note(format_args!("socket {}: link calls {agent} as {nonce}", self.socket));
            self.plan(now, Act::Message(encode(encoding, &call), None));
            let odds = around.kernel.odds.caller_cancels;
            if around.chance(odds) {
                self.plan(now + around.rng.u64(0..300), Act::TakeBack(nonce));
            }
        }
        let garbage = around.kernel.odds.garbage;
        if around.chance(garbage) {
            self.plan(now, Act::Message(b"{\"jsonrpc\":".to_vec(), None));
        }
        self.plan(now + around.rng.u64(0..300), Act::Burst);
    }

    /// Takes a call back.
    pub(super) fn take_back(&mut self, nonce: u64, around: &mut Surroundings<'_>) {
        if let Role::Link(encoding) = self.role {
            around.ledger.taken_back(nonce);
            let bytes = encode(encoding, &ToLink::Cancel { id: nonce });
            self.say(encoding == Encoding::Json, &bytes, around);
        }
    }

    /// An envelope came in on a link.
    pub(super) fn link_told(&mut self, encoding: Encoding, message: &[u8], around: &mut Surroundings<'_>) {
        if let FromLink::Ended { id, ended, .. } = decode(encoding, message).expect("the gateway writes envelopes") {
            around.ledger.told_on_link(id, outcome(ended), self.socket);
        }
    }
}

fn outcome(ended: EndedAs<'_>) -> Outcome {
    let body = |bytes: Cow<'_, [u8]>, json| Body { bytes: bytes.into_owned().into(), json };
    match ended {
        EndedAs::Ok(result) => Outcome::Ok(body(result.bytes, result.json)),
        EndedAs::AgentError { code, message, data } => Outcome::AgentError {
            code,
            message: message.into_owned(),
            data: data.map(|data| body(data.bytes, data.json)),
        },
        EndedAs::Failed(failure) => match failure {
            Failure::Offline => Outcome::Offline,
            Failure::NotDelivered => Outcome::NotDelivered,
            Failure::NoReceipt => Outcome::NoReceipt,
            Failure::NoReply => Outcome::NoReply,
            Failure::Lost => Outcome::Lost,
            Failure::Busy => Outcome::Busy,
            Failure::Cancelled => Outcome::Cancelled,
            Failure::Draining => Outcome::Draining,
        },
    }
}

impl World {
    /// Opens the records of calls that a worker is about to take from a link: which connection an agent is on is decided there.
    pub(super) fn note_link_calls(&mut self, event: &Event) {
        let Event::LinkMessage { conn, encoding, body } = event else {
            return;
        };
        let link = self.kernel.borrow().socket_of(conn.loop_index(), conn.slot(), conn.generation());
        let link = link.expect("it was watched");
        let mut calls = Vec::new();
        link_side::decode(*encoding, body, &mut |said| {
            if let FromBackend::Call { agent, params, timeout_ms, .. } = said {
                let nonce = nonce_in(params.bytes).expect("every call carries its nonce");
                calls.push((nonce, agent.into_owned(), timeout_ms.unwrap_or(TIMEOUT_MS)));
            }
        });
        for (nonce, agent, timeout_ms) in calls {
            let socket = self.socket_of_agent(&agent);
            let now = self.now();
            self.ledger.open_on_link(nonce, (now, now + timeout_ms), socket, link);
        }
    }

    /// Whoever waited on a link that is gone is told nothing.
    pub(super) fn forget_links_that_ended(&mut self) {
        let World { clients, kernel, ledger, .. } = self;
        let kernel = kernel.borrow();
        let gone = |link: usize| {
            let deaf = clients.iter().any(|client| client.socket == link && (client.over || client.ended.is_silent()));
            deaf || kernel.sockets[link].dropped
        };
        ledger.give_up_links(gone);
    }
}
