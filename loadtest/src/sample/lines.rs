//! The lines that a sampler draws, from one reading after the other.
//!
//! Owns the differences between readings. It must never read anything itself.

use std::time::Duration;

use super::kernel::Light;
use super::thin::{Merge, Thin};
use crate::memory::Rough;
use crate::result::{Series, XUnit};

/// One reading of all that is watched.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Since the begin of the run.
    pub at: Duration,
    /// Memory of the server; none when it is gone or not watched.
    pub server: Option<Rough>,
    /// Processor time of the server so far; none when it is gone or not watched.
    pub server_cpu: Option<Duration>,
    /// The part of it in the kernel.
    pub server_kernel: Option<Duration>,
    /// Processor time of this process so far.
    pub own_cpu: Option<Duration>,
    /// The kernel; none when it could not be read.
    pub kernel: Option<Light>,
    /// Connections that are open; none when nobody counts them.
    pub connections: Option<u64>,
    /// Values of the scenario's gauges, in their order.
    pub gauges: Vec<f64>,
}

/// Whether a gauge is drawn as it is or as its growth in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is: connected agents.
    Level,
    /// Its growth: answers so far become answers in a second.
    Rate,
}

/// A line under way.
#[derive(Clone, Debug)]
pub struct Line {
    empty: Series,
    kind: Kind,
    thin: Thin,
    last: Option<(f64, f64)>,
}

impl Line {
    /// A line without points.
    pub fn new(empty: Series, kind: Kind) -> Self {
        let merge = match kind {
            Kind::Level => Merge::Last,
            Kind::Rate => Merge::Mean,
        };
        Self { empty, kind, thin: Thin::new(merge), last: None }
    }

    /// Adds a value, where there is one.
    fn push(&mut self, x: f64, value: Option<f64>) {
        let Some(value) = value else { return };
        let last = self.last.replace((x, value));
        match (self.kind, last) {
            // Against connections a line goes up only: what happens when they go is told over time.
            (Kind::Level, Some((before, _))) if self.empty.x_unit == XUnit::Connections && x <= before => {
                self.last = last;
            }
            (Kind::Level, _) => self.thin.push(x, value),
            // A counter that began anew tells nothing, nor does a reading at the same moment.
            (Kind::Rate, Some((before, earlier))) if x > before && value >= earlier => {
                self.thin.push(x, (value - earlier) / (x - before));
            }
            (Kind::Rate, _) => {}
        }
    }

    fn drawn(self) -> (Series, Option<f64>) {
        let highest = self.thin.highest();
        (self.empty.with(self.thin.points().iter().copied()), highest)
    }
}

/// All lines of a sampler.
#[derive(Clone, Debug)]
pub struct Lines {
    process: Line,
    anonymous: Line,
    slab: Line,
    buffers: Line,
    available: Line,
    server_cpu: Line,
    server_kernel: Line,
    own_cpu: Line,
    connected: Line,
    process_against: Line,
    kernel_against: Line,
    gauges: Vec<Line>,
}

impl Lines {
    /// No points yet; `gauges` are the scenario's own.
    pub fn new(gauges: Vec<Line>) -> Self {
        let level = |plot: &str, name: &str, unit: &str| Line::new(Series::over_seconds(plot, name, unit), Kind::Level);
        let cpu = |name: &str| Line::new(Series::over_seconds("Processor", name, "% of a core"), Kind::Rate);
        let against = |plot: &str, name: &str| Line::new(Series::over_connections(plot, name, "B"), Kind::Level);
        Self {
            process: level("Memory of the server", "resident", "B"),
            anonymous: level("Memory of the server", "without files", "B"),
            slab: level("Memory of the kernel", "slab", "B"),
            buffers: level("Memory of the kernel", "socket buffers", "B"),
            available: level("Memory available", "all of the machine", "B"),
            server_cpu: cpu("server"),
            server_kernel: cpu("server, in the kernel"),
            own_cpu: cpu("this harness"),
            connected: level("Connected", "connections", ""),
            process_against: against("Memory of the server against connections", "resident"),
            kernel_against: against("Memory of the kernel against connections", "slab and socket buffers"),
            gauges,
        }
    }

