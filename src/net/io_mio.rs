//! The real system: epoll through mio. The only file that names mio.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token as MioToken, Waker};

use crate::kit::tick::{Clock, Now, Took, TurnClock};
use crate::session::rules::Door;

use super::io::{Io, Ready, Token, Wake, Watch};

/// Slots end far below these, so no connection has such a token.
const LISTENER: MioToken = MioToken(usize::MAX);
const MAILBOX: MioToken = MioToken(usize::MAX - 1);
const LINK_LISTENER: MioToken = MioToken(usize::MAX - 2);

/// Events taken from the kernel at once. The dearest are ends of connections, some 8 µs each: 2 ms for a turn of nothing else.
const EVENTS_MAX: usize = 256;

/// One loop's epoll and listeners.
pub struct MioIo {
    poll: Poll,
    events: Events,
    /// By door; none where nobody listens.
    listeners: [Option<TcpListener>; 2],
    clock: TurnClock,
    busy_poll: Duration,
}

struct MioWaker(Waker);

impl Wake for MioWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "cannot wake an event loop");
        }
    }
}

impl MioIo {
    /// An epoll that watches the listeners, those of agents and, where there is one, of links, and its waker; a wait looks again
    /// and again for `busy_poll` before it sleeps. Make those of every loop before the first loop starts, so that
    /// each private descriptor table holds every waker.
    ///
    /// # Errors
    /// Of epoll and eventfd: no descriptors left.
    pub fn new(
        agents: StdListener,
        links: Option<StdListener>,
        clock: Clock,
        busy_poll: Duration,
    ) -> io::Result<(Self, Arc<dyn Wake>)> {
        let poll = Poll::new()?;
        let watch = |listener: StdListener, token| -> io::Result<TcpListener> {
            listener.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(listener);
            poll.registry().register(&mut listener, token, Interest::READABLE)?;
            Ok(listener)
        };
        let links = links.map(|links| watch(links, LINK_LISTENER)).transpose()?;
        let listeners = [Some(watch(agents, LISTENER)?), links];
        let waker = Waker::new(poll.registry(), MAILBOX)?;
        let events = Events::with_capacity(EVENTS_MAX);
        let io = Self { poll, events, listeners, clock: TurnClock::new(clock), busy_poll };
        Ok((io, Arc::new(MioWaker(waker))))
    }

    /// Looks without sleeping until something is ready or the time for it is over; what is left of `timeout` then.
    fn poll_busily(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Option<Duration> {
        let span = timeout.map_or(self.busy_poll, |timeout| timeout.min(self.busy_poll));
        if span.is_zero() {
            return timeout;
        }
        let start = self.clock.running();
        let mut spent = Duration::ZERO;
        while ready.is_empty() && spent < span {
            self.poll_once(Some(Duration::ZERO), ready);
            spent = self.clock.running().saturating_sub(start);
        }
        timeout.map(|timeout| timeout.saturating_sub(spent))
    }

    fn poll_once(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => ready.extend(self.events.iter().map(told)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The arguments are right by construction, so this is a broken process: say so and let the supervisor restart it.
            Err(error) => {
                tracing::error!(%error, "epoll_wait failed");
                panic!("a loop cannot wait");
            }
        }
    }

    /// The descriptors that belong to this loop alone: other threads close their copies.
    #[must_use]
    pub fn own_descriptors(&self) -> Vec<RawFd> {
        let listeners = self.listeners.iter().flatten().map(AsRawFd::as_raw_fd);
        listeners.chain([self.poll.as_raw_fd()]).collect()
    }
}

impl Io for MioIo {
    type Stream = TcpStream;

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Now {
        ready.clear();
        let timeout = self.poll_busily(timeout, ready);
        if ready.is_empty() {
            self.poll_once(timeout, ready);
        }
        self.clock.woke()
    }

    fn unix_secs(&mut self, now: Now) -> u64 {
        self.clock.unix_ms(now) / 1000
    }

    fn give_way(&mut self) {
        std::thread::yield_now();
    }

    fn turn_took(&mut self) -> Took {
        self.clock.took()
    }

    fn accept(&mut self, door: Door) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = self.listeners[door as usize].as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        listener.accept()
    }

    fn stop_listening(&mut self) {
        self.listeners = [None, None];
    }

    fn watch(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        self.poll.registry().register(stream, packed(token), Interest::READABLE)
    }

    fn rewatch(&mut self, stream: &mut TcpStream, token: Token, watch: Watch) -> io::Result<()> {
        let interest = match watch {
            Watch::Read => Interest::READABLE,
            Watch::ReadWrite => Interest::READABLE | Interest::WRITABLE,
        };
        self.poll.registry().reregister(stream, packed(token), interest)
    }

    fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        stream.read(into)
    }

    fn write(&mut self, stream: &mut TcpStream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match from {
            [one] => stream.write(one),
            many => stream.write_vectored(many),
        }
    }

    fn shut(&mut self, stream: &mut TcpStream) {
        let _ = stream.shutdown(Shutdown::Write);
    }

    fn peer(&self, stream: &TcpStream) -> Option<SocketAddr> {
        stream.peer_addr().ok()
    }
}

fn packed(token: Token) -> MioToken {
    MioToken((u64::from(token.generation) << 32 | u64::from(token.slot)) as usize)
}

fn told(event: &Event) -> Ready {
    match event.token() {
        LISTENER => Ready::Listener(Door::Agents),
        LINK_LISTENER => Ready::Listener(Door::Links),
        MAILBOX => Ready::Mailbox,
        MioToken(bits) => Ready::Conn {
            token: Token { slot: bits as u32, generation: (bits as u64 >> 32) as u32 },
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            ended: event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn io(busy_poll: Duration) -> (MioIo, Arc<dyn Wake>) {
        MioIo::new(StdListener::bind("127.0.0.1:0").unwrap(), None, Clock::start(), busy_poll).unwrap()
    }

    #[test]
    fn what_comes_while_it_looks_ends_the_look() {
        // Either wait would last for ever if it did not see the wake.
        for busy_poll in [Duration::ZERO, Duration::MAX] {
            let (mut io, waker) = io(busy_poll);
            let mut ready = Vec::new();
            // The waker lives on here: an eventfd that is closed says nothing any more.
            let poster = Arc::clone(&waker);
            let posting = std::thread::spawn(move || poster.wake());
            io.wait(None, &mut ready);
            assert_eq!(ready, [Ready::Mailbox], "{busy_poll:?}");
            posting.join().unwrap();
        }
    }

    #[test]
    fn a_look_is_no_longer_than_the_wait() {
        let (mut io, _waker) = io(Duration::MAX);
        let mut ready = Vec::new();
        for timeout in [Duration::ZERO, Duration::from_millis(2)] {
            io.wait(Some(timeout), &mut ready);
            assert!(ready.is_empty());
        }
    }

    #[test]
    fn what_the_look_took_is_no_longer_waited() {
        let (mut io, _waker) = io(Duration::from_millis(1));
        let left = io.poll_busily(Some(Duration::from_secs(9)), &mut Vec::new()).unwrap();
        assert!(left <= Duration::from_millis(8999), "{left:?}");
        assert_eq!(io.poll_busily(None, &mut Vec::new()), None);
    }
}
