//! Small messages, or pings, to random ones of many connections; each answer is compared.

use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::OpCode;

use super::Bounds;
use super::meter::{Meter, Run};
use crate::fleet::{Batch, Fleet, Happening};
use crate::latency::Latency;
use crate::target::Target;

/// Bytes of a message.
const MESSAGE_BYTES: usize = 32;

/// Connections that are opened at a time; more would overflow the server's backlog.
const DIALS_MAX: usize = 128;

/// Longest wait for one more connection, or for answers that are still out.
const STALL: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A binary message, which comes back as one.
    Message,
    /// A ping, which comes back as a pong.
    Ping,
}

impl Probe {
    /// Opcode on the way there, and on the way back.
    fn opcodes(self) -> (OpCode, OpCode) {
        match self {
            Self::Message => (OpCode::from(2), OpCode::from(2)),
            Self::Ping => (OpCode::from(9), OpCode::from(10)),
        }
    }
}

/// Open connections; `slots[tag]` is what is out on one.
pub struct Echo {
    fleet: Fleet,
    batch: Batch,
    slots: Vec<Slot>,
    number: u64,
}

#[derive(Clone, Copy)]
struct Slot {
    wire: usize,
    out: Option<(u64, Instant)>,
}

impl Echo {
    /// Connects.
    ///
    /// # Errors
    /// A connection was refused or ended, or no more come.
    pub fn open(target: &Target, path: &str, connections: u32) -> Result<Self, String> {
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.secure(target.tls.clone());
        let mut all = Self { fleet, batch: Batch::default(), slots: Vec::new(), number: 0 };
        let (mut begun, mut open) = (0, 0);
        let mut progress = Instant::now();
        while open < connections {
            while begun < connections && begun - open < DIALS_MAX as u32 {
                let wire = all
                    .fleet
                    .dial(target.listen, begun, &target.plain_request(path))
                    .map_err(|error| format!("connection {begun}: {error}"))?;
                all.slots.push(Slot { wire, out: None });
                begun += 1;
            }
            all.turn()?;
            for happening in &all.batch.happenings {
                match happening {
                    Happening::Opened { .. } => open += 1,
                    Happening::Message { .. } => return Err("a message unasked".to_owned()),
                    Happening::Ended { ending, .. } => return Err(format!("{path}: {ending:?}")),
                }
                progress = Instant::now();
            }
            if progress.elapsed() > STALL {
                return Err(format!("{open} of {connections} connections stand"));
            }
        }
        Ok(all)
    }

    /// One run.
    ///
    /// # Errors
    /// A wrong answer, a connection that ended, a stall.
    pub fn run(&mut self, probe: Probe, bounds: Bounds) -> Result<Run, String> {
        let mut latency = Latency::default();
        let (mut sent, mut done) = (0, 0);
        let meter = Meter::start(bounds.server_pid)?;
        let mut progress = Instant::now();
        loop {
            let more = sent < bounds.operations && meter.elapsed() < bounds.time;
            if !more && sent == done {
                break;
            }
            while more && sent - done < bounds.in_flight as u64 && sent < bounds.operations {
                self.send(probe)?;
                sent += 1;
            }
            self.turn()?;
            let ended = self.collect(probe, &mut latency)?;
            if ended > 0 {
                done += ended;
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(format!("{} answers are missing", sent - done));
            }
        }
        meter.stop(done, latency.percentiles())
    }

    /// Sends on a random connection that has nothing out.
    fn send(&mut self, probe: Probe) -> Result<(), String> {
        // Few are out of many, so the first free one behind a random place is as good as random.
        let begin = fastrand::usize(0..self.slots.len());
        let count = self.slots.len();
        let free = (0..count)
            .map(|step| (begin + step) % count)
            .find(|at| self.slots[*at].out.is_none())
            .ok_or("more in flight than connections")?;
        self.number += 1;
        let slot = &mut self.slots[free];
        slot.out = Some((self.number, Instant::now()));
        let wire = slot.wire;
        self.fleet.send(wire, probe.opcodes().0, &payload(self.number));
        Ok(())
    }

    /// Compares what came; returns how many answers.
    fn collect(&mut self, probe: Probe, latency: &mut Latency) -> Result<u64, String> {
        let mut answers = 0;
        for happening in &self.batch.happenings {
            match happening {
                Happening::Message { tag, opcode, payload: range, .. } => {
                    let (number, since) =
                        self.slots[*tag as usize].out.take().ok_or("an answer that nobody waits for")?;
                    if *opcode != probe.opcodes().1 || self.batch.bytes[range.clone()] != payload(number) {
                        return Err("a wrong answer".to_owned());
                    }
                    latency.note(since.elapsed());
                    answers += 1;
                }
                Happening::Ended { ending, .. } => return Err(format!("ended: {ending:?}")),
                Happening::Opened { .. } => {}
            }
        }
        Ok(answers)
    }

    fn turn(&mut self) -> Result<(), String> {
        self.fleet.turn(&mut self.batch, Duration::from_millis(20)).map_err(|error| error.to_string())
    }
}

/// A message that no other one equals.
fn payload(number: u64) -> [u8; MESSAGE_BYTES] {
    let mut bytes = [b'.'; MESSAGE_BYTES];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
