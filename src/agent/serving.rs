//! One connection's life on the agent's side: welcome, calls, goaway, close.
//!
//! Owns the open calls and the phase. Answers reach it through the desk; calls of an earlier connection never do.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tungstenite::protocol::frame::coding::CloseCode;

use super::ending::{Ending, Next};
use super::events::{Events, Stop};
use super::handler::{Answer, Body, Call, Handler, Responder, Ticket, fault};
use super::link::{Heard, Link};
use super::news::News;
use super::renewal::Renewal;
use super::waker::Waker;
use super::{Credentials, Options, connect};
use crate::kit::ids::CallId;
use crate::kit::tick::Now;
use crate::wire::envelope::Fault;
use crate::wire::envelope::agent_side::{FromGateway, decode_from_gateway};

/// Messages that are taken from the socket before answers and programs get their turn.
const MESSAGES_A_TURN: usize = 64;

/// Where handlers put their answers.
pub(super) struct Desk {
    pub give: Sender<(Ticket, Answer)>,
    pub take: Receiver<(Ticket, Answer)>,
    pub waker: Waker,
}

/// The close code of a connection whose token has run out.
const TOKEN_EXPIRED: u16 = 4002;

enum Phase {
    /// Upgraded, not yet welcomed.
    Greeting { until: Now },
    /// Calls come and go.
    Serving,
    /// What runs may finish, then the agent closes.
    Leaving(Ending),
    /// A close frame was sent or received; only the other one is awaited.
    Closing { until: Now, ending: Ending },
}

/// What a connection left behind.
pub(super) struct Served {
    /// Why it ended.
    pub ending: Ending,
    /// When it was welcomed, if it was.
    pub welcomed: Option<Now>,
    /// The token that was shown last, and has run out since.
    pub spent: Option<String>,
}

/// A connection and its open calls.
pub(super) struct Serving<'a, H: Handler> {
    events: &'a mut Events<H>,
    options: &'a Options,
    desk: &'a Desk,
    news: &'a mut dyn FnMut(News<'_>),
    link: Link,
    number: u64,
    open: BTreeMap<CallId, Now>,
    phase: Phase,
    welcomed: Option<Now>,
    heard: Now,
    /// How long the gateway may be silent; `None` until it says, and when it sends no heartbeat.
    silence_max: Option<Duration>,
    renewal: Renewal,
    /// Requests made on this connection.
    requests: u64,
}

