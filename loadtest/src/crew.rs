//! Simulated agents on threads of their own: they connect, wait, and answer each call.
//!
//! Owns the threads. A thread gets a private descriptor table when one table cannot hold all agents.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::OpCode;

use crate::fd_table;
use crate::fleet::{Batch, Fleet, Happening};
use crate::link::Ending;
use crate::question::{Heard, hear};
use crate::target::Target;

/// Connections that one thread opens at a time; more would overflow the server's backlog.
const DIALS_MAX: usize = 128;

/// How long a turn waits for something to happen.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a crew is to do.
#[derive(Clone, Debug)]
pub struct Duty {
    /// Numbers of the agents.
    pub agents: Range<u32>,
    /// How long an agent thinks before it answers.
    pub delay: Duration,
    /// File that gets the number of each call before the call is answered.
    pub journal: Option<PathBuf>,
}

/// What the threads let others see while they run.
#[derive(Default)]
struct Board {
    ready: AtomicU32,
    ended: AtomicU32,
    taken: AtomicU64,
    stop: AtomicBool,
}

/// What a crew did, told at its end.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Calls taken, by agent.
    pub taken: BTreeMap<u32, u32>,
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
    /// The limits cannot be read.
    pub fn start(target: &Target, duty: &Duty) -> Result<Self, String> {
        let per_table = fd_table::connections_max().map_err(|error| error.to_string())?;
        let step = u32::try_from(per_table).unwrap_or(u32::MAX).max(1);
        let board = Arc::new(Board::default());
        let mut threads = Vec::new();
        let mut first = duty.agents.start;
        // A crew that leaves half the table to the rest of this process can share it.
        let alone = duty.agents.len() <= per_table / 2;
        while first < duty.agents.end {
            let end = first.saturating_add(step).min(duty.agents.end);
            let (target, board) = (target.clone(), Arc::clone(&board));
            let duty = Duty { agents: first..end, ..duty.clone() };
            threads.push(thread::spawn(move || {
                if !alone {
                    fd_table::make_private().map_err(|error| error.to_string())?;
                }
                Shift::new(&target, duty, &board)?.run()
            }));
            first = end;
        }
        Ok(Self { board, wanted: u32::try_from(duty.agents.len()).unwrap_or(u32::MAX), threads })
    }

    /// Waits until each agent has been welcomed.
    ///
    /// # Errors
    /// An agent's connection ended, or `limit` has passed.
    pub fn wait_ready(&self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            let ready = self.board.ready.load(Ordering::Acquire);
            let ended = self.board.ended.load(Ordering::Acquire);
            if ready == self.wanted && ended == 0 {
                return Ok(());
            }
            let dead = self.threads.iter().any(JoinHandle::is_finished);
            if ended > 0 || dead || Instant::now() > end {
                return Err(format!(
                    "{ready} of {} agents ready, {ended} ended{}",
                    self.wanted,
                    if dead { ", a thread stopped" } else { "" }
                ));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Calls taken so far.
    pub fn taken(&self) -> u64 {
        self.board.taken.load(Ordering::Acquire)
    }

    /// Connections that have ended so far.
    pub fn ended(&self) -> u32 {
        self.board.ended.load(Ordering::Acquire)
    }

    /// Ends all connections and tells what happened.
    ///
    /// # Errors
    /// A thread failed.
    pub fn stop(self) -> Result<Log, String> {
        self.board.stop.store(true, Ordering::Release);
        let mut all = Log::default();
        for thread in self.threads {
            let log = thread.join().map_err(|_| "a thread of agents panicked".to_owned())??;
            all.taken.extend(log.taken);
            all.strays += log.strays;
            all.nonsense += log.nonsense;
            for (ending, count) in log.endings {
                *all.endings.entry(ending).or_default() += count;
            }
        }
        Ok(all)
    }
}

/// A reply that waits for its time.
struct Reply {
    due: Instant,
    link: usize,
    tag: u32,
    text: String,
}

/// The work of one thread.
struct Shift<'a> {
    target: &'a Target,
    board: &'a Board,
    fleet: Fleet,
    to_dial: Range<u32>,
    dialling: usize,
    delay: Duration,
    journal: Option<File>,
    replies: VecDeque<Reply>,
    log: Log,
}

