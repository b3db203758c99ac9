//! What a batch with links in it makes of orders, and what becomes of a link's window.

use super::*;
use crate::audit::Audit;
use crate::auth::api_key::ApiKeys;
use crate::auth::token::{Refused, Verifier};
use crate::calls::Calls;
use crate::directory::{Directory, TenantLimits};
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::ids::AgentSlot;
use crate::kit::overload::Ladder;
use crate::kit::tick::Clock;
use crate::net::arrivals::{ArrivalLimits, Arrivals};
use crate::net::event_loop::LoopStatus;
use crate::net::intake::Event;
use crate::net::io::Wake;
use crate::net::mailbox::{Letters, Mailbox};
use crate::session::effect::Greeting;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::envelope::agent_side::{FromAgent, encode_from_agent};
use crate::wire::envelope::link_side::client::{self, EndedAs, FromLink, ToLink};
use crate::wire::origins::AllowedOrigins;
use crate::wire::upgrade::Offer;
use crate::work::alarm::Alarm;
use crate::work::dispatch::{CallRequest, Dispatch, DispatchParts, LoopDoor};
use crate::work::drain::Drain;
use crate::work::gate::{Backends, Gate, Linker, Openness, anybody};
use crate::work::{handlers, pool};

struct Deaf;

impl Wake for Deaf {
    fn wake(&self) {}
}

const ENCODING: Encoding = Encoding::Binary;

/// A node with one agent and one link, and the loop's end of its mailbox.
struct Bench {
    dispatch: Dispatch,
    letters: Letters,
    agent: ConnId,
    agent_slot: AgentSlot,
    link: ConnId,
}

impl Bench {
    fn new(window: u32) -> Self {
        let (mailbox, letters) = Mailbox::new(64, Arc::new(Deaf));
        let dispatch = Dispatch::new(DispatchParts {
            name: "n1".to_owned(),
            epoch: 1,
            clock: Clock::start(),
            directory: Directory::new(TenantLimits { calls: 100, agents: u32::MAX }, 10),
            calls: Calls::new(7, 100),
            loops: vec![LoopDoor { mailbox, status: Arc::new(LoopStatus::default()) }],
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
            links: LinkTerms { window, timeout: Duration::from_secs(1), timeout_max: Duration::from_secs(9) },
            heartbeat_ms: 1000,
            connections_max: 20,
            connections_max_per_loop: 10,
            alarm: Alarm::new().0,
            audit: Audit::off(),
            webhook: None,
        });
        let (agent, link) = (ConnId::new(0, 1, 1), ConnId::new(0, 2, 2));
        let mut bench = Self { dispatch, letters, agent, agent_slot: AgentSlot::NONE, link };
        bench.apply([bench.knock(Door::Agents), bench.knock(Door::Links)]);
        let orders = bench.orders();
        let [Order::Admit(admission), Order::Admit(_)] = &orders[..] else {
            panic!("two are let in");
        };
        bench.agent_slot = admission.agent;
        bench
    }

    fn knock(&self, door: Door) -> Event {
        let (conn, agent) = match door {
            Door::Agents => (self.agent, Some("web-1".to_owned())),
            Door::Links => (self.link, None),
        };
        let offer = Offer::Ours(ENCODING);
        let greeting = Greeting {
            door,
            peer: None,
            held_to: None,
            token: None,
            agent,
            certified: None,
            origin: None,
            accept: [b'a'; 28],
            offer,
            deflate: None,
        };
        Event::Knock { conn, greeting: Box::new(greeting) }
    }

    /// One batch of a worker.
    fn apply(&self, events: impl IntoIterator<Item = Event>) {
        let mut answers = Answers::default();
        for event in events {
            pool::apply(&self.dispatch, &mut answers, event, Now(0));
        }
        pool::settle(&self.dispatch, &mut answers);
    }

    fn call(&self, id: u64) -> Event {
        let params = Payload { bytes: b"1", json: true };
        let call = ToLink::Call { id, agent: "web-1", method: "m", params, timeout_ms: 0 };
        self.said(&call)
    }

