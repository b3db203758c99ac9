//! What a resting agent costs the server in memory, before and after a burst of traffic.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::campaign::{Campaign, Plan};
use crate::comeback::BackOff;
use crate::crew::{Afterwards, Crew, Duty};
use crate::memory::{Resident, resident};
use crate::place::Place;
use crate::server::Server;

/// Agents that come first and take as many calls as the burst has, so that what any traffic touches once (code, queues, the heaps of
/// threads) is not counted as the resting agents'.
const WARM_AGENTS: u32 = 64;

/// Options of `idle`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// How many agents rest.
    #[arg(long, default_value_t = 15_000)]
    agents: u32,
    /// Bytes of padding of each call of the burst.
    #[arg(long, default_value_t = 4096)]
    burst_bytes: usize,
    /// How often each agent is called in the burst.
    #[arg(long, default_value_t = 2)]
    burst_rounds: u32,
    /// Longest wait for memory to settle, in seconds.
    #[arg(long, default_value_t = 20)]
    settle_secs: u64,
}

/// Memory and what it makes for an agent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    resident: Resident,
    /// Bytes of RSS over the empty server, for each agent.
    rss_per_agent: f64,
    /// The same of PSS.
    pss_per_agent: f64,
}

/// What `idle` found.
#[derive(Debug, Serialize)]
pub struct Report {
    agents: u32,
    /// Before anybody came.
    fresh: Resident,
    /// After a few agents have come, taken a burst of calls, and gone.
    empty: Resident,
    before_burst: Figure,
    after_burst: Figure,
}

/// Runs it.
///
/// # Errors
/// Agents that do not stay, calls that go wrong, a server that cannot be read.
pub fn run(options: &Options) -> Result<Report, String> {
    let server = options.place.find_or_start(&[])?;
    let pid = server.pid.ok_or("--server-pid is needed")?;
    let fresh = resident(pid)?;
    warm(options, &server)?;
    let empty = settled(options, pid)?;
    let duty = duty(WARM_AGENTS..WARM_AGENTS.saturating_add(options.agents));
    let crew = Crew::start(&server.target, &duty)?;
    crew.wait_ready(Duration::from_secs(120))?;
    let figure = |resident: Resident| {
        let share = |now: u64, then: u64| (now as f64 - then as f64) / f64::from(options.agents);
        Figure {
            resident,
            rss_per_agent: share(resident.rss, empty.rss),
            pss_per_agent: share(resident.pss, empty.pss),
        }
    };
    let before_burst = figure(settled(options, pid)?);
    burst(options, &server, &duty, options.burst_rounds)?;
    let after_burst = figure(settled(options, pid)?);
    if crew.ended() > 0 {
        return Err(format!("{} agents did not stay", crew.ended()));
    }
    crew.stop()?;
    Ok(Report { agents: options.agents, fresh, empty, before_burst, after_burst })
}

fn duty(agents: std::ops::Range<u32>) -> Duty {
    Duty {
        afterwards: Afterwards::ComeBack(BackOff { base: Duration::from_millis(100), cap: Duration::from_secs(2) }),
        ..Duty::of(agents)
    }
}

/// A few agents come, are called as often as all agents will be, and go.
fn warm(options: &Options, server: &Server) -> Result<(), String> {
    let duty = duty(0..WARM_AGENTS);
    let crew = Crew::start(&server.target, &duty)?;
    crew.wait_ready(Duration::from_secs(20))?;
    let rounds = options.agents.div_ceil(WARM_AGENTS);
    burst(options, server, &duty, rounds.saturating_mul(options.burst_rounds))?;
    crew.stop().map(|_| ())
}

/// Calls each agent `rounds` times with large parameters.
fn burst(options: &Options, server: &Server, duty: &Duty, rounds: u32) -> Result<(), String> {
    let plan = Plan {
        in_flight: 64,
        timeout: Duration::from_secs(20),
        pad_bytes: options.burst_bytes,
        limit: Duration::from_secs(300),
    };
    let mut campaign = Campaign::new(&server.target, plan, None)?;
    for _ in 0..rounds {
        let mut agents = duty.agents.clone();
        let tally = campaign.run(&mut || agents.next())?;
        if !tally.is_flawless() {
            return Err(format!("not every answer is right: {tally:#?}"));
        }
    }
    Ok(())
}

/// The server's memory once it has stopped to fall: an allocator gives pages back with a delay.
fn settled(options: &Options, pid: u32) -> Result<Resident, String> {
    let end = Instant::now() + Duration::from_secs(options.settle_secs);
    let mut lowest = resident(pid)?;
    let mut steady = 0;
    while steady < 10 && Instant::now() < end {
        thread::sleep(Duration::from_millis(200));
        let now = resident(pid)?;
        steady = if now.pss < lowest.pss { 0 } else { steady + 1 };
        if now.pss <= lowest.pss {
            lowest = now;
        }
    }
    // The last word is what it is now, not the best it ever was.
    resident(pid)
}
