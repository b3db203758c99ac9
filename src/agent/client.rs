//! The agent's life over many connections: connect, serve, pause, again.
//!
//! Owns the back-off and the stop. What happens on one connection is `serving`'s matter.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::unbounded;

use super::ending::{Ending, Next};
use super::events::{Events, Stop};
use super::handler::Handler;
use super::news::News;
use super::serving::{Desk, Served, Serving};
use super::waker::{Waker, waker};
use super::{Backoff, Options};
use crate::kit::tick::{Clock, Now};

/// Stops an agent from another thread. The first call lets running calls finish; the second stops at once.
#[derive(Clone, Debug)]
pub struct Stopper {
    stops: Arc<AtomicU32>,
    waker: Waker,
}

impl Stopper {
    /// Asks the agent to stop.
    pub fn stop(&self) {
        // Saturation does not matter: nobody asks four billion times.
        self.stops.fetch_add(1, Ordering::AcqRel);
        self.waker.wake();
    }
}

/// An agent: what it is told, what answers its calls, and who hears its news.
pub struct Agent<H, N> {
    options: Options,
    events: Events<H>,
    desk: Desk,
    news: N,
    rng: fastrand::Rng,
    /// A token that has run out.
    spent: Option<String>,
}

impl<H: Handler, N: FnMut(News<'_>)> Agent<H, N> {
    /// Makes an agent that is not connected yet. `rng` spreads its attempts to come back.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(options: Options, clock: Clock, rng: fastrand::Rng, handler: H, news: N) -> io::Result<Self> {
        let (waker, wakened) = waker()?;
        let (give, take) = unbounded();
        Ok(Self {
            options,
            events: Events { clock, handler, wakened, stops: Arc::default() },
            desk: Desk { give, take, waker },
            news,
            rng,
            spent: None,
        })
    }

    /// A handle that stops this agent.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { stops: Arc::clone(&self.events.stops), waker: self.desk.waker.clone() }
    }

    /// Connects and serves until it is stopped or must not come back; returns why. Blocks its thread all that time.
    pub fn run(mut self) -> Ending {
        let mut backoff = Backoff::new(self.options.backoff_first, self.options.backoff_max);
        let mut number = 0;
        loop {
            number += 1;
            let served = self.once(number);
            self.spent = served.spent.or(self.spent.take());
            if let Some(welcomed) = served.welcomed {
                backoff.opened(welcomed);
            }
            let now = self.events.clock.now();
            let ending = match self.events.stop() {
                Stop::No => served.ending,
                Stop::Gently | Stop::Now => Ending::Stopped,
            };
            let again = match ending.next() {
                Next::Stop => return self.finish(ending),
                Next::After(pause) => now.after(pause),
                Next::BackOff => backoff.failed(now, self.rng.u32(..)).max(now.after(ending.wait())),
            };
            (self.news)(News::Ended { ending: &ending, pause: again.since(now) });
            if let Some(ending) = self.pause(again) {
                return self.finish(ending);
            }
        }
    }

    fn once(&mut self, number: u64) -> Served {
        let attempt = (number, self.spent.as_deref());
        let opened = Serving::open(&mut self.events, &self.options, &self.desk, &mut self.news, attempt);
        match opened {
            Ok(serving) => serving.run(),
            Err(ending) => Served { ending, welcomed: None, spent: None },
        }
    }

    fn pause(&mut self, until: Now) -> Option<Ending> {
        while self.events.clock.now() < until {
            if self.events.stop() != Stop::No {
                return Some(Ending::Stopped);
            }
            self.events.wait(None, Some(until));
        }
        None
    }

    /// Stays until the handler has nothing left behind, so that no program outlives its agent.
    fn finish(mut self, ending: Ending) -> Ending {
        while !self.events.handler.is_idle() {
            self.events.wait(None, None);
        }
        ending
    }
}
