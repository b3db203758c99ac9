//! A stopwatch for one run: wall time and the server's processor time.

use std::time::{Duration, Instant};

use crate::cpu;
use crate::latency::Percentiles;

/// One run, measured.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Operations that ended in the run.
    pub operations: u64,
    /// Processor time of the server; none where it may not be read.
    pub cpu: Duration,
    /// Wall time.
    pub wall: Duration,
    /// Times of single operations.
    pub latency: Percentiles,
}

impl Run {
    /// Microseconds of the server's processor time for one operation.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64
    }

    /// Operations in a second of wall time.
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.wall.as_secs_f64()
    }
}

/// A running stopwatch.
pub struct Meter {
    server_pid: Option<u32>,
    begin: Instant,
    cpu: Duration,
}

impl Meter {
    /// Starts it.
    ///
    /// # Errors
    /// The server's processor time cannot be read.
    pub fn start(server_pid: Option<u32>) -> Result<Self, String> {
        Ok(Self { server_pid, cpu: server_pid.map_or(Ok(Duration::ZERO), cpu::used)?, begin: Instant::now() })
    }

    /// Wall time so far.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Stops it.
    ///
    /// # Errors
    /// The server is gone, or nothing was done.
    pub fn stop(&self, operations: u64, latency: Percentiles) -> Result<Run, String> {
        let wall = self.begin.elapsed();
        let cpu = self.server_pid.map_or(Ok(Duration::ZERO), cpu::used)?.saturating_sub(self.cpu);
        if operations == 0 {
            return Err("no operation ended in time".to_owned());
        }
        Ok(Run { operations, cpu, wall, latency })
    }
}
