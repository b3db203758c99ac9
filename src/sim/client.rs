//! One simulated peer: it asks for an upgrade, sends frames in its own ways, and reads when it likes.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::session::rules::Door;
use crate::wire::envelope::Encoding;

use super::backend::Ledger;
use super::frames::{Reader, Said, masked, masked_fragment};
use super::kernel::{Kernel, SocketId};
use super::life::{header, page, request};
use super::packed::{self, Packer};
use super::socket::{Piece, Read};

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An agent with this number.
    Agent(usize, Encoding),
    Echo,
    /// A backend's control link.
    Link(Encoding),
    /// It asks slowly, or never to the end.
    Loiterer,
    /// It speaks no HTTP.
    Stranger,
}

/// The bit that says that a message is compressed.
const PACKED: u8 = 0x40;

/// How it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    Eager,
    Slow,
    Deaf,
}

/// What it does at some moment.
pub(super) enum Act {
    /// Raw bytes of the request.
    Raw(Vec<u8>),
    /// A message of an agent, and the call that it answers.
    Message(Vec<u8>, Option<u64>),
    /// A message to the echo, and more later.
    Chatter,
    /// Calls over a link, and more later.
    Burst,
    /// A call over a link is taken back.
    TakeBack(u64),
    Ping,
    Illegal,
    Close,
    HalfClose,
    Reset,
    Vanish,
}

/// What a peer may touch.
pub(super) struct Surroundings<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) rng: &'a mut Rng,
    pub(super) ledger: &'a mut Ledger,
}

impl Surroundings<'_> {
    pub(super) fn chance(&mut self, odds: f64) -> bool {
        odds > 0.0 && self.rng.f64() < odds
    }
}

/// One peer.
pub(super) struct Client {
    pub(super) socket: SocketId,
    pub(super) role: Role,
    reader: Reader,
    /// Compresses what it says, once that is agreed on.
    packer: Option<Box<Packer>>,
    hearing: Hearing,
    reads_at: u64,
    acts: BTreeMap<(u64, u64), Act>,
    planned: u64,
    /// Bytes that it has sent.
    pub(super) sent_bytes: u64,
    /// What must come back, in this order.
    expected: VecDeque<Said>,
    /// Why it no longer sends, if so.
    pub(super) ended: Ended,
    pub(super) over: bool,
}

/// How a peer's own side ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) closing: bool,
    pub(super) half_closed: bool,
    pub(super) vanished: bool,
    pub(super) illegal: bool,
}

impl Ended {
    pub(super) fn is_silent(self) -> bool {
        self.closing || self.half_closed || self.vanished
    }
}

impl Client {
    pub(super) fn new(socket: SocketId, role: Role, around: &mut Surroundings<'_>) -> Self {
        let odds = around.kernel.odds.clone();
        let hearing = match () {
            () if around.chance(odds.peer_deaf) => Hearing::Deaf,
            () if around.chance(odds.peer_slow) => Hearing::Slow,
            () => Hearing::Eager,
        };
        let mut client = Self {
            socket,
            role,
            reader: Reader::default(),
            packer: None,
            hearing,
            reads_at: 0,
            acts: BTreeMap::new(),
            planned: 0,
            sent_bytes: 0,
            expected: VecDeque::new(),
            ended: Ended::default(),
            over: false,
        };
        let now = around.kernel.now;
        around.kernel.note(format_args!("socket {socket} is {role:?}, {hearing:?}"));
        let mut request = request(role);
        if role == Role::Stranger {
            request = if around.rng.bool() { page() } else { request };
        } else if around.rng.bool() {
            request = packed::offering(&request, around.rng);
        }
        let door = if matches!(role, Role::Link(_)) { Door::Links } else { Door::Agents };
        if around.kernel.proxied[door as usize] && role != Role::Stranger {
            request = [header(around.rng), request].concat();
        }
        if role == Role::Loiterer {
            let half = around.rng.usize(1..request.len());
            client.plan(now, Act::Raw(request[..half].to_vec()));
            if around.rng.bool() {
                client.plan(now + around.rng.u64(1..1500), Act::Raw(request[half..].to_vec()));
            }
        } else {
            client.plan(now, Act::Raw(request));
            // The impatient do not wait for the answer.
            if role != Role::Stranger && around.rng.u8(..) < 80 {
                client.plan(now + around.rng.u64(0..40), Act::Ping);
            }
        }
        client
    }

    /// Plans an act.
    pub(super) fn plan(&mut self, at: u64, act: Act) {
        self.planned += 1;
        self.acts.insert((at, self.planned), act);
    }

