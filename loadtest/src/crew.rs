//! Simulated agents on threads of their own: they connect, wait, answer each call, and come back when told to.
//!
//! Owns the threads and what they let others see. What a thread does is in `shift`. A thread gets a private descriptor table when one
//! table cannot hold all agents.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::comeback::BackOff;
use crate::fd_table;
use crate::shift::Shift;
use crate::stop;
use crate::target::Target;
use crate::witness::Witness;

/// Stack of a thread of agents: there may be fifty, and none recurses.
const STACK_BYTES: usize = 256 * 1024;

/// Connections that all threads together open at a time; more would overflow the server's backlog.
const DIALS_MAX: u32 = 256;

/// Longest wait for one more agent while all come.
const STALL: Duration = Duration::from_secs(20);

/// What an agent does whose connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It stays away, and that counts as a fault.
    StayAway,
    /// It comes back, as agents should.
    ComeBack(BackOff),
}

/// What a crew is to do.
#[derive(Clone)]
pub struct Duty {
    /// Numbers of the agents.
    pub agents: Range<u32>,
    /// How long an agent thinks before it answers.
    pub delay: Duration,
    /// File that gets the number of each call before the call is answered.
    pub journal: Option<PathBuf>,
    /// What agents do whose connection has ended.
    pub afterwards: Afterwards,
    /// Agents from the beginning of `agents` that read nothing once they have been welcomed.
    pub deaf: u32,
    /// Who is told what agents see.
    pub witness: Option<Arc<Witness>>,
}

impl Duty {
    /// Agents that answer at once and stay away when their connection ends.
    pub fn of(agents: Range<u32>) -> Self {
        Self { agents, delay: Duration::ZERO, journal: None, afterwards: Afterwards::StayAway, deaf: 0, witness: None }
    }
}

/// What the threads and the rest of the process let each other see.
#[derive(Default)]
pub struct Board {
    /// Agents of the crew.
    size: u32,
    /// Agents that are welcomed and there.
    pub up: AtomicU32,
    /// Welcomes so far.
    pub welcomes: AtomicU64,
    /// Agents whose connection ended and that stay away.
    pub ended: AtomicU32,
    /// Connections that ended after their welcome, whoever ended them.
    pub fallen: AtomicU64,
    /// Attempts that came to nothing.
    pub failed: AtomicU64,
    /// Calls that agents took.
    pub taken: AtomicU64,
    /// Connections that are being opened.
    dialling: AtomicU32,
    /// Threads that have brought their agents in for the first time.
    filled: AtomicUsize,
    /// When the last agent was welcomed, and the longest time between two welcomes: microseconds since `began`.
    last_welcome_us: AtomicU64,
    gap_us: AtomicU64,
    /// How often all agents have been told to drop.
    pub drops: AtomicU32,
    /// Agents that reset and come back each second, of the whole crew.
    pub churn: AtomicU32,
    stop: AtomicBool,
}

impl Board {
    /// How many agents the crew has.
    pub fn size(&self) -> u32 {
        self.size.max(1)
    }

    /// Whether the crew is to stop.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || stop::asked()
    }

    /// Room for one more connection in progress, which whoever gets it gives back with [`Board::dialled`].
    pub fn may_dial(&self) -> bool {
        let took = self.dialling.fetch_add(1, Ordering::AcqRel) < DIALS_MAX;
        if !took {
            self.dialled();
        }
        took
    }

    /// A connection is no longer in progress.
    pub fn dialled(&self) {
        self.dialling.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether thread `place` may bring its agents in. As few as there are cores do at a time: they work in larger batches then.
    pub fn may_fill(&self, place: usize, cores: usize) -> bool {
        place < self.filled.load(Ordering::Acquire) + cores
    }

    /// A thread has brought its agents in.
    pub fn fill(&self) {
        self.filled.fetch_add(1, Ordering::AcqRel);
    }

    /// Somebody was welcomed, `us` after the crew began.
    pub fn welcome(&self, us: u64) {
        self.up.fetch_add(1, Ordering::AcqRel);
        self.welcomes.fetch_add(1, Ordering::AcqRel);
        let before = self.last_welcome_us.fetch_max(us, Ordering::AcqRel);
        if before > 0 {
            self.gap_us.fetch_max(us.saturating_sub(before), Ordering::AcqRel);
        }
    }
}

/// How often each agent was called.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    first: u32,
    counts: Vec<u16>,
}

impl Taken {
    /// Nobody was called yet.
    pub fn new(agents: &Range<u32>) -> Self {
        Self { first: agents.start, counts: vec![0; agents.len()] }
    }

    /// An agent takes a call.
    pub fn note(&mut self, agent: u32) {
        if let Some(count) = agent.checked_sub(self.first).and_then(|place| self.counts.get_mut(place as usize)) {
            *count = count.saturating_add(1);
        }
    }

    /// How many agents were not called exactly `times`.
    pub fn other_than(&self, times: u16) -> usize {
        self.counts.iter().filter(|count| **count != times).count()
    }
}

