//! The page: for each result its verdict, its figures, its plots, and where it ran.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plots::plots;
use crate::human;
use crate::result::{Figure, Latencies, RunHost, RunResult, Verdict};

/// Colours, type and grid of the page. It must hold no `</style`.
const STYLE: &str = include_str!("page.css");

/// All of it.
pub fn page(results: &[RunResult]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(results)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title(results)) }
                    @if results.len() > 1 {
                        nav {
                            @for (place, result) in results.iter().enumerate() {
                                a href=(format!("#run-{place}")) { (result.scenario) " " (badge(result)) }
                            }
                        }
                    }
                }
                main {
                    @for (place, result) in results.iter().enumerate() { (section(place, result)) }
                }
                footer { "holdfast-loadtest " (env!("HOLDFAST_LOADTEST_VERSION")) }
            }
        }
    }
}

fn title(results: &[RunResult]) -> String {
    match results {
        [one] => format!("Load report: {}", one.scenario),
        _ => format!("Load report: {} runs", results.len()),
    }
}

fn badge(result: &RunResult) -> Markup {
    let missed = result.missed().count();
    html! {
        @if !result.is_right() { span class="badge bad" { "failed" } }
        @else if missed > 0 { span class="badge warn" { (missed) " missed" } }
        @else { span class="badge good" { "right" } }
    }
}

fn section(place: usize, result: &RunResult) -> Markup {
    let plots = plots(result);
    html! {
        section id=(format!("run-{place}")) {
            h2 { (result.scenario) " " (badge(result)) }
            p class="when" {
                (result.began) ", " (human::value(round(result.duration_secs), "s"))
                @if let Some(server) = &result.server {
                    ", against " b { (server.command) } " (process " (server.pid) ", " (server.threads) " threads)"
                }
            }
            @if !result.is_right() {
                ul class="failures" { @for failure in &result.failures { li { (failure) } } }
            }
            (tiles(&result.figures))
            @if !plots.is_empty() {
                div class="plots" { @for plot in &plots { (plot.draw()) } }
            }
            div class="tables" {
                (figures(&result.figures))
                (latencies(&result.latencies))
                (verdict(&result.verdict))
                (parameters(result))
                (host(&result.host))
            }
        }
    }
}

/// A tenth of a second is what a reader wants to know of a run's length.
fn round(secs: f64) -> f64 {
    (secs * 10.0).round() / 10.0
}

/// Figures that have a limit, large.
fn tiles(figures: &[Figure]) -> Markup {
    let limited: Vec<&Figure> = figures.iter().filter(|figure| figure.must.is_some()).collect();
    html! {
        @if !limited.is_empty() {
            div class="tiles" {
                @for figure in limited {
                    div class={ "tile " (mark(figure)) } {
                        div class="value" { (human::value(figure.value, &figure.unit)) }
                        div class="name" { (figure.name) }
                        div class="must" { (must(figure)) }
                    }
                }
            }
        }
    }
}

fn mark(figure: &Figure) -> &'static str {
    match figure.is_kept() {
        Some(true) => "good",
        Some(false) => "bad",
        None => "",
    }
}

fn must(figure: &Figure) -> String {
    use crate::result::Better;
    let sign = if figure.better == Better::Higher { "≥" } else { "≤" };
    figure.must.map_or(String::new(), |must| format!("must be {sign} {}", human::value(must, &figure.unit)))
}

fn figures(figures: &[Figure]) -> Markup {
    html! {
        @if !figures.is_empty() {
            div class="card wide" {
                h3 { "Figures" }
                table {
                    @for figure in figures {
                        tr {
                            th class={ @if figure.name.starts_with("of it ") { "part" } } { (figure.name) }
                            td class={ "number " (mark(figure)) } { (human::value(figure.value, &figure.unit)) }
                            td class="must" { (must(figure)) }
                        }
                    }
                }
            }
        }
    }
}

fn latencies(all: &[Latencies]) -> Markup {
    let time = |micros: f64| human::value(micros, "µs");
    html! {
        @if !all.is_empty() {
            div class="card wide" {
                h3 { "Latencies" }
                table {
                    tr { th {} @for head in ["count", "p50", "p90", "p99", "p99.9", "max"] { th class="number" { (head) } } }
                    @for one in all {
                        tr {
                            th { (one.name) }
                            td class="number" { (human::value(one.count as f64, "")) }
                            @for micros in [one.p50_us, one.p90_us, one.p99_us, one.p999_us, one.max_us] {
                                td class="number" { (time(micros)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn verdict(verdict: &Verdict) -> Markup {
    let bad = |count: u64| if count > 0 { "number bad" } else { "number" };
    let count = |count: u64| human::value(count as f64, "");
    let faults =
        [("wrong", verdict.wrong), ("lost", verdict.lost), ("stray", verdict.strays), ("doubled", verdict.doubled)];
    html! {
        @if *verdict != Verdict::default() {
            div class="card" {
                h3 { "Answers" }
                table {
                    tr { th { "right" } td class="number" { (count(verdict.right)) } }
                    @for (name, times) in faults { tr { th { (name) } td class=(bad(times)) { (count(times)) } } }
                    @for (name, times) in &verdict.outcomes { tr { th { "outcome " (name) } td class="number" { (count(*times)) } } }
                }
                @for quoted in &verdict.quoted { pre { (quoted) } }
            }
        }
    }
}

fn parameters(result: &RunResult) -> Markup {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.as_f64().map_or_else(|| other.to_string(), |number| human::value(number, "")),
    };
    html! {
        @if !result.parameters.is_empty() {
            div class="card" {
                h3 { "Parameters" }
                table { @for (name, value) in &result.parameters { tr { th { (name) } td { (text(value)) } } } }
            }
        }
    }
}

fn host(host: &RunHost) -> Markup {
    let descriptors = match host.descriptors_hard {
        u64::MAX => "unlimited".to_owned(),
        limit => human::value(limit as f64, ""),
    };
    let rows = [
        ("kernel", host.kernel.clone()),
        ("cores", host.cores.to_string()),
        ("memory", human::value(host.memory_bytes as f64, "B")),
        ("descriptors, hard limit", descriptors),
        ("harness", host.harness.clone()),
    ];
    html! {
        div class="card" {
            h3 { "Host" }
            table { @for (name, value) in rows { tr { th { (name) } td { (value) } } } }
        }
    }
}
