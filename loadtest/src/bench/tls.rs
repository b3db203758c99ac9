//! What TLS costs, in the server's processor time: handshakes of a gateway beside those of rustls alone, and what agents do with TLS
//! beside the same without it.
//!
//! Owns the servers of the run and the order of measurements: the two sides of a comparison alternate, run by run, so that what the
//! machine does meanwhile is shared by both. The ratio that counts is the median of the rounds' ratios.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use holdfast::net::tls::client::{Client, Comeback};
use holdfast::wire::envelope::Encoding;

use super::call::Calls;
use super::echo::{Echo, Probe};
use super::handshake::{Ending, Handshakes};
use super::link::LinkCalls;
use super::meter::Run;
use super::{Bounds, fits};
use crate::certificate::NAME;
use crate::cpu;
use crate::median::median;
use crate::place::Place;
use crate::progress::Stage;
use crate::result::{Draft, RunResult, Verdict};
use crate::sample;
use crate::server::{Other, Server};
use crate::target::Target;

/// What a full handshake may take of what rustls alone takes.
const HANDSHAKE_MOST: f64 = 1.2;

/// What a call may take with TLS of what it takes without.
const CALL_MOST: f64 = 1.25;

/// Handshakes of a counted run that must have been resumed where all are to be: who comes while all tickets are out gets none.
const RESUMED_LEAST: f64 = 0.95;

/// Options of `bench-tls`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("loops", |loops| loops.default_value("1")), mut_arg("workers", |workers| workers.default_value("1")))]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Operations to measure; all when none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Operation>,
    /// Rounds of each operation, one run of each side in each; one more comes first and does not count.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Longest time of a run, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Most operations of a run.
    #[arg(long, default_value_t = 200_000)]
    operations: u64,
    /// Operations in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Connections to choose from for echo, on each side.
    #[arg(long, default_value_t = 5000)]
    connections: u32,
    /// Agents to call, on each side.
    #[arg(long, default_value_t = 1000)]
    agents: u32,
    /// Core that the servers run on.
    #[arg(long)]
    server_core: Option<usize>,
    /// Core that this process runs on.
    #[arg(long)]
    core: Option<usize>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    /// Connect, full handshake, upgrade, welcome; the gateway beside rustls alone.
    Handshake,
    /// The same with a ticket.
    Resumed,
    /// 32 bytes to a random connection and back, with TLS and without.
    Echo,
    /// An HTTP call to an agent with TLS, and to one without.
    Call,
    /// A call over one control link in plaintext, binary, to an agent with TLS and to one without.
    LinkCall,
    /// The same in JSON.
    LinkCallJson,
}

/// The servers of a run.
struct Servers {
    plain: Server,
    secured: Server,
    alone: Other,
    /// The same program as `alone`, without TLS.
    bare: Other,
}

/// One run of an operation.
type Once<'a> = Box<dyn FnMut() -> Result<Run, String> + 'a>;

/// One side of a comparison.
struct Side<'a> {
    name: &'static str,
    once: Once<'a>,
}

/// Measures.
///
/// # Errors
/// A server does not start, an answer was wrong, or handshakes were not what they should be.
pub fn run(options: &Options) -> Result<RunResult, String> {
    if !options.place.is_ours() {
        return Err("bench-tls starts its servers itself: it takes no option that speaks of one that runs".to_owned());
    }
    let servers = Servers::start(options)?;
    if let Some(core) = options.core {
        cpu::pin(core)?;
    }
    let mut draft = Draft::begin("bench-tls");
    draft
        .parameter("runs", options.runs)
        .parameter("seconds of a run", options.seconds)
        .parameter("in flight", options.in_flight)
        .parameter("connections", options.connections)
        .parameter("agents", options.agents)
        .server(sample::server(servers.secured.pid.ok_or("the gateway has no process")?)?);
    for (operation, most) in [
        (Operation::Handshake, Some(HANDSHAKE_MOST)),
        (Operation::Resumed, None),
        (Operation::Echo, None),
        (Operation::Call, Some(CALL_MOST)),
        (Operation::LinkCall, Some(CALL_MOST)),
        (Operation::LinkCallJson, Some(CALL_MOST)),
    ] {
        if options.only.is_empty() || options.only.contains(&operation) {
            let mut sides = servers.sides(operation, options)?;
            let runs = alternate(operation.name(), &mut sides, options.runs.max(1))?;
            tell(&mut draft, operation.name(), &sides, &runs, most);
            if sides.len() == 4 {
                tell_added(&mut draft, operation.name(), &runs);
            }
        }
    }
    Ok(draft.finish())
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Handshake => "full handshake",
            Self::Resumed => "resumed handshake",
            Self::Echo => "echo",
            Self::Call => "call",
            Self::LinkCall => "call over a link",
            Self::LinkCallJson => "call over a link, JSON",
        }
    }
}

