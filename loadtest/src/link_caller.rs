//! A backend that makes its calls over one control link.
//!
//! Owns the translation between a campaign and the link's client. It must never decide whether an answer is right.

use std::io;
use std::time::Duration;

use holdfast::wire::envelope::Encoding;

use crate::backend_link::{BackendLink, LinkAnswer};
use crate::callers::{Answer, Callers, Response};
use crate::question::{METHOD, Question, Worth};
use crate::target::{Target, agent_id};

/// Status of a response whose body is the agent's result; of any other, the body is the outcome's word.
const OK: u16 = 200;
const OTHER: u16 = 500;

/// One link, a bounded number of calls in flight.
pub struct LinkCaller {
    link: BackendLink,
    in_flight_max: usize,
    answers: Vec<LinkAnswer>,
}

impl LinkCaller {
    /// Connects.
    ///
    /// # Errors
    /// No link is there, it does not let us in, or its window is smaller than `in_flight`.
    pub fn connect(target: &Target, in_flight: usize) -> Result<Self, String> {
        let link = BackendLink::connect(target, Encoding::Binary)?;
        let window = link.window as usize;
        if window < in_flight {
            return Err(format!("the gateway's window is {window} calls, {in_flight} are to be in flight"));
        }
        Ok(Self { link, in_flight_max: in_flight, answers: Vec::new() })
    }
}

impl Callers for LinkCaller {
    fn ask(&mut self, question: &Question, timeout_ms: u64) -> bool {
        if !self.has_room() {
            return false;
        }
        let timeout_ms = u32::try_from(timeout_ms).unwrap_or(u32::MAX);
        self.link.ask(question.number, &agent_id(question.agent), METHOD, &question.params(), timeout_ms);
        true
    }

    fn has_room(&self) -> bool {
        self.link.in_flight() < self.in_flight_max
    }

    fn turn(&mut self, answers: &mut Vec<Answer>, patience: Duration) -> io::Result<()> {
        self.link.turn(&mut self.answers, patience).map_err(io::Error::other)?;
        answers.extend(self.answers.drain(..).map(|answer| Answer {
            number: answer.request,
            response: Some(match answer.outcome {
                "ok" => Response { status: OK, body: answer.result },
                other => Response { status: OTHER, body: other.as_bytes().to_vec() },
            }),
            took: answer.took,
        }));
        Ok(())
    }

    fn judge(&self, question: &Question, response: &Response) -> Worth {
        match response.status {
            OK => question.judge_result("ok", &response.body),
            _ => question.judge_result(&String::from_utf8_lossy(&response.body), &[]),
        }
    }

    fn take_strays(&mut self) -> u64 {
        std::mem::take(&mut self.link.strays)
    }
}
