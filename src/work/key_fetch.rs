//! The thread that fetches issuers' keys: in time, soon when an unknown one is named, with back-off when a source is down.
//!
//! Owns the schedule of each source. The last good set of keys stays in force whatever happens to its source.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select, unbounded};
use metrics::{counter, gauge};

use crate::auth::ring::{Freshness, Ring, Source};
use crate::auth::schedule::{FetchPace, Schedule};
use crate::kit::metric;
use crate::kit::tick::{Clock, Now};

use super::outside::Outside;

/// How keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTerms {
    /// How often.
    pub pace: FetchPace,
    /// Longest time for one fetch.
    pub timeout: Duration,
    /// Most bytes of an answer.
    pub bytes_max: usize,
}

/// The issuers whose keys are fetched, and how.
pub struct Rounds {
    /// Their rings.
    pub rings: Vec<Arc<Ring>>,
    /// How.
    pub terms: FetchTerms,
}

/// Tells the thread of other issuers.
#[derive(Clone)]
pub struct FetcherDoor {
    rounds: Sender<Rounds>,
    /// Rung by a ring that wants newer keys.
    pub bell: Sender<()>,
}

impl FetcherDoor {
    /// From now on these. Waits for nobody.
    pub fn set(&self, rounds: Rounds) {
        // It is gone only when the process is.
        let _ = self.rounds.send(rounds);
    }
}

/// The thread's end.
pub struct Fetcher {
    rounds: Receiver<Rounds>,
    bell: Receiver<()>,
    clock: Clock,
}

/// One source while it is watched.
struct Watched {
    ring: Arc<Ring>,
    schedule: Schedule,
}

impl Fetcher {
    /// A fetcher with nothing to do, and its door.
    #[must_use]
    pub fn new(clock: Clock) -> (Self, FetcherDoor) {
        // Whoever reads settings again waits for no source: it obeys signals too.
        let (give_rounds, rounds) = unbounded();
        let (ring_bell, bell) = bounded(1);
        (Self { rounds, bell, clock }, FetcherDoor { rounds: give_rounds, bell: ring_bell })
    }

    /// Fetches until its door is gone.
    pub fn run(self) {
        let Ok(Rounds { rings, mut terms }) = self.rounds.recv() else {
            return;
        };
        let mut outside = outside(&rings, &terms);
        let mut watched = watch(rings, &[], self.clock.now());
        loop {
            for one in &mut watched {
                one.turn(outside.as_ref(), &terms, self.clock);
            }
            let now = self.clock.now();
            let next = watched.iter().map(|one| one.schedule.next(now)).min();
            let wait = next.map_or(Duration::from_secs(3600), |at| at.since(now).max(Duration::from_millis(1)));
            match self.wait(wait) {
                Ok(None) => {}
                Ok(Some(rounds)) => {
                    let rounds = self.rounds.try_iter().last().unwrap_or(rounds);
                    terms = rounds.terms;
                    outside = self::outside(&rounds.rings, &terms);
                    watched = watch(rounds.rings, &watched, self.clock.now());
                }
                Err(()) => return,
            }
        }
    }

    /// Waits for the time, the bell, or other issuers.
    fn wait(&self, wait: Duration) -> Result<Option<Rounds>, ()> {
        select! {
            recv(self.rounds) -> rounds => rounds.map(Some).map_err(drop),
            recv(self.bell) -> _ => Ok(None),
            default(wait) => Ok(None),
        }
    }
}

/// A client, where anything is to be asked over HTTP.
fn outside(rings: &[Arc<Ring>], terms: &FetchTerms) -> Option<Outside> {
    let urls: Vec<&str> = rings.iter().filter_map(|ring| ring.source.url()).collect();
    (!urls.is_empty()).then(|| Outside::new(terms.timeout, terms.bytes_max, &urls))
}

/// Rings that stay keep their place in the schedule.
fn watch(rings: Vec<Arc<Ring>>, before: &[Watched], now: Now) -> Vec<Watched> {
    let schedule = |ring: &Arc<Ring>| {
        let old = before.iter().find(|old| Arc::ptr_eq(&old.ring, ring));
        // A file's keys were read with the settings.
        old.map_or_else(|| Schedule::new(now), |old| old.schedule)
    };
    rings.into_iter().map(|ring| Watched { schedule: schedule(&ring), ring }).collect()
}

impl Watched {
    fn turn(&mut self, outside: Option<&Outside>, terms: &FetchTerms, clock: Clock) {
        let now = clock.now();
        if !self.schedule.is_due(now, self.ring.is_asked()) {
            if self.schedule.is_rested(now) && !self.ring.is_asked() {
                self.ring.set_freshness(Freshness::MayAsk);
            }
            return;
        }
        let fetched = fetch(&self.ring, outside, terms.bytes_max).and_then(|text| self.ring.put(&text));
        let (now, jitter) = (clock.now(), fastrand::u32(..));
        let issuer = self.ring.name.clone();
        match fetched {
            Ok(set) => {
                let (usable, passed_over) = (set.usable, set.passed_over);
                tracing::debug!(%issuer, usable, passed_over, "keys fetched");
                counter!(metric::KEY_FETCHES, "issuer" => issuer.clone(), "result" => "ok").increment(1);
                gauge!(metric::KEYS, "issuer" => issuer.clone()).set(usable as f64);
                gauge!(metric::KEYS_FETCHED, "issuer" => issuer).set((clock.unix_ms(now) / 1000) as f64);
                self.schedule.answered(now, &terms.pace, jitter);
            }
            Err(why) => {
                counter!(metric::KEY_FETCHES, "issuer" => issuer.clone(), "result" => "failed").increment(1);
                self.ring.set_freshness(Freshness::Asked);
                self.schedule.failed(now, &terms.pace, jitter);
                let again_ms = self.schedule.next(now).since(now).as_millis() as u64;
                let has_keys = self.ring.keys().is_some();
                tracing::warn!(%issuer, %why, has_keys, again_ms, "keys cannot be fetched; those before stay");
            }
        }
    }
}

fn fetch(ring: &Ring, outside: Option<&Outside>, bytes_max: usize) -> Result<Vec<u8>, String> {
    match &ring.source {
        Source::File(path) => {
            let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
            if length > bytes_max as u64 {
                return Err(format!("it has {length} bytes, and {bytes_max} are allowed"));
            }
            fs::read(path).map_err(|error| error.to_string())
        }
        Source::Url(url) => match outside.ok_or("there is no client")?.get(url)? {
            told if told.status == 200 => Ok(told.body),
            told => Err(format!("the source answered {}", told.status)),
        },
    }
}
