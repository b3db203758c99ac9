//! A node to test against: the real server, dispatch, calls and directory, and a loop that is a thread with a script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use super::super::{Access, IdempotencyBounds, Limits, Live, MetricsAccess, Runtime, Setup, Shared, Stop};
use crate::audit::Audit;
use crate::auth::api_key::{ApiKeySource, ApiKeys};
use crate::auth::permissions::Permissions;
use crate::auth::token::Verifier;
use crate::calls::Calls;
use crate::directory::{Directory, NewAgent, TenantLimits};
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::ids::{CallId, ConnId, Generations};
use crate::kit::overload::Ladder;
use crate::kit::tick::{Clock, Now};
use crate::net::arrivals::{ArrivalLimits, Arrivals};
use crate::net::event_loop::LoopStatus;
use crate::net::intake::Event;
use crate::net::io::Wake;
use crate::net::mailbox::{Described, Letters, Mailbox, Order};
use crate::wire::envelope::Encoding;
use crate::wire::origins::AllowedOrigins;
use crate::work::alarm::Alarm;
use crate::work::answers::Answers;
use crate::work::caller::Caller;
use crate::work::dispatch::{Dispatch, DispatchParts, LoopDoor};
use crate::work::gate::{Backends, Gate, Openness};
use crate::work::links::LinkTerms;
use crate::work::pool;

/// A test that waits longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Orders that the loop's mailbox takes.
const MAILBOX: usize = 64;
/// The API key of tenant `default`, and its hash.
pub const KEY: &str = "secret";
pub const KEY_SHA256: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// What the loop was told.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// To send a call.
    Call(CallId),
    /// To send a frame: its text.
    Frame(String),
    /// To close a connection; the text of the frame before.
    Close(String),
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        let _ = self.0.send(());
    }
}

