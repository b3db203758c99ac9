//! Random lives of calls against a plain list that says what must come out.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// One step of a random life. Numbers pick a call or a connection by remainder.
#[derive(Clone, Debug)]
enum Step {
    Open(u32, u64),
    Claim(usize),
    Unclaim(usize),
    Written(usize),
    Reply(usize, u32),
    Receipt(usize, u32),
    NotWritten(usize),
    Refused(usize),
    ConnEnded(u32),
    Cancel(usize),
    Expire(u64),
    EndAll,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let call = || 0..64usize;
    prop_oneof![
        10 => (0..4u32, 0..50u64).prop_map(|(c, d)| Open(c, d)),
        6 => call().prop_map(Claim),
        2 => call().prop_map(Unclaim),
        6 => call().prop_map(Written),
        4 => (call(), 0..4u32).prop_map(|(n, c)| Reply(n, c)),
        3 => (call(), 0..4u32).prop_map(|(n, c)| Receipt(n, c)),
        2 => call().prop_map(NotWritten),
        1 => call().prop_map(Refused),
        1 => (0..4u32).prop_map(ConnEnded),
        2 => call().prop_map(Cancel),
        2 => (0..30u64).prop_map(Expire),
        1 => Just(EndAll),
    ]
}

/// What the model knows of a call.
struct Expected {
    id: CallId,
    delivery: Delivery,
    conn: u32,
    deadline: u64,
    stage: Stage,
    receipt: bool,
    ended: Option<&'static str>,
}

/// A plain list of calls that says what must come out.
#[derive(Default)]
struct Model {
    calls: Vec<Expected>,
    now: u64,
    told: Vec<CallId>,
}

impl Model {
    fn pick(&mut self, n: usize) -> Option<&mut Expected> {
        let len = self.calls.len();
        (len > 0).then(|| &mut self.calls[n % len])
    }

    fn withdraw(call: &mut Expected) -> bool {
        if call.stage == Stage::Waiting {
            call.stage = Stage::Withdrawn;
        }
        call.stage == Stage::Withdrawn
    }

    fn waiting(&self) -> impl Iterator<Item = &Expected> {
        self.calls.iter().filter(|call| call.ended.is_none())
    }

    fn in_flight(&self, conn: u32) -> u32 {
        self.waiting().filter(|call| call.conn == conn).count() as u32
    }

    fn expire(&mut self) {
        for call in &mut self.calls {
            if call.ended.is_some() || call.deadline > self.now {
                continue;
            }
            call.ended = Some(if call.receipt {
                "no_reply"
            } else if Self::withdraw(call) {
                "not_delivered"
            } else {
                "no_receipt"
            });
            if call.ended != Some("not_delivered") {
                self.told.push(call.id);
            }
        }
    }

    fn end_all(&mut self) {
        for call in self.calls.iter_mut().filter(|call| call.ended.is_none()) {
            call.ended = Some(if Self::withdraw(call) { "not_delivered" } else { "lost" });
        }
    }

    fn conn_ended(&mut self, conn: u32) {
        for call in &mut self.calls {
            if call.ended.is_none() && call.conn == conn && call.stage == Stage::Written {
                call.ended = Some("lost");
            }
        }
    }
}

const MODEL_PER_AGENT_MAX: u32 = 5;

/// Lets one step happen to both.
fn take_step(bench: &mut Bench, model: &mut Model, step: &Step, told: &mut Vec<Abandoned>) {
    match *step {
        Step::Open(c, after) => {
            let full = model.in_flight(c) >= MODEL_PER_AGENT_MAX;
            let deadline = model.now + after;
            match bench.open(conn(c), Now(deadline)) {
                Err(_) => assert!(full),
                Ok((id, delivery)) => {
                    assert!(!full);
                    model.calls.push(Expected {
                        id,
                        delivery,
                        conn: c,
                        deadline,
                        stage: Stage::Waiting,
                        receipt: false,
                        ended: None,
                    });
                }
            }
        }
        Step::Expire(after) => {
            model.now += after;
            model.expire();
            bench.calls.expire(Now(model.now), told);
        }
        Step::EndAll => {
            model.end_all();
            bench.calls.end_all(Now(0));
        }
        Step::ConnEnded(c) => {
            model.conn_ended(c);
            bench.calls.conn_ended(conn(c), Now(0));
        }
        Step::Claim(n) | Step::Unclaim(n) | Step::Written(n) => {
            if let Some(call) = model.pick(n) {
                loop_step(call, step);
            }
        }
        Step::Reply(n, ..) | Step::Receipt(n, ..) | Step::NotWritten(n) | Step::Refused(n) | Step::Cancel(n) => {
            call_step(&bench.calls, model, n, step, told)
        }
    }
}

