//! `holdfast check-config`: what is in effect, where it was typed, and what follows from it on this machine.

use std::fmt::Write;

use super::failure::Failure;
use super::print;
use super::settings_file::SettingsFile;
use crate::config::derived::derive;
use crate::config::host::Host;
use crate::config::{self, Loaded, Sources};

/// Flags of `check-config`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which settings count.
    #[command(flatten)]
    pub settings: SettingsFile,
}

/// Prints the values in effect.
///
/// # Errors
/// All problems of the settings.
pub fn run(args: Args) -> Result<(), Failure> {
    let loaded = config::load(&Sources::of_process(args.settings.path, Vec::new()))?;
    print(&report(&loaded, &Host::read()))
}

fn report(loaded: &Loaded, host: &Host) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    for listed in &loaded.listing {
        let _ = writeln!(out, "{} = {}  # {}", listed.key, listed.value, listed.origin);
    }
    let settings = &loaded.settings;
    let derived = derive(settings, host);
    let _ = writeln!(
        out,
        "\nOn this machine: node {}, {} loops, {} workers.",
        settings.server.node, derived.loops, derived.workers
    );
    let _ = writeln!(out, "At most {}.", derived.bites_first_text());
    let _ = writeln!(out, "{}.", derived.half_open_text(settings));
    for warning in derived.warnings(settings) {
        let _ = writeln!(out, "Warning: {warning}.");
    }
    if let Some(secure) = &settings.secure {
        let _ = writeln!(out, "TLS certificates for: {}.", secure.names.join(", "));
        for warning in &secure.warnings {
            let _ = writeln!(out, "Warning: {warning}.");
        }
    }
    if !settings.knows_agents() {
        let _ = writeln!(
            out,
            "No `[[auth.keys]]`, `[[auth.issuers]]`, `webhook.url` or `tls.client_identity`: agents get in only under `serve --dev`."
        );
    }
    if settings.api.keys.is_empty() {
        let _ = writeln!(out, "No `[[api.keys]]`: the control API answers 401 except under `serve --dev`.");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_values_places_and_what_follows() {
        let sources = Sources {
            env: vec![("HOLDFAST_SERVER__LOOPS".to_owned(), "2".into())],
            host_name: "node-1".to_owned(),
            ..Sources::default()
        };
        let loaded = config::load(&sources).expect("valid");
        let host = Host { descriptors: 1000, cores: 8, memory_bytes: 1 << 40 };
        let report = report(&loaded, &host);
        for line in [
            "server.loops = 2  # HOLDFAST_SERVER__LOOPS\n",
            "limits.head_max = \"8KiB\"  # default\n",
            "On this machine: node node-1, 2 loops, 4 workers.\n",
            "At most 1860 connections (2 loops × 930): the descriptors",
            "No `[[auth.keys]]`, `[[auth.issuers]]`, `webhook.url` or `tls.client_identity`: agents get in only",
            "No `[[api.keys]]`",
        ] {
            assert!(report.contains(line), "{line} is not in:\n{report}");
        }
        assert!(!report.contains("Warning"), "{report}");
    }

    #[test]
    fn agents_that_a_webhook_lets_in_are_not_said_to_stay_outside() {
        let env = vec![("HOLDFAST_WEBHOOK__URL".to_owned(), "http://127.0.0.1:1/".into())];
        let loaded = config::load(&Sources { env, ..Sources::default() }).expect("valid");
        assert!(loaded.settings.knows_agents());
        assert!(!config::load(&Sources::default()).expect("valid").settings.knows_agents());
    }
}
