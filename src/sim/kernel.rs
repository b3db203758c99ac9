//! The simulated system: virtual time, listeners, sockets, and what epoll would tell of them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Arguments;
use std::hash::Hasher;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use rustls::ClientConfig;

use crate::net::io::{Ready, Token, Watch};
use crate::session::rules::Door;

use super::faults::Odds;
use super::secure::PeerTls;
use super::socket::{Piece, Socket};

/// Index of a socket in the kernel's table; never used twice.
pub(super) type SocketId = usize;

/// More reads than this in one turn, all of them for nothing, are a loop that spins.
const VAIN_READS_MAX: u32 = 4;

/// What one loop's epoll knows beside its sockets.
pub(super) struct Place {
    /// By door.
    backlogs: [VecDeque<SocketId>; 2],
    pub(super) listening: bool,
    noted: bool,
    pub(super) woken: Arc<AtomicBool>,
    /// Sockets that the loop watches, by slot and generation.
    watched: BTreeMap<(u32, u32), SocketId>,
    /// All that it ever watched.
    ever: BTreeMap<(u32, u32), SocketId>,
    stale: Vec<Ready>,
}

/// How a run is told.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Trace {
    Quiet,
    Printed,
}

/// The system.
pub(super) struct Kernel {
    pub(super) now: u64,
    /// How long each turn of a loop takes, by the wall.
    pub(super) turn: Duration,
    /// What the clock on the wall said when `now` was 0, in seconds since the UNIX epoch, as it is set now.
    pub(super) wall_began: u64,
    pub(super) odds: Odds,
    pub(super) rng: Rng,
    pub(super) sockets: Vec<Socket>,
    pub(super) doors: Vec<Place>,
    /// Whether peers come with a balancer's header, by door.
    pub(super) proxied: [bool; 2],
    /// How peers speak TLS, by door, where they do.
    pub(super) secured: [Option<Arc<ClientConfig>>; 2],
    /// Counts what moved: a turn that leaves it as it was did nothing.
    pub(super) progress: u64,
    trace: Trace,
    digest: std::collections::hash_map::DefaultHasher,
}

fn key(token: Token) -> (u32, u32) {
    (token.slot, token.generation)
}

impl Kernel {
    pub(super) fn new(rng: Rng, odds: Odds, doors: usize, trace: Trace) -> Self {
        let door = |_| Place {
            backlogs: Default::default(),
            listening: true,
            noted: false,
            woken: Arc::new(AtomicBool::new(false)),
            watched: BTreeMap::new(),
            ever: BTreeMap::new(),
            stale: Vec::new(),
        };
        Self {
            now: 0,
            turn: Duration::ZERO,
            wall_began: 0,
            odds,
            rng,
            sockets: Vec::new(),
            doors: (0..doors).map(door).collect(),
            proxied: [false; 2],
            secured: [None, None],
            progress: 0,
            trace,
            digest: std::collections::hash_map::DefaultHasher::new(),
        }
    }

    /// Notes a step: printed when the run is traced, and always part of the run's digest.
    pub(super) fn note(&mut self, words: Arguments<'_>) {
        let line = words.to_string();
        self.digest.write(line.as_bytes());
        if self.trace == Trace::Printed {
            println!("{:>7} {line}", self.now);
        }
    }

    /// A number that equal runs share.
    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(super) fn chance(&mut self, odds: f64) -> bool {
        odds > 0.0 && self.rng.f64() < odds
    }

    /// The socket that a loop calls, or once called, so.
    pub(super) fn socket_of(&self, door: usize, slot: u32, generation: u32) -> Option<SocketId> {
        self.doors[door].ever.get(&(slot, generation)).copied()
    }

    /// A client connects; `None` when nobody listens.
    pub(super) fn connect(&mut self, door: usize, at: Door) -> Option<SocketId> {
        if !self.doors[door].listening {
            return None;
        }
        let id = self.sockets.len();
        let (arrived_max, leaving_max) = (self.rng.usize(200..8000), self.rng.usize(300..6000));
        let mut socket = Socket::new(door, arrived_max, leaving_max);
        let (config, proxied) = (&self.secured[at as usize], self.proxied[at as usize]);
        socket.tls = config.as_ref().map(|config| Box::new(PeerTls::new(config, proxied)));
        self.sockets.push(socket);
        self.doors[door].backlogs[at as usize].push_back(id);
        self.doors[door].noted = true;
        Some(id)
    }