    /// When it wants to act or to read next; `None` when it waits for the gateway or for nothing.
    pub(super) fn next_at(&self, kernel: &Kernel) -> Option<u64> {
        if self.over || self.ended.vanished {
            return None;
        }
        let act = self.acts.first_key_value().map(|((at, _), _)| *at);
        let reads = self.hearing != Hearing::Deaf && kernel.sockets[self.socket].has_for_client();
        [act, reads.then_some(self.reads_at)].into_iter().flatten().min()
    }

    /// From now on it reads everything, and does nothing wrong.
    pub(super) fn calm(&mut self) {
        self.hearing = Hearing::Eager;
        self.acts.retain(|_, act| matches!(act, Act::Raw(_) | Act::Message(..) | Act::Ping | Act::Close));
    }

    /// Acts, or reads.
    pub(super) fn step(&mut self, around: &mut Surroundings<'_>) {
        let now = around.kernel.now;
        let due = self.acts.first_entry().filter(|entry| entry.key().0 <= now);
        match due.map(|entry| entry.remove()) {
            Some(act) => self.act(act, around),
            None => self.read(around),
        }
    }

    fn act(&mut self, act: Act, around: &mut Surroundings<'_>) {
        if self.ended.is_silent() && !matches!(act, Act::Reset | Act::Vanish) {
            return;
        }
        match act {
            Act::Raw(bytes) => self.send(bytes, around),
            Act::Message(payload, answers) => {
                let text = !matches!(self.role, Role::Agent(_, Encoding::Binary) | Role::Link(Encoding::Binary));
                self.say(text, &payload, around);
                if let Some(nonce) = answers {
                    around.ledger.answered(nonce, self.socket, self.sent_bytes);
                }
            }
            Act::Chatter => self.chatter(around),
            Act::Burst => self.burst(around),
            Act::TakeBack(nonce) => self.take_back(nonce, around),
            Act::Ping => self.ping(around),
            Act::Illegal => {
                self.ended.illegal = true;
                let mut bytes = vec![0xF1, 0x80, 1, 2, 3, 4];
                if self.packer.is_some() && around.rng.bool() {
                    // A block of a kind that there is not.
                    bytes = masked(OpCode::Data(Data::Text), b"\x07", around.rng);
                    bytes[0] |= PACKED;
                }
                self.send(bytes, around);
            }
            Act::Close => {
                let frame = masked(OpCode::Control(Control::Close), &1000u16.to_be_bytes(), around.rng);
                self.send(frame, around);
                self.ended.closing = true;
            }
            Act::HalfClose => {
                // All that it was going to say comes at once, and the end right behind it.
                for message in self.take_messages() {
                    self.act(message, around);
                }
                self.ended.half_closed = true;
                around.kernel.note(format_args!("socket {}: client ends its side", self.socket));
                around.kernel.send(self.socket, Piece::Fin);
            }
            Act::Reset => self.reset(around),
            Act::Vanish => {
                self.ended.vanished = true;
                around.kernel.note(format_args!("socket {}: client vanishes", self.socket));
            }
        }
    }

