//! The command line: one file for each subcommand, each thin.
//!
//! Owns the list of subcommands, and turns a failure into one sentence on standard error and an exit code. What the
//! subcommands do lives in the floors below.

pub mod agent;
pub mod call;
mod call_link;
pub mod check_config;
pub mod doctor;
pub mod failure;
pub mod logging;
mod printout;
pub mod serve;
mod settings_file;
pub mod token;
mod trust;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::failure::Failure;
use crate::auth::jwks::SetLimits;
use crate::config::{self, Sources};
use crate::kit::tick::Clock;

/// holdfast: a low-footprint gateway for fleets of agents.
#[derive(Parser)]
#[command(name = "holdfast", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Args),
    Agent(agent::AgentArgs),
    Call(call::CallArgs),
    /// Make tokens and API keys, and find out what is wrong with a token.
    Token(token::TokenArgs),
    /// Check the settings: print every value in effect and what follows from them, or all problems.
    CheckConfig(check_config::Args),
    /// Read the limits of this host: how many agents it carries, which limit bites first, and what lifts it.
    Doctor(doctor::Args),
    /// Print a configuration file with every key, its meaning and its default.
    DefaultConfig,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the program: reads the command line of this process and obeys.
///
/// Exit codes: 0 all well, 1 it failed while it ran, 2 the command line or the settings are wrong.
#[must_use]
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Agent(args) => return agent::run(args),
        Command::Call(args) => return call::run(args),
        Command::Token(args) => return run_token(&args),
        Command::CheckConfig(args) => check_config::run(args),
        Command::Doctor(args) => return doctor::run(args),
        Command::DefaultConfig => print(&config::template::text()),
        Command::Completions { shell } => completions(shell),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

/// `holdfast token` takes its settings and the time as arguments.
fn run_token(args: &token::TokenArgs) -> ExitCode {
    let load = |file: Option<&Path>| {
        let sources = Sources::of_process(file.map(Path::to_owned), Vec::new());
        let settings = config::load(&sources).map_err(|problems| problems.to_string())?.settings;
        let lifetime_max_secs = settings.lifetime_max_secs();
        let (auth, jwks) = (settings.auth, settings.jwks);
        Ok(token::TokenSettings {
            keys: auth.keys.0,
            audience: (!auth.audience.is_empty()).then_some(auth.audience),
            leeway_secs: auth.leeway.as_secs(),
            lifetime_max_secs,
            issuers: token::TokenIssuers {
                issuers: auth.issuers.0,
                limits: SetLimits { bytes_max: jwks.bytes_max, keys_max: jwks.keys_max },
                timeout: jwks.timeout,
            },
        })
    };
    let clock = Clock::start();
    token::run(args, load, clock.unix_ms(clock.now()) / 1000)
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "holdfast", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Running(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_that_others_script_stay() {
        let line = "holdfast serve --dev --listen 127.0.0.1:8080 --control 127.0.0.1:8081 --loops 2 --workers 1 \
                    --config f.toml --log-format json --log-level debug";
        let cli = Cli::try_parse_from(line.split_whitespace()).expect("parses");
        assert!(matches!(cli.command, Command::Serve(_)));
        for line in [
            "holdfast check-config --config f.toml",
            "holdfast doctor --connections 1000000 --config f.toml --json",
            "holdfast default-config",
            "holdfast completions bash",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
        assert!(Cli::try_parse_from(["holdfast"]).is_err());
    }
}