impl Servers {
    /// Starts all three; what is started stays on the core that this thread has at that moment.
    fn start(options: &Options) -> Result<Self, String> {
        if let Some(core) = options.server_core {
            cpu::pin(core)?;
        }
        let plain = options.place.with_tls(false).find_or_start(&[])?;
        let secured = options.place.with_tls(true).find_or_start(&[])?;
        let own = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
        let (chain, key) = files(&secured)?;
        let mut command = Command::new(&own);
        command.arg("rustls-alone").arg("--certificate").arg(chain).arg("--key").arg(key);
        let alone = Other::start(&mut command)?;
        let bare = Other::start(Command::new(own).arg("rustls-alone"))?;
        Ok(Self { plain, secured, alone, bare })
    }

    /// The sides of a comparison; the second one is measured against the first. Behind them may come both without TLS.
    fn sides(&self, operation: Operation, options: &Options) -> Result<Vec<Side<'static>>, String> {
        let each = |make: &dyn Fn(&Server) -> Result<Once<'static>, String>| {
            let first = Side { name: "plaintext", once: make(&self.plain)? };
            Ok(vec![first, Side { name: "TLS", once: make(&self.secured)? }])
        };
        match operation {
            Operation::Handshake => self.handshakes(options, Comeback::Full),
            Operation::Resumed => self.handshakes(options, Comeback::Resumed),
            Operation::Echo => each(&|server| {
                let bounds = options.bounds(server.pid)?;
                let mut echo = Echo::open(&server.target, "/dev/echo", fits(options.connections, 2)?)?;
                Ok(Box::new(move || echo.run(Probe::Message, bounds)))
            }),
            Operation::Call => each(&|server| {
                let mut calls = Calls::start(&server.target, options.agents, options.bounds(server.pid)?)?;
                Ok(Box::new(move || calls.run()))
            }),
            Operation::LinkCall => each(&|server| link_calls(server, options, Encoding::Binary)),
            Operation::LinkCallJson => each(&|server| link_calls(server, options, Encoding::Json)),
        }
    }

    fn handshakes(&self, options: &Options, comeback: Comeback) -> Result<Vec<Side<'static>>, String> {
        let (chain, _) = files(&self.secured)?;
        let side = |name, target: Target, pid| -> Result<Side<'static>, String> {
            let client = || Client::new(&chain, NAME, comeback).map(Arc::new);
            let tls = target.tls.as_ref().map(|_| client()).transpose()?;
            let has_tls = tls.is_some();
            let mut handshakes = Handshakes::new(Target { tls, ..target }, Ending::Tcp)?;
            let bounds = options.bounds(pid)?;
            let mut is_warm = false;
            let once = move || {
                let before = handshakes.resumed();
                let run = handshakes.run(bounds)?;
                if is_warm && has_tls {
                    check_resumed(comeback, handshakes.resumed() - before, run.operations)?;
                }
                is_warm = true;
                Ok(run)
            };
            Ok(Side { name, once: Box::new(once) })
        };
        let (gateway, plain) = (self.secured.target.clone(), self.plain.target.clone());
        let alone = Target { listen: self.alone.listen, ..gateway.clone() };
        let bare = Target { listen: self.bare.listen, ..plain.clone() };
        Ok(vec![
            side("rustls alone", alone, Some(self.alone.pid()))?,
            side("the gateway", gateway, self.secured.pid)?,
            side("the server of rustls in plaintext", bare, Some(self.bare.pid()))?,
            side("the gateway in plaintext", plain, self.plain.pid)?,
        ])
    }
}

impl Options {
    fn bounds(&self, server_pid: Option<u32>) -> Result<Bounds, String> {
        Ok(Bounds {
            time: Duration::try_from_secs_f64(self.seconds).map_err(|error| error.to_string())?,
            operations: self.operations,
            in_flight: self.in_flight,
            server_pid,
        })
    }
}

/// The files of the certificate of a gateway that was started.
fn files(server: &Server) -> Result<(PathBuf, PathBuf), String> {
    let certificate = server.running.as_ref().and_then(|running| running.certificate.as_ref());
    let certificate = certificate.ok_or("the gateway has no certificate")?;
    Ok((certificate.chain(), certificate.key()))
}

fn link_calls(server: &Server, options: &Options, encoding: Encoding) -> Result<Once<'static>, String> {
    let bounds = options.bounds(server.pid)?;
    let mut calls = LinkCalls::start(&server.target, encoding, options.agents, bounds)?;
    Ok(Box::new(move || calls.run()))
}

/// Holds that handshakes were resumed, or were not, as the comparison says.
fn check_resumed(comeback: Comeback, resumed: u64, handshakes: u64) -> Result<(), String> {
    let right = match comeback {
        Comeback::Full => resumed == 0,
        Comeback::Resumed => resumed as f64 >= RESUMED_LEAST * handshakes as f64,
    };
    if right { Ok(()) } else { Err(format!("{resumed} of {handshakes} handshakes were resumed")) }
}

