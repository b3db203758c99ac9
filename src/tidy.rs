//! The rules of the design as a test: floors, sizes, bans.
//!
//! In one Rust crate nothing but such a test keeps imports pointing down. Rules are functions over a source file, so that
//! each can be shown a planted violation; here they meet the real tree. Code under `#[cfg(test)]` is free of all rules but names.

mod bans;
mod documents;
mod floors;
mod imports;
mod resolve;
mod secrets;
mod security;
mod sizes;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::source::Source;

/// A rule that a file breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file under a directory, by path.
fn sources(directory: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join(directory), &mut paths);
    paths.sort();
    let sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("a source file is readable");
            let name = path.strip_prefix(root()).expect("it lies below the root");
            Source::read(&name.to_string_lossy(), &text)
        })
        .collect();
    assert!(!sources.is_empty(), "no sources in {directory}");
    sources
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory is readable") {
        let path = entry.expect("an entry is readable").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn hold(violations: Vec<Violation>) {
    let told: Vec<String> = violations.iter().map(|v| format!("  {}:{}: {}", v.path, v.line, v.text)).collect();
    assert!(told.is_empty(), "{} violations:\n{}", told.len(), told.join("\n"));
}

fn hold_each(rule: fn(&Source) -> Vec<Violation>) {
    hold(sources("src").iter().flat_map(rule).collect());
}

#[test]
fn imports_point_down_and_neighbours_are_strangers() {
    hold(floors::imports_point_down(&sources("src")));
}

#[test]
fn there_are_no_import_cycles() {
    hold(floors::no_cycles(&sources("src")));
    hold(floors::owed_is_there(&sources("src")));
}

#[test]
fn files_and_functions_are_small() {
    for directory in ["src", "loadtest/src"] {
        let sources = sources(directory);
        hold(sources.iter().flat_map(sizes::file).collect());
        hold(sources.iter().flat_map(sizes::functions).collect());
    }
}

#[test]
fn crates_stay_where_they_belong() {
    hold_each(bans::crates);
}

#[test]
fn nothing_below_the_top_floor_reads_a_clock() {
    hold_each(bans::clocks);
}

#[test]
fn nothing_below_the_top_floor_unwraps() {
    hold_each(bans::unwraps);
}

#[test]
fn metric_names_are_written_once() {
    hold_each(bans::metric_names);
}

#[test]
fn files_say_what_they_own_and_have_telling_names() {
    hold_each(bans::first_lines);
    hold_each(bans::names);
}

#[test]
fn there_is_one_crypto_backend() {
    let arguments =
        "tree --offline --locked --workspace --target all --edges normal,build,dev --prefix none --format {p}";
    let mut cargo = Command::new(env!("CARGO"));
    let told = cargo.args(arguments.split(' ')).current_dir(root()).output().expect("cargo runs");
    let tree = String::from_utf8(told.stdout).expect("it is text");
    assert!(tree.contains("aws-lc-rs v"), "{}", String::from_utf8_lossy(&told.stderr));
    hold(bans::locked_crates("Cargo.toml", &tree));
}

#[test]
fn the_glossary_holds_every_word() {
    let glossary = fs::read_to_string(root().join("docs/glossary.md")).expect("it is readable");
    hold(bans::glossary("docs/glossary.md", &glossary));
}

/// The pages for those who run a gateway or write agents: of each the path and the text.
fn pages() -> Vec<documents::Page> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs")).expect("a directory is readable") {
        let name = entry.expect("an entry is readable").file_name().into_string().expect("a name in UTF-8");
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    let read = |path: String| {
        let text = fs::read_to_string(root().join(&path)).expect("it is readable");
        (path, text)
    };
    pages.into_iter().map(read).collect()
}

/// Every setting with its default.
fn known_settings() -> Vec<(String, String)> {
    let loaded = crate::config::load(&crate::config::Sources::default()).expect("defaults are valid");
    loaded.listing.into_iter().map(|listed| (listed.key, listed.value)).collect()
}

#[test]
fn documents_tell_of_all_metrics_settings_and_close_codes_and_of_no_others() {
    let pages = pages();
    let names: Vec<&str> = crate::kit::metric::ALL.iter().map(|(name, ..)| *name).collect();
    hold(documents::metrics(&pages, &names));
    let keys: Vec<String> = known_settings().into_iter().map(|(key, _)| key).collect();
    hold(documents::settings(&pages, &keys));
    let rows = crate::session::reason::Reason::ALL.map(|reason| reason.row());
    let reasons: Vec<_> = rows.iter().map(|row| (row.label, row.code)).collect();
    let (path, text) = pages.iter().find(|(path, _)| path == "docs/protocol.md").expect("there is the page");
    hold(documents::close_codes(path, text, &reasons));
}

#[test]
fn the_page_on_security_names_limits_and_tests_that_there_are() {
    let path = "docs/security.md";
    let text = fs::read_to_string(root().join(path)).expect("it is readable");
    let everything: Vec<Source> = ["src", "tests"].into_iter().flat_map(sources).collect();
    hold(security::tests_exist(path, &text, &everything));
    let known = known_settings();
    hold(security::defaults_hold(path, &text, &known));
    hold(security::limits_are_told(path, &text, &known));
}

#[test]
fn secrets_are_compared_in_constant_time_alone() {
    hold(sources("src/auth").iter().flat_map(security::secrets).collect());
}

#[test]
fn no_derived_debug_shows_what_opens_a_door() {
    hold_each(secrets::hidden);
}

/// Figures of memory hang on the allocator, so a new one is a reason to measure them again.
#[test]
fn documents_name_the_allocator_that_is_locked() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is readable");
    let lock = read("Cargo.lock");
    let (_, entry) = lock.split_once("name = \"libmimalloc-sys\"\nversion = \"").expect("it is locked");
    let (locked, _) = entry.split_once('"').expect("a version");
    let told = format!("3.3 (libmimalloc-sys {locked})");
    for path in ["docs/benchmarks.md", "docs/footprint.md"] {
        let text = read(path);
        let versions: Vec<&str> =
            text.split("mimalloc ").skip(1).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())).collect();
        assert!(!versions.is_empty(), "{path} names no version");
        for rest in versions {
            assert!(rest.starts_with(&told), "{path}: mimalloc {}", rest.lines().next().unwrap_or_default());
        }
    }
}
