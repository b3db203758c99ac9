//! A WebSocket client of the tests: tungstenite's, over a plain blocking socket.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::gateway::{Gateway, SOON};

/// A connected client.
pub struct Peer {
    socket: WebSocket<TcpStream>,
}

impl Peer {
    /// An agent with a good token, welcomed.
    pub fn agent(gateway: &Gateway, id: &str) -> Self {
        let bearer = format!("Bearer {}", gateway.token(id));
        let mut peer = Self::open(gateway, to(gateway, "/v1/agent").with_header("Authorization", bearer));
        let welcome = peer.json();
        assert_eq!(welcome["method"], "welcome", "{welcome}");
        peer
    }

    /// A client of the echo.
    pub fn echo(gateway: &Gateway) -> Self {
        Self::open(gateway, to(gateway, "/dev/echo"))
    }

    /// A client of any request, upgraded.
    pub fn open(gateway: &Gateway, request: ClientRequestBuilder) -> Self {
        Self::open_at(gateway.agents, request)
    }

    /// A client of any request at any port, upgraded.
    pub fn open_at(address: SocketAddr, request: ClientRequestBuilder) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        let (socket, _) = tungstenite::client(request, stream).expect("upgraded");
        Self { socket }
    }

    /// Sends a message.
    pub fn send(&mut self, message: Message) {
        self.socket.send(message).expect("sent");
    }

    /// The next message that is no ping.
    pub fn read(&mut self) -> Message {
        loop {
            let message = self.socket.read().expect("a message");
            if !message.is_ping() {
                return message;
            }
        }
    }

    /// The next message, which is JSON.
    pub fn json(&mut self) -> Value {
        let message = self.read();
        let text = message.to_text().expect("text");
        serde_json::from_str(text).expect("JSON")
    }

    /// Reads until the connection is closed on both sides, as RFC 6455 section 7.1.1 wants it: the close code.
    pub fn closed(mut self) -> u16 {
        let code = self.close_code();
        // Reading on sends our close frame, and waits for the gateway to end TCP.
        while self.socket.read().is_ok() {}
        code
    }

    /// Ends TCP with a reset: what was not sent or read yet is thrown away.
    pub fn reset(mut self) {
        let stream = SockRef::from(&*self.raw());
        stream.set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// Reads until the gateway closes; the code of its close frame.
    pub fn close_code(&mut self) -> u16 {
        loop {
            match self.read() {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Close(None) => return CloseCode::Status.into(),
                _ => {}
            }
        }
    }

    /// The same, or `None` when it has not closed within the read time-out.
    pub fn try_close_code(&mut self) -> Option<u16> {
        loop {
            if let Message::Close(close) = self.socket.read().ok()? {
                return close.map(|close| close.code.into());
            }
        }
    }

    /// The socket below, for bytes that no library would send.
    pub fn raw(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}

/// A request to the agents' port.
pub fn to(gateway: &Gateway, target: &str) -> ClientRequestBuilder {
    let uri = format!("ws://{}{target}", gateway.agents);
    ClientRequestBuilder::new(uri.parse().expect("a URI"))
}
