//! Looking at agents, and sending them away.
//!
//! Owns what is told of one agent. It asks the agent's loop, and never waits for it.

use std::net::SocketAddr;

use crate::audit::Act;
use crate::directory::{Callable, Filter, Labels, LastClose, Located, Page};
use crate::kit::tick::Now;
use crate::net::mailbox::{Described, Full, OnDescribed, Order, Undescribed};
use crate::session::reason::Reason;
use crate::wire::envelope::{self, Encoding, Outbound};
use crate::work::caller::Caller;
use crate::work::reached::Reached;

use super::Dispatch;

/// What is known about a connected agent.
#[derive(Clone, Debug)]
pub struct AgentView {
    /// Its labels.
    pub labels: Labels,
    /// What it may be called with.
    pub callable: Callable,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// When it connected.
    pub since: Now,
    /// Where from; `None` when the socket just failed.
    pub peer: Option<SocketAddr>,
    /// Calls in flight.
    pub calls_in_flight: u32,
    /// Round trip of the last heartbeat, in milliseconds; `None` before the first.
    pub round_trip_ms: Option<u32>,
    /// Bytes read from it, all layers above TCP.
    pub bytes_in: u64,
    /// Bytes written to it.
    pub bytes_out: u64,
    /// When it was last heard.
    pub last_heard: Now,
}

/// What came of asking for an agent.
#[derive(Clone, Debug)]
pub enum Look {
    /// It is connected.
    Seen(AgentView),
    /// It is not in the directory.
    NotConnected,
    /// Its connection ended before its loop could tell of it. A newer one may have taken over: look again.
    JustEnded,
    /// Its loop has too many orders waiting to be asked.
    TooBusy,
}

/// What came of sending an agent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentAway {
    /// Its loop has been told.
    Told,
    /// It is not connected.
    NotConnected,
    /// Its loop has too many orders waiting to be told.
    TooBusy,
}

impl Dispatch {
    /// The directory, for tests of the floors above that put agents into it.
    #[cfg(test)]
    pub fn directory(&self) -> &crate::directory::Directory {
        &self.directory
    }

    /// Agents that somebody reaches.
    #[must_use]
    pub fn agents(&self, by: &Caller, mut filter: Filter, cursor: u64, limit: usize) -> Page {
        // What a key must not reach is filtered as what it does not ask for is.
        filter.labels.extend_from_slice(by.permissions().conditions());
        self.directory.page(by.tenant, &filter, cursor, limit)
    }

    /// Asks for what is known about an agent; `on_look` runs exactly once, maybe on a loop's thread, and must not block.
    pub fn describe(&self, by: &Caller, agent: &str, on_look: Box<dyn FnOnce(Look) + Send>) {
        let Ok((Located { conn, encoding }, labels, callable)) = self.look_up(by, agent) else {
            return on_look(Look::NotConnected);
        };
        let calls_in_flight = self.calls.in_flight(conn);
        let on_described = OnDescribed::new(move |described: Result<Described, Undescribed>| {
            on_look(match described {
                Ok(told) => Look::Seen(AgentView {
                    labels,
                    callable,
                    encoding,
                    since: told.since,
                    peer: told.peer,
                    calls_in_flight,
                    round_trip_ms: told.round_trip_ms,
                    bytes_in: told.bytes_in,
                    bytes_out: told.bytes_out,
                    last_heard: told.last_heard,
                }),
                Err(Undescribed::Gone) => Look::JustEnded,
                Err(Undescribed::NotAsked) => Look::TooBusy,
            });
        });
        let refused = match self.mailbox(conn) {
            Some(mailbox) => mailbox.offer(Order::Describe { conn, on_described }).err(),
            None => Some(Full(Order::Describe { conn, on_described })),
        };
        if let Some(Full(Order::Describe { on_described, .. })) = refused {
            on_described.answer(Err(Undescribed::NotAsked));
        }
    }

    /// The last close of an agent's connection, where remembered. What labels an agent had that is gone is not: who reaches some
    /// agents alone is told of those that are there.
    #[must_use]
    pub fn last_close(&self, by: &Caller, agent: &str) -> Option<LastClose> {
        let told = by.permissions().conditions().is_empty() || self.look_up(by, agent).is_ok();
        told.then(|| self.directory.last_close(by.tenant, agent)).flatten()
    }

    /// Disconnects an agent; `reason` goes into its `goaway`. It is written into the audit log, whatever comes of it.
    pub fn disconnect(&self, now: Now, by: &Caller, agent: &str, reason: &str) -> SentAway {
        let (sent, outcome) = match self.reach(by, agent) {
            Reached::Nowhere => (SentAway::NotConnected, "offline"),
            Reached::Hidden => (SentAway::NotConnected, "hidden"),
            Reached::There(located) => {
                let goaway = Outbound::Goaway { reconnect_after_ms: 0, reason };
                match self.send_away(located, Reason::Disconnected, &goaway) {
                    SentAway::Told => (SentAway::Told, "told"),
                    SentAway::NotConnected => (SentAway::NotConnected, "offline"),
                    SentAway::TooBusy => (SentAway::TooBusy, "overloaded"),
                }
            }
        };
        self.audit().act(now, disconnection(by, agent, reason, outcome));
        sent
    }

    /// A `goaway`, then a close.
    pub(in crate::work) fn send_away(&self, to: Located, reason: Reason, goaway: &Outbound<'_>) -> SentAway {
        let last_words = Some(envelope::encode(to.encoding, goaway));
        let order = Order::Close { conn: to.conn, reason, last_words };
        match self.mailbox(to.conn).map(|mailbox| mailbox.offer(order)) {
            Some(Ok(())) => SentAway::Told,
            Some(Err(Full(_))) | None => SentAway::TooBusy,
        }
    }
}

/// The act, for the audit log.
#[must_use]
pub fn disconnection(by: &Caller, agent: &str, reason: &str, outcome: &'static str) -> Act {
    Act { what: "disconnect", who: Some(by.who()), agent: Some(agent.into()), outcome, detail: Some(reason.into()) }
}