    /// A client sends; pieces stay in order, each with a delay of its own.
    pub(super) fn send(&mut self, id: SocketId, piece: Piece) {
        let rng = &mut self.rng;
        let wire = self.sockets[id].tls.as_mut().and_then(|tls| match &piece {
            Piece::Bytes(bytes) => Some(tls.say(&bytes.iter().copied().collect::<Vec<u8>>(), rng)),
            // Half of those who end their side say so.
            Piece::Fin if rng.bool() => Some(tls.end()),
            Piece::Fin | Piece::Reset => None,
        });
        match (wire, piece) {
            (None, piece) => self.send_wire(id, piece),
            (Some(wire), Piece::Bytes(_)) => self.send_wire(id, Piece::Bytes(wire.into())),
            (Some(wire), end) => {
                self.send_wire(id, Piece::Bytes(wire.into()));
                self.send_wire(id, end);
            }
        }
    }

    fn send_wire(&mut self, id: SocketId, piece: Piece) {
        let mut pieces = Vec::new();
        match piece {
            Piece::Bytes(mut bytes) if self.chance(self.odds.cut) => {
                while !bytes.is_empty() {
                    let most = if self.rng.bool() { 8 } else { bytes.len().max(8) };
                    let count = self.rng.usize(1..=most.min(bytes.len()));
                    pieces.push(Piece::Bytes(bytes.drain(..count).collect()));
                }
            }
            whole => pieces.push(whole),
        }
        for piece in pieces {
            let late = if self.chance(self.odds.late_bytes) { self.rng.u64(1..60) } else { 0 };
            let socket = &mut self.sockets[id];
            let after = socket.coming.back().map_or(self.now, |(at, _)| *at).max(self.now);
            socket.coming.push_back((after + late, piece));
        }
    }

    /// Whether a wait of this loop would return at once.
    pub(super) fn has_ready(&self, door: usize) -> bool {
        let place = &self.doors[door];
        place.woken.load(Ordering::Relaxed)
            || Door::ALL.into_iter().any(|at| self.accepts(door, at))
            || !place.stale.is_empty()
            || place.watched.values().any(|id| self.sockets[*id].noted && self.sockets[*id].has_news())
    }

    fn accepts(&self, door: usize, at: Door) -> bool {
        let door = &self.doors[door];
        door.noted && door.listening && !door.backlogs[at as usize].is_empty()
    }

    /// What epoll tells a loop, in any order, not always all of it at once.
    pub(super) fn ready(&mut self, door: usize, ready: &mut Vec<Ready>) {
        ready.clear();
        let watched: Vec<SocketId> = self.doors[door].watched.values().copied().collect();
        for id in &watched {
            self.sockets[*id].vain_reads = 0;
        }
        if self.chance(self.odds.interrupted) {
            return;
        }
        let mut news: Vec<SocketId> = watched.into_iter().filter(|id| self.sockets[*id].noted).collect();
        self.rng.shuffle(&mut news);
        if news.len() > 1 && self.rng.bool() {
            news.truncate(self.rng.usize(1..=news.len()));
        }
        for id in news {
            let socket = &mut self.sockets[id];
            let (has_news, spurious) = (socket.has_news(), std::mem::take(&mut socket.spurious));
            socket.noted = false;
            if let Some(token) = socket.token.filter(|_| has_news) {
                ready.push(Ready::Conn {
                    token,
                    readable: socket.is_readable() || spurious,
                    ended: socket.is_ended(),
                    writable: spurious || socket.watch == Watch::ReadWrite && socket.is_writable(),
                });
            }
        }
        ready.append(&mut self.doors[door].stale);
        ready.extend(Door::ALL.into_iter().filter(|at| self.accepts(door, *at)).map(Ready::Listener));
        self.doors[door].noted = false;
        if self.doors[door].woken.swap(false, Ordering::Relaxed) {
            ready.push(Ready::Mailbox);
        }
        self.note(format_args!("loop {door} wakes to {ready:?}"));
    }

