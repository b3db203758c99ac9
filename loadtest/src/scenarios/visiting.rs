//! Newcomers at a steady rate: each dials, opens TLS where there is some, is welcomed, and resets its connection.
//!
//! Owns the thread, and what became of each newcomer. The thread gives way to all others on its core, since what it does is not what is
//! measured: calls and answers of the same process are.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::backends::Pace;
use crate::cpu;
use crate::fleet::{Batch, Fleet, Happening};
use crate::latency::Latency;
use crate::question::{Heard, hear};
use crate::stop;
use crate::target::Target;

/// Newcomers that are out at a time; while so many wait for their welcome nobody else comes.
pub const OUT_MAX: usize = 2048;

/// Dials between two looks at the sockets, so that welcomes do not wait for a burst of dials.
const DIALS_MAX: usize = 16;

/// How long a turn waits.
const PATIENCE: Duration = Duration::from_millis(1);

/// How long those who are out at the end are waited for.
const GRACE: Duration = Duration::from_secs(15);

/// What became of the newcomers.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// How many came.
    pub begun: u64,
    /// How many were welcomed.
    pub welcomed: u64,
    /// How many of them while others still came.
    pub in_time: u64,
    /// How many handshakes of TLS were resumed.
    pub resumed: u64,
    /// How the others ended, by name.
    pub refused: BTreeMap<String, u64>,
    /// From dial to welcome.
    pub times: Latency,
    /// From the first to the end of the time in which they came.
    pub wall: Duration,
    /// Processor time of their thread.
    pub cpu: Duration,
}

impl Visits {
    /// Newcomers that were welcomed in a second, while they came.
    pub fn per_second(&self) -> f64 {
        self.in_time as f64 / self.wall.as_secs_f64()
    }

    /// How many were not welcomed.
    pub fn turned_away(&self) -> u64 {
        self.begun - self.welcomed
    }
}

/// Newcomers that go on coming.
pub struct Visiting {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Visits, String>>,
}

impl Visiting {
    /// So many a second, as agents of these numbers in turn.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(target: &Target, agents: Range<u32>, per_second: u32) -> Result<Self, String> {
        let over = Arc::new(AtomicBool::new(false));
        let (asked, target) = (Arc::clone(&over), target.clone());
        let work = move || {
            cpu::give_way()?;
            Door::new(target, agents)?.stand(per_second, &asked)
        };
        let thread =
            thread::Builder::new().name("newcomers".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self { over, thread })
    }

    /// Nobody else comes; waits for those who are out.
    ///
    /// # Errors
    /// The kernel gave no socket.
    pub fn stop(self) -> Result<Visits, String> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| "the thread of the newcomers panicked".to_owned())?
    }
}

/// The work of the thread.
struct Door {
    target: Target,
    agents: Range<u32>,
    next: u32,
    request: String,
    fleet: Fleet,
    out: HashMap<usize, Instant>,
    visits: Visits,
}

impl Door {
    fn new(target: Target, agents: Range<u32>) -> Result<Self, String> {
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.secure(target.tls.clone());
        let (next, request) = (agents.start, String::new());
        Ok(Self { target, agents, next, request, fleet, out: HashMap::new(), visits: Visits::default() })
    }

    fn stand(mut self, per_second: u32, over: &AtomicBool) -> Result<Visits, String> {
        let mut batch = Batch::default();
        let mut pace = Pace::new(per_second);
        let began = Instant::now();
        while !over.load(Ordering::Acquire) && !stop::asked() {
            let mut dials = 0;
            while self.out.len() < OUT_MAX && dials < DIALS_MAX && pace.is_due() {
                self.dial()?;
                dials += 1;
            }
            self.turn(&mut batch)?;
        }
        (self.visits.wall, self.visits.in_time) = (began.elapsed(), self.visits.welcomed);
        let end = Instant::now() + GRACE;
        while !self.out.is_empty() && Instant::now() < end && !stop::asked() {
            self.turn(&mut batch)?;
        }
        if !self.out.is_empty() {
            self.visits.refused.insert("unanswered".to_owned(), self.out.len() as u64);
        }
        self.visits.resumed = self.fleet.resumed();
        self.visits.cpu = cpu::of_thread()?;
        Ok(self.visits)
    }

    fn dial(&mut self) -> Result<(), String> {
        let agent = self.next;
        self.next = if agent + 1 < self.agents.end { agent + 1 } else { self.agents.start };
        self.target.agent_request(agent, &mut self.request);
        let wire =
            self.fleet.dial(self.target.listen, agent, self.request.as_bytes()).map_err(|error| error.to_string())?;
        self.out.insert(wire, Instant::now());
        self.visits.begun += 1;
        Ok(())
    }

    fn turn(&mut self, batch: &mut Batch) -> Result<(), String> {
        self.fleet.turn(batch, PATIENCE).map_err(|error| error.to_string())?;
        self.collect(batch);
        Ok(())
    }

    /// Lets go of those that were welcomed, and counts the others.
    fn collect(&mut self, batch: &Batch) {
        for happening in &batch.happenings {
            let (wire, ending) = match happening {
                Happening::Opened { .. } => continue,
                Happening::Message { wire, tag, payload, .. } => {
                    let heard = hear(*tag, &batch.bytes[payload.clone()]);
                    self.fleet.drop_wire(*wire);
                    (wire, (heard != Heard::Welcome).then(|| "no welcome".to_owned()))
                }
                Happening::Ended { wire, ending, .. } => (wire, Some(format!("{ending:?}"))),
            };
            // Who is gone already has been counted, whatever else came with the welcome.
            let Some(since) = self.out.remove(wire) else {
                continue;
            };
            match ending {
                None => {
                    self.visits.welcomed += 1;
                    self.visits.times.note(since.elapsed());
                }
                Some(ending) => *self.visits.refused.entry(ending).or_default() += 1,
            }
        }
    }
}
