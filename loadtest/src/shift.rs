//! The work of one thread of agents: dial, hear, answer, reset, come back.
//!
//! Owns the agents of one descriptor table. At rest an agent is a [`crate::wire::Wire`] and a count of its calls, nothing else.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::OpCode;

use crate::comeback::Comebacks;
use crate::crew::{Afterwards, Board, Duty, Log, Taken};
use crate::fleet::{Batch, Dial, Fleet, Happening};
use crate::question::{Heard, hear};
use crate::source::Window;
use crate::target::Target;
use crate::wire::Ending;

/// How long a turn waits for something to happen while agents come, and while they rest.
const PATIENCE: Duration = Duration::from_millis(10);
const PATIENCE_AT_REST: Duration = Duration::from_millis(50);

/// The mark of a connection that has been welcomed; all lower ones count failed attempts.
const WELCOMED: u8 = u8::MAX;

/// A reply that waits for its time.
struct Reply {
    due: Instant,
    wire: usize,
    tag: u32,
    number: Option<u64>,
    text: String,
}

/// The agents of one thread.
pub struct Shift<'a> {
    target: Target,
    duty: Duty,
    board: &'a Board,
    fleet: Fleet,
    to_dial: Range<u32>,
    away: Comebacks,
    journal: Option<File>,
    replies: VecDeque<Reply>,
    request: String,
    log: Log,
    began: Instant,
    drops: u32,
    churned: u64,
    churn_from: Instant,
}

