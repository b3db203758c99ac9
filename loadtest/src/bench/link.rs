//! Calls to random agents over one control link; each answer is compared.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use holdfast::wire::envelope::Encoding;

use super::Bounds;
use super::meter::{Meter, Run};
use crate::backend_link::BackendLink;
use crate::crew::{Crew, Duty};
use crate::latency::Latency;
use crate::question::{METHOD, Question, Worth};
use crate::target::{Target, agent_id};

/// Deadline of each call, in milliseconds.
const TIMEOUT_MS: u32 = 10_000;
/// Longest wait for an answer that is still out.
const STALL: Duration = Duration::from_secs(15);

/// Agents that wait, and a link to call them over.
pub struct LinkCalls {
    crew: Crew,
    link: BackendLink,
    agents: u32,
    bounds: Bounds,
    number: u64,
}

impl LinkCalls {
    /// Connects both.
    ///
    /// # Errors
    /// Not all could connect.
    pub fn start(target: &Target, encoding: Encoding, agents: u32, bounds: Bounds) -> Result<Self, String> {
        let crew = Crew::start(target, &Duty::of(0..agents))?;
        crew.wait_ready(Duration::from_secs(60))?;
        let link = BackendLink::connect(target, encoding)?;
        let window = link.window as usize;
        if window < bounds.in_flight {
            return Err(format!("the gateway's window is {window} calls, {} are to be in flight", bounds.in_flight));
        }
        Ok(Self { crew, link, agents, bounds, number: 1 })
    }

    /// One run.
    ///
    /// # Errors
    /// An answer is missing or wrong.
    pub fn run(&mut self) -> Result<Run, String> {
        let (mut open, mut answers) = (HashMap::<u64, Question>::new(), Vec::new());
        let (mut left, mut right, mut latency) = (self.bounds.operations, 0, Latency::default());
        let meter = Meter::start(self.bounds.server_pid)?;
        let mut heard = Instant::now();
        loop {
            let more = left > 0 && meter.elapsed() < self.bounds.time;
            while more && left > 0 && self.link.in_flight() < self.bounds.in_flight {
                let question =
                    Question { agent: fastrand::u32(0..self.agents.max(1)), number: self.number, pad_bytes: 0 };
                (self.number, left) = (self.number + 1, left - 1);
                self.link.ask(question.number, &agent_id(question.agent), METHOD, &question.params(), TIMEOUT_MS);
                open.insert(question.number, question);
            }
            if open.is_empty() {
                break;
            }
            self.link.turn(&mut answers, Duration::from_millis(20))?;
            if !answers.is_empty() {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                return Err(format!("{} calls have no answer", open.len()));
            }
            for answer in answers.drain(..) {
                let question = open.remove(&answer.request).ok_or("an answer to no question")?;
                match question.judge_result(answer.outcome, &answer.result) {
                    Worth::Right => right += 1,
                    other => return Err(format!("not every answer is right: {other:?}")),
                }
                latency.note(answer.took);
            }
        }
        if self.link.strays > 0 {
            return Err(format!("{} answers that nobody asked for", self.link.strays));
        }
        meter.stop(right, latency.percentiles())
    }

    /// Lets the agents go.
    ///
    /// # Errors
    /// A thread failed.
    pub fn stop(self) -> Result<(), String> {
        self.crew.stop().map(|_| ())
    }
}
