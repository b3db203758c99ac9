//! Connections of one server in one dialect: they come in, log in, and what they hear is told to a driver.
//!
//! Owns the joining of cut messages, and the answers to heartbeats. What a message means is the driver's affair.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::net::tls::client::Client;
use tungstenite::protocol::frame::coding::OpCode;

use crate::dialect::{self, Dialect, Heard, Opening, Role};
use crate::fleet::{Batch, Fleet, Happening};

/// Connections that are opened at a time; more would overflow the server's backlog.
const DIALS_MAX: usize = 128;

/// Longest wait for a sign of progress.
pub const STALL: Duration = Duration::from_secs(30);

/// How long a turn waits for something to happen.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// The tag of the connection that asks; agents have smaller ones.
pub const BACKEND: u32 = u32::MAX;

/// What a connection heard.
#[derive(Debug)]
pub struct Spoken<'a> {
    /// The connection.
    pub wire: usize,
    /// The number of its agent, or [`BACKEND`].
    pub tag: u32,
    /// What was said.
    pub heard: Heard<'a>,
}

/// What becomes of a connection once it has heard something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays.
    Stay,
    /// Its TCP is reset.
    Leave,
}

/// Hears what a crowd is told; it may send.
pub type Listener<'a> = &'a mut dyn FnMut(&mut Fleet, &Spoken) -> Result<After, String>;

/// Where a crowd goes in.
#[derive(Clone, Debug)]
pub struct Door {
    /// The server's address.
    pub listen: SocketAddr,
    /// Settings of TLS, where the server speaks it.
    pub tls: Option<Arc<Client>>,
}

/// Connections to one server.
pub struct Crowd<'a> {
    dialect: &'a dyn Dialect,
    listen: SocketAddr,
    fleet: Fleet,
    batch: Batch,
    /// Connections of agents 0, 1, 2…
    wires: Vec<usize>,
    /// Those that are not yet logged in.
    entering: HashSet<usize>,
    /// Messages that have not come whole.
    cut: HashMap<usize, Vec<u8>>,
    out: Vec<u8>,
}

