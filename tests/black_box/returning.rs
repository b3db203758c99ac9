//! Agents that come back by themselves, as the reference agent does, and callers that hold each outcome against what the agents ran.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use holdfast::agent::{Agent, Call, Credentials, Ending, Options, Responder, Stopper, Target};
use holdfast::kit::tick::Clock;
use holdfast::wire::client_tls::ClientTls;
use holdfast::wire::envelope::Encoding;
use serde_json::json;

use crate::backend::Backend;
use crate::gateway::{Gateway, SOON, until};

/// How long a call may take when the agent does not answer.
const TIMEOUT: &str = "1s";
/// How much later than that an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(5);

/// How often each call ran, by the number in its parameters.
#[derive(Default)]
pub struct Ledger(Mutex<HashMap<u64, u32>>);

impl Ledger {
    fn note(&self, number: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
    }

    fn runs(&self, number: u64) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&number).copied().unwrap_or(0)
    }
}

/// Agents, a thread each, until they are dropped.
pub struct Returning {
    agents: Vec<(Stopper, JoinHandle<Ending>)>,
    ledger: Arc<Ledger>,
}

impl Returning {
    /// Starts `count` agents that connect to an address. They may not be there yet.
    pub fn start(address: SocketAddr, count: usize) -> Self {
        Self::start_at(&format!("ws://{address}"), None, count)
    }

    /// The same, to a URL, and with what it takes to speak TLS where that is `wss://`.
    pub fn start_at(url: &str, tls: Option<&ClientTls>, count: usize) -> Self {
        let ledger = Arc::new(Ledger::default());
        let agents = (0..count).map(|number| start(url, tls.cloned(), &name(number), Arc::clone(&ledger))).collect();
        Self { agents, ledger }
    }

    /// Waits until each of them answers a call.
    pub fn all_answer(&self, gateway: &Gateway) {
        let backend = Backend::of(gateway);
        for number in 0..self.agents.len() {
            let agent = name(number);
            let body = json!({"method": "echo", "params": "there?", "timeout": "5s"});
            let answers = || {
                let answer = backend.try_ask("POST", &format!("/v1/agents/{agent}/calls"), Some(body.to_string()));
                answer.is_some_and(|answer| answer.outcome(&agent) == "ok")
            };
            until(answers, &format!("{agent} answers"));
        }
    }

    /// Calls them from a few threads while `meanwhile` runs, and until it has ended.
    pub fn call_while(&self, gateway: &Gateway, meanwhile: impl FnOnce()) -> Vec<Called> {
        let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let count = self.agents.len() as u64;
        thread::scope(|scope| {
            let caller = || {
                let backend = Backend::of(gateway);
                let mut called = Vec::new();
                while !over.load(Ordering::Acquire) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    called.push(call(&backend, &name((number % count) as usize), number));
                }
                called
            };
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(caller)).collect();
            meanwhile();
            over.store(true, Ordering::Release);
            callers.into_iter().flat_map(|caller| caller.join().expect("each call has one true outcome")).collect()
        })
    }

    /// Holds what callers were told against what ran: how many calls had each outcome; without a word where the caller's connection broke.
    pub fn judge(&self, called: &[Called]) -> HashMap<String, usize> {
        let mut tally: HashMap<String, usize> = HashMap::new();
        for Called { number, outcome, took } in called {
            let ran = self.ledger.runs(*number);
            let is_true = match outcome.as_deref() {
                Some("ok") => ran == 1,
                Some("offline" | "not_delivered" | "busy") => ran == 0,
                Some("lost" | "no_reply" | "no_receipt") | None => ran <= 1,
                Some(_) => false,
            };
            assert!(is_true, "call {number} ended as {outcome:?} and ran {ran} times");
            assert!(*took < SLACK, "call {number} ended as {outcome:?} after {took:?}");
            *tally.entry(outcome.clone().unwrap_or_default()).or_default() += 1;
        }
        tally
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        for (stopper, _) in &self.agents {
            stopper.stop();
            stopper.stop();
        }
        for (_, thread) in self.agents.drain(..) {
            let ended = thread.join();
            if !thread::panicking() {
                assert!(matches!(ended, Ok(Ending::Stopped)), "an agent gave up: {ended:?}");
            }
        }
    }
}

/// How one call ended.
pub struct Called {
    number: u64,
    /// None when the caller's own connection broke.
    outcome: Option<String>,
    took: Duration,
}

fn name(number: usize) -> String {
    format!("back-{number}")
}

fn call(backend: &Backend, agent: &str, number: u64) -> Called {
    let body = json!({"method": "echo", "params": number, "timeout": TIMEOUT});
    let asked = Instant::now();
    let answer = backend.try_ask("POST", &format!("/v1/agents/{agent}/calls"), Some(body.to_string()));
    let outcome = answer.map(|answer| {
        let outcome = answer.outcome(agent).to_owned();
        assert!(outcome != "ok" || answer.body["result"] == number, "not its answer: {answer:?}");
        outcome
    });
    Called { number, outcome, took: asked.elapsed() }
}

fn start(url: &str, tls: Option<ClientTls>, id: &str, ledger: Arc<Ledger>) -> (Stopper, JoinHandle<Ending>) {
    let options = Options {
        target: Target::parse(url).expect("a URL"),
        tls,
        credentials: Credentials::Dev(id.to_owned()),
        encoding: Encoding::Json,
        connect_deadline: Duration::from_secs(2),
        welcome_deadline: Duration::from_secs(2),
        close_deadline: Duration::from_secs(1),
        backoff_first: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        message_bytes_max: 1 << 20,
        reply_bytes_max: 1 << 20,
        calls_open_max: 64,
    };
    let echo = move |call: Call, responder: Responder| {
        if let Ok(number) = serde_json::from_slice(&call.params.bytes) {
            ledger.note(number);
        }
        responder.result(call.params);
    };
    let agent = Agent::new(options, Clock::start(), fastrand::Rng::new(), echo, |_| {}).expect("descriptors");
    (agent.stopper(), thread::spawn(move || agent.run()))
}

/// Repeats something until a while is over.
pub fn for_a_while(span: Duration, mut step: impl FnMut()) {
    assert!(span < SOON);
    let end = Instant::now() + span;
    while Instant::now() < end {
        step();
    }
}
