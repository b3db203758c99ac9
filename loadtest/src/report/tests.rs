//! A result through everything: from the scenario's hands to JSON, to a file, to the page.

use std::time::Duration;

use super::*;
use crate::latency::Latency;
use crate::result::{Draft, Series, Server, Verdict};

/// A storm that went wrong in one answer, with a line of each kind.
pub fn storm() -> RunResult {
    let mut draft = Draft::begin("storm");
    draft
        .parameter("agents", 100_000)
        .parameter("listen", "127.0.0.1:8080")
        .parameter("note", "<script>alert(1)</script>");
    draft.server(Server { pid: 4711, command: "holdfast".to_owned(), threads: 5 });
    draft.figure("time to full recovery", "s", 12.4).lower();
    draft.figure("process bytes for each agent after the storm", "B", 131.0).lower().must(128.0);
    draft.figure("connect rate", "/s", 24_800.0).higher().must(20_000.0);
    let mut latency = Latency::default();
    (1..=10_000).for_each(|micros| latency.note(Duration::from_micros(micros * micros / 1000 + 40)));
    draft.latency("call", &latency);
    let over = |step: fn(f64) -> f64| (0..60).map(move |secs| (f64::from(secs), step(f64::from(secs))));
    draft.series(Series::over_seconds("Connected", "agents", "").with(over(|x| (x * 10_000.0).min(100_000.0))));
    draft.series(Series::over_seconds("Processor", "server", "% of a core").with(over(|x| 90.0 - x)));
    draft.series(Series::over_seconds("Processor", "this harness", "% of a core").with(over(|x| 70.0 - x)));
    let grown = (0..11).map(|step| (f64::from(step) * 1e4, f64::from(step) * 1.3e6 + 4e6));
    draft.series(Series::over_connections("Memory against connections", "process", "B").with(grown));
    let mut verdict = Verdict { right: 9999, wrong: 1, ..Verdict::default() };
    verdict.outcomes.insert("offline".to_owned(), 17);
    verdict.quote("sent 7, got <8>");
    draft.verdict(&verdict);
    draft.finish()
}

#[test]
fn a_result_becomes_a_page_with_a_drawing_for_each_plot() {
    let directory = std::env::temp_dir().join(format!("holdfast-report-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let (json, output) = (directory.join("storm.json"), directory.join("report.html"));
    let result = storm();
    fs::write(&json, serde_json::to_string(&result).expect("plain values")).expect("a file");
    assert_eq!(read(&json), Ok(result.clone()));
    run(&Options { results: vec![json.clone(), json], output: output.clone() }).expect("it is written");
    let page = fs::read_to_string(&output).expect("it is there");
    fs::remove_dir_all(&directory).expect("own directory");

    // Connected, processor, memory, percentiles; each run twice.
    assert_eq!(plots::plots(&result).len(), 4);
    assert_eq!(page.matches(r#"<figure class="plot">"#).count(), 8);
    assert_eq!(page.matches(r#"role="img""#).count(), 8);
    for text in [
        "Connected",
        "Latency percentiles",
        "must be ≤ 128 B",
        "1 wrong answer",
        "outcome offline",
        "sent 7, got &lt;8&gt;",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_page_needs_nothing_else_and_runs_nothing() {
    let page = html(&[storm()]);
    for needle in ["<script", "http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(needle), "{needle}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn what_was_not_measured_has_no_table_and_no_plot() {
    let page = html(&[Draft::begin("idle").finish()]);
    for text in ["<figure", "Latencies", "Answers", "Parameters", "class=\"tiles\"", "failures\""] {
        assert!(!page.contains(text), "{text}");
    }
    assert!(page.contains("Host") && page.contains("badge good"));
}

#[test]
fn a_file_that_is_no_result_is_named() {
    let missing = Options { results: vec!["/nowhere/a.json".into()], output: "/nowhere/b.html".into() };
    assert!(run(&missing).expect_err("no such file").contains("/nowhere/a.json"));
}
