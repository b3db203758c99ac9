//! What servers speak inside of WebSocket, each dialect in a file of its own: bytes to values and back.
//!
//! Owns the words and the reading of them. A dialect must never open a socket, keep state or read a clock, so that every cut
//! of the bytes can be tried. Who is spoken to and when is the drivers' affair (`peer/`).

use tungstenite::protocol::frame::coding::OpCode;

pub mod gateway;
pub mod mqtt;
pub mod nats;
pub mod plain;

/// Longest head of a message that is waited for, in bytes. A server that sends more without an end is at fault.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Who logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An agent, which listens on a subject of its own.
    Agent(u32),
    /// A backend, which listens for replies.
    Backend,
}

/// What follows a successful upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: the connection can be used.
    Ready,
    /// The client logs in.
    Login,
    /// The server speaks first.
    Wait,
}

/// Something that a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// It has introduced itself, and wants a login.
    Greeting,
    /// The login is done: this connection can be reached.
    Ready,
    /// Its answer to a heartbeat of ours. It answers in order, so the first one behind a login says that the login is done.
    Pong,
    /// A heartbeat of its own, which wants an answer.
    Ping,
    /// Something for the application.
    Message(Message<'a>),
    /// Something that needs nothing.
    Notice,
}

/// A message for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it was sent to; empty where the dialect names nothing.
    pub subject: &'a [u8],
    /// Where an answer goes; empty where the dialect does not say.
    pub reply_to: &'a [u8],
    /// The payload.
    pub body: &'a [u8],
}

/// What was read off the front of some bytes: what it says, and how many bytes it took. `None` when it is cut.
pub type Reading<'a> = Result<Option<(Heard<'a>, usize)>, String>;

/// A way to speak with a server.
pub trait Dialect {
    /// The upgrade request of an agent.
    ///
    /// # Errors
    /// Its credentials cannot be made.
    fn upgrade(&self, agent: u32) -> Result<Vec<u8>, String>;

    /// What follows the upgrade.
    fn opening(&self) -> Opening;

    /// Appends the login, where the dialect has one.
    fn login(&self, role: Role, out: &mut Vec<u8>);

    /// Reads the front of `bytes`, which came in messages of this `opcode`. A message of the dialect may be cut anywhere by
    /// messages of WebSocket, and one of these may hold many.
    ///
    /// # Errors
    /// The server broke the rules of the dialect, or refused something.
    fn read<'a>(&self, opcode: OpCode, bytes: &'a [u8]) -> Reading<'a>;

    /// Appends what makes the server send `body` back to this agent.
    fn echo(&self, agent: u32, body: &[u8], out: &mut Vec<u8>);

    /// Appends a heartbeat that the server answers; returns the opcode of its frame.
    fn ping(&self, out: &mut Vec<u8>) -> OpCode;

    /// Appends the answer to a heartbeat of the server.
    fn pong(&self, out: &mut Vec<u8>);
}

/// A dialect in which a backend asks an agent through the server.
pub trait Broker: Dialect {
    /// Where the reply to question `number`, asked of `agent`, goes to.
    fn reply_subject(&self, agent: u32, number: u64) -> String;

    /// Appends a backend's question.
    fn ask(&self, agent: u32, number: u64, body: &[u8], out: &mut Vec<u8>);

    /// Appends an agent's answer to `question`.
    fn answer(&self, agent: u32, question: &Message, body: &[u8], out: &mut Vec<u8>);
}

/// The opcode of all data here: binary.
pub fn data() -> OpCode {
    OpCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads all of `stream`, given in pieces of `step` bytes as they would come from the network.
    pub fn in_pieces(dialect: &dyn Dialect, stream: &[u8], step: usize) -> Vec<String> {
        let mut told = Vec::new();
        let mut have = Vec::new();
        for piece in stream.chunks(step) {
            have.extend_from_slice(piece);
            let mut at = 0;
            while let Some((heard, used)) = dialect.read(data(), &have[at..]).expect("legal") {
                told.push(format!("{heard:?}"));
                at += used;
                if at == have.len() {
                    break;
                }
            }
            have.drain(..at);
        }
        assert!(have.is_empty(), "{} bytes were left at step {step}", have.len());
        told
    }

    /// Holds that every cut of a stream says the same.
    pub fn every_cut(dialect: &dyn Dialect, stream: &[u8], expected: &[Heard]) {
        let expected: Vec<String> = expected.iter().map(|heard| format!("{heard:?}")).collect();
        for step in 1..=stream.len() {
            assert_eq!(in_pieces(dialect, stream, step), expected, "in steps of {step}");
        }
    }
}
