//! What `holdfast call` comes to: what is printed where, and the exit code.
//!
//! Owns the numbers of the exit codes, which scripts rely on.

/// What the call comes to, for a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    AgentError = 1,
    Usage = 2,
    Other = 3,
}

/// What is printed, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Printout {
    pub(super) exit: Exit,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
}

impl Printout {
    pub(super) fn failed(exit: Exit, err: impl Into<String>) -> Self {
        Self { exit, out: Vec::new(), err: err.into() }
    }
}
