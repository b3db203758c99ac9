//! The thread that reads a link, and hands each answer to whoever waits for it.
//!
//! Owns the reading side of the WebSocket. Pings are answered by the library while it reads.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use super::stream::Stream;
use super::waiting::Waiting;
use super::{Answer, Body, CallError, Encoding};
use crate::wire::envelope::link_side::client::{self, EndedAs, FromLink};

/// What came in.
pub(super) enum Said<T> {
    /// An envelope, as far as it was asked for.
    Envelope(T),
    /// No envelope, but a sign of life.
    Alive,
    /// Nothing for as long as a read may take.
    Silence,
    /// Nothing more will; says why.
    End(String),
}

/// Reads until the link ends, which it is told by whoever holds it too.
///
/// The gateway pings who is quiet. Who calls and waits long for answers is not, so after a silence the gateway is pinged, and
/// after a second one it is gone.
pub(super) fn run(mut socket: WebSocket<Stream>, encoding: Encoding, waiting: &Arc<Waiting>) {
    let mut asked = false;
    let why = loop {
        match read_one(&mut socket, encoding, |envelope| hear(envelope, waiting)) {
            Said::Envelope(()) | Said::Alive => asked = false,
            Said::Silence if asked => break "the gateway is silent".to_owned(),
            Said::Silence => {
                asked = true;
                if let Err(error) = socket.send(Message::Ping(Bytes::new())) {
                    break error.to_string();
                }
            }
            Said::End(why) => break why,
        }
    };
    socket.get_ref().end();
    waiting.break_all(&why);
}

/// Reads one message.
pub(super) fn read_one<T>(
    socket: &mut WebSocket<Stream>,
    encoding: Encoding,
    take: impl FnOnce(FromLink<'_>) -> T,
) -> Said<T> {
    let decoded = match socket.read() {
        Ok(Message::Text(text)) => client::decode(encoding, text.as_bytes()).map(take),
        Ok(Message::Binary(bytes)) => client::decode(encoding, &bytes).map(take),
        Ok(Message::Close(frame)) => {
            return Said::End(frame.map_or_else(
                || "the gateway closed it".to_owned(),
                |frame| format!("the gateway closed it ({}): {}", u16::from(frame.code), frame.reason),
            ));
        }
        Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => return Said::Alive,
        Err(Error::Io(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Said::Silence;
        }
        Err(error) => return Said::End(error.to_string()),
    };
    match decoded {
        Ok(taken) => Said::Envelope(taken),
        Err(fault) => Said::End(format!("the gateway sent what is no envelope: {}", fault.message())),
    }
}

fn hear(envelope: FromLink<'_>, waiting: &Waiting) {
    match envelope {
        FromLink::Ended { id, ended, .. } => waiting.end(id, Ok(answer(ended))),
        FromLink::Refused { id: Some(id), code, message } => {
            waiting.end(id, Err(CallError::Refused { code, message: message.into_owned() }));
        }
        // After a goaway calls end as `draining`, and the gateway closes.
        FromLink::Refused { .. } | FromLink::Welcome { .. } | FromLink::Goaway { .. } | FromLink::Other => {}
    }
}

fn answer(ended: EndedAs<'_>) -> Answer {
    let body = |body: client::Body<'_>| Body { bytes: body.bytes.into_owned(), json: body.json };
    match ended {
        EndedAs::Ok(result) => Answer::Ok(body(result)),
        EndedAs::AgentError { code, message, data } => {
            Answer::AgentError { code, message: message.into_owned(), data: data.map(body) }
        }
        EndedAs::Failed(failure) => Answer::Failed(failure),
    }
}
