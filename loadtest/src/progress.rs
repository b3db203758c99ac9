//! What a run is doing now, on standard error: a bar on a terminal, else a line every few seconds.
//!
//! Owns standard error while a stage is under way. It must never write to standard output, which may be a result's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How often a bar is drawn, in hertz.
const DRAWS_PER_SECOND: u8 = 10;

/// One stage of a run, such as `connect`. Threads may share it.
pub struct Stage {
    name: String,
    total: Option<u64>,
    began: Instant,
    bar: ProgressBar,
    /// Lines where the bar is hidden: when the last one was written, and what is happening.
    lines: Option<Mutex<Lines>>,
}

struct Lines {
    last: Instant,
    message: String,
}

impl Stage {
    /// Begins a stage that ends at `total`.
    pub fn of(name: &str, total: u64) -> Self {
        Self::begin(name, Some(total))
    }

    /// Begins a stage whose end nobody knows.
    pub fn endless(name: &str) -> Self {
        Self::begin(name, None)
    }

    fn begin(name: &str, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        let template = match total {
            Some(_) => "{prefix:>12} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec} {eta} {msg}",
            None => "{prefix:>12} {spinner} {human_pos} {per_sec} {elapsed} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix(name.to_owned());
        let began = Instant::now();
        let lines = bar.is_hidden().then(|| Mutex::new(Lines { last: began, message: String::new() }));
        Self { name: name.to_owned(), total, began, bar, lines }
    }

    /// Says how far it is.
    pub fn at(&self, count: u64) {
        self.bar.set_position(count);
        if let Some(lines) = &self.lines
            && let Ok(mut lines) = lines.try_lock()
        {
            let now = Instant::now();
            if now.duration_since(lines.last) >= LINE_EVERY {
                lines.last = now;
                self.write(count, now, &lines.message);
            }
        }
    }

    /// Says what is happening, beside the count.
    pub fn say(&self, message: &str) {
        self.bar.set_message(message.to_owned());
        if let Some(lines) = &self.lines
            && let Ok(mut lines) = lines.lock()
        {
            message.clone_into(&mut lines.message);
        }
    }

    /// Ends the stage with a last word. The last state stays on the screen.
    pub fn done(self, message: &str) {
        // Not `finish`, which would claim that all of it was done.
        self.bar.abandon_with_message(message.to_owned());
        if self.lines.is_some() {
            self.write(self.bar.position(), Instant::now(), message);
        }
    }

    fn write(&self, count: u64, now: Instant, message: &str) {
        let line = line(&self.name, count, self.total, now.duration_since(self.began), message);
        // A reader that has gone away is no concern of a measurement.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

fn line(name: &str, count: u64, total: Option<u64>, elapsed: Duration, message: &str) -> String {
    let mut line = format!("{name}: {}", HumanCount(count));
    // Writing to a text cannot fail.
    if let Some(total) = total {
        let percent = if total == 0 { 100.0 } else { count as f64 * 100.0 / total as f64 };
        let _ = write!(line, " of {} ({percent:.0} %)", HumanCount(total));
    }
    let secs = elapsed.as_secs_f64();
    let _ = write!(line, ", {secs:.1} s");
    if secs >= 0.1 && count > 0 {
        let _ = write!(line, ", {}/s", HumanCount((count as f64 / secs) as u64));
    }
    if !message.is_empty() {
        let _ = write!(line, ": {message}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_all_that_is_known() {
        for (count, total, millis, message, text) in [
            (0, Some(100_000), 0, "", "connect: 0 of 100,000 (0 %), 0.0 s"),
            (50_000, Some(100_000), 2500, "", "connect: 50,000 of 100,000 (50 %), 2.5 s, 20,000/s"),
            (7, None, 2000, "2 refused", "connect: 7, 2.0 s, 3/s: 2 refused"),
            (0, Some(0), 50, "", "connect: 0 of 0 (100 %), 0.1 s"),
        ] {
            assert_eq!(line("connect", count, total, Duration::from_millis(millis), message), text);
        }
    }

    #[test]
    fn threads_share_a_stage() {
        let stage = Stage::of("connect", 10);
        std::thread::scope(|scope| {
            for count in 0..10 {
                let stage = &stage;
                scope.spawn(move || {
                    stage.say("under way");
                    stage.at(count);
                });
            }
        });
        stage.at(10);
        assert_eq!(stage.bar.position(), 10);
        stage.done("all there");
    }
}