impl<'a> Crowd<'a> {
    /// Nobody.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(dialect: &'a dyn Dialect, door: &Door) -> Result<Self, String> {
        let mut fleet = Fleet::new().map_err(|error| error.to_string())?;
        fleet.secure(door.tls.clone());
        Ok(Self {
            dialect,
            listen: door.listen,
            fleet,
            batch: Batch::default(),
            wires: Vec::new(),
            entering: HashSet::new(),
            cut: HashMap::new(),
            out: Vec::new(),
        })
    }

    /// Agents 0 up to `count`, all of which are logged in.
    ///
    /// # Errors
    /// One was refused or ended, or no more come.
    pub fn gather(dialect: &'a dyn Dialect, door: &Door, count: u32) -> Result<Self, String> {
        let mut all = Self::new(dialect, door)?;
        let mut progress = Instant::now();
        while all.wires.len() < count as usize || !all.entering.is_empty() {
            while all.wires.len() < count as usize && all.entering.len() < DIALS_MAX {
                let agent = all.wires.len() as u32;
                let wire = all.dial(agent, dialect.upgrade(agent)?)?;
                all.wires.push(wire);
            }
            let waiting = all.entering.len();
            all.turn(PATIENCE, &mut unasked)?;
            if all.entering.len() < waiting {
                progress = Instant::now();
            } else if progress.elapsed() > STALL {
                return Err(format!("{} connections begun, {waiting} of them not logged in", all.wires.len()));
            }
        }
        Ok(all)
    }

    /// One more connection, which listens for replies.
    ///
    /// # Errors
    /// It was refused.
    pub fn join_backend(&mut self) -> Result<usize, String> {
        let wire = self.dial(BACKEND, self.dialect.upgrade(BACKEND)?)?;
        let begin = Instant::now();
        while self.entering.contains(&wire) {
            self.turn(PATIENCE, &mut unasked)?;
            if begin.elapsed() > STALL {
                return Err("the backend is not logged in".to_owned());
            }
        }
        Ok(wire)
    }

    /// Begins one connection, whose login is done when [`Heard::Ready`] is told.
    ///
    /// # Errors
    /// No descriptor or port is left.
    pub fn dial(&mut self, tag: u32, request: Vec<u8>) -> Result<usize, String> {
        let wire = self.fleet.dial(self.listen, tag, &request).map_err(|error| format!("connection {tag}: {error}"))?;
        self.entering.insert(wire);
        Ok(wire)
    }

    /// How many agents there are.
    pub fn len(&self) -> usize {
        self.wires.len()
    }

    /// The connection of an agent.
    pub fn wire(&self, agent: usize) -> usize {
        self.wires[agent]
    }

    /// Sends data in the crowd's dialect; the caller has composed it.
    pub fn send(&mut self, wire: usize, opcode: OpCode, bytes: &[u8]) {
        self.fleet.send(wire, opcode, bytes);
    }

    /// Waits for at most `patience`, and tells what came.
    ///
    /// # Errors
    /// A connection ended, the server broke the dialect, or the listener says so.
    pub fn turn(&mut self, patience: Duration, listener: Listener) -> Result<(), String> {
        self.fleet.turn(&mut self.batch, patience).map_err(|error| error.to_string())?;
        let batch = std::mem::take(&mut self.batch);
        for happening in &batch.happenings {
            match happening {
                Happening::Opened { wire, tag } => match self.dialect.opening() {
                    Opening::Ready => self.tell(*wire, *tag, Heard::Ready, listener)?,
                    Opening::Login => self.log_in(*wire, *tag),
                    Opening::Wait => {}
                },
                Happening::Message { wire, tag, opcode, payload } => {
                    self.read(*wire, *tag, *opcode, &batch.bytes[payload.clone()], listener)?;
                }
                Happening::Ended { wire, ending, .. } => return Err(format!("connection {wire} ended: {ending:?}")),
            }
        }
        self.batch = batch;
        Ok(())
    }

    /// Waits for a while and answers heartbeats.
    ///
    /// # Errors
    /// A connection ended, or a message came unasked.
    pub fn rest(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(left, &mut unasked)?;
        }
        Ok(())
    }

    /// Resets one connection that is no agent's.
    pub fn drop_wire(&mut self, wire: usize) {
        self.fleet.drop_wire(wire);
        self.cut.remove(&wire);
    }

    /// Resets all connections, so that the kernel keeps nothing of them.
    pub fn dismiss(mut self) {
        for wire in std::mem::take(&mut self.wires) {
            self.fleet.drop_wire(wire);
        }
    }

    /// Reads the whole messages of the dialect in `bytes` and what was kept before them.
    fn read(&mut self, wire: usize, tag: u32, opcode: OpCode, bytes: &[u8], listener: Listener) -> Result<(), String> {
        let kept = self.cut.remove(&wire).map(|mut kept| {
            kept.extend_from_slice(bytes);
            kept
        });
        let bytes = kept.as_deref().unwrap_or(bytes);
        let mut at = 0;
        // An empty message may say something (a pong), an empty rest does not.
        while at < bytes.len() || bytes.is_empty() {
            let Some((heard, used)) = self.dialect.read(opcode, &bytes[at..])? else {
                self.cut.insert(wire, bytes[at..].to_vec());
                break;
            };
            self.tell(wire, tag, heard, listener)?;
            at += used;
            if used == 0 {
                break;
            }
        }
        Ok(())
    }

    fn tell(&mut self, wire: usize, tag: u32, heard: Heard, listener: Listener) -> Result<(), String> {
        // It may have left earlier in the same turn.
        if self.fleet.tag(wire) != Some(tag) {
            return Ok(());
        }
        let heard = match heard {
            Heard::Greeting => {
                self.log_in(wire, tag);
                return Ok(());
            }
            Heard::Ping => {
                self.out.clear();
                self.dialect.pong(&mut self.out);
                self.fleet.send(wire, dialect::data(), &self.out);
                return Ok(());
            }
            Heard::Notice => return Ok(()),
            Heard::Ready | Heard::Pong if self.entering.remove(&wire) => Heard::Ready,
            other => other,
        };
        if listener(&mut self.fleet, &Spoken { wire, tag, heard })? == After::Leave {
            self.drop_wire(wire);
        }
        Ok(())
    }

    fn log_in(&mut self, wire: usize, tag: u32) {
        let role = if tag == BACKEND { Role::Backend } else { Role::Agent(tag) };
        self.out.clear();
        self.dialect.login(role, &mut self.out);
        self.fleet.send(wire, dialect::data(), &self.out);
    }
}

/// The listener of a crowd that waits for nothing but logins.
fn unasked(_fleet: &mut Fleet, spoken: &Spoken) -> Result<After, String> {
    match spoken.heard {
        Heard::Ready => Ok(After::Stay),
        _ => Err(format!("connection of {} hears unasked: {:?}", spoken.tag, spoken.heard)),
    }
}
