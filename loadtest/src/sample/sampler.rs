//! A thread that reads server and kernel again and again while a scenario works.
//!
//! Owns the thread and its clock. Its memory is bounded however long the run is; a reading costs some 100 µs of this process.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::kernel::Light;
use super::lines::{Kind, Line, Lines, Reading};
use crate::cpu;
use crate::memory;
use crate::result::{Draft, Series};

/// How often it reads unless told otherwise.
const EVERY: Duration = Duration::from_millis(500);

type Gauge = Box<dyn Fn() -> f64 + Send>;
type Count = Box<dyn Fn() -> u64 + Send>;

/// What is to be sampled.
pub struct Watch {
    began: Instant,
    every: Duration,
    server_pid: Option<u32>,
    connections: Option<Count>,
    lines: Vec<Line>,
    gauges: Vec<Gauge>,
}

/// A running thread.
pub struct Sampler {
    end: Sender<()>,
    thread: JoinHandle<Samples>,
}

/// What the thread has read.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Lines to draw.
    pub series: Vec<Series>,
    /// The highest sample of each line, in their order.
    highest: Vec<Option<f64>>,
    /// Processor time of the server from the first reading to the last, and the part of it in the kernel.
    pub server_cpu: Option<(Duration, Duration)>,
    /// Why the server could not be read to the end.
    pub lost: Option<String>,
}

impl Sampler {
    /// Prepares to watch the machine; `began` is the zero of all lines ([`Draft::began`]).
    pub fn watch(began: Instant) -> Watch {
        let (lines, gauges) = (Vec::new(), Vec::new());
        Watch { began, every: EVERY, server_pid: None, connections: None, lines, gauges }
    }

    /// Ends it after a last reading.
    pub fn stop(self) -> Samples {
        drop(self.end);
        let lost = Some("the sampling thread panicked".to_owned());
        self.thread.join().unwrap_or(Samples { lost, ..Samples::default() })
    }
}

impl Watch {
    /// Watches a server's memory and processor time too.
    #[must_use]
    pub fn server(mut self, pid: u32) -> Self {
        self.server_pid = Some(pid);
        self
    }

    /// How often; a quarter of a second to a second is sensible.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Who knows how many connections are open: memory is then drawn against them.
    #[must_use]
    pub fn connections(mut self, count: impl Fn() -> u64 + Send + 'static) -> Self {
        self.connections = Some(Box::new(count));
        self
    }

    /// Draws a value as it is, in the plot of that title.
    #[must_use]
    pub fn level(self, plot: &str, name: &str, unit: &str, gauge: impl Fn() -> f64 + Send + 'static) -> Self {
        self.gauge(Series::over_seconds(plot, name, unit), Kind::Level, Box::new(gauge))
    }

    /// Draws the growth in a second of a counter, in the plot of that title.
    #[must_use]
    pub fn rate(self, plot: &str, name: &str, counter: impl Fn() -> u64 + Send + 'static) -> Self {
        let gauge = move || counter() as f64;
        self.gauge(Series::over_seconds(plot, name, "/s"), Kind::Rate, Box::new(gauge))
    }

    fn gauge(mut self, empty: Series, kind: Kind, gauge: Gauge) -> Self {
        self.lines.push(Line::new(empty, kind));
        self.gauges.push(gauge);
        self
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(mut self) -> Result<Sampler, String> {
        let (end, ended) = channel();
        let mut lines = Lines::new(std::mem::take(&mut self.lines));
        let work = move || {
            let mut lost = None;
            let first = self.read(&mut lost);
            lines.take(&first);
            loop {
                let last = match ended.recv_timeout(self.every) {
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
                };
                let reading = self.read(&mut lost);
                lines.take(&reading);
                if last {
                    let (series, highest) = lines.drawn().into_iter().unzip();
                    return Samples { series, highest, server_cpu: spent(&first, &reading), lost };
                }
            }
        };
        let thread =
            thread::Builder::new().name("sampler".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Sampler { end, thread })
    }

    fn read(&self, lost: &mut Option<String>) -> Reading {
        let mut keep = |error: String| {
            lost.get_or_insert(error);
        };
        let kernel_time = |pid| cpu::times(pid).map(|times| times.kernel);
        Reading {
            server: self.server_pid.and_then(|pid| memory::rough(pid).map_err(&mut keep).ok()),
            server_cpu: self.server_pid.and_then(|pid| cpu::used(pid).map_err(&mut keep).ok()),
            server_kernel: self.server_pid.and_then(|pid| kernel_time(pid).map_err(&mut keep).ok()),
            own_cpu: cpu::used(std::process::id()).ok(),
            kernel: Light::read().ok(),
            connections: self.connections.as_ref().map(|count| count()),
            gauges: self.gauges.iter().map(|gauge| gauge()).collect(),
            at: self.began.elapsed(),
        }
    }
}

/// What the server has spent between two readings; none where one of them has not seen it.
fn spent(first: &Reading, last: &Reading) -> Option<(Duration, Duration)> {
    let all = last.server_cpu?.saturating_sub(first.server_cpu?);
    Some((all, last.server_kernel?.saturating_sub(first.server_kernel?)))
}

impl Samples {
    /// The highest sample of a line, kept even where the drawn line has lost it.
    pub fn highest(&self, plot: &str, name: &str) -> Option<f64> {
        let place = self.series.iter().position(|series| series.plot == plot && series.name == name)?;
        *self.highest.get(place)?
    }

    /// Adds the lines, and what the server has spent, to a result; a server that could not be read to the end fails the run.
    pub fn tell(self, draft: &mut Draft) {
        self.series.into_iter().for_each(|series| {
            draft.series(series);
        });
        if let Some((all, kernel)) = self.server_cpu {
            draft.figure("server CPU, whole run", "s", all.as_secs_f64());
            draft.figure("of it in the kernel", "s", kernel.as_secs_f64());
        }
        if let Some(lost) = self.lost {
            draft.fail(format!("the server could not be read to the end: {lost}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_run_gives_lines_and_their_highest_samples() {
        let count = Arc::new(AtomicU64::new(0));
        let (seen, answers) = (Arc::clone(&count), Arc::clone(&count));
        let sampler = Sampler::watch(Instant::now())
            .server(std::process::id())
            .every(Duration::from_millis(1))
            .connections(move || seen.fetch_add(1, Ordering::Relaxed))
            .rate("Answers", "answers", move || answers.load(Ordering::Relaxed))
            .level("Queue", "calls", "", || 7.0)
            .start()
            .expect("a thread");
        while count.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
        let samples = sampler.stop();
        assert_eq!(samples.lost, None);
        assert!(samples.server_cpu.is_some());
        assert_eq!(samples.highest("Queue", "calls"), Some(7.0));
        assert!(samples.highest("Answers", "answers").expect("a rate") > 0.0);
        for plot in ["Memory of the server", "Memory of the server against connections", "Processor", "Connected"] {
            assert!(samples.series.iter().any(|series| series.plot == plot), "{plot}");
        }
    }

    #[test]
    fn a_server_that_is_gone_fails_the_run() {
        let sampler =
            Sampler::watch(Instant::now()).server(u32::MAX).every(Duration::from_secs(60)).start().expect("a thread");
        let samples = sampler.stop();
        assert!(samples.lost.is_some() && samples.server_cpu.is_none());
        let mut draft = Draft::begin("idle");
        samples.tell(&mut draft);
        assert!(!draft.finish().is_right());
    }
}
