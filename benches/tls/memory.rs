//! Bytes of the process for a connection in each state.

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

use holdfast::net::tls::at_rest::AtRest;
use holdfast::net::tls::ciphers::Ciphers;
use holdfast::net::tls::handshake::{Handshake, Step};
use holdfast::net::tls::records::Records;
use holdfast::net::tls::suite::Suite;
use rustls::{ClientConfig, ServerConfig};

use super::SUITES;
use super::peer::{Identity, connect, sent, shake, shake_rustls};

/// Before the arguments of [`measure`].
pub const ARGUMENT: &str = "--memory-of";

/// Before the argument of [`print_live`].
pub const LIVE: &str = "--live";

const MANY: usize = 4_000;

/// Anonymous memory of the process, in bytes.
fn process_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("it is a number") << 10
}

/// How much the process grows by each of these.
fn each<T>(many: usize, mut make: impl FnMut() -> T) -> usize {
    // What is made once, and the table of what is kept, must be there already: they are not what is measured.
    drop(make());
    let mut kept: Vec<Option<T>> = (0..many).map(|_| None).collect();
    let before = process_bytes();
    for place in &mut kept {
        *place = Some(make());
    }
    let grown = process_bytes().saturating_sub(before);
    drop(black_box(kept));
    grown / many
}

/// Prints a table, each figure from a process of its own: what one measure has given back, the next would take.
pub fn print() {
    println!("bytes for one connection, and for a ready cipher");
    println!("{:<18} {:>8} {:>10} {:>12} {:>8}", "suite", "at rest", "handshake", "live rustls", "ready");
    let program = std::env::current_exe().expect("it is known");
    for (at, (suite, name)) in SUITES.iter().enumerate() {
        let told = |what: &str| {
            let mut again = Command::new(&program);
            let output = again.args(["--bench", ARGUMENT, &at.to_string(), what]).output().expect("it runs");
            String::from_utf8(output.stdout).expect("it is text").trim().to_owned()
        };
        let resting = if *suite == Suite::Aes256Gcm { size_of::<AtRest<48>>() } else { size_of::<AtRest<32>>() };
        let [handshake, live, ready] = ["handshake", "live", "ready"].map(told);
        println!("{name:<18} {resting:>8} {handshake:>10} {live:>12} {ready:>8}");
    }
}

/// Prints one figure: `arguments` are the place of the suite, and what is measured.
pub fn measure(identity: &Identity, arguments: &[String]) {
    let [at, what] = arguments else { panic!("a suite and a measure") };
    let (suite, _) = SUITES[at.parse::<usize>().expect("it is a number")];
    let (server, config) = (identity.server(suite), identity.rustls_server(suite));
    let client_config = identity.client_config(suite);
    let hello = sent(&mut connect(&client_config));
    let bytes = match what.as_str() {
        "handshake" => each(MANY, || {
            let mut handshake = Handshake::new(&server).expect("the settings serve");
            assert!(matches!(handshake.take(&hello, &mut Vec::new()).1, Step::More));
            handshake
        }),
        "live" => live(MANY, &client_config, &config),
        _ => each(MANY, || {
            let mut ciphers = Ciphers::new(1);
            let (_, mut rest) = shake(&mut connect(&client_config), &server);
            rest.seal(&mut ciphers, &[b"x"], &mut Vec::new()).expect("it is open");
            ciphers
        }),
    };
    println!("{bytes}");
}

/// Bytes of a live rustls session. Its client goes when the handshake is done.
fn live(many: usize, client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> usize {
    each(many, || Box::new(shake_rustls(&mut connect(client), server).1))
}

/// Prints the bytes of a live rustls session, of so many, under the suite that the gateway likes best.
pub fn print_live(identity: &Identity, many: &str) {
    let many = many.parse().expect("it is a number");
    let (suite, _) = SUITES[0];
    println!("{}", live(many, &identity.client_config(suite), &identity.rustls_server(suite)));
}