    fn said(&self, envelope: &ToLink<'_>) -> Event {
        let body = Bytes::from(client::encode(ENCODING, envelope));
        Event::LinkMessage { conn: self.link, encoding: ENCODING, body }
    }

    fn reply(&self, call: CallId) -> Event {
        let payload = Payload { bytes: b"\"yes\"", json: true };
        let body = Bytes::from(encode_from_agent(ENCODING, &FromAgent::Result { call, payload }));
        Event::Message { conn: self.agent, encoding: ENCODING, body }
    }

    /// What the loop was told by the last batch: one post at most.
    fn orders(&self) -> Vec<Order> {
        let orders = match self.letters.take() {
            None => Vec::new(),
            Some(Order::Many(orders)) => orders,
            Some(one) => vec![one],
        };
        assert!(self.letters.take().is_none(), "a batch is one post");
        orders
    }

    /// The calls that the loop was told to write; it writes them.
    fn calls(&self) -> Vec<CallId> {
        let call = |order: Order| match order {
            Order::Call { conn, call, delivery, .. } => {
                assert!(conn == self.agent && delivery.claim());
                delivery.written();
                Some(call)
            }
            _ => None,
        };
        self.orders().into_iter().filter_map(call).collect()
    }
}

/// Joined answers, one by one.
fn answers(order: &Order) -> Vec<FromLink<'_>> {
    let Order::Send { frame, .. } = order else {
        panic!("no answers");
    };
    let (mut rest, mut all) = (&frame[..], Vec::new());
    while let [0x82, length, ..] = *rest {
        let (head, behind) = rest.split_at(2 + usize::from(length));
        rest = behind;
        all.push(client::decode(ENCODING, &head[2..]).unwrap());
    }
    assert!(rest.is_empty());
    all
}

/// The ids and outcomes of joined answers.
fn ended(order: &Order) -> Vec<(u64, &'static str)> {
    let outcome = |answer| match answer {
        FromLink::Ended { id, ended: EndedAs::Ok(_), .. } => (id, "ok"),
        FromLink::Ended { id, ended: EndedAs::Failed(failure), .. } => (id, failure.row().0),
        other => panic!("{other:?}"),
    };
    answers(order).into_iter().map(outcome).collect()
}

#[test]
fn calls_of_a_batch_are_one_post_and_so_are_their_answers() {
    let bench = Bench::new(10);
    bench.apply((1..=3).map(|id| bench.call(id)));
    let calls = bench.calls();
    assert_eq!(calls.len(), 3);
    bench.apply(calls.iter().rev().map(|call| bench.reply(*call)));
    let orders = bench.orders();
    assert_eq!(orders.len(), 1, "three answers are one order");
    assert_eq!(ended(&orders[0]), [(3, "ok"), (2, "ok"), (1, "ok")]);
    bench.apply([]);
    assert!(bench.orders().is_empty(), "an answer is collected once");
}

#[test]
fn the_window_counts_calls_in_flight() {
    let bench = Bench::new(2);
    bench.apply((1..=3).map(|id| bench.call(id)));
    let orders = bench.orders();
    assert_eq!(orders.len(), 3);
    assert_eq!(ended(&orders[2]), [(3, "busy")]);
    let [first, second] = [0, 1].map(|place| match &orders[place] {
        Order::Call { call, .. } => *call,
        _ => panic!("no call"),
    });
    bench.apply([bench.reply(first), bench.call(4), bench.reply(second)]);
    let orders = bench.orders();
    assert!(matches!(&orders[0], Order::Call { .. }), "the first reply made room");
    assert_eq!(ended(&orders[1]), [(1, "ok"), (2, "ok")]);
}

#[test]
fn a_call_that_is_taken_back_before_it_is_written_is_never_written() {
    let bench = Bench::new(2);
    bench.apply([bench.call(5), bench.said(&ToLink::Cancel { id: 5 }), bench.said(&ToLink::Cancel { id: 6 })]);
    let orders = bench.orders();
    let Order::Call { delivery, .. } = &orders[0] else {
        panic!("no call");
    };
    assert!(!delivery.claim(), "the loop will not write it");
    assert_eq!(ended(&orders[1]), [(5, "cancelled")]);
    assert_eq!(orders.len(), 2, "the agent need not be told");
}

