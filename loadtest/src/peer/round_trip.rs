//! Messages that the server sends back to who sent them, and heartbeats that it answers; each answer is compared.

use std::time::Instant;

use super::crowd::{After, Crowd, PATIENCE, STALL};
use super::{Bounds, Choice, SMALL_BYTES};
use crate::bench::meter::{Meter, Run};
use crate::dialect::{self, Dialect, Heard};
use crate::latency::Latency;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A message of so many bytes, which comes back.
    Echo(usize),
    /// A heartbeat, which is answered.
    Ping,
}

/// What is out on each connection.
struct Out {
    numbers: Vec<Option<(u64, Instant)>>,
    next: usize,
    last_number: u64,
}

/// One run.
///
/// # Errors
/// A wrong answer, a connection that ended, a stall.
pub fn run(
    crowd: &mut Crowd,
    dialect: &dyn Dialect,
    probe: Probe,
    choice: Choice,
    bounds: Bounds,
) -> Result<Run, String> {
    let mut out = Out { numbers: vec![None; crowd.len()], next: 0, last_number: 0 };
    let mut latency = Latency::default();
    let (mut sent, mut done) = (0, 0);
    let meter = Meter::start(Some(bounds.server_pid))?;
    let mut progress = Instant::now();
    loop {
        let more = sent < bounds.operations && meter.elapsed() < bounds.time;
        if !more && sent == done {
            break;
        }
        while more && sent - done < bounds.in_flight && sent < bounds.operations {
            let Some(agent) = out.choose(choice) else {
                break;
            };
            send(crowd, dialect, probe, agent, &mut out);
            sent += 1;
        }
        let before = done;
        crowd.turn(PATIENCE, &mut |_, spoken| {
            let slot = out.numbers.get_mut(spoken.tag as usize).and_then(Option::take);
            let (number, since) = slot.ok_or("an answer that nobody waits for")?;
            let right = match (probe, spoken.heard) {
                (Probe::Echo(bytes), Heard::Message(message)) => message.body == body(number, bytes),
                (Probe::Ping, Heard::Pong) => true,
                _ => false,
            };
            if !right {
                return Err(format!("a wrong answer: {:?}", spoken.heard));
            }
            latency.note(since.elapsed());
            done += 1;
            Ok(After::Stay)
        })?;
        if done > before {
            progress = Instant::now();
        } else if progress.elapsed() > STALL {
            return Err(format!("{} answers are missing", sent - done));
        }
    }
    meter.stop(done, latency.percentiles())
}

impl Out {
    /// An agent with nothing out; `None` when the next one has.
    fn choose(&mut self, choice: Choice) -> Option<usize> {
        let count = self.numbers.len();
        match choice {
            Choice::Random => {
                // Few are out of many, so the first free one behind a random place is as good as random.
                let begin = fastrand::usize(0..count);
                (0..count).map(|step| (begin + step) % count).find(|at| self.numbers[*at].is_none())
            }
            Choice::InTurn => {
                let agent = self.next;
                self.numbers[agent].is_none().then(|| {
                    self.next = (agent + 1) % count;
                    agent
                })
            }
        }
    }
}

fn send(crowd: &mut Crowd, dialect: &dyn Dialect, probe: Probe, agent: usize, out: &mut Out) {
    out.last_number += 1;
    let number = out.last_number;
    out.numbers[agent] = Some((number, Instant::now()));
    let mut bytes = Vec::with_capacity(128);
    let opcode = match probe {
        Probe::Echo(length) => {
            dialect.echo(agent as u32, &body(number, length), &mut bytes);
            dialect::data()
        }
        Probe::Ping => dialect.ping(&mut bytes),
    };
    crowd.send(crowd.wire(agent), opcode, &bytes);
}

/// A message that no other one equals; at least [`SMALL_BYTES`] long.
fn body(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![b'.'; length.max(SMALL_BYTES)];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
