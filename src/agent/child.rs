//! One program that runs for one call: its pipes, its output, its end.
//!
//! Owns a child process, which leads a process group of its own, until that is reaped. Nothing here blocks: the pipes
//! are non-blocking and served by [`Child::turn`]. Nothing is signalled once it is reaped, so never a process id that the
//! system has given to somebody else.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use serde::de::IgnoredAny;

use super::handler::{Answer, Body, Interest, Responder, Watched, fault};
use crate::kit::ids::CallId;
use crate::kit::tick::Now;

/// How much of the end of stderr is kept for the error message, in bytes.
const STDERR_TAIL_BYTES: usize = 4096;

/// Most that is read from one pipe before other work gets its turn, in bytes.
const PIPE_BYTES_A_TURN: usize = 256 * 1024;

/// How far a child is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nobody wants it to end.
    Running,
    /// Its group got SIGTERM; SIGKILL follows.
    Terminated { kill_at: Now },
    /// Its group got SIGKILL.
    Killed,
}

/// A program that runs.
pub(super) struct Child {
    call: CallId,
    responder: Option<Responder>,
    process: std::process::Child,
    group: Pid,
    life: Life,
    stdin: Option<ChildStdin>,
    params: Vec<u8>,
    params_written: usize,
    stdout: Option<ChildStdout>,
    output: Vec<u8>,
    output_bytes_max: usize,
    stderr: Option<ChildStderr>,
    tail: Vec<u8>,
}

