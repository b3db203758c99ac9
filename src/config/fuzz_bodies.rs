//! What the fuzz target checks of the settings about any text at all; `fuzz/` and property tests run it.
//!
//! A body panics when an invariant breaks. Nothing in the product calls it. It opens no file that a text names.

use std::path::Path;

use super::derived;
use super::host::Host;
use super::{Origin, Problem, Problems, Sources, load_layers};

/// Begins the words about a text that is no TOML: no key can be named then.
const NOT_TOML: &str = "not TOML: ";

/// Any text as the configuration file. Whatever is wrong is told with the line and the key; what is accepted can be worked out.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // A key's `file` would be opened, and what a fuzzer thinks of (a pipe, `/dev/zero`) never ends. Keys can be written with escapes.
    if ["file", "\\u", "\\U", "\\x"].iter().any(|word| text.contains(word)) {
        return;
    }
    let sources = Sources { host_name: "host-1".to_owned(), ..Sources::default() };
    let mut problems = Problems::default();
    let loaded = load_layers(Some((Path::new("h.toml"), text)), &sources, &mut problems);
    problems.0.iter().for_each(|problem| check(problem, text));
    match loaded {
        Some(loaded) if problems.is_empty() => {
            let host = Host { descriptors: 20_000, cores: 2, memory_bytes: 1 << 34 };
            let derived = derived::derive(&loaded.settings, &host);
            let _ = derived.warnings(&loaded.settings);
            assert!(derived.loops >= 1 && derived.workers >= 1);
        }
        Some(_) => {}
        None => assert!(!problems.is_empty(), "refused without a word"),
    }
}

fn check(problem: &Problem, text: &str) {
    assert!(!problem.text.is_empty(), "{problem:?}");
    assert!(!problem.key.is_empty() || problem.text.starts_with(NOT_TOML), "{problem:?}");
    if let Origin::File { line, .. } = problem.origin {
        assert!((1..=text.lines().count() + 1).contains(&line), "{problem:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::config::settings::sections;
    use crate::kit::seeds;

    /// A section, a key of it or of another, and a value of many kinds.
    fn line() -> impl Strategy<Value = String> {
        let names: Vec<String> = sections().iter().map(|section| section.name.to_owned()).collect();
        let keys: Vec<String> =
            sections().iter().flat_map(|section| section.keys.iter().map(|key| key.name.to_owned())).collect();
        let value = prop_oneof![
            "\"[0-9]{1,4}(s|ms|KiB|MiB|days)?\"",
            "[0-9]{1,20}",
            "-?[0-9.e]{1,6}",
            Just("[\"10.0.0.0/8\", \"x\"]".to_owned()),
            Just("[[\"a\"]]".to_owned()),
            Just("{ a = 1 }".to_owned()),
            Just("1979-05-27".to_owned()),
            Just("\"0.0.0.0:80\"".to_owned()),
            "\"[a-z]{0,9}\"",
        ];
        prop_oneof![
            proptest::sample::select(names.clone()).prop_map(|name| format!("[{name}]")),
            proptest::sample::select(names).prop_map(|name| format!("[[{name}.keys]]")),
            (proptest::sample::select(keys), value).prop_map(|(key, value)| format!("{key} = {value}")),
        ]
    }

    proptest! {
        #[test]
        fn settings(lines in proptest::collection::vec(line(), 0..12), any in "\\PC{0,20}") {
            super::settings(lines.join("\n").as_bytes());
            super::settings(any.as_bytes());
        }
    }

    #[test]
    fn seeds() {
        seeds::run("settings", super::settings);
    }
}
