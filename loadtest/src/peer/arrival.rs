//! Agents that connect, log in, and leave at once by a reset of TCP.

use std::collections::HashMap;
use std::time::Instant;

use super::Bounds;
use super::crowd::{After, Crowd, Door, PATIENCE, STALL};
use crate::bench::meter::{Meter, Run};
use crate::dialect::{Dialect, Heard};
use crate::latency::Latency;

/// Different agents, whose credentials are made beforehand. An agent comes again only after all others have come.
const AGENTS: u32 = 4096;

/// The means of several runs.
pub struct Arrivals<'a> {
    crowd: Crowd<'a>,
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl<'a> Arrivals<'a> {
    /// Makes the credentials.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn new(dialect: &'a dyn Dialect, door: &Door) -> Result<Self, String> {
        let requests = (0..AGENTS).map(|agent| dialect.upgrade(agent)).collect::<Result<_, _>>()?;
        Ok(Self { crowd: Crowd::new(dialect, door)?, requests, next: 0 })
    }

    /// One run.
    ///
    /// # Errors
    /// An agent that is not let in.
    pub fn run(&mut self, bounds: Bounds) -> Result<Run, String> {
        let mut latency = Latency::default();
        let mut out: HashMap<usize, Instant> = HashMap::new();
        let (mut begun, mut done) = (0, 0);
        let meter = Meter::start(Some(bounds.server_pid))?;
        let mut progress = Instant::now();
        loop {
            let more = begun < bounds.operations && meter.elapsed() < bounds.time;
            if !more && out.is_empty() {
                break;
            }
            while more && (out.len() as u64) < bounds.in_flight && begun < bounds.operations {
                let wire = self.dial()?;
                out.insert(wire, Instant::now());
                begun += 1;
            }
            let before = done;
            self.crowd.turn(PATIENCE, &mut |_, spoken| {
                if spoken.heard != Heard::Ready {
                    return Err(format!("a newcomer hears {:?}", spoken.heard));
                }
                let since = out.remove(&spoken.wire).ok_or("a login that nobody waits for")?;
                latency.note(since.elapsed());
                done += 1;
                Ok(After::Leave)
            })?;
            if done > before {
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(format!("{} newcomers wait", out.len()));
            }
        }
        meter.stop(done, latency.percentiles())
    }

    fn dial(&mut self) -> Result<usize, String> {
        let agent = self.next;
        self.next = (agent + 1) % self.requests.len();
        self.crowd.dial(agent as u32, self.requests[agent].clone())
    }
}
