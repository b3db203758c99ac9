//! The order in which a server is measured, whatever it speaks: memory first, while the process is young, then the operations on
//! the same connections, and newcomers last.

use std::time::Duration;

use super::arrival::Arrivals;
use super::crowd::{Crowd, Door};
use super::question::{Asking, call};
use super::resting::{Resting, settled};
use super::round_trip::{self, Probe};
use super::{Bounds, Choice, Measure, Options, Report, SMALL_BYTES, Speech};
use crate::bench::meter::Run;
use crate::callers::Over;
use crate::dialect::gateway::Gateway;
use crate::dialect::mqtt::Mqtt;
use crate::dialect::nats::Nats;
use crate::dialect::plain::Plain;
use crate::dialect::{Broker, Dialect};
use crate::memory::resident;
use crate::target::Target;

/// Connections that come first and go, so that what any connection touches once (code, queues, the heaps of threads) is not
/// counted as the resting ones'; and how many have their part of the burst before the others, for the same reason. They are
/// few, so that a garbage collector's heap is not grown by them to where it holds all others too.
const WARM_CONNECTIONS: u32 = 64;

/// Time that a burst may take.
const BURST: Duration = Duration::from_secs(60);

/// How a backend reaches an agent.
enum Way<'a> {
    /// In the dialect itself.
    Broker(&'a dyn Broker),
    /// As backends of holdfast do: over its HTTP port, and over a link where it has one.
    Holdfast(&'a Target),
    /// Not at all.
    None,
}

/// What the server can do, in one place.
pub struct Scene<'a> {
    options: &'a Options,
    target: &'a Target,
    door: Door,
    plain: Plain,
    nats: Nats,
    mqtt: Mqtt,
    gateway: Gateway<'a>,
}

impl<'a> Scene<'a> {
    /// Prepares the dialects.
    pub fn new(options: &'a Options, target: &'a Target) -> Self {
        let listen = options.listen;
        let path = match options.dialect {
            Speech::Holdfast => "/dev/echo",
            _ => "/",
        };
        Self {
            options,
            target,
            door: Door { listen, tls: target.tls.clone() },
            plain: Plain { listen, path: options.echo_path.clone().unwrap_or_else(|| path.to_owned()) },
            nats: Nats { listen, token: options.token.clone() },
            mqtt: Mqtt { listen },
            gateway: Gateway { target },
        }
    }

    /// Measures what was asked for.
    ///
    /// # Errors
    /// The server cannot be reached or read, or an answer was wrong.
    pub fn play(&self, report: &mut Report) -> Result<(), String> {
        let wants = |measure| self.options.wants(measure);
        let dialect = self.dialect();
        if wants(Measure::Idle) || wants(Measure::Request) {
            self.agents(report)?;
        }
        if wants(Measure::Echo) || wants(Measure::Ping) {
            let dialect = self.echoing();
            let mut crowd = Crowd::gather(dialect, &self.door, self.options.connections)?;
            // Echo comes first in time as well: a garbage collector's debts should fall on all alike.
            for (measure, name, probe) in
                [(Measure::Echo, "echo", Probe::Echo(SMALL_BYTES)), (Measure::Ping, "ping", Probe::Ping)]
            {
                if wants(measure) {
                    let mut once = |bounds| round_trip::run(&mut crowd, dialect, probe, Choice::Random, bounds);
                    report.note_run(name, &self.twice(name, &mut once)?);
                }
            }
            crowd.dismiss();
        }
        if wants(Measure::Connect) {
            let mut arrivals = Arrivals::new(dialect, &self.door)?;
            report.note_run("connect", &self.twice("connect", &mut |bounds| arrivals.run(bounds))?);
        }
        Ok(())
    }