/// What a crew did, told at its end.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls taken; the counts end at 65,535.
    pub taken: Taken,
    /// Calls that were meant for another agent.
    pub strays: u64,
    /// Messages that were no envelope.
    pub nonsense: u64,
    /// Why connections ended, and how many.
    pub endings: BTreeMap<String, u32>,
}

/// Running threads of agents.
pub struct Crew {
    board: Arc<Board>,
    wanted: u32,
    threads: Vec<JoinHandle<Result<Log, String>>>,
}

impl Crew {
    /// Starts as many threads as the descriptors make necessary.
    ///
    /// # Errors
    /// The limits cannot be read, or no thread can be started.
    pub fn start(target: &Target, duty: &Duty) -> Result<Self, String> {
        let per_table = fd_table::connections_max().map_err(|error| error.to_string())?;
        if per_table == 0 {
            return Err("the hard limit of descriptors leaves no room for a connection (ulimit -Hn)".to_owned());
        }
        let step = u32::try_from(per_table).unwrap_or(u32::MAX);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let wanted = u32::try_from(duty.agents.len()).unwrap_or(u32::MAX);
        let board = Arc::new(Board { size: wanted, ..Board::default() });
        let mut threads = Vec::new();
        let mut first = duty.agents.start;
        // A crew that leaves half the table to the rest of this process can share it.
        let alone = duty.agents.len() <= per_table / 2;
        while first < duty.agents.end {
            let end = first.saturating_add(step).min(duty.agents.end);
            let (target, board) = (target.clone(), Arc::clone(&board));
            let deaf = duty.agents.start.saturating_add(duty.deaf).clamp(first, end) - first;
            let duty = Duty { agents: first..end, deaf, ..duty.clone() };
            let place = threads.len();
            let work = move || {
                if !alone {
                    fd_table::make_private().map_err(|error| error.to_string())?;
                }
                Shift::new(target, duty, &board)?.run(place, cores)
            };
            let name = format!("agents-{place}");
            let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work);
            threads.push(thread.map_err(|error| format!("no thread for agents: {error}"))?);
            first = end;
        }
        Ok(Self { board, wanted, threads })
    }

    /// Waits until each agent is there and welcomed.
    ///
    /// # Errors
    /// An agent stays away, nobody new has come for long, `limit` has passed, or the user has enough.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), String> {
        self.wait(limit, &mut |_| {})
    }

    /// The same; `watch` is told again and again how many are there.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, limit: Duration, watch: &mut dyn FnMut(u32)) -> Result<(), String> {
        let end = Instant::now() + limit;
        let (mut most, mut progress) = (0, Instant::now());
        loop {
            let up = self.up();
            if up > most {
                (most, progress) = (up, Instant::now());
            }
            let ended = self.ended();
            watch(up);
            if up == self.wanted && ended == 0 {
                return Ok(());
            }
            let dead = self.threads.iter().any(JoinHandle::is_finished);
            let stalled = progress.elapsed() > STALL;
            if ended > 0 || dead || stalled || Instant::now() > end || stop::asked() {
                return Err(format!(
                    "{up} of {} agents ready, {ended} ended, {} attempts failed{}",
                    self.wanted,
                    self.board.failed.load(Ordering::Acquire),
                    if dead { ", a thread stopped" } else { "" }
                ));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The same, for other threads.
    pub fn share(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// What the threads show.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Agents that are there.
    pub fn up(&self) -> u32 {
        self.board.up.load(Ordering::Acquire)
    }

    /// Calls taken so far.
    pub fn taken(&self) -> u64 {
        self.board.taken.load(Ordering::Acquire)
    }

    /// Agents whose connection has ended so far, and who stay away.
    pub fn ended(&self) -> u32 {
        self.board.ended.load(Ordering::Acquire)
    }

    /// The longest time between two welcomes.
    pub fn longest_gap(&self) -> Duration {
        Duration::from_micros(self.board.gap_us.load(Ordering::Acquire))
    }

    /// Tells all agents to reset their connections now. They come back as their duty says.
    pub fn drop_all(&self) {
        self.board.drops.fetch_add(1, Ordering::AcqRel);
    }

    /// From now on so many agents reset their connections each second.
    pub fn churn(&self, per_second: u32) {
        self.board.churn.store(per_second, Ordering::Release);
    }

    /// Ends all connections and tells what happened.
    ///
    /// # Errors
    /// A thread failed.
    pub fn stop(mut self) -> Result<Log, String> {
        self.board.stop.store(true, Ordering::Release);
        let mut all = Log::default();
        for (place, thread) in std::mem::take(&mut self.threads).into_iter().enumerate() {
            let log = thread.join().map_err(|_| "a thread of agents panicked".to_owned())??;
            if place == 0 {
                all.taken.first = log.taken.first;
            }
            all.taken.counts.extend(log.taken.counts);
            all.strays += log.strays;
            all.nonsense += log.nonsense;
            for (ending, count) in log.endings {
                *all.endings.entry(ending).or_default() += count;
            }
        }
        Ok(all)
    }
}

impl Drop for Crew {
    /// Nobody stays when nobody is left to tell them.
    fn drop(&mut self) {
        self.board.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // What a thread had to say has nobody to hear it.
            let _ = thread.join();
        }
    }
}
