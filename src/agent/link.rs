//! One open WebSocket: messages in, replies out, nothing of it ever blocks.
//!
//! Owns the socket and how answers become envelopes. It knows no calls, no time, and no handler.

use std::io;
use std::os::fd::AsFd;

use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

use super::ending::Ending;
use super::handler::{Answer, Body, Interest, Watched, fault};
use super::stream::Stream;
use crate::kit::ids::CallId;
use crate::wire::envelope::agent_side::{FromAgent, encode_from_agent};
use crate::wire::envelope::{Encoding, Payload};

/// What came in.
pub(super) enum Heard {
    /// A data message of the connection's encoding.
    Envelope(Vec<u8>),
    /// A data message of the other kind, which has no place on this connection.
    Foreign,
    /// A ping or a pong: a sign of life.
    Life,
    /// The gateway closes; the echo is on its way.
    Close {
        /// Its code, 1005 for none.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Nothing more for now.
    Nothing,
    /// Both sides have closed.
    Closed,
}

/// Whether bytes wait for room in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Written,
    Waiting,
}

/// An open connection to a gateway.
pub(super) struct Link {
    socket: WebSocket<Stream>,
    encoding: Encoding,
    reply_bytes_max: usize,
    outgoing: Outgoing,
}

impl Link {
    /// Takes an upgraded, non-blocking socket.
    pub fn new(socket: WebSocket<Stream>, encoding: Encoding, reply_bytes_max: usize) -> Self {
        Self { socket, encoding, reply_bytes_max, outgoing: Outgoing::Written }
    }

    /// What the next wait should wait for.
    pub fn watched(&self) -> Watched<'_> {
        Watched {
            fd: self.socket.get_ref().socket().as_fd(),
            interest: match self.outgoing {
                Outgoing::Written => Interest::Read,
                Outgoing::Waiting => Interest::ReadWrite,
            },
        }
    }

    /// Takes the next message, if one is there. Pings are answered on the way.
    pub fn read(&mut self) -> Result<Heard, Ending> {
        Ok(match self.socket.read() {
            Ok(Message::Text(text)) if self.encoding == Encoding::Json => Heard::Envelope(text.as_bytes().to_vec()),
            Ok(Message::Binary(bytes)) if self.encoding == Encoding::Binary => Heard::Envelope(bytes.to_vec()),
            Ok(Message::Text(_) | Message::Binary(_)) => Heard::Foreign,
            Ok(Message::Close(frame)) => {
                frame.map_or(Heard::Close { code: CloseCode::Status.into(), reason: String::new() }, |frame| {
                    Heard::Close { code: frame.code.into(), reason: frame.reason.as_str().to_owned() }
                })
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Heard::Life,
            Err(Error::ConnectionClosed) => Heard::Closed,
            Err(error) => not_now(error).map(|_| Heard::Nothing)?,
        })
    }

    /// Says that a call has arrived.
    pub fn receipt(&mut self, call: CallId) -> Result<(), Ending> {
        self.send(&FromAgent::Receipt { call })
    }

    /// Shows a newer token.
    pub fn refresh(&mut self, id: u64, token: &str) -> Result<(), Ending> {
        self.send(&FromAgent::Refresh { id, token })
    }

    /// Sends an answer. One that cannot be sent as it is becomes an error reply that says why.
    pub fn answer(&mut self, call: CallId, answer: Answer) -> Result<(), Ending> {
        let progress = matches!(answer, Answer::Progress(_));
        match self.encoded(call, answer) {
            Ok(message) => self.write(message),
            // A progress that cannot be sent is no reason to fail its call.
            Err(_) if progress => Ok(()),
            Err((code, message)) => self.send(&FromAgent::Error { call, code, message: &message, data: None }),
        }
    }

    /// Begins the closing handshake. Nothing can be sent after it.
    pub fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), Ending> {
        let frame = CloseFrame { code, reason: reason.into() };
        match self.socket.close(Some(frame)) {
            Ok(()) | Err(Error::ConnectionClosed) => Ok(()),
            Err(error) => not_now(error).map(|outgoing| self.outgoing = outgoing),
        }
    }

    /// Gives the kernel what waits, as much as it takes.
    pub fn flush(&mut self) -> Result<(), Ending> {
        self.outgoing = match self.socket.flush() {
            Ok(()) | Err(Error::ConnectionClosed) => Outgoing::Written,
            Err(error) => not_now(error)?,
        };
        Ok(())
    }

    fn encoded(&self, call: CallId, answer: Answer) -> Result<Vec<u8>, (i32, String)> {
        let message = match answer {
            Answer::Result(body) => {
                let body = self.fitting(body)?;
                let payload = payload(&body);
                encode_from_agent(self.encoding, &FromAgent::Result { call, payload })
            }
            Answer::Progress(body) => {
                let body = self.fitting(body)?;
                let payload = payload(&body);
                encode_from_agent(self.encoding, &FromAgent::Progress { call, payload })
            }
            Answer::Error { code, message, data } => {
                let data = data.map(|data| self.fitting(data)).transpose()?;
                let envelope = FromAgent::Error { call, code, message: &message, data: data.as_ref().map(payload) };
                encode_from_agent(self.encoding, &envelope)
            }
        };
        if message.len() > self.reply_bytes_max {
            let max = self.reply_bytes_max;
            let why = format!("the reply has {} bytes, the limit is {max}", message.len());
            return Err((fault::TOO_LARGE, why));
        }
        Ok(message)
    }

    /// A JSON connection carries JSON only: other bytes become a JSON string, if they are text.
    fn fitting(&self, body: Body) -> Result<Body, (i32, String)> {
        if body.json || self.encoding == Encoding::Binary {
            return Ok(body);
        }
        let text = std::str::from_utf8(&body.bytes).ok().and_then(|text| serde_json::to_vec(text).ok());
        text.map(Body::json).ok_or_else(|| {
            let why = "the result is neither JSON nor UTF-8 text, which only the binary encoding can carry";
            (fault::NOT_TEXT, why.to_owned())
        })
    }

    fn send(&mut self, envelope: &FromAgent<'_>) -> Result<(), Ending> {
        self.write(encode_from_agent(self.encoding, envelope))
    }

    fn write(&mut self, message: Vec<u8>) -> Result<(), Ending> {
        let message = match self.encoding {
            Encoding::Json => {
                Message::text(String::from_utf8(message).map_err(|error| Ending::Broken(error.to_string()))?)
            }
            Encoding::Binary => Message::binary(message),
        };
        match self.socket.write(message) {
            Ok(()) => Ok(()),
            // It is queued, and `flush` goes on with it.
            Err(error) => not_now(error).map(|outgoing| self.outgoing = outgoing),
        }
    }
}

fn payload(body: &Body) -> Payload<'_> {
    Payload { bytes: &body.bytes, json: body.json }
}

/// An error that only means "later" is a value; any other ends the connection.
fn not_now(error: Error) -> Result<Outgoing, Ending> {
    match error {
        Error::Io(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(Outgoing::Waiting)
        }
        other => Err(Ending::Broken(other.to_string())),
    }
}
