//! Agents that connect, are checked and welcomed, and leave at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Bounds;
use super::meter::{Meter, Run};
use crate::fleet::{Batch, Fleet, Happening};
use crate::latency::Latency;
use crate::question::{Heard, hear};
use crate::target::Target;
use crate::wire;

/// Different agents. An agent comes again only after all others have come.
const AGENTS: u32 = 4096;

/// Longest wait for an answer.
const STALL: Duration = Duration::from_secs(10);

/// How an agent leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It resets TCP.
    Tcp,
    /// It sends a close frame and waits for the answer.
    CloseFrame,
}

/// The means of a run.
pub struct Handshakes {
    target: Target,
    ending: Ending,
    request: String,
    fleet: Fleet,
    batch: Batch,
    next: u32,
    out: HashMap<usize, Instant>,
    latency: Latency,
}

impl Handshakes {
    /// Nobody comes yet.
    ///
    /// # Errors
    /// No descriptor is left for the poll.
    pub fn new(target: Target, ending: Ending) -> Result<Self, String> {
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.secure(target.tls.clone());
        Ok(Self {
            target,
            ending,
            request: String::new(),
            fleet,
            batch: Batch::default(),
            next: 0,
            out: HashMap::new(),
            latency: Latency::default(),
        })
    }

    /// How many handshakes of TLS a ticket has shortened so far.
    pub fn resumed(&self) -> u64 {
        self.fleet.resumed()
    }

    /// One run.
    ///
    /// # Errors
    /// An agent that is not welcomed.
    pub fn run(&mut self, bounds: Bounds) -> Result<Run, String> {
        self.latency = Latency::default();
        let (mut begun, mut done) = (0, 0);
        let meter = Meter::start(bounds.server_pid)?;
        let mut progress = Instant::now();
        loop {
            let more = begun < bounds.operations && meter.elapsed() < bounds.time;
            if !more && self.out.is_empty() {
                break;
            }
            while more && self.out.len() < bounds.in_flight && begun < bounds.operations {
                self.dial()?;
                begun += 1;
            }
            self.fleet.turn(&mut self.batch, Duration::from_millis(20)).map_err(|error| error.to_string())?;
            let ended = self.collect()?;
            if ended > 0 {
                done += ended;
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(format!("{} agents wait for a welcome", self.out.len()));
            }
        }
        meter.stop(done, self.latency.percentiles())
    }

    fn dial(&mut self) -> Result<(), String> {
        let agent = self.next;
        self.next = (agent + 1) % AGENTS;
        self.target.agent_request(agent, &mut self.request);
        let wire =
            self.fleet.dial(self.target.listen, agent, self.request.as_bytes()).map_err(|error| error.to_string())?;
        self.out.insert(wire, Instant::now());
        Ok(())
    }

    /// Lets go of those that were welcomed; returns how many have left.
    fn collect(&mut self) -> Result<u64, String> {
        let mut left = 0;
        for happening in &self.batch.happenings {
            let gone = match happening {
                Happening::Opened { .. } => None,
                Happening::Message { wire, tag, payload, .. } => {
                    let message = &self.batch.bytes[payload.clone()];
                    if hear(*tag, message) != Heard::Welcome {
                        return Err("the first message is no welcome".to_owned());
                    }
                    match self.ending {
                        Ending::Tcp => {
                            self.fleet.drop_wire(*wire);
                            Some(wire)
                        }
                        Ending::CloseFrame => {
                            self.fleet.close(*wire);
                            None
                        }
                    }
                }
                Happening::Ended { wire, ending, .. } => match (self.ending, ending) {
                    (Ending::CloseFrame, wire::Ending::Closed(1000)) => Some(wire),
                    (_, ending) => return Err(format!("{ending:?}")),
                },
            };
            if let Some(since) = gone.and_then(|wire| self.out.remove(wire)) {
                self.latency.note(since.elapsed());
                left += 1;
            }
        }
        Ok(left)
    }
}