    fn take_messages(&mut self) -> Vec<Act> {
        let is_message = |act: &Act| matches!(act, Act::Message(..));
        let all = std::mem::take(&mut self.acts);
        let (messages, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, act)| is_message(act));
        self.acts = others.into_iter().collect();
        messages.into_iter().map(|(_, message)| message).collect()
    }

    fn reset(&mut self, around: &mut Surroundings<'_>) {
        around.kernel.note(format_args!("socket {}: client resets", self.socket));
        around.kernel.send(self.socket, Piece::Reset);
        self.over = true;
    }

    fn send(&mut self, bytes: Vec<u8>, around: &mut Surroundings<'_>) {
        self.sent_bytes += bytes.len() as u64;
        around.kernel.send(self.socket, Piece::Bytes(bytes.into()));
    }

    fn ping(&mut self, around: &mut Surroundings<'_>) {
        let payload: Vec<u8> = (0..around.rng.usize(0..126)).map(|_| around.rng.u8(..)).collect();
        let frame = masked(OpCode::Control(Control::Ping), &payload, around.rng);
        self.expected.push_back(Said::Pong(payload));
        self.send(frame, around);
    }

    /// Messages that it has compressed.
    pub(super) fn packed(&self) -> u32 {
        self.packer.as_ref().map_or(0, |packer| packer.messages)
    }

    /// Sends one message, maybe compressed, maybe cut into frames, with pings between them.
    pub(super) fn say(&mut self, text: bool, payload: &[u8], around: &mut Surroundings<'_>) {
        let mut opcode = OpCode::Data(if text { Data::Text } else { Data::Binary });
        let packs = self.packer.is_some() && around.rng.bool();
        let packed = self.packer.as_mut().filter(|_| packs).map(|packer| packer.pack(payload, around.rng));
        // Of a message in several frames the first one says it.
        let mut flag = if packs { PACKED } else { 0 };
        let mut rest = packed.as_deref().unwrap_or(payload);
        let odds = around.kernel.odds.fragments;
        while around.chance(odds) {
            let (front, behind) = rest.split_at(around.rng.usize(0..=rest.len()));
            let mut frame = masked_fragment(opcode, front, around.rng);
            frame[0] |= std::mem::take(&mut flag);
            self.send(frame, around);
            (rest, opcode) = (behind, OpCode::Data(Data::Continue));
            if around.rng.bool() {
                self.ping(around);
            }
        }
        let mut frame = masked(opcode, rest, around.rng);
        frame[0] |= flag;
        self.send(frame, around);
        if self.role == Role::Echo {
            self.expected.push_back(Said::Message(text, payload.to_vec()));
        }
    }

    /// Sends a message, or many at once, and plans to say more.
    fn chatter(&mut self, around: &mut Surroundings<'_>) {
        let messages = if around.rng.u8(..) < 60 { around.rng.u32(2..16) } else { 1 };
        for _ in 0..messages {
            let (text, payload) = words(around.rng);
            self.say(text, &payload, around);
        }
        let next = around.kernel.now + around.rng.u64(0..400);
        self.plan(next, Act::Chatter);
    }

    fn read(&mut self, around: &mut Surroundings<'_>) {
        let now = around.kernel.now;
        let most = match self.hearing {
            Hearing::Deaf => return,
            Hearing::Eager => usize::MAX,
            Hearing::Slow => {
                self.reads_at = now + around.rng.u64(1..300);
                around.rng.usize(1..400)
            }
        };
        match around.kernel.sockets[self.socket].client_read(most) {
            Read::Nothing => {}
            Read::Bytes(bytes) => {
                for said in self.reader.feed(&bytes) {
                    self.heard(said, around);
                }
            }
            Read::End => {
                around.kernel.note(format_args!("socket {}: client reads the end", self.socket));
                if !self.ended.half_closed {
                    around.kernel.send(self.socket, Piece::Fin);
                }
                self.over = true;
            }
            Read::Reset => {
                around.kernel.note(format_args!("socket {}: client is reset", self.socket));
                self.over = true;
            }
        }
    }

    fn heard(&mut self, said: Said, around: &mut Surroundings<'_>) {
        match said {
            Said::Response(101) => {
                if self.reader.may_pack() {
                    self.packer = Some(Box::new(Packer::new(around.rng)));
                }
                self.plan_life(around);
            }
            Said::Response(status) => {
                // A loiterer may send a ping in the middle of its request.
                let good = !matches!(self.role, Role::Stranger | Role::Loiterer);
                assert!(!good || status != 400, "socket {}: a good request was not understood", self.socket);
            }
            Said::Ping(payload) if !self.ended.is_silent() => {
                let frame = masked(OpCode::Control(Control::Pong), &payload, around.rng);
                self.send(frame, around);
            }
            Said::Ping(_) => {}
            Said::Close(code) => {
                // Our own code comes back only from a gateway that has heard all that was said before it.
                let answered = self.ended.closing && code == Some(1000);
                assert!(!answered || self.expected.is_empty(), "socket {}: lost {:?}", self.socket, self.expected);
                if !self.ended.is_silent() {
                    let body = code.map(u16::to_be_bytes);
                    let frame =
                        masked(OpCode::Control(Control::Close), body.as_ref().map_or(&[], |b| &b[..]), around.rng);
                    self.send(frame, around);
                    self.ended.closing = true;
                }
            }
            Said::Message(_, payload) if self.role != Role::Echo => match self.role {
                Role::Link(encoding) => self.link_told(encoding, &payload, around),
                _ => self.told(&payload, around),
            },
            other => assert_eq!(Some(other), self.expected.pop_front(), "socket {}: what came back", self.socket),
        }
    }
}

/// A message: whether it is text, and its payload.
fn words(rng: &mut Rng) -> (bool, Vec<u8>) {
    let text = rng.bool();
    let most = if rng.u8(..) < 30 { 9000 } else { 300 };
    let length = rng.usize(0..most);
    let syllable = |rng: &mut Rng| ["é", "ab", "7"][rng.usize(..3)].bytes();
    let payload = match text {
        true => (0..length / 2).flat_map(|_| syllable(rng)).collect(),
        false => (0..length).map(|_| rng.u8(..)).collect(),
    };
    (text, payload)
}
