//! Every order in which a reply, a deadline, the end of a connection, a caller that goes away and the loop that writes can meet over
//! one call: it has exactly one outcome, and that is true.
//!
//! Run with `scripts/loom calls`. The table is the real one, with loom's mutex and atomics in it.

#![cfg(test)]

use std::sync::Mutex as Notes;

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread;

use super::*;
use crate::kit::delivery::Stage;
use crate::kit::lock::lock;
use crate::kit::quota::Quota;

const DUE: Now = Now(10);

fn conn() -> ConnId {
    ConnId::new(0, 1, 1)
}

/// One call that waits, and everything that is told of its end.
struct Case {
    calls: Calls,
    id: CallId,
    delivery: Delivery,
    /// The kernel has it.
    wire: AtomicBool,
    /// Loom never switches threads between its lock and its end, so it need not be loom's.
    ends: std::sync::Arc<Notes<Vec<Outcome>>>,
    tenant: std::sync::Arc<Quota>,
}

impl Case {
    fn new() -> Arc<Self> {
        let calls = Calls::new(7, 8);
        let (delivery, ends, tenant) = (Delivery::waiting(), std::sync::Arc::default(), Quota::new(1));
        let told: std::sync::Arc<Notes<Vec<Outcome>>> = std::sync::Arc::clone(&ends);
        let call = NewCall {
            conn: conn(),
            encoding: Encoding::Json,
            tenant: tenant.hold().unwrap(),
            deadline: DUE,
            delivery: delivery.clone(),
            on_end: Box::new(move |end| lock(&told).push(end.outcome)),
        };
        let Ok(id) = calls.open(call) else { panic!("there is room") };
        Arc::new(Self { calls, id, delivery, wire: AtomicBool::new(false), ends, tenant })
    }

    /// The loop writes it whole, unless it was withdrawn.
    fn write(&self) -> bool {
        let claimed = self.delivery.claim();
        if claimed {
            self.wire.store(true, Ordering::Relaxed);
            self.delivery.written();
        }
        claimed
    }

    /// The one outcome; the tenant has its place back.
    fn outcome(&self) -> Outcome {
        let ends = lock(&self.ends);
        assert_eq!(ends.len(), 1, "{ends:?}");
        assert!(self.calls.is_empty() && self.calls.next_deadline().is_none());
        assert_eq!((self.tenant.used(), self.calls.in_flight(conn())), (0, 0));
        ends[0].clone()
    }
}

fn answer() -> Outcome {
    Outcome::Ok(Body { bytes: Bytes::from_static(b"7"), json: true })
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // More switches than that find nothing new in steps under one lock, and take hours.
    builder.preemption_bound = Some(3);
    builder.check(run);
}

#[test]
fn a_reply_a_deadline_and_a_disconnect_give_one_outcome() {
    model(|| {
        let case = Case::new();
        assert!(case.write());
        let replies = {
            let case = Arc::clone(&case);
            thread::spawn(move || case.calls.reply(conn(), case.id, answer(), DUE))
        };
        let rings = {
            let case = Arc::clone(&case);
            thread::spawn(move || {
                let mut abandoned = Vec::new();
                case.calls.expire(DUE, &mut abandoned);
                abandoned.len()
            })
        };
        case.calls.conn_ended(conn(), DUE);
        let (replied, abandoned) = (replies.join().unwrap(), rings.join().unwrap());
        match case.outcome() {
            Outcome::Ok(_) => assert!(replied && abandoned == 0),
            Outcome::NoReceipt => assert!(!replied && abandoned == 1),
            Outcome::Lost => assert!(!replied && abandoned == 0),
            other => panic!("{other:?} of a call that was written"),
        }
    });
}

#[test]
fn a_deadline_and_a_hang_up_agree_with_the_write() {
    model(|| {
        let case = Case::new();
        let writes = {
            let case = Arc::clone(&case);
            thread::spawn(move || case.write())
        };
        let rings = {
            let case = Arc::clone(&case);
            thread::spawn(move || case.calls.expire(DUE, &mut Vec::new()))
        };
        let told = case.calls.cancel(case.id, DUE);
        rings.join().unwrap();
        let written = writes.join().unwrap();
        assert_eq!(written, case.wire.load(Ordering::Relaxed));
        match case.outcome() {
            Outcome::NotDelivered => assert!(!written, "it was said never to be written"),
            Outcome::NoReceipt => assert!(written, "it was said to be written"),
            Outcome::Cancelled => {
                assert_eq!(told.is_some(), written, "the agent is told of what it has, and of nothing else")
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_connection_that_ends_in_the_middle_of_the_write_tells_once() {
    model(|| {
        let case = Case::new();
        // The loop gives up a frame that the kernel has a part of; the worker hears so, and that the connection has ended.
        let ends = {
            let case = Arc::clone(&case);
            thread::spawn(move || {
                if case.delivery.claim() {
                    case.delivery.give_up();
                }
                case.calls.not_written(case.id, DUE);
                case.calls.conn_ended(conn(), DUE);
            })
        };
        case.calls.expire(DUE, &mut Vec::new());
        ends.join().unwrap();
        // Claimed and not given up yet, the deadline cannot know that it will never be whole.
        assert!(matches!(case.outcome(), Outcome::NotDelivered | Outcome::NoReceipt));
        assert_eq!(case.delivery.stage(), Stage::Withdrawn);
    });
}

#[test]
fn a_receipt_and_a_deadline_agree() {
    model(|| {
        let case = Case::new();
        assert!(case.write());
        let hears = {
            let case = Arc::clone(&case);
            thread::spawn(move || case.calls.receipt(conn(), case.id))
        };
        case.calls.expire(DUE, &mut Vec::new());
        let heard = hears.join().unwrap();
        assert_eq!(case.outcome(), if heard { Outcome::NoReply } else { Outcome::NoReceipt });
    });
}