/// Lets the sides run in turn; the runs of each round. The first round does not count.
fn alternate(name: &str, sides: &mut [Side], rounds: usize) -> Result<Vec<Vec<Run>>, String> {
    let stage = Stage::of(name, rounds as u64);
    let mut runs = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let once = |side: &mut Side| (side.once)().map_err(|error| format!("{name}, {}: {error}", side.name));
        let all = sides.iter_mut().map(once).collect::<Result<Vec<_>, _>>()?;
        if round > 0 {
            runs.push(all);
        }
        stage.at(round as u64);
    }
    stage.done("");
    Ok(runs)
}

/// Notes the medians of all sides, their lowest and highest runs, and the ratio of the first two.
fn tell(draft: &mut Draft, name: &str, sides: &[Side], runs: &[Vec<Run>], most: Option<f64>) {
    for (at, side) in sides.iter().enumerate() {
        let each = || runs.iter().map(|round| round[at].cpu_us());
        let label = format!("server CPU, {name}, {}", side.name);
        draft.figure(&label, "µs", median(each())).lower();
        draft.figure(&format!("{label}: lowest run"), "µs", each().fold(f64::INFINITY, f64::min));
        draft.figure(&format!("{label}: highest run"), "µs", each().fold(0.0, f64::max));
        let right = runs.iter().map(|round| round[at].operations).sum();
        draft.verdict(&Verdict { right, ..Verdict::default() });
    }
    let ratio = median(runs.iter().map(|round| round[1].cpu_us() / round[0].cpu_us()));
    let figure = draft.figure(&format!("{name}, {} against {}", sides[1].name, sides[0].name), "×", ratio).lower();
    if let Some(most) = most {
        figure.must(most);
    }
}

/// Notes what TLS has added on both sides, and the ratio of that: without the sockets, the token, the directory and the welcome, which each
/// side has in plaintext too.
fn tell_added(draft: &mut Draft, name: &str, runs: &[Vec<Run>]) {
    let added = |round: &[Run]| [0, 1].map(|at| round[at].cpu_us() - round[at + 2].cpu_us());
    for (at, side) in ["rustls alone", "the gateway"].into_iter().enumerate() {
        let each = runs.iter().map(|round| added(round)[at]);
        draft.figure(&format!("server CPU, what TLS adds to a {name}, {side}"), "µs", median(each)).lower();
    }
    let ratio = median(runs.iter().map(|round| {
        let [alone, gateway] = added(round);
        gateway / alone
    }));
    draft.figure(&format!("what TLS adds to a {name}, the gateway against rustls alone"), "×", ratio).lower();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Percentiles;

    fn took(micros: u64) -> Run {
        let (cpu, wall) = (Duration::from_micros(micros), Duration::from_secs(1));
        Run { operations: 1, cpu, wall, latency: Percentiles::default() }
    }

    #[test]
    fn sides_alternate_and_the_ratio_is_that_of_the_rounds() {
        let order = std::cell::RefCell::new(Vec::new());
        let side = |name, times: [u64; 4]| {
            let (order, mut times) = (&order, times.into_iter());
            let once = move || {
                order.borrow_mut().push(name);
                times.next().map(took).ok_or_else(|| "no more".to_owned())
            };
            Side { name, once: Box::new(once) }
        };
        // The machine is half as fast in the last round, for both.
        let mut sides = [side("a", [999, 100, 100, 200]), side("b", [1, 110, 120, 260])];
        let runs = alternate("x", &mut sides, 3).expect("they run");
        assert_eq!(*order.borrow(), ["a", "b"].repeat(4));
        let mut draft = Draft::begin("bench-tls");
        tell(&mut draft, "x", &sides, &runs, Some(1.1));
        let value = |name: &str| draft.noted(name).expect(name);
        assert_eq!(value("server CPU, x, a"), 100.0);
        assert_eq!(value("server CPU, x, b: highest run"), 260.0);
        assert!((value("x, b against a") - 1.2).abs() < 1e-9);
        assert!(alternate("x", &mut sides, 3).is_err(), "they have no more runs");
        assert_eq!(draft.finish().missed().count(), 1);
    }

    #[test]
    fn what_tls_adds_is_what_plaintext_does_not_take() {
        let mut draft = Draft::begin("bench-tls");
        tell_added(&mut draft, "x", &[vec![took(110), took(150), took(10), took(40)]]);
        let value = |name: &str| draft.noted(name).expect(name);
        assert_eq!(value("server CPU, what TLS adds to a x, rustls alone"), 100.0);
        assert_eq!(value("server CPU, what TLS adds to a x, the gateway"), 110.0);
        assert!((value("what TLS adds to a x, the gateway against rustls alone") - 1.1).abs() < 1e-9);
    }

    #[test]
    fn a_full_handshake_that_was_resumed_is_told() {
        for (comeback, resumed, right) in [
            (Comeback::Full, 0, true),
            (Comeback::Full, 1, false),
            (Comeback::Resumed, 100, true),
            (Comeback::Resumed, 94, false),
        ] {
            assert_eq!(check_resumed(comeback, resumed, 100).is_ok(), right, "{comeback:?} {resumed}");
        }
    }
}
