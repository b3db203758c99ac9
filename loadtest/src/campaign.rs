//! Calls through the control port, a fixed number in flight, each answer judged.
//!
//! Owns the counting. Lost, stray, doubled and wrong answers are told apart, because each has another cause.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::callers::{Answer, Callers, Over};
use crate::latency::{Latency, Percentiles};
use crate::ledger::Ledger;
use crate::question::{Question, Worth};
use crate::result;
use crate::stop;
use crate::target::Target;
use crate::witness::{Claim, Millis, Truth, Witness};

/// How long after its own deadline a call may stay unanswered before it counts as lost.
const GRACE: Duration = Duration::from_secs(5);

/// How long a doubtful outcome is left alone before it is judged for good.
const DOUBT: Duration = Duration::from_secs(2);

/// How long a turn waits for answers, and between calls that have a pace.
const PATIENCE: Duration = Duration::from_millis(20);
const PATIENCE_BETWEEN: Duration = Duration::from_millis(2);

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

/// What a campaign does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It calls this agent.
    Call(u32),
    /// It calls nobody yet.
    Wait,
    /// It is over.
    End,
}

/// How the calls ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Calls begun.
    pub sent: u64,
    /// A number that no call has had yet.
    #[serde(skip)]
    pub unused_number: u64,
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
    /// Outcomes that what the agents saw speaks against.
    pub untrue: u64,
    /// The first wrong answers and untrue outcomes.
    pub quoted: Vec<String>,
    /// Times of the answered calls.
    pub latency: Percentiles,
    /// The same, all of them.
    #[serde(skip)]
    pub times: Latency,
}

impl Tally {
    /// Whether each call was answered rightly.
    pub fn is_flawless(&self) -> bool {
        self.right == self.sent && self.strays == 0
    }
}

/// An outcome that is judged later.
struct Doubt {
    judge_at: Instant,
    question: Question,
    claim: Claim,
    outcome: String,
    began: Millis,
}

/// A call without its answer.
struct Open {
    question: Question,
    began: Millis,
}

/// Rounds of calls over connections that outlive them.
pub struct Campaign {
    plan: Plan,
    callers: Box<dyn Callers + Send>,
    next_number: u64,
    number_step: u64,
    log: Option<BufWriter<File>>,
    witness: Option<Arc<Witness>>,
    ledger: Option<Arc<Ledger>>,
}

impl Campaign {
    /// Connects HTTP callers. `log` gets one line a call: number, agent, outcome, microseconds.
    ///
    /// # Errors
    /// No descriptor is left, or the log cannot be written.
    pub fn new(target: &Target, plan: Plan, log: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| {
            File::create(path).map(BufWriter::new).map_err(|error| format!("{}: {error}", path.display()))
        };
        let callers = Over::Http.connect(target, plan.in_flight)?;
        Ok(Self { log: log.map(create).transpose()?, ..Self::over(callers, plan) })
    }

    /// Calls through callers of any kind.
    pub fn over(callers: Box<dyn Callers + Send>, plan: Plan) -> Self {
        Self { plan, callers, next_number: 1, number_step: 1, log: None, witness: None, ledger: None }
    }