impl<'a> Shift<'a> {
    fn new(target: &'a Target, duty: Duty, board: &'a Board) -> Result<Self, String> {
        let open = |path: PathBuf| {
            File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|error| format!("{}: {error}", path.display()))
        };
        Ok(Self {
            target,
            board,
            fleet: Fleet::new().map_err(|error| error.to_string())?,
            to_dial: duty.agents,
            dialling: 0,
            delay: duty.delay,
            journal: duty.journal.map(open).transpose()?,
            replies: VecDeque::new(),
            log: Log::default(),
        })
    }

    fn run(mut self) -> Result<Log, String> {
        let mut batch = Batch::default();
        while !self.board.stop.load(Ordering::Acquire) {
            self.dial()?;
            let patience = self
                .replies
                .front()
                .map_or(PATIENCE, |reply| PATIENCE.min(reply.due.saturating_duration_since(Instant::now())));
            self.fleet.turn(&mut batch, patience).map_err(|error| error.to_string())?;
            for happening in &batch.happenings {
                self.note(happening, &batch.bytes)?;
            }
            self.answer();
        }
        Ok(self.log)
    }

    fn dial(&mut self) -> Result<(), String> {
        while self.dialling < DIALS_MAX {
            let Some(agent) = self.to_dial.next() else {
                break;
            };
            let request = self.target.agent_request(agent)?;
            self.fleet.dial(self.target.listen, agent, request).map_err(|error| format!("agent {agent}: {error}"))?;
            self.dialling += 1;
        }
        Ok(())
    }

    fn note(&mut self, happening: &Happening, bytes: &[u8]) -> Result<(), String> {
        match happening {
            Happening::Opened { .. } => self.dialling -= 1,
            Happening::Message { link, tag, payload, .. } => self.hear(*link, *tag, &bytes[payload.clone()])?,
            Happening::Ended { ending, .. } => {
                if matches!(ending, Ending::Unreachable | Ending::Refused(_)) {
                    self.dialling -= 1;
                }
                let name = format!("{ending:?}");
                *self.log.endings.entry(name).or_default() += 1;
                self.board.ended.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn hear(&mut self, link: usize, tag: u32, message: &[u8]) -> Result<(), String> {
        match hear(tag, message) {
            Heard::Welcome => {
                self.board.ready.fetch_add(1, Ordering::AcqRel);
            }
            Heard::Notice => {}
            Heard::Nonsense => self.log.nonsense += 1,
            Heard::Call { number, reply } => {
                match (number, &mut self.journal) {
                    (None, _) => self.log.strays += 1,
                    // Written before the answer leaves, so that a kill cannot hide a call that ran.
                    (Some(number), Some(journal)) => {
                        writeln!(journal, "{number}").map_err(|error| format!("journal: {error}"))?
                    }
                    (Some(_), None) => {}
                }
                *self.log.taken.entry(tag).or_default() += 1;
                self.board.taken.fetch_add(1, Ordering::AcqRel);
                self.replies.push_back(Reply { due: Instant::now() + self.delay, link, tag, text: reply });
            }
        }
        Ok(())
    }

    /// Sends the replies that are due. The delay is the same for all, so the oldest is due first.
    fn answer(&mut self) {
        let now = Instant::now();
        while self.replies.front().is_some_and(|reply| reply.due <= now) {
            if let Some(reply) = self.replies.pop_front()
                && self.fleet.tag(reply.link) == Some(reply.tag)
            {
                self.fleet.send(reply.link, OpCode::from(1), reply.text.as_bytes());
            }
        }
    }
}
