//! Calls through the control port, a fixed number in flight, each answer judged.
//!
//! Owns the counting. Lost, stray, doubled and wrong answers are told apart, because each has another cause.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::http::{Answer, Callers};
use crate::latency::{Latency, Percentiles};
use crate::question::{Question, Verdict};
use crate::target::Target;

/// How long after its own deadline a call may stay unanswered before it counts as lost.
const GRACE: Duration = Duration::from_secs(5);

/// How many wrong answers are quoted.
const QUOTED_MAX: usize = 5;

/// What is asked, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections, each with one request in flight.
    pub in_flight: usize,
    /// Deadline of each call.
    pub timeout: Duration,
    /// Bytes of padding in each call's parameters.
    pub pad_bytes: usize,
    /// Wall time after which no call is begun.
    pub limit: Duration,
}

/// How the calls ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Calls begun.
    pub sent: u64,
    /// Right answers.
    pub right: u64,
    /// Answers that are not the right one.
    pub wrong: u64,
    /// Calls without an answer.
    pub lost: u64,
    /// Answers that nobody waited for, or second ones.
    pub strays: u64,
    /// Other outcomes, by name.
    pub outcomes: BTreeMap<String, u64>,
    /// The first wrong answers.
    pub quoted: Vec<String>,
    /// Times of the answered calls.
    pub latency: Percentiles,
}

impl Tally {
    /// Whether each call was answered rightly.
    pub fn is_flawless(&self) -> bool {
        self.right == self.sent && self.strays == 0
    }
}

/// One round of calls over connections that outlive it.
pub struct Campaign<'a> {
    target: &'a Target,
    plan: Plan,
    callers: Callers,
    next_number: u64,
    log: Option<BufWriter<File>>,
}

impl<'a> Campaign<'a> {
    /// Connects the callers. `log` gets one line a call: number, agent, outcome, microseconds.
    ///
    /// # Errors
    /// No descriptor is left, or the log cannot be written.
    pub fn new(target: &'a Target, plan: Plan, log: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| {
            File::create(path).map(BufWriter::new).map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Self {
            target,
            plan,
            callers: Callers::connect(target.control, plan.in_flight)
                .map_err(|error| format!("control port: {error}"))?,
            next_number: 1,
            log: log.map(create).transpose()?,
        })
    }

    /// Calls the agents that `next` names until it names none, and waits for all answers.
    ///
    /// # Errors
    /// The poll failed, or the log cannot be written.
    pub fn run(&mut self, next: &mut dyn FnMut() -> Option<u32>) -> Result<Tally, String> {
        let begin = Instant::now();
        let last_call = begin + self.plan.limit;
        let mut round = Round::default();
        let mut answers = Vec::new();
        let mut more = true;
        let mut heard = begin;
        while more || !round.open.is_empty() {
            let now = Instant::now();
            more = more && now < last_call;
            while more && self.callers.has_idle() {
                match next() {
                    Some(agent) => self.ask(agent, &mut round),
                    None => more = false,
                }
            }
            self.callers
                .turn(&mut answers, Duration::from_millis(20))
                .map_err(|error| format!("control port: {error}"))?;
            if answers.is_empty() && now.duration_since(heard) > self.plan.timeout + GRACE {
                break;
            }
            for answer in answers.drain(..) {
                heard = now;
                self.judge(&answer, &mut round)?;
            }
        }
        let mut tally = round.tally;
        tally.lost += round.open.len() as u64;
        tally.strays += std::mem::take(&mut self.callers.strays);
        tally.latency = round.latency.percentiles();
        if let Some(log) = &mut self.log {
            log.flush().map_err(|error| error.to_string())?;
        }
        Ok(tally)
    }

    fn ask(&mut self, agent: u32, round: &mut Round) {
        let question = Question { agent, number: self.next_number, pad_bytes: self.plan.pad_bytes };
        self.next_number += 1;
        let timeout_ms = u64::try_from(self.plan.timeout.as_millis()).unwrap_or(u64::MAX);
        let body = question.body(timeout_ms);
        let request = self.target.call_request(agent, &body);
        if self.callers.send(question.number, &request) {
            round.tally.sent += 1;
            round.open.insert(question.number, question);
        }
    }

    fn judge(&mut self, answer: &Answer, round: &mut Round) -> Result<(), String> {
        let tally = &mut round.tally;
        let Some(question) = round.open.remove(&answer.request) else {
            tally.strays += 1;
            return Ok(());
        };
        round.latency.note(answer.took);
        let verdict = match &answer.response {
            Some((status, body)) => question.judge(*status, body),
            None => {
                tally.lost += 1;
                return self.write_line(&question, "unanswered", answer.took);
            }
        };
        let outcome = match verdict {
            Verdict::Right => {
                tally.right += 1;
                "ok".to_owned()
            }
            Verdict::Other(outcome) => {
                *tally.outcomes.entry(outcome.clone()).or_default() += 1;
                outcome
            }
            Verdict::Wrong(why) => {
                tally.wrong += 1;
                if tally.quoted.len() < QUOTED_MAX {
                    tally.quoted.push(why);
                }
                "wrong".to_owned()
            }
        };
        self.write_line(&question, &outcome, answer.took)
    }

    fn write_line(&mut self, ask: &Question, outcome: &str, took: Duration) -> Result<(), String> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let (number, agent, micros) = (ask.number, ask.agent, took.as_micros());
        writeln!(log, "{number} {agent} {outcome} {micros}").map_err(|error| error.to_string())
    }
}

