//! Questions that a backend asks agents through the server; each answer is compared.
//!
//! A server decides how a backend reaches it, so there is one function for each kind of it: through the broker's own dialect on one
//! connection, and through what carries holdfast's calls ([`Over`]): its HTTP port, or a control link.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::OpCode;

use super::crowd::{After, BACKEND, Crowd, PATIENCE, STALL, Spoken};
use super::{Bounds, Choice, SMALL_BYTES};
use crate::bench::meter::{Meter, Run};
use crate::callers::Over;
use crate::campaign::{Campaign, Plan, Tally};
use crate::dialect::{self, Broker, Heard};
use crate::fleet::Fleet;
use crate::latency::Latency;
use crate::question::{self, hear};
use crate::target::Target;

/// Deadline of a call.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Questions of a broker's backend.
pub struct Asking<'a> {
    broker: &'a dyn Broker,
    /// The connection that asks.
    backend: usize,
    out: HashMap<u64, (u32, Instant)>,
    last_number: u64,
    latency: Latency,
    done: u64,
}

impl<'a> Asking<'a> {
    /// Connects the backend beside the agents of `crowd`.
    ///
    /// # Errors
    /// It was refused.
    pub fn new(broker: &'a dyn Broker, crowd: &mut Crowd) -> Result<Self, String> {
        let backend = crowd.join_backend()?;
        Ok(Self { broker, backend, out: HashMap::new(), last_number: 0, latency: Latency::default(), done: 0 })
    }

    /// One run of questions with bodies of `bytes`.
    ///
    /// # Errors
    /// A wrong answer, a connection that ended, a stall.
    pub fn run(&mut self, crowd: &mut Crowd, bytes: usize, choice: Choice, bounds: Bounds) -> Result<Run, String> {
        self.latency = Latency::default();
        self.done = 0;
        let mut sent = 0;
        let meter = Meter::start(Some(bounds.server_pid))?;
        let mut progress = Instant::now();
        loop {
            let more = sent < bounds.operations && meter.elapsed() < bounds.time;
            if !more && self.out.is_empty() {
                break;
            }
            while more && (self.out.len() as u64) < bounds.in_flight && sent < bounds.operations {
                let agent = choice.agent(sent, crowd.len());
                self.ask(crowd, agent, bytes);
                sent += 1;
            }
            let before = self.done;
            crowd.turn(PATIENCE, &mut |fleet, spoken| self.listen(fleet, spoken, bytes))?;
            if self.done > before {
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(format!("{} answers are missing", self.out.len()));
            }
        }
        meter.stop(self.done, self.latency.percentiles())
    }

    /// Ends the backend's connection.
    pub fn leave(self, crowd: &mut Crowd) {
        crowd.drop_wire(self.backend);
    }

    fn ask(&mut self, crowd: &mut Crowd, agent: u32, bytes: usize) {
        self.last_number += 1;
        let number = self.last_number;
        self.out.insert(number, (agent, Instant::now()));
        let mut packet = Vec::with_capacity(128);
        self.broker.ask(agent, number, &body(number, agent, bytes), &mut packet);
        crowd.send(self.backend, dialect::data(), &packet);
    }

    fn listen(&mut self, fleet: &mut Fleet, spoken: &Spoken, bytes: usize) -> Result<After, String> {
        let Heard::Message(message) = spoken.heard else {
            return Err(format!("no message: {:?}", spoken.heard));
        };
        if spoken.tag != BACKEND {
            let mut packet = Vec::with_capacity(128);
            let answer = answer(spoken.tag, message.body);
            self.broker.answer(spoken.tag, &message, &answer, &mut packet);
            fleet.send(spoken.wire, dialect::data(), &packet);
            return Ok(After::Stay);
        }
        let number = message.body.get(4..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_be_bytes(*bytes));
        let Some((number, (agent, since))) = number.and_then(|number| Some((number, self.out.remove(&number)?))) else {
            return Err("a reply to no question, or a second one".to_owned());
        };
        let expected = answer(agent, &body(number, agent, bytes));
        if message.body != expected || message.subject != self.broker.reply_subject(agent, number).as_bytes() {
            return Err(format!("question {number} to agent {agent} was answered wrongly"));
        }
        self.latency.note(since.elapsed());
        self.done += 1;
        Ok(After::Stay)
    }
}

/// A question that no other one equals: its number, its agent, and dots.
fn body(number: u64, agent: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; length.max(SMALL_BYTES)];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..12].copy_from_slice(&agent.to_be_bytes());
    bytes
}

/// What an agent answers: its own number, then the question.
fn answer(agent: u32, question: &[u8]) -> Vec<u8> {
    [&agent.to_be_bytes()[..], question].concat()
}

/// One run of holdfast's calls, padded with `pad_bytes`: one in flight on each of `bounds.in_flight` kept connections, or as many on one link.
///
/// # Errors
/// Nothing carries calls there, an answer is missing or wrong, or an agent's connection ended.
pub fn call(
    over: Over,
    target: &Target,
    crowd: &mut Crowd,
    pad_bytes: usize,
    choice: Choice,
    bounds: Bounds,
) -> Result<Run, String> {
    let in_flight = usize::try_from(bounds.in_flight).unwrap_or(usize::MAX);
    let plan = Plan { in_flight, timeout: TIMEOUT, pad_bytes, limit: bounds.time };
    let agents = crowd.len();
    let mut campaign = Campaign::over(over.connect(target, in_flight)?, plan);
    let meter = Meter::start(Some(bounds.server_pid))?;
    let tally: Tally = thread::scope(|scope| {
        let backend = scope.spawn(move || {
            let mut sent = 0;
            campaign.run(&mut || {
                (sent < bounds.operations).then(|| {
                    sent += 1;
                    choice.agent(sent - 1, agents)
                })
            })
        });
        while !backend.is_finished() {
            crowd.turn(PATIENCE, &mut |fleet, spoken| reply(fleet, spoken))?;
        }
        backend.join().map_err(|_| "the backend panicked".to_owned())?
    })?;
    if !tally.is_flawless() {
        return Err(format!("not every answer is right: {tally:#?}"));
    }
    meter.stop(tally.right, tally.latency)
}

/// An agent of holdfast answers a call at once.
fn reply(fleet: &mut Fleet, spoken: &Spoken) -> Result<After, String> {
    let Heard::Message(message) = spoken.heard else {
        return Err(format!("no call: {:?}", spoken.heard));
    };
    match hear(spoken.tag, message.body) {
        question::Heard::Call { number: Some(_), reply } => {
            fleet.send(spoken.wire, OpCode::from(1), reply.as_bytes());
            Ok(After::Stay)
        }
        other => Err(format!("agent {} hears {other:?}", spoken.tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_questions_or_answers_are_equal() {
        let of = |number, agent| body(number, agent, SMALL_BYTES);
        assert_eq!(of(1, 2).len(), SMALL_BYTES);
        assert_ne!(of(1, 2), of(2, 2));
        assert_ne!(of(1, 2), of(1, 1));
        assert_ne!(answer(1, &of(1, 2)), answer(2, &of(1, 2)));
    }
}
