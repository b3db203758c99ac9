//! A handler that runs a program for each call, some at once, the others in order of arrival.
//!
//! Owns the queue and the running children. Everything happens in the agent's one thread: the pipes are non-blocking and
//! watched by the agent's own wait, and SIGCHLD comes through a self-pipe, so there is no thread per child.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::SIGCHLD;
use signal_hook::low_level::{pipe, unregister};

use super::child::Child;
use super::handler::{Call, Handler, Interest, Responder, Watched, fault};
use super::waker::drain;
use crate::kit::ids::CallId;
use crate::kit::tick::{Now, millis};

/// What to run, and how much of it.
#[derive(Clone, Debug)]
pub struct ProgramOptions {
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables that it must not see (the agent's token, say).
    pub hidden: Vec<String>,
    /// How many run at once; at least 1.
    pub running_max: usize,
    /// Largest output, in bytes; over it the program is stopped and the call gets an error.
    pub output_bytes_max: usize,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Runs a program for each call: parameters on stdin, result from stdout, the last line of stderr as the message when it
/// exits with another code than 0. It finds the call in `HOLDFAST_METHOD`, `HOLDFAST_CALL_ID`, `HOLDFAST_DEADLINE_MS`.
pub struct Program {
    options: ProgramOptions,
    waiting: VecDeque<(Call, Responder)>,
    running: Vec<Child>,
    child_ended: UnixStream,
    registration: SigId,
}

impl Program {
    /// Nothing runs yet. Registers for SIGCHLD, for as long as it lives.
    ///
    /// # Errors
    /// No descriptors left, or the signal cannot be had.
    pub fn new(options: ProgramOptions) -> io::Result<Self> {
        let (child_ended, write) = UnixStream::pair()?;
        child_ended.set_nonblocking(true)?;
        Ok(Self {
            options,
            waiting: VecDeque::new(),
            running: Vec::new(),
            child_ended,
            registration: pipe::register(SIGCHLD, write)?,
        })
    }

    fn may_start(&self) -> bool {
        !self.waiting.is_empty() && self.running.len() < self.options.running_max.max(1)
    }

    fn start(&mut self, call: Call, responder: Responder, now: Now) {
        let mut command = Command::new(&self.options.program);
        command
            .args(&self.options.arguments)
            .env("HOLDFAST_METHOD", &call.method)
            .env("HOLDFAST_CALL_ID", call.id.to_string())
            .env("HOLDFAST_DEADLINE_MS", millis(call.time_left(now)).to_string());
        for name in &self.options.hidden {
            command.env_remove(name);
        }
        let max = self.options.output_bytes_max;
        match Child::start(command, call.id, call.params.bytes, responder, max) {
            Ok(child) => self.running.push(child),
            Err((responder, error)) => {
                let program = self.options.program.to_string_lossy();
                responder.error(fault::NOT_STARTED, format!("cannot start `{program}`: {error}"));
            }
        }
    }
}

impl Handler for Program {
    fn call(&mut self, call: Call, responder: Responder) {
        self.waiting.push_back((call, responder));
    }

    fn abandon(&mut self, call: CallId, now: Now) {
        self.waiting.retain(|(waiting, _)| waiting.id != call);
        let grace = self.options.grace;
        for child in self.running.iter_mut().filter(|c| c.call() == call) {
            child.terminate(now, grace);
        }
    }

    fn watch<'a>(&'a self, watched: &mut Vec<Watched<'a>>) {
        watched.push(Watched { fd: self.child_ended.as_fd(), interest: Interest::Read });
        for child in &self.running {
            child.watch(watched);
        }
    }

    fn wake_at(&self) -> Option<Now> {
        if self.may_start() {
            return Some(Now(0));
        }
        self.running.iter().filter_map(Child::wake_at).min()
    }

    fn turn(&mut self, now: Now) {
        drain(&self.child_ended);
        let grace = self.options.grace;
        self.running.retain_mut(|child| !child.turn(now, grace));
        while self.may_start() {
            if let Some((call, responder)) = self.waiting.pop_front() {
                self.start(call, responder, now);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        unregister(self.registration);
    }
}