/// What one round has open and has counted.
#[derive(Default)]
struct Round {
    open: HashMap<u64, Question>,
    tally: Tally,
    latency: Latency,
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// How a scripted server treats the requests, whose bodies it is told.
    type Script = fn(&str) -> String;

    /// Serves one connection at a time until the test ends: what `script` makes of a body is sent; nothing closes it.
    fn server(script: Script) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut input = vec![0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut input) {
                    let text = String::from_utf8_lossy(&input[..read]).into_owned();
                    let answer = script(text.split("\r\n\r\n").nth(1).unwrap_or_default());
                    if answer.is_empty() || stream.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        address
    }

    fn response(status: u16, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    /// What an honest agent would answer to the body of a call.
    fn honest(body: &str) -> String {
        let params = &body[body.find("\"params\":").expect("params") + 9..body.len() - 1];
        response(
            200,
            &format!(r#"{{"outcome":"ok","agent":"load-3","result":{{"agent":"load-3","params":{params}}}}}"#),
        )
    }

    fn tally(script: Script) -> Tally {
        let target = Target {
            listen: ([127, 0, 0, 1], 1).into(),
            control: server(script),
            link: None,
            dev: true,
            secret: None,
            key_id: String::new(),
            audience: None,
            tenant: String::new(),
            api_key: None,
        };
        let plan =
            Plan { in_flight: 1, timeout: Duration::from_secs(20), pad_bytes: 0, limit: Duration::from_secs(20) };
        let mut left = 3;
        let mut next = || {
            left -= 1;
            (left >= 0).then_some(3)
        };
        let mut campaign = Campaign::new(&target, plan, None).expect("connected");
        campaign.run(&mut next).expect("ran")
    }

    #[test]
    fn honest_answers_are_right() {
        let tally = tally(honest);
        assert!(tally.is_flawless(), "{tally:?}");
        assert_eq!((tally.sent, tally.right), (3, 3));
    }

    #[test]
    fn doubled_answers_are_strays() {
        let tally = tally(|body| honest(body).repeat(2));
        assert!(tally.strays > 0 && !tally.is_flawless(), "{tally:?}");
    }

    #[test]
    fn answers_to_another_call_are_wrong() {
        let tally = tally(|body| honest(&body.replace("\"n\":", "\"n\":9")));
        assert_eq!(tally.wrong, 3, "{tally:?}");
    }

    #[test]
    fn connections_that_end_lose_their_call() {
        let tally = tally(|_| String::new());
        assert_eq!(tally.lost, 3, "{tally:?}");
    }

    #[test]
    fn other_outcomes_are_counted_by_name() {
        let tally = tally(|_| response(404, r#"{"outcome":"offline"}"#));
        assert_eq!(tally.outcomes.get("offline"), Some(&3), "{tally:?}");
        assert!(!tally.is_flawless());
    }
}
