//! A link as its callers hold it.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::stream::Stream;
use super::waiting::Waiting;
use super::{Answer, CallError, ConnectError, Encoding, Options, connect, reader};
use crate::kit::tick::millis;
use crate::wire::envelope::Payload;
use crate::wire::envelope::link_side::client::{self, ToLink};
use crate::wire::{encode, mask};

/// Code of the close frame of a link that is not needed any more (1000, RFC 6455 section 7.4.1).
const CLOSE_NORMAL: [u8; 2] = [0x03, 0xE8];

/// An open link. Share it in an `Arc`: any number of threads may call over it at once. Dropping it closes it.
pub struct Link {
    stream: Stream,
    encoding: Encoding,
    window: u32,
    waiting: Arc<Waiting>,
    reader: Option<JoinHandle<()>>,
}

impl Link {
    /// Opens a link.
    ///
    /// # Errors
    /// Nobody there, or they do not let us in.
    pub fn connect(options: &Options) -> Result<Self, ConnectError> {
        let opened = connect::connect(options)?;
        let broken = |error: std::io::Error| ConnectError::Broken(error.to_string());
        // The reader bears two silences: of two and a half of the gateway's intervals together.
        let silence = (opened.heartbeat * 5 / 4).max(Duration::from_millis(500));
        opened.stream.socket().set_read_timeout(Some(silence)).map_err(broken)?;
        let waiting = Arc::new(Waiting::new(opened.window));
        let (table, encoding, socket) = (Arc::clone(&waiting), options.encoding, opened.socket);
        let read = move || reader::run(socket, encoding, &table);
        let reader = thread::Builder::new().name("link-reader".to_owned()).spawn(read).map_err(broken)?;
        Ok(Self { stream: opened.stream, encoding, window: opened.window, waiting, reader: Some(reader) })
    }

    /// Calls that the gateway lets be in flight at once; more wait in [`Link::call`].
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Why it is broken; `None` while it is not.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        self.waiting.broken()
    }

    /// Calls an agent and waits for how it ends. `params` is one JSON value, or nothing; without a `timeout` the gateway's
    /// default holds. The gateway ends the call at its deadline, so there is nothing else to wait for.
    ///
    /// # Errors
    /// The call has no outcome: the gateway refused it, or the link is broken.
    pub fn call(
        &self,
        agent: &str,
        method: &str,
        params: Option<&str>,
        timeout: Option<Duration>,
    ) -> Result<Answer, CallError> {
        let (id, ended) = self.waiting.begin()?;
        let params = Payload { bytes: params.unwrap_or_default().as_bytes(), json: params.is_some() };
        let timeout_ms = timeout.map_or(0, |timeout| u32::try_from(millis(timeout)).unwrap_or(u32::MAX).max(1));
        let message = client::encode(self.encoding, &ToLink::Call { id, agent, method, params, timeout_ms });
        let data = if self.encoding == Encoding::Json { Data::Text } else { Data::Binary };
        if let Err(error) = self.stream.write_whole(&masked(OpCode::Data(data), &message)) {
            // A part of it may be out, so its end is as unknown as that of the others.
            self.waiting.break_all(&error.to_string());
        }
        ended.recv().unwrap_or_else(|_| Err(CallError::Unknown("the reader has ended".to_owned())))
    }
}

/// A masked frame around a message (RFC 6455 section 5.3).
fn masked(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let key = fastrand::u32(..).to_ne_bytes();
    let mut frame = Vec::with_capacity(payload.len() + 14);
    encode::head(opcode, payload.len(), Some(key), &mut frame);
    let start = frame.len();
    frame.extend_from_slice(payload);
    mask::apply(&mut frame[start..], key, 0);
    frame
}

impl Drop for Link {
    fn drop(&mut self) {
        // Nobody is left to be told when it fails.
        let _ = self.stream.write_whole(&masked(OpCode::Control(Control::Close), &CLOSE_NORMAL));
        self.stream.end();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
