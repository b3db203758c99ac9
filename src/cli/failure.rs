//! Why a subcommand failed, and the exit code that says so.

use std::process::ExitCode;

use crate::config::Problems;

/// Why a subcommand failed. The text names what to change.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command line or the settings are wrong: exit code 2.
    Usage(String),
    /// It failed while it ran: exit code 1.
    Running(String),
}

impl Failure {
    /// Writes the sentence to standard error.
    #[must_use]
    pub fn tell(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, 2),
            Self::Running(text) => (text, 1),
        };
        eprintln!("holdfast: {text}");
        ExitCode::from(code)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}