    /// Plants events that mean nothing.
    pub(super) fn mislead(&mut self) {
        for door in 0..self.doors.len() {
            if self.chance(self.odds.stale) {
                let gone: Vec<_> = self.doors[door].ever.keys().copied().collect();
                let event = match gone.get(self.rng.usize(..gone.len().max(1))) {
                    Some(&(slot, generation)) if !self.doors[door].watched.contains_key(&(slot, generation)) => {
                        let token = Token { slot, generation };
                        Ready::Conn { token, readable: true, ended: true, writable: true }
                    }
                    _ => Ready::Listener(Door::ALL[self.rng.usize(..2)]),
                };
                self.doors[door].stale.push(event);
            }
            let watched: Vec<SocketId> = self.doors[door].watched.values().copied().collect();
            if !watched.is_empty() && self.chance(self.odds.spurious) {
                let id = watched[self.rng.usize(..watched.len())];
                (self.sockets[id].noted, self.sockets[id].spurious) = (true, true);
            }
        }
    }

    /// Plants an event for each listener, open or not.
    pub(super) fn mislead_listeners(&mut self) {
        for door in &mut self.doors {
            door.stale.extend(Door::ALL.map(Ready::Listener));
        }
    }

    pub(super) fn accept(&mut self, door: usize, at: Door) -> io::Result<SocketId> {
        if self.chance(self.odds.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if !self.doors[door].listening || self.doors[door].backlogs[at as usize].is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.chance(self.odds.accept_full) {
            return Err(io::Error::from_raw_os_error(24));
        }
        let aborted = self.chance(self.odds.accept_aborted);
        let id = self.doors[door].backlogs[at as usize].pop_front().ok_or(ErrorKind::WouldBlock)?;
        self.progress += 1;
        if aborted {
            self.sockets[id].close();
            return Err(ErrorKind::ConnectionAborted.into());
        }
        self.note(format_args!("loop {door} accepts socket {id}"));
        Ok(id)
    }

    pub(super) fn stop_listening(&mut self, door: usize) {
        self.doors[door].listening = false;
        for id in std::mem::take(&mut self.doors[door].backlogs).into_iter().flatten() {
            self.sockets[id].close();
        }
    }

    pub(super) fn watch(&mut self, id: SocketId, token: Token, watch: Watch) -> io::Result<()> {
        if self.chance(self.odds.watch_fails) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let socket = &mut self.sockets[id];
        socket.token = Some(token);
        socket.watch = watch;
        socket.noted |= socket.has_news();
        let door = &mut self.doors[socket.door];
        door.watched.insert(key(token), id);
        door.ever.insert(key(token), id);
        Ok(())
    }

    pub(super) fn read(&mut self, id: SocketId, into: &mut [u8]) -> io::Result<usize> {
        if self.chance(self.odds.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let socket = &mut self.sockets[id];
        let Some(read) = socket.read(into) else {
            socket.vain_reads += 1;
            assert!(socket.vain_reads <= VAIN_READS_MAX, "socket {id} is read again and again for nothing in one turn");
            return Err(ErrorKind::WouldBlock.into());
        };
        self.progress += 1;
        self.note(format_args!("socket {id}: read {read:?}"));
        read.map_err(|()| ErrorKind::ConnectionReset.into())
    }

    pub(super) fn write(&mut self, id: SocketId, from: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.chance(self.odds.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.sockets[id].is_broken() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut room = self.sockets[id].room();
        if self.chance(self.odds.write_refused) {
            room = 0;
        } else if room > 0 && self.chance(self.odds.short_write) {
            room = self.rng.usize(1..=room);
        }
        let mut bytes: Vec<u8> = from.iter().flat_map(|slice| slice.iter().copied()).collect();
        let offered = bytes.len();
        bytes.truncate(room);
        let socket = &mut self.sockets[id];
        let whole = socket.write(&bytes);
        if bytes.len() < offered {
            socket.refuse();
        }
        self.note(format_args!("socket {id}: wrote {} of {offered}, calls {whole:?}", bytes.len()));
        if bytes.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.progress += 1;
        let reply = self.sockets[id].tls.as_mut().map(|tls| tls.flush()).filter(|reply| !reply.is_empty());
        if let Some(reply) = reply {
            self.send_wire(id, Piece::Bytes(reply.into()));
        }
        Ok(bytes.len())
    }

    /// The gateway closed a socket.
    pub(super) fn dropped(&mut self, id: SocketId) {
        self.note(format_args!("socket {id} is closed"));
        self.progress += 1;
        self.sockets[id].close();
        if let Some(token) = self.sockets[id].token {
            self.doors[self.sockets[id].door].watched.remove(&key(token));
        }
    }
}
