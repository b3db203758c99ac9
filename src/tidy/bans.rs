//! What may be named only in one place, or nowhere.

use super::Violation;
use super::floors::{floor_of_file, in_part, is_client, is_top};
use super::imports::named;
use super::source::Source;

/// Crates that stay in one place: the crate, the beginnings of the paths where it may be named, and where that is.
const CRATES: [(&str, &[&str]); 8] = [
    ("mio", &["src/net/io_mio.rs"]),
    ("tokio", &["src/control/", "src/broker/", "src/registry/"]),
    ("axum", &["src/control/"]),
    ("hyper", &["src/control/"]),
    ("mimalloc", &["src/main.rs"]),
    // The simulation drives rustls' own client against the gateway; clients of ours are rustls', settings and two streams.
    ("rustls", &["src/net/tls/", "src/sim/", "src/wire/client_tls.rs", "src/agent/stream.rs", "src/backend/stream.rs"]),
    ("webpki", &["src/net/tls/"]),
    ("ring", &[]),
];

/// The pure pieces of tungstenite; all else of it keeps buffers, and serves in clients and tests.
const TUNGSTENITE_PURE: [&str; 8] =
    ["FrameHeader", "OpCode", "Control", "Data", "CloseCode", "derive_accept_key", "coding", "Uri"];

/// What reads a clock, waits for one, or starts one.
const CLOCKS: [[&str; 2]; 4] = [["Instant", "now"], ["SystemTime", "now"], ["thread", "sleep"], ["Clock", "start"]];

/// Calls of `unwrap` and `expect` below the top floor that are right: file, what stands before the call, reason.
const UNWRAPS_ALLOWED: [(&str, &str, &str); 0] = [];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

/// Crates that must not be built, by anything.
const LOCKED_OUT: [(&str, &str); 1] = [("ring", "aws-lc-rs is the one crypto backend")];

/// The words of the glossary.
const WORDS: [&str; 39] = [
    "agent",
    "backend",
    "tenant",
    "node",
    "connection",
    "session",
    "frame",
    "message",
    "envelope",
    "call",
    "reply",
    "waiter",
    "receipt",
    "topic",
    "publication",
    "position",
    "directory",
    "registry",
    "broker",
    "order",
    "mailbox",
    "intake",
    "outbox",
    "turn",
    "tick",
    "scratch",
    "lease",
    "drain",
    "close reason",
    "close code",
    "outcome",
    "loop",
    "worker",
    "heartbeat",
    "link",
    "window",
    "budget",
    "peer",
    "verdict",
];

fn violation(source: &Source, line: usize, text: String) -> Violation {
    Violation { path: source.path.clone(), line, text }
}

/// Holds that crates stay where they belong.
#[must_use]
pub fn crates(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for name in named(source) {
        let path = name.path.join("::");
        let first = name.path[0].as_str();
        let home = CRATES.iter().find(|(banned, _)| *banned == first);
        if let Some((_, homes)) = home
            && !homes.iter().any(|home| source.path.starts_with(home))
        {
            let places = homes.join(", ");
            let text = format!("`{path}`: `{first}` may be named only in: {places}");
            violations.push(violation(source, name.line, text));
        }
        let pure = name.path.iter().any(|part| TUNGSTENITE_PURE.contains(&part.as_str()));
        if first == "tungstenite" && !pure && !is_client(&source.path) {
            let text = format!("`{path}`: only the pure pieces of tungstenite serve outside of the client libraries");
            violations.push(violation(source, name.line, text));
        }
    }
    violations
}

/// Holds that time is an argument below the top floor. The client library waits for itself.
#[must_use]
pub fn clocks(source: &Source) -> Vec<Violation> {
    if floor_of_file(&source.path).is_none() || is_top(&source.path) {
        return Vec::new();
    }
    if source.path == "src/kit/tick.rs" {
        return Vec::new();
    }
    let reads = named(source)
        .into_iter()
        .filter(|name| CLOCKS.iter().any(|clock| name.path.windows(2).any(|pair| pair == clock)));
    reads
        .map(|name| {
            let text = format!("`{}` reads a clock; take `now` as an argument", name.path.join("::"));
            violation(source, name.line, text)
        })
        .collect()
}