    /// Adds a reading.
    pub fn take(&mut self, reading: &Reading) {
        let x = reading.at.as_secs_f64();
        let percent = |used: Option<Duration>| used.map(|used| used.as_secs_f64() * 100.0);
        let rss = reading.server.map(|rough| rough.rss as f64);
        self.process.push(x, rss);
        self.anonymous.push(x, reading.server.map(|rough| rough.anonymous as f64));
        self.slab.push(x, reading.kernel.map(|light| light.slab as f64));
        self.buffers.push(x, reading.kernel.map(|light| light.tcp.buffers as f64));
        self.available.push(x, reading.kernel.map(|light| light.available as f64));
        self.server_cpu.push(x, percent(reading.server_cpu));
        self.server_kernel.push(x, percent(reading.server_kernel));
        self.own_cpu.push(x, percent(reading.own_cpu));
        if let Some(connections) = reading.connections {
            let connections = connections as f64;
            self.connected.push(x, Some(connections));
            self.process_against.push(connections, rss);
            let kernel = reading.kernel.map(|light| (light.slab + light.tcp.buffers) as f64);
            self.kernel_against.push(connections, kernel);
        }
        for (line, value) in self.gauges.iter_mut().zip(&reading.gauges) {
            line.push(x, Some(*value));
        }
    }

    /// The lines that have points, each with its highest sample.
    pub fn drawn(self) -> Vec<(Series, Option<f64>)> {
        let first = [self.connected, self.process_against, self.kernel_against];
        let memory = [self.process, self.anonymous, self.slab, self.buffers, self.available];
        let cpu = [self.server_cpu, self.server_kernel, self.own_cpu];
        let all = first.into_iter().chain(self.gauges).chain(cpu).chain(memory);
        all.map(Line::drawn).filter(|(series, _)| !series.points.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(drawn: &[(Series, Option<f64>)], plot: &str, name: &str) -> Series {
        let line = drawn.iter().find(|(series, _)| series.plot == plot && series.name == name);
        line.unwrap_or_else(|| panic!("{plot}, {name}")).0.clone()
    }

    fn reading(secs: u64, connections: u64) -> Reading {
        Reading {
            at: Duration::from_secs(secs),
            server: Some(Rough { rss: 1000 + connections, ..Rough::default() }),
            server_cpu: Some(Duration::from_millis(500 * secs)),
            server_kernel: None,
            own_cpu: None,
            kernel: None,
            connections: Some(connections),
            gauges: vec![(secs * secs) as f64],
        }
    }

    #[test]
    fn rates_are_growth_in_a_second_and_levels_are_levels() {
        let rate = Line::new(Series::over_seconds("Answers", "answers", "/s"), Kind::Rate);
        let mut lines = Lines::new(vec![rate]);
        for secs in 0..4 {
            lines.take(&reading(secs, secs * 10));
        }
        let drawn = lines.drawn();
        assert_eq!(find(&drawn, "Answers", "answers").points, [(1.0, 1.0), (2.0, 3.0), (3.0, 5.0)]);
        assert_eq!(find(&drawn, "Processor", "server").points, [(1.0, 50.0), (2.0, 50.0), (3.0, 50.0)]);
        assert_eq!(find(&drawn, "Connected", "connections").points.len(), 4);
        assert!(drawn.iter().all(|(series, _)| !series.plot.contains("kernel") && series.name != "this harness"));
    }

    #[test]
    fn against_connections_a_line_only_goes_up() {
        let mut lines = Lines::new(Vec::new());
        for (secs, connections) in [(0, 0), (1, 50), (2, 50), (3, 20), (4, 40), (5, 60)] {
            lines.take(&reading(secs, connections));
        }
        let against = find(&lines.drawn(), "Memory of the server against connections", "resident");
        assert_eq!(against.points, [(0.0, 1000.0), (50.0, 1050.0), (60.0, 1060.0)]);
    }

    #[test]
    fn a_counter_that_begins_anew_gives_no_rate() {
        let mut line = Line::new(Series::over_seconds("p", "n", "/s"), Kind::Rate);
        for (x, value) in [(0.0, 10.0), (1.0, 20.0), (2.0, 5.0), (2.0, 6.0), (3.0, 9.0)] {
            line.push(x, Some(value));
        }
        assert_eq!(line.drawn().0.points, [(1.0, 10.0), (3.0, 3.0)]);
    }
}