/// What the loop does to the mark.
fn loop_step(call: &mut Expected, step: &Step) {
    match (step, call.stage) {
        (Step::Claim(_), stage) => {
            let claimed = call.delivery.claim();
            assert_eq!(claimed, matches!(stage, Stage::Waiting | Stage::Claimed));
            if claimed {
                call.stage = Stage::Claimed;
            }
        }
        (Step::Unclaim(_), Stage::Claimed) => {
            call.delivery.unclaim();
            call.stage = Stage::Waiting;
        }
        (Step::Written(_), Stage::Claimed) => {
            call.delivery.written();
            call.stage = Stage::Written;
        }
        _ => {}
    }
    assert_eq!(call.delivery.stage(), call.stage);
}

/// What happens to one call that was opened at some time.
fn call_step(calls: &Calls, model: &mut Model, n: usize, step: &Step, told: &mut Vec<Abandoned>) {
    let Some(call) = model.pick(n) else {
        return;
    };
    let (id, waits) = (call.id, call.ended.is_none());
    match *step {
        Step::Reply(_, c) => {
            let fits = waits && c == call.conn;
            assert_eq!(calls.reply(conn(c), id, ok(), Now(0)), fits);
            if fits {
                call.ended = Some("ok");
            }
        }
        Step::Receipt(_, c) => {
            let fits = waits && c == call.conn;
            assert_eq!(calls.receipt(conn(c), id), fits);
            call.receipt |= fits;
        }
        Step::NotWritten(_) => {
            calls.not_written(id, Now(0));
            call.ended = call.ended.or(Some("not_delivered"));
        }
        Step::Refused(_) => {
            calls.refused(id, Now(0));
            call.ended = call.ended.or(Some("busy"));
        }
        _ => {
            told.extend(calls.cancel(id, Now(0)));
            if waits {
                call.ended = Some("cancelled");
                if !Model::withdraw(call) {
                    model.told.push(id);
                }
            }
        }
    }
}

/// The table and the model agree on everything that can be seen.
fn agree(bench: &Bench, model: &Model) {
    let log = bench.log();
    let ended: HashMap<_, _> = log.iter().copied().collect();
    assert_eq!(ended.len(), log.len(), "a call ended twice");
    for (n, call) in model.calls.iter().enumerate() {
        assert_eq!(ended.get(&n).copied(), call.ended, "{n}");
        assert_eq!(call.delivery.stage(), call.stage, "{n}");
    }
    assert_eq!(bench.calls.len(), model.waiting().count());
    assert_eq!(bench.tenant.used() as usize, bench.calls.len());
    for c in 0..4 {
        assert_eq!(bench.calls.in_flight(conn(c)), model.in_flight(c));
    }
    let next = model.waiting().map(|call| Now(call.deadline)).min();
    assert_eq!(bench.calls.next_deadline(), next);
}

proptest! {
    #[test]
    fn each_call_ends_once_as_the_model_says(steps in proptest::collection::vec(step(), 0..200)) {
        let mut bench = Bench::new(MODEL_PER_AGENT_MAX);
        let mut model = Model::default();
        for step in &steps {
            let mut told = Vec::new();
            take_step(&mut bench, &mut model, step, &mut told);
            let mut told: Vec<_> = told.iter().map(|abandoned| abandoned.call).collect();
            told.sort_unstable();
            let mut expected = std::mem::take(&mut model.told);
            expected.sort_unstable();
            prop_assert_eq!(told, expected);
            agree(&bench, &model);
        }
        bench.calls.end_all(Now(0));
        prop_assert_eq!(bench.log().len(), model.calls.len());
    }
}