impl<'a, H: Handler> Serving<'a, H> {
    /// Connects, as this agent's connection `number`.
    pub fn open(
        events: &'a mut Events<H>,
        options: &'a Options,
        desk: &'a Desk,
        news: &'a mut dyn FnMut(News<'_>),
        (number, spent): (u64, Option<&str>),
    ) -> Result<Self, Ending> {
        let token = options.credentials.token(spent)?;
        let socket = connect::dial(events, options, token.as_deref())?;
        let now = events.clock.now();
        Ok(Self {
            link: Link::new(socket, options.encoding, options.reply_bytes_max),
            phase: Phase::Greeting { until: now.after(options.welcome_deadline) },
            heard: now,
            welcomed: None,
            silence_max: None,
            open: BTreeMap::new(),
            renewal: Renewal::of(token.unwrap_or_default()),
            requests: 0,
            number,
            events,
            options,
            desk,
            news,
        })
    }

    /// Serves until the connection ends; calls that are then still open are abandoned.
    pub fn run(mut self) -> Served {
        let mut now = self.events.clock.now();
        let ending = loop {
            match self.turn(now) {
                Err(ending) => break self.settled(ending),
                Ok(wait_until) => {
                    now = self.events.wait(Some(self.link.watched()), wait_until);
                }
            }
        };
        for call in mem::take(&mut self.open).into_keys() {
            self.events.handler.abandon(call, now);
        }
        let has_run_out = matches!(ending, Ending::Closed { code: TOKEN_EXPIRED, .. });
        Served { ending, welcomed: self.welcomed, spent: has_run_out.then(|| self.renewal.into_shown()) }
    }

    /// One turn; returns until when to wait for more.
    fn turn(&mut self, now: Now) -> Result<Option<Now>, Ending> {
        let all_read = self.read(now)?;
        self.answer()?;
        self.expire(now)?;
        self.renew(now)?;
        self.leave(now)?;
        self.link.flush()?;
        Ok(if all_read { self.wake_at() } else { Some(now) })
    }

    /// True when the socket has nothing more.
    fn read(&mut self, now: Now) -> Result<bool, Ending> {
        for _ in 0..MESSAGES_A_TURN {
            let heard = self.link.read()?;
            if !matches!(heard, Heard::Nothing) {
                self.heard = now;
            }
            match heard {
                Heard::Nothing => return Ok(true),
                Heard::Closed => {
                    return Err(Ending::Broken("closed without a close code".to_owned()));
                }
                Heard::Close { code, reason } => {
                    let ending = self.settled(Ending::Closed { code, reason });
                    let until = now.after(self.options.close_deadline);
                    self.phase = Phase::Closing { until, ending };
                }
                Heard::Life => {}
                Heard::Foreign => (self.news)(News::Garbage("a message of the other kind")),
                // Nothing is processed once a close is under way.
                Heard::Envelope(_) if matches!(self.phase, Phase::Closing { .. }) => {}
                Heard::Envelope(message) => self.envelope(&message, now)?,
            }
        }
        Ok(false)
    }

    fn envelope(&mut self, message: &[u8], now: Now) -> Result<(), Ending> {
        match decode_from_gateway(self.options.encoding, message) {
            Ok(FromGateway::Call { call, method, params, deadline_ms }) => {
                let call = Call {
                    id: call,
                    method: method.into_owned(),
                    params: Body { bytes: params.bytes.to_vec(), json: params.json },
                    deadline: now.after(Duration::from_millis(u64::from(deadline_ms))),
                };
                return self.call(call);
            }
            Ok(FromGateway::Cancel { call }) => {
                if self.open.remove(&call).is_some() {
                    self.events.handler.abandon(call, now);
                }
            }
            Ok(FromGateway::Welcome { session, heartbeat_ms, node }) => {
                if matches!(self.phase, Phase::Greeting { .. }) {
                    self.phase = Phase::Serving;
                }
                self.welcomed.get_or_insert(now);
                let heartbeat = Duration::from_millis(u64::from(heartbeat_ms));
                self.silence_max = (heartbeat_ms > 0).then(|| heartbeat * 5 / 2);
                (self.news)(News::Welcomed { session: &session, node: &node });
            }
            Ok(FromGateway::Goaway { reconnect_after_ms, reason }) => {
                (self.news)(News::Goaway { reason: &reason });
                if !matches!(self.phase, Phase::Leaving(_)) {
                    let reconnect_after = Duration::from_millis(u64::from(reconnect_after_ms));
                    self.phase = Phase::Leaving(Ending::Goaway { reconnect_after });
                }
            }
            Ok(FromGateway::TokenExpiring { expires_in_ms }) => {
                (self.news)(News::TokenExpiring { left: Duration::from_millis(u64::from(expires_in_ms)) });
                self.renewal.wanted(now);
            }
            Ok(FromGateway::Refusal { code, message, .. }) => {
                (self.news)(News::Refused { code, message: &message });
                if code == i64::from(Fault::Token.code()) {
                    self.renewal.wanted(now);
                } else if [Fault::Later, Fault::Underway].map(|fault| i64::from(fault.code())).contains(&code) {
                    self.renewal.unchecked(now);
                }
            }
            // The one request that this agent makes.
            Ok(FromGateway::Answer { .. }) => (self.news)(News::Refreshed),
            // What it does not know is not for it.
            Ok(FromGateway::Other) => {}
            Err(_) => (self.news)(News::Garbage("a message that is no envelope")),
        }
        Ok(())
    }

    fn call(&mut self, call: Call) -> Result<(), Ending> {
        let id = call.id;
        if self.open.contains_key(&id) {
            (self.news)(News::Garbage("a second call with the id of an open one"));
            return Ok(());
        }
        let refusal = if matches!(self.phase, Phase::Leaving(Ending::Stopped)) {
            Some((fault::STOPPING, "the agent is stopping"))
        } else if self.open.len() >= self.options.calls_open_max {
            Some((fault::BUSY, "too many calls are open on this agent"))
        } else {
            None
        };
        if let Some((code, message)) = refusal {
            let answer = Answer::Error { code, message: message.to_owned(), data: None };
            return self.link.answer(id, answer);
        }
        self.link.receipt(id)?;
        self.open.insert(id, call.deadline);
        let ticket = Ticket { link: self.number, call: id };
        let responder = Responder::new(ticket, self.desk.give.clone(), self.desk.waker.clone());
        self.events.handler.call(call, responder);
        Ok(())
    }

    /// Sends what handlers said about calls that are still open on this connection.
    fn answer(&mut self) -> Result<(), Ending> {
        while let Ok((ticket, answer)) = self.desk.take.try_recv() {
            let closing = matches!(self.phase, Phase::Closing { .. });
            if ticket.link != self.number || closing || !self.open.contains_key(&ticket.call) {
                continue;
            }
            if !matches!(answer, Answer::Progress(_)) {
                self.open.remove(&ticket.call);
            }
            self.link.answer(ticket.call, answer)?;
        }
        Ok(())
    }

    fn expire(&mut self, now: Now) -> Result<(), Ending> {
        let late: Vec<_> = self.open.iter().filter(|(_, at)| **at <= now).collect();
        for call in late.into_iter().map(|(call, _)| *call).collect::<Vec<_>>() {
            self.open.remove(&call);
            // Not answered: the deadline is the gateway's to call, and an error from here would race with its `no_reply`.
            self.events.handler.abandon(call, now);
        }
        if let Some(max) = self.silence_max
            && now.since(self.heard) >= max
        {
            return Err(Ending::Silent(max));
        }
        match &self.phase {
            Phase::Greeting { until } if *until <= now => Err(Ending::Slow("the welcome")),
            Phase::Closing { until, ending } if *until <= now => Err(ending.clone()),
            _ => Ok(()),
        }
    }

    /// Sends a newer token, where one is wanted and there is one.
    fn renew(&mut self, now: Now) -> Result<(), Ending> {
        let Credentials::Renewed(source) = &self.options.credentials else {
            return Ok(());
        };
        if matches!(self.phase, Phase::Closing { .. }) {
            return Ok(());
        }
        let Some(token) = self.renewal.due(now, source) else {
            return Ok(());
        };
        self.requests += 1;
        self.link.refresh(self.requests, &token)
    }

    /// Closes when it was told to leave and nothing runs any more.
    fn leave(&mut self, now: Now) -> Result<(), Ending> {
        match self.events.stop() {
            Stop::No => {}
            Stop::Now => return Err(Ending::Stopped),
            Stop::Gently if matches!(self.phase, Phase::Closing { .. }) => {}
            Stop::Gently => self.phase = Phase::Leaving(Ending::Stopped),
        }
        if let Phase::Leaving(ending) = &self.phase
            && self.open.is_empty()
        {
            let ending = ending.clone();
            let until = now.after(self.options.close_deadline);
            self.link.close(CloseCode::Normal, "the agent leaves")?;
            self.phase = Phase::Closing { until, ending };
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Now> {
        let phase = match &self.phase {
            Phase::Greeting { until } | Phase::Closing { until, .. } => Some(*until),
            Phase::Serving | Phase::Leaving(_) => None,
        };
        let silence = self.silence_max.map(|max| self.heard.after(max));
        let deadline = self.open.values().copied().min();
        let renewal = match &self.options.credentials {
            Credentials::Renewed(_) => self.renewal.wake_at(),
            Credentials::Token(_) | Credentials::Certificate | Credentials::Dev(_) => None,
        };
        [phase, silence, deadline, renewal].into_iter().flatten().min()
    }

    /// What counts as the reason when the connection ends with `ending`: an agent that was leaving anyway has left, and
    /// still waits as long as it was asked to, unless it must not come back at all.
    fn settled(&self, ending: Ending) -> Ending {
        match &self.phase {
            Phase::Leaving(known) | Phase::Closing { ending: known, .. } if ending.next() != Next::Stop => {
                known.clone()
            }
            _ => ending,
        }
    }
}