impl Child {
    /// Starts `command` with `params` for its stdin.
    ///
    /// # Errors
    /// The responder, to answer with, and why it did not start.
    pub fn start(
        mut command: Command,
        call: CallId,
        params: Vec<u8>,
        responder: Responder,
        output_bytes_max: usize,
    ) -> Result<Self, (Responder, io::Error)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => return Err((responder, error)),
        };
        let child = Self {
            call,
            responder: Some(responder),
            // A process id fits an i32: the kernel's own type for it.
            group: Pid::from_raw(process.id() as i32),
            life: Life::Running,
            stdin: process.stdin.take(),
            params,
            params_written: 0,
            stdout: process.stdout.take(),
            output: Vec::new(),
            output_bytes_max,
            stderr: process.stderr.take(),
            tail: Vec::new(),
            process,
        };
        child.unblock();
        Ok(child)
    }

    /// The call that it runs for.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Asks its whole group to end; after `grace` it is killed. The caller no longer waits.
    pub fn terminate(&mut self, now: Now, grace: Duration) {
        if self.life == Life::Running {
            self.signal(Signal::SIGTERM);
            self.life = Life::Terminated { kill_at: now.after(grace) };
        }
    }

    /// When [`Child::turn`] has to run even if no pipe stirs.
    pub fn wake_at(&self) -> Option<Now> {
        match self.life {
            Life::Terminated { kill_at } => Some(kill_at),
            Life::Running | Life::Killed => None,
        }
    }

    /// The pipes that it waits for.
    pub fn watch<'a>(&'a self, watched: &mut Vec<Watched<'a>>) {
        let pipes = [
            self.stdin.as_ref().map(|p| (p.as_fd(), Interest::Write)),
            self.stdout.as_ref().map(|p| (p.as_fd(), Interest::Read)),
            self.stderr.as_ref().map(|p| (p.as_fd(), Interest::Read)),
        ];
        watched.extend(pipes.into_iter().flatten().map(|(fd, interest)| Watched { fd, interest }));
    }

    /// Moves bytes, kills what is due, and answers when the program has ended. True when it is over and reaped.
    pub fn turn(&mut self, now: Now, grace: Duration) -> bool {
        // Looked at first: what the program wrote before it ended is then certainly in the pipes.
        let exited = self.has_exited();
        self.feed();
        while self.collect() == Pipe::More && exited && self.output.len() <= self.output_bytes_max {}
        if self.output.len() > self.output_bytes_max {
            self.overflow(now, grace);
        }
        if let Life::Terminated { kill_at } = self.life
            && (exited || kill_at <= now)
        {
            // When the program itself has ended on request, what it started and left behind goes with it.
            self.signal(Signal::SIGKILL);
            self.life = Life::Killed;
        }
        if !exited {
            return false;
        }
        match self.process.wait() {
            Ok(status) => self.answer(status),
            Err(error) => self.say(Answer::Error {
                code: fault::NOT_STARTED,
                message: format!("cannot wait for the program: {error}"),
                data: None,
            }),
        }
        true
    }

    fn unblock(&self) {
        let mut pipes = Vec::new();
        self.watch(&mut pipes);
        for pipe in pipes {
            // Cannot fail for a pipe that was just made; a blocking pipe would only cost speed.
            let _ = fcntl(pipe.fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        }
    }

    fn has_exited(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(self.group), flags), Ok(WaitStatus::StillAlive))
    }

    fn signal(&self, signal: Signal) {
        // The group exists as long as its leader is not reaped; a group whose members changed user cannot be signalled.
        let _ = killpg(self.group, signal);
    }

    fn feed(&mut self) {
        while let Some(pipe) = &mut self.stdin {
            let rest = &self.params[self.params_written..];
            if rest.is_empty() {
                self.stdin = None;
                return;
            }
            match pipe.write(rest) {
                Ok(n) => self.params_written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A program may end, or close its stdin, without reading it: its own choice.
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Takes what the program wrote; what nobody wants any more is thrown away.
    fn collect(&mut self) -> Pipe {
        let output = pump(&mut self.stdout, &mut self.output);
        if output == Pipe::Ended {
            self.stdout = None;
        }
        if pump(&mut self.stderr, &mut self.tail) == Pipe::Ended {
            self.stderr = None;
        }
        let excess = self.tail.len().saturating_sub(STDERR_TAIL_BYTES);
        self.tail.drain(..excess);
        if self.responder.is_none() {
            self.output.clear();
            return Pipe::Empty;
        }
        output
    }

    fn overflow(&mut self, now: Now, grace: Duration) {
        let max = self.output_bytes_max;
        self.say(Answer::Error {
            code: fault::TOO_LARGE,
            message: format!("the program wrote more than {max} bytes"),
            data: None,
        });
        self.output = Vec::new();
        self.terminate(now, grace);
    }

    fn answer(&mut self, status: ExitStatus) {
        let output = std::mem::take(&mut self.output);
        let answer = if status.success() {
            Answer::Result(body(output))
        } else {
            // The shell's convention for a program that a signal ended.
            let signal = status.signal().map(|signal| 128 + signal);
            Answer::Error {
                code: status.code().or(signal).unwrap_or(fault::NO_ANSWER),
                message: last_line(&self.tail).unwrap_or_else(|| status.to_string()),
                data: None,
            }
        };
        self.say(answer);
    }

    fn say(&mut self, answer: Answer) {
        if let Some(responder) = self.responder.take() {
            responder.finish(answer);
        }
    }
}

/// What a pipe is like after it was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pipe {
    /// There may be more: it was only somebody else's turn.
    More,
    /// Nothing more for now.
    Empty,
    /// Nothing more ever.
    Ended,
}

fn pump(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) -> Pipe {
    let Some(pipe) = pipe else { return Pipe::Ended };
    let mut chunk = [0; 16 * 1024];
    let mut taken = 0;
    while taken < PIPE_BYTES_A_TURN {
        match pipe.read(&mut chunk) {
            Ok(0) => return Pipe::Ended,
            Ok(n) => {
                into.extend_from_slice(&chunk[..n]);
                taken += n;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pipe::Empty,
            Err(_) => return Pipe::Ended,
        }
    }
    Pipe::More
}

/// JSON stays JSON; text loses its last line feed, as in a shell's `$(…)`; other bytes stay as they are.
fn body(mut output: Vec<u8>) -> Body {
    let Ok(text) = std::str::from_utf8(&output) else {
        return Body::raw(output);
    };
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return Body::json(output);
    }
    if output.last() == Some(&b'\n') {
        output.pop();
        if output.last() == Some(&b'\r') {
            output.pop();
        }
    }
    Body::raw(output)
}

fn last_line(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_a_body() {
        for (output, bytes, json) in [
            (&b"{\"a\":1}\n"[..], &b"{\"a\":1}\n"[..], true),
            (b" 12 ", b" 12 ", true),
            (b"two words\n", b"two words", false),
            (b"line\r\n", b"line", false),
            (b"two\n\n", b"two\n", false),
            (b"", b"", false),
            (b"{\"a\":", b"{\"a\":", false),
            (b"\xff\n", b"\xff\n", false),
            (b"\"\xff\"", b"\"\xff\"", false),
        ] {
            let found = body(output.to_vec());
            assert_eq!((&found.bytes[..], found.json), (bytes, json), "{output:?}");
        }
    }

    #[test]
    fn the_last_line_of_stderr() {
        for (tail, line) in [
            (&b"a\nb\n\n"[..], Some("b")),
            (b"only", Some("only")),
            (b"\n \n", None),
            (b"", None),
            (b"\xff\n", Some("\u{fffd}")),
        ] {
            assert_eq!(last_line(tail).as_deref(), line, "{tail:?}");
        }
    }
}
