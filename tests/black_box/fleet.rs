//! Many agents at once, and agents that are killed while calls run: every call has exactly one true outcome.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::gateway::{Gateway, json_of};

/// Agents of one process, and processes.
const AGENTS_EACH: u32 = 50;
const PROCESSES: u32 = 6;

/// Deadline of each call, and how much later its answer may arrive on a busy machine.
const TIMEOUT_MS: u64 = 3000;
const SLACK_MS: u64 = 2000;

#[test]
fn ten_thousand_agents_are_each_called_once_and_answer_rightly() {
    let gateway = Gateway::start("");
    let mut smoke = gateway.load("smoke");
    let report = json_of(smoke.args(["--agents", "10000", "--json", "-"]));
    assert_eq!(report["calls"]["right"], 10_000, "{report:#}");
    assert_eq!(report["miscounted"], 0, "{report:#}");
}

#[test]
fn killed_agents_leave_no_call_without_its_true_outcome() {
    let gateway = Gateway::start("");
    let mut crews: Vec<Crew> = (0..PROCESSES).map(|seat| Crew::start(&gateway, seat, 0)).collect();
    let log = gateway.file("calls");
    let mut calls = gateway.load("calls");
    calls
        .args(["--agents", &(AGENTS_EACH * PROCESSES).to_string()])
        .args(["--count", "30000", "--timeout-ms", &TIMEOUT_MS.to_string()])
        .arg("--log")
        .arg(&log)
        .args(["--json", "-"]);
    let caller = thread::spawn(move || json_of(&mut calls));

    let mut journals = Vec::new();
    let mut life = 0;
    while !caller.is_finished() {
        life += 1;
        let seat = fastrand::usize(..crews.len());
        // Killed at a random moment, so at a random step of some calls.
        thread::sleep(Duration::from_millis(fastrand::u64(10..60)));
        let next = Crew::start_later(&gateway, seat as u32, life);
        let old = std::mem::replace(&mut crews[seat], next);
        journals.push(old.kill());
        crews[seat].wait_ready();
    }
    let tally = caller.join().expect("every call has one true outcome");
    journals.extend(crews.into_iter().map(Crew::kill));

    let runs = runs_by_call(&journals);
    let lines = fs::read_to_string(&log).expect("the log of calls");
    assert_eq!(lines.lines().count(), 30_000, "one outcome for each call");
    for line in lines.lines() {
        let Some((number, outcome, micros)) = read(line) else {
            panic!("not a line of the log: {line}");
        };
        let ran = runs.get(&number).copied().unwrap_or(0);
        let is_true = match outcome {
            "ok" => ran == 1,
            "offline" | "not_delivered" | "busy" => ran == 0,
            "lost" | "no_reply" | "no_receipt" => ran <= 1,
            _ => false,
        };
        assert!(is_true, "{line}: it ran {ran} times");
        assert!(micros < (TIMEOUT_MS + SLACK_MS) * 1000, "late: {line}");
    }
    // The test means nothing unless some calls were answered and some were cut off.
    assert!(tally["right"].as_u64() > Some(1000), "{tally:#}");
    assert!(tally["outcomes"]["lost"].as_u64() > Some(0), "{tally:#}");
}

/// How often each call ran, by the agents' own journals.
fn runs_by_call(journals: &[PathBuf]) -> HashMap<u64, u32> {
    let mut runs = HashMap::new();
    for journal in journals {
        let text = fs::read_to_string(journal).expect("a journal");
        for number in text.lines().filter_map(|line| line.parse().ok()) {
            *runs.entry(number).or_default() += 1;
        }
    }
    runs
}

/// Number, outcome and microseconds of a line of the log.
fn read(line: &str) -> Option<(u64, &str, u64)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let outcome = words.nth(1)?;
    Some((number, outcome, words.next()?.parse().ok()?))
}

/// A process of agents that writes down each call before it answers.
struct Crew {
    child: Child,
    journal: PathBuf,
}

impl Crew {
    fn start(gateway: &Gateway, seat: u32, life: u32) -> Self {
        let mut crew = Self::start_later(gateway, seat, life);
        crew.wait_ready();
        crew
    }

    /// Starts the process; its agents connect in a moment.
    fn start_later(gateway: &Gateway, seat: u32, life: u32) -> Self {
        let journal = gateway.file(&format!("journal-{seat}-{life}"));
        fs::write(&journal, "").expect("a journal");
        let child = gateway
            .load("agents")
            .args(["--first", &(seat * AGENTS_EACH).to_string()])
            .args(["--count", &AGENTS_EACH.to_string(), "--delay-ms", "2"])
            .arg("--journal")
            .arg(Path::new(&journal))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("agents start");
        Self { child, journal }
    }

    fn wait_ready(&mut self) {
        let stdout = self.child.stdout.take().expect("piped");
        let line = BufReader::new(stdout).lines().next();
        assert!(matches!(&line, Some(Ok(line)) if line.starts_with("ready ")), "agents are not ready: {line:?}");
    }

    /// kill -9.
    fn kill(mut self) -> PathBuf {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        std::mem::take(&mut self.journal)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