/// The server and what is behind it.
pub struct Node {
    pub address: SocketAddr,
    pub dispatch: Arc<Dispatch>,
    pub shared: Arc<Shared>,
    pub told: Receiver<Told>,
    stop: Stop,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

/// Limits that no test runs into by chance.
pub fn limits() -> Limits {
    Limits {
        body_bytes_max: 1000,
        timeout: PATIENCE,
        timeout_max: Duration::from_secs(60),
        idempotency: IdempotencyBounds { window: Duration::from_secs(600), keys_max: 100, bytes_max: 10_000 },
        connections_max: 16,
        head_bytes_max: 8192,
        head_fields_max: 32,
        head_timeout: PATIENCE,
        idle_timeout: PATIENCE,
    }
}

/// Access with [`KEY`].
pub fn keys() -> Access {
    keys_that_may(Permissions::everything())
}

/// Access with [`KEY`], which may do this.
pub fn keys_that_may(permissions: Permissions) -> Access {
    let (name, tenant) = ("test".to_owned(), "default".to_owned());
    let source = ApiKeySource { name, sha256: KEY_SHA256.to_owned(), tenant, permissions };
    Access::Keys(ApiKeys::new(&[source]).unwrap())
}

/// A node with one agent, `web-1`: it answers calls of a method with `echo` in its name, and is silent on others.
pub fn start(access: Access, limits: Limits) -> Node {
    let clock = Clock::start();
    let (ring, bell) = unbounded();
    let (mailbox, letters) = Mailbox::new(MAILBOX, Arc::new(Bell(ring)));
    let directory = Directory::new(TenantLimits { calls: 100, agents: 100 }, 10);
    let agent = NewAgent {
        tenant: directory.tenant("default"),
        id: "web-1",
        labels: &[("region".to_owned(), "eu".to_owned())],
        methods: None,
        conn: ConnId::new(0, 1, 1),
        encoding: Encoding::Json,
        token: crate::directory::TokenMark::NONE,
    };
    let joined = directory.join(&agent, &Generations::default());
    assert!(joined.is_ok());
    let status = Arc::new(LoopStatus { connections: AtomicU32::new(1), ..LoopStatus::default() });
    let dispatch = Arc::new(Dispatch::new(DispatchParts {
        name: "n1".to_owned(),
        epoch: 1,
        clock,
        directory,
        calls: Calls::new(7, 10),
        loops: vec![LoopDoor { mailbox, status }],
        queues: Vec::new(),
        budget: Budget::new(BudgetLimit::NONE, Ladder::NONE),
        arrivals: Arc::new(Arrivals::new([None, None], ArrivalLimits::none())),
        key_calls: None,
        gate: Gate {
            verifier: Verifier::new(&[], None, 0).unwrap(),
            leeway_secs: 0,
            lifetime_max_secs: None,
            openness: Openness::Dev,
            backends: Backends::Dev,
            origins: AllowedOrigins::default(),
        },
        links: LinkTerms { window: 10, timeout: PATIENCE, timeout_max: PATIENCE },
        heartbeat_ms: 1000,
        connections_max: 20,
        connections_max_per_loop: 10,
        alarm: Alarm::new().0,
        audit: Audit::off(),
        webhook: None,
    }));
    let (tell, told) = unbounded();
    let scripted = Arc::clone(&dispatch);
    std::thread::spawn(move || play(&scripted, &letters, &bell, &tell));
    let shared = Shared::new(Setup {
        dispatch: Arc::clone(&dispatch),
        clock,
        live: Live { access, limits, metrics: MetricsAccess::Open },
        metrics: PrometheusBuilder::new().build_recorder().handle(),
        agents_listen: "127.0.0.1:8080".to_owned(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, serving) = (Stop::new(), Arc::clone(&shared));
    let stopped = stop.clone();
    let server = std::thread::spawn(move || Runtime::new()?.serve(listener, &serving, &stopped));
    Node { address, dispatch, shared, told, stop, server: Some(server) }
}

/// The loop's script. It ends when the mailbox's other end is gone.
fn play(dispatch: &Arc<Dispatch>, letters: &Letters, bell: &Receiver<()>, tell: &Sender<Told>) {
    loop {
        if letters.may_sleep() && bell.recv_timeout(PATIENCE).is_err() {
            return;
        }
        letters.awake();
        while let Some(order) = letters.take() {
            obey(dispatch, order, tell);
        }
    }
}

fn obey(dispatch: &Arc<Dispatch>, order: Order, tell: &Sender<Told>) {
    match order {
        Order::Call { conn, frame, call, delivery } => {
            if !delivery.claim() {
                return apply(dispatch, Event::NotWritten { call });
            }
            delivery.written();
            let _ = tell.send(Told::Call(call));
            if text(&frame).contains("echo") {
                let reply = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{call}\",\"result\":[7]}}");
                answer(dispatch, conn, reply);
            }
        }
        Order::Send { frame, .. } => {
            let _ = tell.send(Told::Frame(text(&frame)));
        }
        Order::Close { last_words, .. } => {
            let frame = last_words.unwrap_or_default();
            let _ = tell.send(Told::Close(text(&frame)));
        }
        Order::Describe { on_described, .. } => on_described.answer(Ok(Described {
            agent: crate::kit::ids::AgentSlot::NONE,
            since: Now(0),
            peer: None,
            held_to: None,
            round_trip_ms: None,
            bytes_in: 1,
            bytes_out: 2,
            last_heard: Now(5),
        })),
        _ => {}
    }
}

fn answer(dispatch: &Dispatch, conn: ConnId, text: String) {
    let message = Event::Message { conn, encoding: Encoding::Json, body: Bytes::from(text) };
    apply(dispatch, message);
}

/// What a worker does with a batch of one.
fn apply(dispatch: &Dispatch, event: Event) {
    let mut answers = Answers::default();
    pool::apply(dispatch, &mut answers, event, Now(0));
    pool::settle(dispatch, &mut answers);
}

fn text(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).into_owned()
}

impl Node {
    /// Holds the loop up, and fills its mailbox. The loop goes on when what is returned is dropped.
    pub fn fill_the_mailbox(&self) -> Sender<()> {
        let (resume, held) = unbounded::<()>();
        let (tell, holding) = unbounded();
        let caller = Caller::without_key(self.dispatch.tenant("default"));
        let hold = move |_| {
            let _ = tell.send(());
            let _ = held.recv();
        };
        self.dispatch.describe(&caller, "web-1", Box::new(hold));
        holding.recv_timeout(PATIENCE).expect("the loop is held up");
        for _ in 0..MAILBOX {
            self.dispatch.tell_loops(|| Order::StopAccepting);
        }
        resume
    }

    /// The agent answers a call.
    pub fn reply(&self, call: CallId, result: &str) {
        let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{call}\",\"result\":{result}}}");
        answer(&self.dispatch, ConnId::new(0, 1, 1), text);
    }

    /// What the loop is told next.
    pub fn next_told(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the loop is told")
    }

    /// Sends a request on a connection of its own.
    pub fn send(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Sends a request and reads its answer.
    pub fn ask(&self, head: &str, body: &str) -> Got {
        got(self.send(head, body))
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self, grace: Duration) {
        self.stop.stop(grace);
        let server = self.server.take().expect("it runs");
        server.join().expect("no panic").expect("no error");
    }
}

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Got {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// Reads an answer up to the end of its connection.
pub fn got(mut stream: TcpStream) -> Got {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    Got { status: status.parse().expect("a number"), head: head.to_lowercase(), body: body.to_owned() }
}