#[test]
fn a_link_that_ended_leaves_no_call_behind_and_is_told_nothing() {
    let bench = Bench::new(5);
    bench.apply((1..=2).map(|id| bench.call(id)));
    assert_eq!(bench.calls().len(), 2);
    let over = Event::LinkEnded { conn: bench.link, reason: Reason::PeerVanished };
    bench.apply([bench.call(3), over, bench.call(4)]);
    let orders = bench.orders();
    // The third call was withdrawn before it was written; the fourth was never begun.
    let mut told = 0;
    for order in &orders {
        match order {
            Order::Call { delivery, .. } => assert!(!delivery.claim()),
            Order::Send { conn, .. } => {
                assert_eq!(*conn, bench.agent, "only the agent is told");
                told += 1;
            }
            _ => panic!("another order"),
        }
    }
    assert_eq!((told, orders.len()), (2, 3));
    assert_eq!(bench.dispatch.node(Now(0)).calls_in_flight, 0);
}

/// A gate that knows no key.
fn closed_gate() -> Gate {
    let verifier = Verifier::new(&[], None, 0).unwrap();
    let backends = Backends::Keys(ApiKeys::new(&[]).unwrap());
    Gate {
        verifier,
        openness: Openness::TokensOnly,
        leeway_secs: 0,
        lifetime_max_secs: None,
        backends,
        origins: AllowedOrigins::default(),
    }
}

#[test]
fn a_full_mailbox_keeps_no_link_open_whose_key_is_gone() {
    let bench = Bench::new(5);
    let mailbox = &bench.dispatch.loops()[0].mailbox;
    (0..mailbox.room()).for_each(|_| assert!(mailbox.offer(Order::StopAccepting).is_ok()));
    let closed = std::thread::scope(|scope| {
        let swap = scope.spawn(|| bench.dispatch.set_gate(closed_gate()));
        // It waits now, or it has given up.
        for _ in 0..10_000 {
            if swap.is_finished() {
                break;
            }
            std::thread::yield_now();
        }
        let mut closed = Vec::new();
        while !swap.is_finished() || !bench.letters.is_empty() {
            match bench.letters.take() {
                Some(Order::Close { conn, reason, .. }) => closed.push((conn, reason)),
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
        closed
    });
    assert_eq!(closed, [(bench.link, Reason::Revoked)]);
}

#[test]
fn a_key_that_goes_while_its_link_comes_in_opens_none() {
    let bench = Bench::new(5);
    bench.dispatch.set_gate(closed_gate());
    assert_eq!(bench.orders().len(), 1, "the one that is there is closed");
    // A worker has identified this one by the keys of before.
    let Event::Knock { greeting, .. } = bench.knock(Door::Links) else {
        panic!("no knock");
    };
    let (conn, mut answers) = (ConnId::new(0, 3, 3), Answers::default());
    let linker = Linker { key: None, backend: anybody() };
    let admitted = handlers::link::admit(&bench.dispatch, &mut answers, conn, &greeting, &linker);
    pool::settle(&bench.dispatch, &mut answers);
    assert_eq!((admitted, bench.orders().len()), (Err(Refused::Unverified), 0));
    assert!(bench.dispatch.links.get(conn).is_none());
}

/// The call ids of joined answers, in order.
fn ended_calls(order: &Order) -> Vec<Option<CallId>> {
    let call = |answer| match answer {
        FromLink::Ended { call, .. } => call,
        other => panic!("{other:?}"),
    };
    answers(order).into_iter().map(call).collect()
}

#[test]
fn a_call_that_ends_before_its_link_has_its_id_is_told_with_it() {
    let bench = Bench::new(5);
    let link = bench.dispatch.links.get(bench.link).unwrap();
    let ticket = link.begin(&7_u64.to_le_bytes(), "web-1").unwrap();
    let payload = Payload { bytes: b"1", json: true };
    let timeout = Duration::from_secs(1);
    let caller = link.caller();
    let request = CallRequest { by: &caller, agent: "web-1", method: "m", params: payload, timeout };
    let permitted = bench.dispatch.permit(request).unwrap();
    let (call, _order) = bench.dispatch.open_call(Now(0), &permitted, link.on_end(ticket, Now(0))).unwrap();
    // The alarm, or the end of the agent's connection on another thread, comes in between.
    bench.dispatch.expire(Now(1_000));
    let orders = bench.orders();
    assert_eq!(ended(&orders[0]), [(7, "not_delivered")]);
    assert_eq!(ended_calls(&orders[0]), [Some(call.id)]);
    link.sent(ticket, call.id);
    assert!(link.is_idle(), "a call that has ended is not in flight");
}

#[test]
fn the_time_of_a_call_is_told_by_whoever_ends_it() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let bench = Bench::new(5);
        bench.apply([bench.call(1)]);
        assert_eq!(bench.calls().len(), 1);
        bench.dispatch.expire(Now(3_000));
    });
    let text = handle.render();
    assert!(text.contains("holdfast_call_seconds_sum 3"), "{text}");
}

