//! `holdfast serve`: settings in, gateway on.
//!
//! Owns the flags and the promise that `--dev` is for this machine alone. The gateway itself is `gateway`.

use std::net::SocketAddr;

use clap::ValueEnum;

use super::failure::Failure;
use super::logging;
use super::settings_file::SettingsFile;
use crate::config::{self, Flag, Settings, Sources};
use crate::gateway;

/// Flags of `serve`. Each but `--dev` and `--config` stands for a key of the settings and lies over all other layers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Admit agents without tokens (`?agent=ID`) and backends without keys, open `/dev/echo`; loopback addresses only.
    #[arg(long)]
    pub dev: bool,
    /// Which settings count.
    #[command(flatten)]
    pub settings: SettingsFile,
    /// Where agents connect [server.listen].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where backends and operators connect [control.listen].
    #[arg(long, value_name = "ADDRESS")]
    pub control: Option<String>,
    /// Where backends open control links; nowhere by default [link.listen].
    #[arg(long, value_name = "ADDRESS")]
    pub link: Option<String>,
    /// Event loops; 0: one for each core [server.loops].
    #[arg(long, value_name = "N")]
    pub loops: Option<String>,
    /// Worker threads; 0: half as many as cores [server.workers].
    #[arg(long, value_name = "N")]
    pub workers: Option<String>,
    /// How log lines are written [log.format].
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// How much is logged: error, warn, info, debug or trace [log.level].
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Args {
    fn flags(&self) -> Vec<Flag> {
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        });
        let flags = [
            ("--listen", ["server", "listen"], &self.listen),
            ("--control", ["control", "listen"], &self.control),
            ("--link", ["link", "listen"], &self.link),
            ("--loops", ["server", "loops"], &self.loops),
            ("--workers", ["server", "workers"], &self.workers),
            ("--log-format", ["log", "format"], &format),
            ("--log-level", ["log", "level"], &self.log_level),
        ];
        flags
            .into_iter()
            .filter_map(|(name, key, value)| {
                let value = value.clone()?;
                Some(Flag { name, key, value })
            })
            .collect()
    }
}

/// Runs the gateway until it is stopped.
///
/// # Errors
/// Wrong settings, or why the gateway could not run.
pub fn run(args: &Args) -> Result<(), Failure> {
    let sources = Sources::of_process(args.settings.path.clone(), args.flags());
    let loaded = config::load(&sources)?;
    let settings = &loaded.settings;
    if args.dev {
        loopback_only(settings)?;
    }
    logging::start(&settings.log);
    gateway::run(loaded, args.dev).map_err(|error| Failure::Running(error.to_string()))
}

/// `--dev` lets everybody in who can reach the port, so nobody else's machine may reach it.
fn loopback_only(settings: &Settings) -> Result<(), Failure> {
    let open: Vec<String> = [("server.listen", settings.server.listen), ("control.listen", settings.control.listen)]
        .into_iter()
        .chain(settings.link.listen.map(|link| ("link.listen", link)))
        .filter(|(_, address)| !is_loopback(address))
        .map(|(key, address)| format!("`{key}` is {address}"))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--dev admits everybody, so it listens on loopback addresses alone, but {}: use 127.0.0.1 or [::1], or leave --dev out and configure keys",
        open.join(" and ")
    )))
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str, control: &str) -> Settings {
        let mut settings = config::defaults("node").expect("defaults are valid");
        settings.server.listen = listen.parse().expect("an address");
        settings.control.listen = control.parse().expect("an address");
        settings
    }

    #[test]
    fn dev_stays_on_this_machine() {
        for listen in ["127.0.0.1:0", "127.8.0.1:1", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert_eq!(loopback_only(&settings(listen, "127.0.0.1:1")), Ok(()), "{listen}");
        }
        for listen in ["0.0.0.0:0", "10.0.0.1:0", "[::]:0", "[::ffff:10.0.0.1]:0"] {
            assert!(loopback_only(&settings(listen, "127.0.0.1:1")).is_err(), "{listen}");
            assert!(loopback_only(&settings("127.0.0.1:1", listen)).is_err(), "{listen}");
        }
    }

    #[test]
    fn dev_keeps_links_on_this_machine_too() {
        let mut settings = settings("127.0.0.1:0", "127.0.0.1:0");
        settings.link.listen = Some("127.0.0.1:0".parse().expect("an address"));
        assert_eq!(loopback_only(&settings), Ok(()));
        settings.link.listen = Some("0.0.0.0:0".parse().expect("an address"));
        let refused = loopback_only(&settings);
        assert!(
            matches!(&refused, Err(Failure::Usage(why)) if why.contains("`link.listen` is 0.0.0.0:0")),
            "{refused:?}"
        );
    }

    #[test]
    fn the_refusal_names_what_to_change() {
        let refused = loopback_only(&settings("0.0.0.0:8080", "10.0.0.1:8081"));
        let expected = "--dev admits everybody, so it listens on loopback addresses alone, but `server.listen` is \
                        0.0.0.0:8080 and `control.listen` is 10.0.0.1:8081: use 127.0.0.1 or [::1], or leave --dev out \
                        and configure keys";
        assert_eq!(refused, Err(Failure::Usage(expected.to_owned())));
    }
}
