//! The agent's one wait: the socket, the waker, and what the handler watches.
//!
//! Owns the `poll` call. It reads no envelopes and never touches the socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::handler::{Handler, Interest, Watched};
use super::waker::{Wakened, drain};
use crate::kit::tick::{Clock, Now, millis};

/// How urgently the agent was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not at all.
    No,
    /// Once: what runs may finish.
    Gently,
    /// More than once: at once.
    Now,
}

/// What the agent waits with: its clock, its waker, its handler.
pub(super) struct Events<H> {
    pub clock: Clock,
    pub handler: H,
    pub wakened: Wakened,
    /// How often the agent was asked to stop.
    pub stops: Arc<AtomicU32>,
}

impl<H> Events<H> {
    /// Whether the agent was asked to stop.
    pub fn stop(&self) -> Stop {
        match self.stops.load(Ordering::Acquire) {
            0 => Stop::No,
            1 => Stop::Gently,
            _ => Stop::Now,
        }
    }
}

impl<H: Handler> Events<H> {
    /// Waits until something is ready or `until` comes (`None`: until something is ready), gives the handler its turn,
    /// and returns the time after the wait.
    pub fn wait(&mut self, socket: Option<Watched<'_>>, until: Option<Now>) -> Now {
        self.poll(socket, until);
        drain(&self.wakened.0);
        let now = self.clock.now();
        self.handler.turn(now);
        now
    }

    fn poll(&self, socket: Option<Watched<'_>>, until: Option<Now>) {
        let mut watched = Vec::new();
        watched.extend(socket);
        watched.push(Watched { fd: self.wakened.0.as_fd(), interest: Interest::Read });
        self.handler.watch(&mut watched);
        let until = [until, self.handler.wake_at()].into_iter().flatten().min();
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            let left = millis(until.since(self.clock.now()));
            // A longer wait than 24 days ends early, which costs one empty turn.
            i32::try_from(left).ok().and_then(|left| PollTimeout::try_from(left).ok()).unwrap_or(PollTimeout::MAX)
        });
        let mut fds: Vec<_> = watched.iter().map(poll_fd).collect();
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Only a lack of memory is left, and the world may have more of it in a moment.
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn poll_fd<'a>(watched: &Watched<'a>) -> PollFd<'a> {
    let fd: BorrowedFd<'a> = watched.fd;
    let flags = match watched.interest {
        Interest::Read => PollFlags::POLLIN,
        Interest::Write => PollFlags::POLLOUT,
        Interest::ReadWrite => PollFlags::POLLIN | PollFlags::POLLOUT,
    };
    PollFd::new(fd, flags)
}