/// Holds that nothing below the top floor unwraps.
#[must_use]
pub fn unwraps(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    if floor_of_file(&source.path).is_none() || is_top(&source.path) {
        return violations;
    }
    for word in ["unwrap", "expect"] {
        for at in source.words(word) {
            let before = source.code[..at].trim_end();
            let after = source.code[at + word.len()..].trim_start();
            let call =
                (before.ends_with('.') || before.ends_with("::")) && (after.starts_with('(') || !before.ends_with('.'));
            let allowed = UNWRAPS_ALLOWED.iter().any(|(path, end, _)| source.path == *path && before.ends_with(end));
            if call && !allowed {
                let text = format!("`{word}`: a value that may be missing is no reason to stop");
                violations.push(violation(source, source.line(at), text));
            }
        }
    }
    violations
}

/// Holds that metric names are written in one file.
#[must_use]
pub fn metric_names(source: &Source) -> Vec<Violation> {
    if source.path == "src/kit/metric.rs" || in_part(&source.path, "tidy") {
        return Vec::new();
    }
    let spelled = source.literals.iter().filter(|literal| literal.text.starts_with("holdfast_"));
    spelled
        .map(|literal| {
            let text = format!("the metric \"{}\" belongs in `kit/metric.rs`", literal.text);
            violation(source, literal.line, text)
        })
        .collect()
}

/// Holds that a file's first lines say what it owns.
#[must_use]
pub fn first_lines(source: &Source) -> Vec<Violation> {
    // A file of tests belongs to the file that it tests, which has said it.
    let said = source.lines == 0 || source.text.starts_with("//! ");
    if said {
        return Vec::new();
    }
    vec![violation(source, 1, "the first line must be `//! ` and say what the file owns".to_owned())]
}

/// Holds that files and modules have names that say something.
#[must_use]
pub fn names(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    for part in path.split('/').filter(|part| EMPTY_NAMES.contains(part)) {
        violations.push(violation(source, 1, format!("`{part}` says nothing of what is inside")));
    }
    for at in source.words("mod") {
        let rest = source.code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if EMPTY_NAMES.contains(&name.as_str()) {
            let text = format!("`mod {name}` says nothing of what is inside");
            violations.push(violation(source, source.line(at), text));
        }
    }
    violations
}

/// Holds that no banned crate is built. `tree` is what `cargo tree --prefix none` says: a crate a line, name first. The lock
/// file would not do: it also names what a feature that is off could bring in (`ring`, by rustls-webpki's `ring?/alloc`).
#[must_use]
pub fn locked_crates(path: &str, tree: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, why) in LOCKED_OUT {
        let line = tree.lines().position(|line| line.split_whitespace().next() == Some(name));
        if let Some(line) = line {
            violations.push(Violation {
                path: path.to_owned(),
                line: line + 1,
                text: format!("the crate `{name}` is banned: {why}"),
            });
        }
    }
    violations
}

/// Holds that the glossary explains every word, in bold, in a row of its own or of near relations.
#[must_use]
pub fn glossary(path: &str, text: &str) -> Vec<Violation> {
    let missing = WORDS.iter().filter(|word| {
        let row = format!("**{word}**");
        !text.lines().any(|line| line.starts_with("| ") && line.contains(&row))
    });
    missing
        .map(|word| Violation { path: path.to_owned(), line: 1, text: format!("`{word}` is not explained") })
        .collect()
}

#[cfg(test)]
mod planted {
    use super::*;

    /// Each case: a file, its text, and how many violations the rule must find.
    fn check(rule: fn(&Source) -> Vec<Violation>, cases: &[(&str, &str, usize)]) {
        for (path, text, expected) in cases {
            let found = rule(&Source::read(path, text));
            assert_eq!(found.len(), *expected, "{path}: {text}: {found:?}");
        }
    }

    #[test]
    fn a_crate_out_of_place_is_found() {
        check(
            crates,
            &[
                ("src/net/io_mio.rs", "use mio::Poll;", 0),
                ("src/net/io.rs", "use mio::Poll;", 1),
                ("src/net/io.rs", "fn f(p: &mio::Poll) {}", 1),
                ("src/net/io.rs", "fn f(p: &a::mio::Poll) { self.mio.x() }", 0),
                ("src/net/io.rs", "// mio::Poll\nconst S: &str = \"mio::Poll\";", 0),
                ("src/control/server.rs", "use axum::Router; use tokio::net::{a, b};", 0),
                ("src/work/pool.rs", "use tokio::sync;", 1),
                ("src/cli/mod.rs", "fn f() { tokio::spawn(x) }", 1),
                ("src/broker/nats.rs", "use tokio::sync;", 0),
                ("src/lib.rs", "use ring::digest;", 1),
                ("src/net/tls/server.rs", "use rustls::ServerConfig;", 0),
                ("src/net/conn.rs", "fn f(c: rustls::ServerConnection) {}", 1),
                ("src/wire/head.rs", "use tungstenite::protocol::frame::{FrameHeader, coding::{Control, OpCode}};", 0),
                ("src/wire/head.rs", "use tungstenite::{WebSocket, Message};", 2),
                ("src/wire/head.rs", "use tungstenite::handshake::derive_accept_key;", 0),
                ("src/agent/link.rs", "use tungstenite::WebSocket;", 0),
                ("src/backend/link.rs", "use tungstenite::WebSocket;", 0),
                ("src/wire/head.rs", "#[cfg(test)]\nmod tests { use tungstenite::WebSocket; }", 0),
            ],
        );
    }

