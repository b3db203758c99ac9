//! A gateway that does what a test tells it, and an agent that runs against it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use holdfast::agent::{Agent, Credentials, Ending, Handler, News, Options, Stopper, Target};
use holdfast::kit::tick::Clock;
use holdfast::wire::envelope::Encoding;
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

/// No test waits longer for anything; it is long because machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `what` is there.
pub fn eventually<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for: {name}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A listening socket.
pub struct Gateway {
    listener: TcpListener,
}

/// One agent's connection, seen from the gateway.
pub struct Peer {
    pub socket: WebSocket<TcpStream>,
    pub path: String,
    pub authorization: Option<String>,
    pub subprotocol: String,
}

impl Gateway {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.listener.local_addr().unwrap())
    }

    /// The next TCP connection.
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = eventually("a connection", || self.listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// The next connection, upgraded but not welcomed.
    pub fn upgrade(&self) -> Peer {
        let (mut path, mut authorization, mut subprotocol) = (String::new(), None, String::new());
        #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
        let callback = |request: &Request, mut response: Response| {
            let header = |name| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
            path = request.uri().to_string();
            authorization = header("Authorization");
            subprotocol = header("Sec-WebSocket-Protocol").unwrap();
            let chosen = subprotocol.parse().unwrap();
            response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
            Ok::<_, ErrorResponse>(response)
        };
        let socket = tungstenite::accept_hdr(self.accept(), callback).unwrap();
        Peer { socket, path, authorization, subprotocol }
    }

    /// The next connection, welcomed with a heartbeat that no test waits for.
    pub fn welcome(&self) -> Peer {
        let mut peer = self.upgrade();
        peer.send(welcome(60_000));
        peer
    }

    /// Answers the next connection with plain HTTP.
    pub fn refuse(&self, status: &str) {
        let mut stream = self.accept();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let body = "because I say so\n";
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .unwrap();
    }
}

impl Peer {
    pub fn send(&mut self, envelope: Value) {
        self.socket.send(Message::text(envelope.to_string())).unwrap();
    }

    /// Sends a call; its id is `number` in 16 hex digits.
    pub fn call(&mut self, number: u64, method: &str, params: Value) {
        self.call_within(number, method, params, 60_000);
    }

    pub fn call_within(&mut self, number: u64, method: &str, params: Value, deadline_ms: u32) {
        self.send(json!({
            "jsonrpc": "2.0", "id": id(number), "method": method, "params": params,
            "meta": {"deadline_ms": deadline_ms},
        }));
    }

    /// The next envelope.
    pub fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected an envelope, got {other:?}"),
            }
        }
    }

    /// The next envelope is the receipt of this call.
    pub fn expect_receipt(&mut self, number: u64) {
        assert_eq!(self.next(), json!({"jsonrpc": "2.0", "method": "receipt", "params": {"id": id(number)}}));
    }

    /// The next envelope is this result of this call.
    pub fn expect_result(&mut self, number: u64, result: Value) {
        assert_eq!(self.next(), json!({"jsonrpc": "2.0", "id": id(number), "result": result}));
    }

    /// The next envelope is an error of this call with this code; returns the message.
    pub fn expect_error(&mut self, number: u64, code: i32) -> String {
        let reply = self.next();
        assert_eq!(reply["id"], id(number), "{reply}");
        assert_eq!(reply["error"]["code"], code, "{reply}");
        reply["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Closes from this side and waits until the agent has echoed it.
    pub fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).unwrap();
        while self.socket.read().is_ok() {}
    }

    /// The agent closes; returns the code. The gateway's own echo is sent.
    pub fn expect_close(mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.socket.read().unwrap() {
                // The echo goes out with the next read, which finds the end.
                assert!(self.socket.read().is_err());
                return frame.unwrap().code.into();
            }
        }
    }
}

pub fn id(number: u64) -> String {
    format!("{number:016x}")
}

pub fn welcome(heartbeat_ms: u32) -> Value {
    json!({"jsonrpc": "2.0", "method": "welcome", "params": {"session": "s", "heartbeat_ms": heartbeat_ms, "node": "n"}})
}

/// An agent in a thread of its own. Dropped, it is stopped at once.
pub struct Running {
    pub stopper: Stopper,
    /// What it told, as text.
    pub news: Receiver<String>,
    thread: Option<JoinHandle<Ending>>,
}

impl Running {
    /// Starts an agent; the handler is made in its thread.
    pub fn start<H: Handler>(options: Options, handler: impl FnOnce() -> H + Send + 'static) -> Self {
        let (tell, news) = unbounded();
        let (give, take) = unbounded();
        let thread = std::thread::spawn(move || {
            let tell = move |news: News<'_>| {
                let text = match news {
                    News::Ended { ending, pause } => format!("{ending} / {pause:?}"),
                    other => format!("{other:?}"),
                };
                let _ = tell.send(text);
            };
            let rng = fastrand::Rng::with_seed(7);
            let agent = Agent::new(options, Clock::start(), rng, handler(), tell).unwrap();
            give.send(agent.stopper()).unwrap();
            agent.run()
        });
        Self { stopper: take.recv().unwrap(), news, thread: Some(thread) }
    }

    /// Waits until the agent has ended by itself.
    pub fn ended(mut self) -> Ending {
        let thread = self.thread.take().unwrap();
        eventually("the agent's end", || thread.is_finished().then_some(()));
        thread.join().unwrap()
    }

    /// The next news that holds `word`.
    pub fn expect_news(&self, word: &str) -> String {
        loop {
            let news = self.news.recv_timeout(PATIENCE);
            let news = news.unwrap_or_else(|_| panic!("no news with `{word}`"));
            if news.contains(word) {
                return news;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        self.stopper.stop();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // An agent that does not stop fails its test instead of hanging it.
        let end = Instant::now() + PATIENCE;
        while !thread.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !std::thread::panicking() {
            assert!(thread.is_finished(), "the agent does not stop");
            assert!(thread.join().is_ok(), "the agent panicked");
        }
    }
}

/// Options with short pauses.
pub fn options(url: &str) -> Options {
    Options {
        target: Target::parse(url).unwrap(),
        tls: None,
        credentials: Credentials::Dev("web-1".to_owned()),
        encoding: Encoding::Json,
        connect_deadline: PATIENCE,
        welcome_deadline: PATIENCE,
        close_deadline: PATIENCE,
        backoff_first: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        message_bytes_max: 4 << 20,
        reply_bytes_max: 1 << 20,
        calls_open_max: 16,
    }
}