    /// Agents at rest, the burst, and questions to them.
    fn agents(&self, report: &mut Report) -> Result<(), String> {
        let wants = |measure| self.options.wants(measure);
        let (pid, limit) = (self.options.server_pid, Duration::from_secs(self.options.settle_secs));
        let gather = |count| Crowd::gather(self.dialect(), &self.door, count);
        let fresh = resident(pid)?;
        let mut empty = fresh;
        if wants(Measure::Idle) {
            gather(WARM_CONNECTIONS)?.dismiss();
            empty = settled(pid, None, limit)?;
        }
        let mut crowd = gather(self.options.connections)?;
        if wants(Measure::Idle) {
            let before_burst = settled(pid, Some(&mut crowd), limit)?;
            self.burst(&mut crowd, WARM_CONNECTIONS)?;
            let warmed = settled(pid, Some(&mut crowd), limit)?;
            self.burst(&mut crowd, self.options.connections)?;
            let after_burst = settled(pid, Some(&mut crowd), limit)?;
            report.note_resting(&Resting { fresh, empty, before_burst, warmed, after_burst });
        }
        if wants(Measure::Request) {
            match self.way() {
                Way::None => {
                    report.absent.insert("request".to_owned(), "it has no way to reach one connection".to_owned());
                }
                Way::Holdfast(target) => {
                    for (name, over) in [("request", Over::Http), ("request_link", Over::Link)] {
                        if over == Over::Link && target.link.is_none() {
                            report.absent.insert(name.to_owned(), "it has no control link (--link)".to_owned());
                            continue;
                        }
                        let mut once = |bounds| call(over, target, &mut crowd, 0, Choice::Random, bounds);
                        report.note_run(name, &self.twice(name, &mut once)?);
                    }
                }
                Way::Broker(broker) => {
                    let mut asking = Asking::new(broker, &mut crowd)?;
                    let mut once = |bounds| asking.run(&mut crowd, SMALL_BYTES, Choice::Random, bounds);
                    report.note_run("request", &self.twice("request", &mut once)?);
                    asking.leave(&mut crowd);
                }
            }
        }
        crowd.dismiss();
        Ok(())
    }

    /// Large messages to so many of the crowd.
    fn burst(&self, crowd: &mut Crowd, connections: u32) -> Result<(), String> {
        let operations = u64::from(connections) * u64::from(self.options.burst_rounds);
        let bounds = Bounds { time: BURST, operations, ..self.options.bounds(1.0)? };
        let bytes = self.options.burst_bytes;
        let run = match self.way() {
            Way::Holdfast(target) => call(Over::Http, target, crowd, bytes, Choice::InTurn, bounds),
            // On each agent's own connection: the backend's would be a bottleneck, and all that grows.
            Way::Broker(_) | Way::None => {
                round_trip::run(crowd, self.dialect(), Probe::Echo(bytes), Choice::InTurn, bounds)
            }
        };
        let run = run.map_err(|error| format!("burst: {error}"))?;
        if run.operations < operations {
            return Err(format!("only {} of {operations} messages in {BURST:?}", run.operations));
        }
        Ok(())
    }

    /// One run of half the time that does not count, then the one that does.
    fn twice(&self, name: &str, once: &mut dyn FnMut(Bounds) -> Result<Run, String>) -> Result<Run, String> {
        let named = |error| format!("{name}: {error}");
        once(self.options.bounds(0.5)?).map_err(named)?;
        once(self.options.bounds(1.0)?).map_err(named)
    }

    /// What agents speak.
    fn dialect(&self) -> &dyn Dialect {
        match self.options.dialect {
            Speech::Holdfast => &self.gateway,
            Speech::Nats => &self.nats,
            Speech::Mqtt => &self.mqtt,
            Speech::Echo => &self.plain,
        }
    }

    /// What a connection speaks that the server echoes.
    fn echoing(&self) -> &dyn Dialect {
        match self.options.dialect {
            Speech::Holdfast => &self.plain,
            _ => self.dialect(),
        }
    }

    fn way(&self) -> Way<'_> {
        match self.options.dialect {
            Speech::Holdfast => Way::Holdfast(self.target),
            Speech::Nats => Way::Broker(&self.nats),
            Speech::Mqtt => Way::Broker(&self.mqtt),
            Speech::Echo => Way::None,
        }
    }
}
