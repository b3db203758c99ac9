//! Any server that speaks one of the dialects, measured like every other one: memory of a resting connection, and what an
//! operation costs in processor time.
//!
//! Owns the order of measurements. It starts no server; each run is bounded in time and count. A wrong answer fails it, since
//! a wrong answer has no speed.

mod arrival;
mod crowd;
mod question;
mod resting;
mod round_trip;
mod scene;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::bench::meter::Run;
use crate::credentials::Signer;
use crate::secrecy::Secrecy;
use crate::target::Target;
use crate::{cpu, fd_table, settle};
use resting::Resting;
use scene::Scene;
pub use table::{TableOptions, table};

/// Bytes of a small message.
const SMALL_BYTES: usize = 32;

/// Options of `peer`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What the server speaks.
    #[arg(long, value_enum)]
    dialect: Speech,
    /// Address of its WebSocket listener.
    #[arg(long)]
    listen: SocketAddr,
    /// Process id of the server.
    #[arg(long)]
    server_pid: u32,
    /// What the server is called in the result.
    #[arg(long)]
    name: String,
    /// Its version, for the result.
    #[arg(long, default_value = "")]
    release: String,
    /// Connections.
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// What is measured; all when nothing is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Longest time of a run, in seconds. A run of half the time comes first and does not count.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Most operations of a run.
    #[arg(long, default_value_t = 200_000)]
    operations: u64,
    /// Operations in flight.
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// Bytes of each message of the burst. A WebSocket listener of mosquitto 2.0 cuts packets of more than 4 KiB, and waits
    /// a tenth of a second for each piece.
    #[arg(long, default_value_t = 4000)]
    burst_bytes: usize,
    /// Messages of the burst to each connection.
    #[arg(long, default_value_t = 2)]
    burst_rounds: u32,
    /// Longest wait for memory to settle, in seconds.
    #[arg(long, default_value_t = settle::LONGEST_SECS)]
    settle_secs: u64,
    /// Core that this process runs on.
    #[arg(long)]
    core: Option<usize>,
    /// Path of a WebSocket that echoes (dialects `echo` and `holdfast`).
    #[arg(long)]
    echo_path: Option<String>,
    /// Token that a nats-server asks for.
    #[arg(long)]
    token: Option<String>,
    /// Where holdfast serves backends.
    #[arg(long, default_value = "127.0.0.1:8081")]
    control: SocketAddr,
    /// Where holdfast serves control links; without it, calls over a link are not measured.
    #[arg(long)]
    link: Option<SocketAddr>,
    /// HS256 secret of the key `load`, which holdfast's tokens are minted with.
    #[arg(long)]
    secret: Option<String>,
    #[command(flatten)]
    secrecy: Secrecy,
}

/// The dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speech {
    /// holdfast: agents with tokens, calls over HTTP and over a control link; its echo is `/dev/echo`.
    Holdfast,
    /// NATS.
    Nats,
    /// MQTT 3.1.1.
    Mqtt,
    /// A plain WebSocket that echoes.
    Echo,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Measure {
    /// Bytes of a resting connection, before and after a burst.
    Idle,
    /// 32 bytes to the server and back on the same, random connection.
    Echo,
    /// A heartbeat on a random connection that the server answers.
    Ping,
    /// A question of a backend to a random agent, and the answer back; for holdfast over HTTP, and over a control link too.
    Request,
    /// Connect, upgrade, log in, leave.
    Connect,
}

/// Bounds of one run.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    time: Duration,
    operations: u64,
    in_flight: u64,
    server_pid: u32,
}

/// Which agent is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Any.
    Random,
    /// One after the other, from the first.
    InTurn,
}

impl Choice {
    /// The agent of operation `number`, which counts from 0, among `agents` of them.
    fn agent(self, number: u64, agents: usize) -> u32 {
        let count = u32::try_from(agents).unwrap_or(u32::MAX).max(1);
        match self {
            Self::Random => fastrand::u32(0..count),
            Self::InTurn => u32::try_from(number % u64::from(count)).unwrap_or(0),
        }
    }
}

/// What one run of `peer` found.
#[derive(Debug, Deserialize, Serialize)]
pub struct Report {
    /// What the server is called.
    peer: String,
    /// Its version.
    release: String,
    /// Connections at rest.
    connections: u32,
    /// Operations in flight.
    in_flight: u32,
    /// Figures by name, the unit last.
    figures: BTreeMap<String, f64>,
    /// What was not measured, and why.
    absent: BTreeMap<String, String>,
}

/// Measures.
///
/// # Errors
/// The server cannot be reached or read, or an answer was wrong.
pub fn run(options: &Options) -> Result<Report, String> {
    if let Some(core) = options.core {
        cpu::pin(core)?;
    }
    let room = fd_table::connections_max().map_err(|error| error.to_string())?;
    if (options.connections as usize) + 2 * (options.in_flight as usize) > room || options.connections == 0 {
        return Err(format!("{} connections do not fit into {room} descriptors", options.connections));
    }
    let mut report = Report {
        peer: options.name.clone(),
        release: options.release.clone(),
        connections: options.connections,
        in_flight: options.in_flight,
        figures: BTreeMap::new(),
        absent: BTreeMap::new(),
    };
    let target = options.target()?;
    Scene::new(options, &target).play(&mut report)?;
    Ok(report)
}

impl Options {
    fn target(&self) -> Result<Target, String> {
        let signer = self.secret.as_ref().map(|secret| Signer::new(secret, "load", None, "default")).transpose()?;
        let tls = self.secrecy.of_running()?;
        let (listen, control, link) = (self.listen, self.control, self.link);
        Ok(Target { listen, control, link, signer, api_key: None, tls, link_tls: None })
    }

    fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// Bounds of a run that is to last `share` of its time.
    fn bounds(&self, share: f64) -> Result<Bounds, String> {
        Ok(Bounds {
            time: Duration::try_from_secs_f64(self.seconds * share).map_err(|error| error.to_string())?,
            operations: self.operations,
            in_flight: u64::from(self.in_flight.max(1)),
            server_pid: self.server_pid,
        })
    }
}

impl Report {
    fn note_run(&mut self, name: &str, run: &Run) {
        for (figure, value) in [
            ("server_cpu_us", run.cpu_us()),
            ("per_second", run.per_second()),
            ("p50_us", run.latency.p50_us),
            ("p99_us", run.latency.p99_us),
        ] {
            self.figures.insert(format!("{name}_{figure}"), value);
        }
    }

    fn note_resting(&mut self, resting: &Resting) {
        let (before, after) = resting.per_connection(self.connections);
        for (figure, value) in [
            ("idle_pss_bytes", before),
            ("after_burst_pss_bytes", after),
            ("fresh_server_pss_bytes", resting.fresh.pss as f64),
            ("empty_server_pss_bytes", resting.empty.pss as f64),
            ("first_traffic_pss_bytes", resting.warmed.pss as f64 - resting.before_burst.pss as f64),
        ] {
            self.figures.insert(figure.to_owned(), value);
        }
    }
}