    #[test]
    fn a_clock_read_is_found() {
        check(
            clocks,
            &[
                ("src/net/conn.rs", "fn f() { Instant::now(); }", 1),
                ("src/net/conn.rs", "fn f() { std::time::SystemTime::now(); }", 1),
                ("src/work/pool.rs", "use std::thread::sleep;", 1),
                ("src/work/pool.rs", "fn f() { thread::sleep(d) }", 1),
                ("src/control/server.rs", "fn f() { Clock::start() }", 1),
                ("src/control/server.rs", "fn f(clock: Clock) { clock.now() }", 0),
                ("src/kit/tick.rs", "fn f() { Instant::now(); }", 0),
                ("src/gateway.rs", "fn f() { Instant::now(); }", 0),
                ("src/agent/client.rs", "fn f() { thread::sleep(d) }", 0),
                ("src/net/conn.rs", "#[test]\n#[cfg(test)]\nfn f() { Instant::now(); }", 0),
            ],
        );
    }

    #[test]
    fn an_unwrap_is_found() {
        check(
            unwraps,
            &[
                ("src/net/conn.rs", "fn f() { x.unwrap() }", 1),
                ("src/net/conn.rs", "fn f() { x\n    .expect(\"y\") }", 1),
                ("src/net/conn.rs", "fn f() { x.map(Option::unwrap) }", 1),
                ("src/net/conn.rs", "fn f() { x.unwrap_or(1); x.expect_err(y); expect(z) }", 0),
                ("src/net/conn.rs", "/// x.unwrap()\nfn f() {}", 0),
                ("src/cli/mod.rs", "fn f() { x.unwrap() }", 0),
                ("src/net/conn.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }", 0),
                ("src/net/conn/tests.rs", "fn f() { x.unwrap() }", 0),
            ],
        );
    }

    #[test]
    fn a_metric_name_out_of_place_is_found() {
        check(
            metric_names,
            &[
                ("src/net/conn.rs", "counter!(\"holdfast_x\")", 1),
                ("src/net/conn.rs", "counter!(r#\"holdfast_x\"#)", 1),
                ("src/kit/metric.rs", "A = \"holdfast_x\"", 0),
                ("src/net/conn.rs", "// \"holdfast_x\"\nf(\"holdfast \")", 0),
            ],
        );
    }

    #[test]
    fn an_empty_name_or_a_silent_file_is_found() {
        check(
            names,
            &[
                ("src/net/utils.rs", "", 1),
                ("src/common/x.rs", "", 1),
                ("src/net/x.rs", "mod helpers { }", 1),
                ("src/net/x.rs", "pub mod commonwealth;", 0),
            ],
        );
        check(
            first_lines,
            &[("src/a.rs", "//! Owns a.\n", 0), ("src/a.rs", "use b;\n//! Owns a.", 1), ("src/a.rs", "//!\n", 1)],
        );
    }

    #[test]
    fn a_banned_crate_that_is_built_is_found() {
        let tree = "holdfast v0.1.0 (a/ring)\nstring v0.3.0\nring v0.17.14\nring v0.17.14 (*)\n";
        assert_eq!(locked_crates("Cargo.toml", tree).len(), 1);
        assert_eq!(locked_crates("Cargo.toml", "holdfast v0.1.0 (a/ring)\nstring v0.3.0\n"), []);
    }

    #[test]
    fn a_missing_word_is_found() {
        let full: String = WORDS.iter().map(|word| format!("| **{word}** | x |\n")).collect();
        assert_eq!(glossary("g", &full), []);
        let found = glossary("g", &full.replace("**lease**", "lease"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "`lease` is not explained");
    }
}
