//! Every way a call can end, as tables, and races to end it.

mod model;

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use super::*;
use crate::kit::delivery::Stage;
use crate::kit::lock::lock;
use crate::kit::quota::Quota;
use crate::wire::envelope::Encoding;

/// Outcomes in the order in which they came, as labels.
type Log = Arc<Mutex<Vec<(usize, &'static str)>>>;

/// A table with the tenant's quota and a log of what ended.
struct Bench {
    calls: Calls,
    tenant: Arc<Quota>,
    log: Log,
    opened: usize,
}

impl Bench {
    fn new(per_agent_max: u32) -> Self {
        Self {
            calls: Calls::new(u64::MAX - 3, per_agent_max),
            tenant: Quota::new(u32::MAX),
            log: Log::default(),
            opened: 0,
        }
    }

    /// Opens a call; the number of the call in the log, and the id.
    fn open(&mut self, conn: ConnId, deadline: Now) -> Result<(CallId, Delivery), OnEnd> {
        let (log, number) = (Arc::clone(&self.log), self.opened);
        let delivery = Delivery::waiting();
        let id = self.calls.open(NewCall {
            conn,
            encoding: Encoding::Json,
            tenant: self.tenant.hold().expect("no limit"),
            deadline,
            delivery: delivery.clone(),
            on_end: Box::new(move |end| lock(&log).push((number, end.outcome.label()))),
        })?;
        self.opened += 1;
        Ok((id, delivery))
    }

    fn open_at(&mut self, conn: ConnId, stage: Stage) -> (CallId, Delivery) {
        let (id, delivery) = self.open(conn, Now(100)).unwrap_or_else(|_| panic!("busy"));
        bring_to(&delivery, stage);
        (id, delivery)
    }

    fn log(&self) -> Vec<(usize, &'static str)> {
        lock(&self.log).clone()
    }
}

fn bring_to(delivery: &Delivery, stage: Stage) {
    match stage {
        Stage::Waiting => {}
        Stage::Claimed => assert!(delivery.claim()),
        Stage::Written => {
            assert!(delivery.claim());
            delivery.written();
        }
        Stage::Withdrawn => assert!(delivery.withdraw()),
    }
}

fn conn(n: u32) -> ConnId {
    ConnId::new((n % 3) as u8, n, n + 1)
}

fn ok() -> Outcome {
    Outcome::Ok(Body { bytes: Bytes::from_static(b"1"), json: true })
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Reply,
    AgentError,
    NotWritten,
    Refused,
    ConnEnded,
    Cancel,
    Expire,
    EndAll,
}

impl Event {
    /// Lets it happen to a call; which agents are to be told.
    fn happen(self, calls: &Calls, conn: ConnId, call: CallId, now: Now) -> Vec<Abandoned> {
        let mut told = Vec::new();
        match self {
            Self::Reply => assert!(calls.reply(conn, call, ok(), Now(0))),
            Self::AgentError => {
                assert!(calls.reply(
                    conn,
                    call,
                    Outcome::AgentError { code: -1, message: String::new(), data: None },
                    Now(0)
                ))
            }
            Self::NotWritten => calls.not_written(call, Now(0)),
            Self::Refused => calls.refused(call, Now(0)),
            Self::ConnEnded => calls.conn_ended(conn, Now(0)),
            Self::Cancel => told.extend(calls.cancel(call, Now(0))),
            Self::Expire => calls.expire(now, &mut told),
            Self::EndAll => calls.end_all(Now(0)),
        }
        told
    }
}

/// Every way to end, at every stage: the outcome, and whether the agent is told. An empty label: it goes on waiting.
#[test]
fn each_end_at_each_stage() {
    use Event::*;
    use Stage::*;
    let table = [
        (Reply, Waiting, false, "ok", false),
        (Reply, Claimed, false, "ok", false),
        (Reply, Written, false, "ok", false),
        (Reply, Written, true, "ok", false),
        (AgentError, Written, true, "agent_error", false),
        (NotWritten, Waiting, false, "not_delivered", false),
        (NotWritten, Claimed, false, "not_delivered", false),
        (NotWritten, Withdrawn, false, "not_delivered", false),
        (Refused, Waiting, false, "busy", false),
        (ConnEnded, Waiting, false, "", false),
        (ConnEnded, Claimed, false, "", false),
        (ConnEnded, Written, false, "lost", false),
        (ConnEnded, Written, true, "lost", false),
        (Cancel, Waiting, false, "cancelled", false),
        (Cancel, Claimed, false, "cancelled", true),
        (Cancel, Written, false, "cancelled", true),
        (Cancel, Written, true, "cancelled", true),
        (Expire, Waiting, false, "not_delivered", false),
        (Expire, Claimed, false, "no_receipt", true),
        (Expire, Written, false, "no_receipt", true),
        (Expire, Written, true, "no_reply", true),
        (EndAll, Waiting, false, "not_delivered", false),
        (EndAll, Claimed, false, "lost", false),
        (EndAll, Written, false, "lost", false),
        (EndAll, Written, true, "lost", false),
    ];
    for row @ (event, stage, receipt, label, told) in table {
        let mut bench = Bench::new(1);
        let (id, delivery) = bench.open_at(conn(1), stage);
        if receipt {
            assert!(bench.calls.receipt(conn(1), id));
        }
        let abandoned = event.happen(&bench.calls, conn(1), id, Now(100));
        let expected: Vec<_> =
            told.then_some(Abandoned { call: id, conn: conn(1), encoding: Encoding::Json }).into_iter().collect();
        assert_eq!(abandoned, expected, "{row:?}");
        if label.is_empty() {
            assert_eq!((bench.log(), bench.calls.len()), (vec![], 1), "{row:?}");
            continue;
        }
        assert_eq!(bench.log(), [(0, label)], "{row:?}");
        assert_eq!(bench.tenant.used(), 0, "{row:?}");
        assert!(bench.calls.is_empty() && bench.calls.in_flight(conn(1)) == 0);
        assert_eq!(bench.calls.next_deadline(), None, "{row:?}");
        if matches!(event, Cancel | Expire | EndAll) && stage == Waiting {
            assert!(!delivery.claim(), "a withdrawn call is never written");
        }
        // Whatever comes after the end changes nothing.
        assert!(!bench.calls.reply(conn(1), id, ok(), Now(0)) && !bench.calls.receipt(conn(1), id));
        assert_eq!(bench.calls.cancel(id, Now(0)), None);
        for late in [NotWritten, Refused, ConnEnded, Expire, EndAll] {
            assert_eq!(late.happen(&bench.calls, conn(1), id, Now(999)), []);
        }
        assert_eq!(bench.log().len(), 1, "{row:?}");
    }
}

#[test]
fn the_word_of_the_loop_counts_once_before_and_after_the_end_of_the_connection() {
    for first in [Event::NotWritten, Event::ConnEnded] {
        let mut bench = Bench::new(9);
        let (partial, _) = bench.open_at(conn(1), Stage::Claimed);
        let (_written, _) = bench.open_at(conn(1), Stage::Written);
        let (other, _) = bench.open_at(conn(2), Stage::Written);
        let second = match first {
            Event::NotWritten => Event::ConnEnded,
            _ => Event::NotWritten,
        };
        for event in [first, second, first, second] {
            event.happen(&bench.calls, conn(1), partial, Now(0));
        }
        let mut log = bench.log();
        log.sort_unstable();
        assert_eq!(log, [(0, "not_delivered"), (1, "lost")]);
        assert!(bench.calls.reply(conn(2), other, ok(), Now(0)), "others are untouched");
    }
}

#[test]
fn a_foreign_reply_changes_nothing() {
    let mut bench = Bench::new(9);
    let (id, _) = bench.open_at(conn(1), Stage::Written);
    let same_slot = ConnId::new(1, 1, 77);
    for stranger in [conn(2), same_slot] {
        assert!(!bench.calls.reply(stranger, id, ok(), Now(0)));
        assert!(!bench.calls.receipt(stranger, id));
    }
    for n in 0..u64::from(u16::MAX) {
        if n != id.0 {
            assert!(!bench.calls.reply(conn(1), CallId(n), ok(), Now(0)));
        }
    }
    assert_eq!(bench.log(), []);
    let mut told = Vec::new();
    bench.calls.expire(Now(100), &mut told);
    assert_eq!(bench.log(), [(0, "no_receipt")], "nor was it a receipt");
}

#[test]
fn two_calls_are_answered_in_reverse_order() {
    let mut bench = Bench::new(2);
    let (first, _) = bench.open_at(conn(1), Stage::Written);
    let (second, _) = bench.open_at(conn(1), Stage::Written);
    assert!(bench.calls.reply(conn(1), second, ok(), Now(0)));
    assert!(bench.calls.reply(conn(1), first, ok(), Now(0)));
    assert_eq!(bench.log(), [(1, "ok"), (0, "ok")]);
}

#[test]
fn an_agent_has_a_limit_and_the_completion_comes_back() {
    let mut bench = Bench::new(2);
    let (first, _) = bench.open_at(conn(1), Stage::Waiting);
    bench.open_at(conn(1), Stage::Waiting);
    let Err(on_end) = bench.open(conn(1), Now(5)) else {
        panic!("a third call was taken");
    };
    assert_eq!(bench.log(), [], "it has not run");
    assert_eq!(bench.tenant.used(), 2, "the tenant's place is given back");
    assert_eq!(bench.calls.next_deadline(), Some(Now(100)));
    on_end(End::unopened(Outcome::Busy, Now(0)));
    assert_eq!(bench.log(), [(2, "busy")]);
    assert_eq!(bench.calls.in_flight(conn(1)), 2);
    assert!(bench.open(conn(2), Now(100)).is_ok(), "others have room");

    bench.calls.not_written(first, Now(0));
    assert!(bench.open(conn(1), Now(100)).is_ok());
    bench.calls.set_per_agent_max(0);
    assert!(bench.open(conn(3), Now(100)).is_err());
}

#[test]
fn ids_are_unique_across_connections_and_the_wrap() {
    let mut bench = Bench::new(u32::MAX);
    let mut seen = HashSet::new();
    for n in 0..5000 {
        let (id, _) = bench.open_at(conn(n % 300), Stage::Waiting);
        assert!(seen.insert(id));
    }
}

#[test]
fn a_completion_may_open_the_next_call() {
    let bench = Bench::new(1);
    let calls = Arc::new(bench.calls);
    let (again, tenant) = (Arc::clone(&calls), Arc::clone(&bench.tenant));
    let new = |on_end: OnEnd| NewCall {
        conn: conn(1),
        encoding: Encoding::Json,
        tenant: tenant.hold().expect("no limit"),
        deadline: Now(1),
        delivery: Delivery::waiting(),
        on_end,
    };
    let next = new(Box::new(|_| ()));
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let id = calls
        .open(new(Box::new(move |_| {
            assert!(again.open(next).is_ok(), "no lock is held, the place is free");
            count.fetch_add(1, Ordering::Relaxed);
        })))
        .unwrap_or_else(|_| panic!("busy"));
    assert!(calls.reply(conn(1), id, ok(), Now(0)));
    assert_eq!((opened.load(Ordering::Relaxed), calls.len()), (1, 1));
}

#[test]
fn a_deadline_at_the_end_of_time_is_a_deadline() {
    let mut bench = Bench::new(1);
    assert!(bench.open(conn(1), Now(u64::MAX)).is_ok());
    assert!(bench.calls.next_deadline().is_some());
    bench.calls.expire(Now(u64::MAX - 1), &mut Vec::new());
    assert_eq!(bench.calls.len(), 1);
    bench.calls.expire(Now(u64::MAX), &mut Vec::new());
    assert_eq!((bench.calls.len(), bench.calls.next_deadline()), (0, None));
}

#[test]
fn memory_falls_back_after_a_burst() {
    let mut bench = Bench::new(u32::MAX);
    let ids: Vec<_> = (0..50_000u32).map(|n| (conn(n), bench.open_at(conn(n), Stage::Written).0)).collect();
    let full: usize = bench.calls.shards.iter().map(Shard::capacity).sum();
    for (conn, id) in &ids {
        assert!(bench.calls.reply(*conn, *id, ok(), Now(0)));
    }
    let after: usize = bench.calls.shards.iter().map(Shard::capacity).sum();
    assert!(full >= 50_000 && after <= SHARDS * 80, "{full} {after}");
}

#[test]
fn deadlines_of_ended_calls_do_not_pile_up() {
    let mut bench = Bench::new(u32::MAX);
    let (kept, _) = bench.open_at(conn(1), Stage::Written);
    for _ in 0..10_000 {
        let (id, _) = bench.open_at(conn(1), Stage::Written);
        assert!(bench.calls.reply(conn(1), id, ok(), Now(0)));
    }
    let kept_deadlines: usize = bench.calls.shards.iter().map(Shard::deadlines).sum();
    assert!(kept_deadlines < 100, "{kept_deadlines}");
    assert!(bench.calls.reply(conn(1), kept, ok(), Now(0)));
}

/// Threads race to end the same calls; a writer plays the loop. Each call ends once, and truly.
#[test]
fn many_threads_end_each_call_once() {
    const CALLS: usize = 4000;
    const CONNS: usize = 50;
    let calls = Calls::new(fastrand::u64(..), u32::MAX);
    let tenant = Quota::new(u32::MAX);
    let ends: Arc<Vec<Mutex<Vec<Outcome>>>> = Arc::new((0..CALLS).map(|_| Mutex::default()).collect());
    let opened: Vec<_> = (0..CALLS)
        .map(|n| {
            let (ends, delivery) = (Arc::clone(&ends), Delivery::waiting());
            let id = calls.open(NewCall {
                conn: conn((n % CONNS) as u32),
                encoding: Encoding::Json,
                tenant: tenant.hold().expect("no limit"),
                deadline: Now((n % 97) as u64),
                delivery: delivery.clone(),
                on_end: Box::new(move |end| lock(&ends[n]).push(end.outcome)),
            });
            (id.unwrap_or_else(|_| panic!("busy")), delivery)
        })
        .collect();
    let shuffled = |seed: u64| {
        let mut order: Vec<_> = (0..CALLS).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        order
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in shuffled(1) {
                if opened[n].1.claim() {
                    opened[n].1.written();
                    calls.receipt(conn((n % CONNS) as u32), opened[n].0);
                }
            }
        });
        for seed in 2..4 {
            let (calls, opened) = (&calls, &opened);
            scope.spawn(move || {
                for (turn, n) in shuffled(seed).into_iter().enumerate() {
                    let from = conn((n % CONNS) as u32);
                    match turn % 40 {
                        0 => calls.conn_ended(from, Now(0)),
                        1..20 if opened[n].1.stage() == Stage::Written => {
                            calls.reply(from, opened[n].0, ok(), Now(0));
                        }
                        20..24 => drop(calls.cancel(opened[n].0, Now(0))),
                        30 => calls.expire(Now(turn as u64 / 60), &mut Vec::new()),
                        _ => {}
                    }
                }
            });
        }
    });
    calls.end_all(Now(0));
    assert_eq!((calls.len(), tenant.used()), (0, 0));
    for (n, (_, delivery)) in opened.iter().enumerate() {
        let ends = lock(&ends[n]);
        assert_eq!(ends.len(), 1, "call {n}: {ends:?}");
        let allowed = match ends[0] {
            Outcome::NotDelivered => delivery.stage() == Stage::Withdrawn,
            Outcome::Cancelled => true,
            _ => delivery.stage() == Stage::Written,
        };
        assert!(allowed, "call {n}: {ends:?} at {:?}", delivery.stage());
    }
}