#[test]
fn a_link_that_was_busy_once_gives_the_memory_back() {
    let bench = Bench::new(10_000);
    let link = bench.dispatch.links.get(bench.link).unwrap();
    let rest = bench.dispatch.links.bytes();
    let tickets: Vec<_> = (0..10_000_u64).map(|id| link.begin(&id.to_le_bytes(), "web-1").unwrap()).collect();
    assert!(bench.dispatch.links.bytes() > rest + 10_000 * 32);
    let end = End { call: None, outcome: Outcome::Offline, at: Now(0) };
    for ticket in &tickets[1..] {
        link.end(*ticket, Now(0), &end);
    }
    bench.dispatch.links.collect(&mut Answers::default());
    let left = bench.dispatch.links.bytes();
    assert!(left < rest + 32_768, "{left} bytes for one call in flight, {rest} before");
}

#[test]
fn a_goaway_that_finds_a_full_mailbox_is_told_later_and_before_the_close() {
    let bench = Bench::new(5);
    let mailbox = &bench.dispatch.loops()[0].mailbox;
    let gone = Event::Ended { conn: bench.agent, agent: bench.agent_slot, reason: Reason::PeerClosed };
    bench.apply([gone]);
    (0..mailbox.room()).for_each(|_| assert!(mailbox.offer(Order::StopAccepting).is_ok()));
    bench.dispatch.begin_drain();
    let mut drain = Drain::begin(&bench.dispatch, Now(0), Duration::from_secs(1));
    let mut step = |now| drain.step(&bench.dispatch, Now(now), |_| 0);
    let told = || {
        let orders = std::iter::from_fn(|| bench.letters.take());
        let words = orders.filter_map(|order| match order {
            Order::Send { conn, frame } if conn == bench.link => {
                let goaway = client::decode(ENCODING, &frame[2..]).unwrap();
                assert!(matches!(goaway, FromLink::Goaway { .. }), "{goaway:?}");
                Some("goaway")
            }
            Order::Close { conn, reason: Reason::Drain, .. } if conn == bench.link => Some("close"),
            _ => None,
        });
        words.collect::<Vec<_>>()
    };
    assert_eq!(step(0), 1);
    assert!(told().is_empty(), "there was no room");
    assert_eq!(step(20), 1);
    assert_eq!(told(), ["goaway", "close"]);
    assert_eq!(step(40), 1);
    assert!(told().is_empty(), "each is told once");
}

#[test]
fn deadlines_are_told_in_one_post() {
    let bench = Bench::new(5);
    bench.apply((1..=2).map(|id| bench.call(id)));
    assert_eq!(bench.calls().len(), 2);
    bench.dispatch.expire(Now(1_000));
    let orders = bench.orders();
    let answers: Vec<_> =
        orders.iter().filter(|o| matches!(o, Order::Send { conn, .. } if *conn == bench.link)).collect();
    assert_eq!((answers.len(), orders.len()), (1, 3), "two cancels, and both answers");
    let mut told = ended(answers[0]);
    told.sort_unstable();
    assert_eq!(told, [(1, "no_receipt"), (2, "no_receipt")]);
}