    /// Each outcome is held against what the witness knows of the agents.
    #[must_use]
    pub fn before(mut self, witness: Arc<Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Each right answer is noted here.
    #[must_use]
    pub fn noting(mut self, ledger: Arc<Ledger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Campaigns that share a witness must not give two calls one number: this one takes every `of`-th number only, from `turn` on.
    #[must_use]
    pub fn taking_turns(mut self, turn: u64, of: u64) -> Self {
        (self.next_number, self.number_step) = (self.next_number + turn, of);
        self
    }

    /// The same for a campaign that comes after another one: it begins with a number that the other did not reach.
    #[must_use]
    pub fn from_number(mut self, number: u64) -> Self {
        self.next_number = number;
        self
    }

    /// Calls the agents that `next` names until it names none, and waits for all answers.
    ///
    /// # Errors
    /// The poll failed, or the log cannot be written.
    pub fn run(&mut self, next: &mut dyn FnMut() -> Option<u32>) -> Result<Tally, String> {
        self.run_paced(&mut || next().map_or(Next::End, Next::Call))
    }

    /// The same for a `next` that may also ask to wait.
    ///
    /// # Errors
    /// As there.
    pub fn run_paced(&mut self, next: &mut dyn FnMut() -> Next) -> Result<Tally, String> {
        let last_call = Instant::now() + self.plan.limit;
        let mut round = Round::default();
        let mut answers = Vec::new();
        let mut more = true;
        let mut asked = Instant::now();
        while more || !round.open.is_empty() || !round.doubts.is_empty() {
            let now = Instant::now();
            more = more && now < last_call && !stop::asked();
            if more {
                asked = now;
            }
            let mut patience = PATIENCE;
            while more && self.callers.has_room() {
                match next() {
                    Next::Call(agent) => self.ask(agent, &mut round),
                    Next::End => more = false,
                    Next::Wait => {
                        patience = PATIENCE_BETWEEN;
                        break;
                    }
                }
            }
            self.callers.turn(&mut answers, patience).map_err(|error| format!("control port: {error}"))?;
            for answer in answers.drain(..) {
                self.hear(answer, &mut round)?;
            }
            self.resolve(now, &mut round);
            // The last call is overdue, and so are all others.
            if now.duration_since(asked) > self.plan.timeout + GRACE {
                break;
            }
        }
        let mut tally = round.tally;
        tally.unused_number = self.next_number;
        tally.lost += round.open.len() as u64;
        tally.strays += self.callers.take_strays();
        tally.latency = tally.times.percentiles();
        if let Some(log) = &mut self.log {
            log.flush().map_err(|error| error.to_string())?;
        }
        Ok(tally)
    }

    fn ask(&mut self, agent: u32, round: &mut Round) {
        let question = Question { agent, number: self.next_number, pad_bytes: self.plan.pad_bytes };
        self.next_number += self.number_step;
        let began = self.witness.as_ref().map_or(0, |witness| {
            witness.begin(question.number);
            witness.now()
        });
        let timeout_ms = u64::try_from(self.plan.timeout.as_millis()).unwrap_or(u64::MAX);
        if self.callers.ask(&question, timeout_ms) {
            round.tally.sent += 1;
            round.open.insert(question.number, Open { question, began });
        }
    }

    fn hear(&mut self, answer: Answer, round: &mut Round) -> Result<(), String> {
        let Some(Open { question, began, .. }) = round.open.remove(&answer.number) else {
            round.tally.strays += 1;
            return Ok(());
        };
        round.tally.times.note(answer.took);
        let Some(response) = &answer.response else {
            round.tally.lost += 1;
            return self.write_line(&question, "unanswered", answer.took);
        };
        let outcome = match self.callers.judge(&question, response) {
            Worth::Right => {
                round.tally.right += 1;
                if let Some(ledger) = &self.ledger {
                    ledger.note(question.agent, Instant::now());
                }
                "ok".to_owned()
            }
            Worth::Other(outcome) => {
                *round.tally.outcomes.entry(outcome.clone()).or_default() += 1;
                outcome
            }
            Worth::Wrong(why) => {
                round.tally.wrong += 1;
                round.tally.quote(why);
                return self.write_line(&question, "wrong", answer.took);
            }
        };
        self.write_line(&question, &outcome, answer.took)?;
        self.hold_against_witness(question, outcome, began, round);
        Ok(())
    }

    fn hold_against_witness(&self, question: Question, outcome: String, began: Millis, round: &mut Round) {
        let Some(witness) = &self.witness else {
            return;
        };
        let Some(claim) = Claim::of(&outcome) else {
            return round.tally.find_untrue(&question, &outcome, "no outcome of the contract");
        };
        match witness.judge(claim, question.number, question.agent, began) {
            Truth::Holds => {}
            Truth::False(why) => round.tally.find_untrue(&question, &outcome, why),
            Truth::Doubtful => {
                let judge_at = Instant::now() + DOUBT;
                round.doubts.push_back(Doubt { judge_at, question, claim, outcome, began });
            }
        }
    }

    /// Judges the doubtful outcomes whose time has come.
    fn resolve(&self, now: Instant, round: &mut Round) {
        while round.doubts.front().is_some_and(|doubt| doubt.judge_at <= now) {
            if let (Some(doubt), Some(witness)) = (round.doubts.pop_front(), &self.witness)
                && witness.judge(doubt.claim, doubt.question.number, doubt.question.agent, doubt.began) != Truth::Holds
            {
                round.tally.find_untrue(&doubt.question, &doubt.outcome, "the agent was there all the time");
            }
        }
    }

    fn write_line(&mut self, ask: &Question, outcome: &str, took: Duration) -> Result<(), String> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        let (number, agent, micros) = (ask.number, ask.agent, took.as_micros());
        writeln!(log, "{number} {agent} {outcome} {micros}").map_err(|error| error.to_string())
    }
}

impl Tally {
    fn quote(&mut self, text: String) {
        if self.quoted.len() < QUOTED_MAX {
            self.quoted.push(text);
        }
    }

    fn find_untrue(&mut self, question: &Question, outcome: &str, why: &str) {
        self.untrue += 1;
        self.quote(format!("call {} to agent {} ended as {outcome}, but {why}", question.number, question.agent));
    }

    /// As a result carries it. An untrue outcome is a wrong answer.
    pub fn verdict(&self) -> result::Verdict {
        result::Verdict {
            right: self.right,
            wrong: self.wrong + self.untrue,
            lost: self.lost,
            strays: self.strays,
            outcomes: self.outcomes.clone(),
            quoted: self.quoted.clone(),
            ..result::Verdict::default()
        }
    }
}

/// What one round has open and has counted.
#[derive(Default)]
struct Round {
    open: HashMap<u64, Open>,
    doubts: VecDeque<Doubt>,
    tally: Tally,
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
            signer: None,
            api_key: None,
            tls: None,
            link_tls: None,
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
