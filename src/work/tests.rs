//! What the log says of agents and calls, and what it never says.

mod vouched;

use std::io::Write;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::alarm::Alarm;
use super::answers::Answers;
use super::caller::Caller;
use super::dispatch::{CallRequest, Dispatch, DispatchParts, LoopDoor};
use super::gate::{Backends, DEV_TENANT, Gate, Openness};
use super::links::LinkTerms;
use super::pool;
use crate::audit::Audit;
use crate::auth::token::Verifier;
use crate::calls::Calls;
use crate::directory::{Directory, TenantLimits};
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::ids::ConnId;
use crate::kit::lock::lock;
use crate::kit::overload::Ladder;
use crate::kit::tick::{Clock, Now};
use crate::net::arrivals::{ArrivalLimits, Arrivals};
use crate::net::event_loop::LoopStatus;
use crate::net::intake::Event;
use crate::net::io::Wake;
use crate::net::mailbox::{Letters, Mailbox, Order};
use crate::session::effect::Greeting;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::envelope::{Encoding, Payload};
use crate::wire::origins::AllowedOrigins;
use crate::wire::upgrade::Offer;

struct Deaf;

impl Wake for Deaf {
    fn wake(&self) {}
}

/// The lines that were written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `run` logs at this level, without times.
fn logged(level: Level, run: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is only one dispatcher, a line that another test's thread reaches first is judged by that thread, which
    // has none, and is never logged again. With a second one all of them are asked.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_max_level(LevelFilter::OFF).finish());
    tracing::subscriber::with_default(subscriber, run);
    String::from_utf8_lossy(&lock(&lines.0)).into_owned()
}

pub(super) fn node() -> (Dispatch, Letters) {
    let (mailbox, letters) = Mailbox::new(16, Arc::new(Deaf));
    let status = Arc::new(LoopStatus { connections: AtomicU32::new(0), ..LoopStatus::default() });
    let dispatch = Dispatch::new(DispatchParts {
        name: "n1".to_owned(),
        epoch: 0x6058_6658,
        clock: Clock::start(),
        directory: Directory::new(TenantLimits { calls: 100, agents: u32::MAX }, 10),
        calls: Calls::new(7, 10),
        loops: vec![LoopDoor { mailbox, status }],
        queues: Vec::new(),
        budget: Budget::new(BudgetLimit::NONE, Ladder::NONE),
        arrivals: Arc::new(Arrivals::new([None, None], ArrivalLimits::none())),
        key_calls: None,
        gate: Gate {
            verifier: Verifier::new(&[], None, 0).unwrap(),
            openness: Openness::Dev,
            leeway_secs: 0,
            lifetime_max_secs: None,
            backends: Backends::Dev,
            origins: AllowedOrigins::default(),
        },
        links: LinkTerms { window: 10, timeout: Duration::from_secs(1), timeout_max: Duration::from_secs(9) },
        heartbeat_ms: 1000,
        connections_max: 20,
        connections_max_per_loop: 10,
        alarm: Alarm::new().0,
        audit: Audit::off(),
        webhook: None,
    });
    (dispatch, letters)
}

/// What web-1 asks with.
fn greeting(token: Option<&str>) -> Greeting {
    Greeting {
        door: Door::Agents,
        peer: None,
        held_to: None,
        token: token.map(|token| token.to_owned().into()),
        agent: Some("web-1".to_owned()),
        certified: None,
        origin: None,
        accept: [b'a'; 28],
        offer: Offer::Nothing,
        deflate: None,
    }
}

fn knock(dispatch: &Dispatch, conn: ConnId, token: Option<&str>) {
    let event = Event::Knock { conn, greeting: Box::new(greeting(token)) };
    let mut answers = Answers::default();
    pool::apply(dispatch, &mut answers, event, Now(0));
    pool::settle(dispatch, &mut answers);
}

/// Agents come, are replaced and leave; calls end in several ways.
fn live_a_little(dispatch: &Dispatch, letters: &Letters) {
    let [stranger, old, new] = [1, 2, 3].map(|n| ConnId::new(0, n, n));
    knock(dispatch, stranger, Some("hush.token.hush"));
    knock(dispatch, old, None);
    knock(dispatch, new, None);
    let caller = Caller::without_key(dispatch.tenant(DEV_TENANT));
    let call = |agent| {
        let request = CallRequest {
            by: &caller,
            agent,
            method: "hush.method",
            params: Payload { bytes: b"\"hush params\"", json: true },
            timeout: Duration::from_secs(1),
        };
        dispatch.call(Now(0), &dispatch.permit(request).unwrap(), Box::new(|_| ()))
    };
    call("web-2");
    let id = call("web-1").unwrap();
    let reply = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"result\":\"hush result\"}}");
    let message = Event::Message { conn: new, encoding: Encoding::Json, body: Bytes::from(reply) };
    pool::apply(dispatch, &mut Answers::default(), message, Now(0));
    let slot = std::iter::from_fn(|| letters.take()).filter_map(|order| match order {
        Order::Admit(admission) => Some(admission.agent),
        _ => None,
    });
    let agent = slot.last().unwrap();
    for conn in [old, new] {
        let event = Event::Ended { conn, agent, reason: Reason::PeerClosed };
        pool::apply(dispatch, &mut Answers::default(), event, Now(0));
    }
}

#[test]
fn agents_and_ends_of_calls_are_logged_at_debug_level() {
    let (dispatch, letters) = node();
    let text = logged(Level::DEBUG, || live_a_little(&dispatch, &letters));
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    for (place, (begin, end)) in [
        ("INFO upgrade refused conn=0000000100000001", ""),
        ("DEBUG agent connected tenant=default agent=web-1 conn=0000000200000002", ""),
        ("DEBUG agent replaced tenant=default agent=web-1 conn=0000000200000002 by=0000000300000003", ""),
        ("DEBUG agent connected tenant=default agent=web-1 conn=0000000300000003", ""),
        ("DEBUG call ended agent=web-2 outcome=\"offline\"", ""),
        ("DEBUG call ended agent=web-1 call=", " outcome=\"ok\""),
        ("DEBUG agent disconnected tenant=default agent=web-1 conn=0000000300000003 reason=\"peer_closed\"", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let line = lines.get(place).copied().unwrap_or_default();
        assert!(line.starts_with(begin) && line.ends_with(end), "{begin}\n{text}");
    }
    assert_eq!(lines.len(), 7, "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn they_are_not_logged_at_info_level() {
    let (dispatch, letters) = node();
    let text = logged(Level::INFO, || live_a_little(&dispatch, &letters));
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn the_session_in_the_welcome_names_the_connection_as_the_log_does() {
    let (dispatch, _letters) = node();
    let conn = ConnId::new(1, 2, 3);
    let welcome = dispatch.welcome(conn, Encoding::Json);
    let text = String::from_utf8_lossy(&welcome).into_owned();
    assert!(text.contains(&format!("\"60586658-{conn:?}\"")), "{text}");
}