impl<'a> Shift<'a> {
    /// Prepares the agents of `duty`; nobody comes yet.
    ///
    /// # Errors
    /// No descriptor is left, or the journal cannot be written.
    pub fn new(target: Target, duty: Duty, board: &'a Board) -> Result<Self, String> {
        let open = |path: &PathBuf| {
            File::options().create(true).append(true).open(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.secure(target.tls.clone());
        fleet.reserve(duty.agents.len());
        Ok(Self {
            target,
            board,
            fleet,
            to_dial: duty.agents.clone(),
            away: Comebacks::default(),
            journal: duty.journal.as_ref().map(open).transpose()?,
            replies: VecDeque::new(),
            request: String::new(),
            log: Log { taken: Taken::new(&duty.agents), ..Log::default() },
            duty,
            began: Instant::now(),
            drops: board.drops.load(Ordering::Acquire),
            churned: 0,
            churn_from: Instant::now(),
        })
    }

    /// Works until the board says stop. This is thread `place` of its crew.
    ///
    /// # Errors
    /// The kernel gives no socket, or the journal cannot be written.
    pub fn run(mut self, place: usize, cores: usize) -> Result<Log, String> {
        let mut batch = Batch::default();
        let mut filling = true;
        while !self.board.is_over() {
            self.obey();
            self.dial(self.board.may_fill(place, cores))?;
            self.fleet.turn(&mut batch, self.patience()).map_err(|error| error.to_string())?;
            for happening in &batch.happenings {
                self.note(happening, &batch.bytes)?;
            }
            self.answer();
            if filling && self.to_dial.is_empty() && self.fleet.count() >= self.duty.agents.len() {
                filling = false;
                self.board.fill();
            }
        }
        Ok(self.log)
    }

    fn patience(&self) -> Duration {
        let usual = if self.to_dial.is_empty() { PATIENCE_AT_REST } else { PATIENCE };
        let reply = self.replies.front().map_or(usual, |reply| reply.due.saturating_duration_since(Instant::now()));
        let comeback =
            self.away.next_ms().map_or(usual, |due| Duration::from_millis(due.saturating_sub(self.now_ms())));
        // Who is due and found no room to dial waits a moment, since room does not wake anybody.
        usual.min(reply).min(comeback.max(Duration::from_millis(1)))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does what the board asks for: all agents reset, or some each second.
    fn obey(&mut self) {
        let drops = self.board.drops.load(Ordering::Acquire);
        if drops != self.drops {
            self.drops = drops;
            let all: Vec<(usize, u32, u8)> = self.fleet.each().filter(|(.., mark)| *mark == WELCOMED).collect();
            for (wire, agent, _) in all {
                self.reset(wire, agent);
            }
        }
        let crew = self.board.churn.load(Ordering::Relaxed);
        if crew == 0 {
            (self.churn_from, self.churned) = (Instant::now(), 0);
            return;
        }
        let share = f64::from(crew) * self.duty.agents.len() as f64 / f64::from(self.board.size());
        let due = (share * self.churn_from.elapsed().as_secs_f64()) as u64;
        while self.churned < due {
            self.churned += 1;
            if let Some((wire, agent, WELCOMED)) = self.fleet.any() {
                self.reset(wire, agent);
            }
        }
    }

    /// Resets a welcomed agent's connection.
    fn reset(&mut self, wire: usize, agent: u32) {
        if let Some(witness) = &self.duty.witness {
            witness.down(agent);
        }
        self.board.up.fetch_sub(1, Ordering::AcqRel);
        self.board.fallen.fetch_add(1, Ordering::AcqRel);
        self.fleet.drop_wire(wire);
        self.away_with(agent, 0);
    }

    /// An agent is away after so many failed attempts.
    fn away_with(&mut self, agent: u32, failed: u8) {
        match self.duty.afterwards {
            Afterwards::StayAway => {
                self.board.ended.fetch_add(1, Ordering::AcqRel);
            }
            Afterwards::ComeBack(back_off) => {
                let pause = back_off.pause(failed, fastrand::u32(..));
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.away.push(self.now_ms().saturating_add(pause_ms), agent, failed);
            }
        }
    }

    fn dial(&mut self, may_fill: bool) -> Result<(), String> {
        let now_ms = self.now_ms();
        while self.board.may_dial() {
            let next = self.away.pop(now_ms).or_else(|| {
                let fresh = if may_fill { self.to_dial.next() } else { None };
                fresh.map(|agent| (agent, 0))
            });
            let Some((agent, failed)) = next else {
                self.board.dialled();
                break;
            };
            self.target.agent_request(agent, &mut self.request);
            let window = if self.is_deaf(agent) { Window::Narrow } else { Window::Usual };
            let dial = Dial { target: self.target.listen, tag: agent, mark: failed, window };
            let begun = self.fleet.dial_as(dial, self.request.as_bytes());
            begun.map_err(|error| format!("agent {agent}: {error}"))?;
        }
        Ok(())
    }

    fn is_deaf(&self, agent: u32) -> bool {
        agent - self.duty.agents.start < self.duty.deaf
    }

    fn note(&mut self, happening: &Happening, bytes: &[u8]) -> Result<(), String> {
        match happening {
            Happening::Opened { .. } => {}
            Happening::Message { wire, tag, payload, .. } => self.hear(*wire, *tag, &bytes[payload.clone()])?,
            Happening::Ended { tag, mark, ending, .. } => self.end(*tag, *mark, *ending),
        }
        Ok(())
    }

    /// A connection has ended, and we did not end it.
    fn end(&mut self, agent: u32, mark: u8, ending: Ending) {
        *self.log.endings.entry(format!("{ending:?}")).or_default() += 1;
        let failed = match mark {
            WELCOMED => {
                if let Some(witness) = &self.duty.witness {
                    witness.down(agent);
                }
                self.board.up.fetch_sub(1, Ordering::AcqRel);
                self.board.fallen.fetch_add(1, Ordering::AcqRel);
                0
            }
            failed => {
                self.board.dialled();
                self.board.failed.fetch_add(1, Ordering::AcqRel);
                (failed + 1).min(WELCOMED - 1)
            }
        };
        if ending.is_final() {
            self.board.ended.fetch_add(1, Ordering::AcqRel);
        } else {
            self.away_with(agent, failed);
        }
    }

    fn hear(&mut self, wire: usize, tag: u32, message: &[u8]) -> Result<(), String> {
        match hear(tag, message) {
            Heard::Welcome => self.welcome(wire, tag),
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
                if let (Some(number), Some(witness)) = (number, &self.duty.witness) {
                    witness.see(number);
                }
                self.log.taken.note(tag);
                self.board.taken.fetch_add(1, Ordering::AcqRel);
                let reply = Reply { due: Instant::now() + self.duty.delay, wire, tag, number, text: reply };
                if self.duty.delay.is_zero() {
                    self.send(&reply);
                } else {
                    self.replies.push_back(reply);
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, wire: usize, agent: u32) {
        self.fleet.mark(wire, WELCOMED);
        self.board.dialled();
        self.board.welcome(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX));
        if let Some(witness) = &self.duty.witness {
            witness.up(agent);
        }
        if self.is_deaf(agent) {
            self.fleet.deafen(wire);
        }
    }

    /// Sends the replies that are due. The delay is the same for all, so the oldest is due first.
    fn answer(&mut self) {
        if self.replies.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.replies.front().is_some_and(|reply| reply.due <= now) {
            if let Some(reply) = self.replies.pop_front()
                && self.fleet.tag(reply.wire) == Some(reply.tag)
            {
                self.send(&reply);
            }
        }
    }

    fn send(&mut self, reply: &Reply) {
        if let (Some(number), Some(witness)) = (reply.number, &self.duty.witness) {
            witness.answer(number);
        }
        self.fleet.send(reply.wire, OpCode::from(1), reply.text.as_bytes());
    }
}
