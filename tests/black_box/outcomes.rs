//! Each outcome of a call, as its backend sees it, in both encodings: status, body, and whether it is true.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, InFlight, to_do};
use crate::gateway::{Gateway, until};

/// Longer than any deadline here: what is answered before this was answered at once.
const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn an_agent_that_answers() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let params = json!({"path": "/ü", "deep": [1, null, {"a": 1.5}]});
        let asked = json!({"method": "disk.scan", "params": params, "timeout": "30s"});
        let call = backend.begin("web-1", asked);
        let order = agent.call();
        assert_eq!((order.method.as_str(), &order.params), ("disk.scan", &params));
        // The agent is told how long its answer is waited for.
        assert!((20_000..=30_000).contains(&order.deadline_ms), "{order:?}");
        agent.answer(order.call, &params);
        call.end().expect_result("web-1", &params, order.call);

        let call = backend.begin("web-1", json!({"method": "no.params"}));
        let order = agent.call();
        assert_eq!(order.params, Value::Null);
        // The default of `calls.timeout`.
        assert!((10_000..=20_000).contains(&order.deadline_ms), "{order:?}");
        let data = json!({"disk": "/dev/sda"});
        agent.receipt(order.call);
        agent.progress(order.call, &json!(50));
        agent.refuse(order.call, -7, "no such \"disk\"", &data);
        let answer = call.end();
        answer.expect("web-1", "agent_error", order.call);
        let error = json!({"code": -7, "message": "no such \"disk\"", "data": data});
        assert_eq!(answer.body["error"], error);
        agent.peer.reset();
        gateway.wait_no_agents();
    }
    gateway.wait_metric("holdfast_calls_total", "outcome=\"ok\"", 2);
    gateway.wait_metric("holdfast_calls_total", "outcome=\"agent_error\"", 2);
}

#[test]
fn an_agent_that_is_not_there_is_offline_at_once() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    let answer = backend.call("nobody", &to_do("m", "60s"));
    assert_eq!(answer.outcome("nobody"), "offline");
    assert!(answer.took < AT_ONCE, "{answer:?}");

    // So is one that has just gone.
    let agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    agent.peer.reset();
    gateway.wait_no_agents();
    let answer = backend.call("web-1", &to_do("m", "60s"));
    assert_eq!(answer.outcome("web-1"), "offline");
    assert!(answer.took < AT_ONCE, "{answer:?}");
}

#[test]
fn deadlines_tell_whether_the_agent_gave_a_sign_of_life() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "slow", encoding);
        let mut begin = |method: &str| -> (InFlight, u64) {
            let call = backend.begin("slow", to_do(method, "1500ms"));
            (call, agent.call().call)
        };
        let (silent, silent_id) = begin("silent");
        let (receipt, receipt_id) = begin("receipt");
        let (progress, progress_id) = begin("progress");
        let (both, both_id) = begin("both");
        agent.receipt(receipt_id);
        agent.progress(progress_id, &json!({"percent": 1}));
        agent.receipt(both_id);
        agent.progress(both_id, &json!(null));
        for (call, id, outcome) in [
            (silent, silent_id, "no_receipt"),
            (receipt, receipt_id, "no_reply"),
            (progress, progress_id, "no_reply"),
            (both, both_id, "no_reply"),
        ] {
            let answer = call.end();
            answer.expect("slow", outcome, id);
            // The gateway's clock counts whole milliseconds.
            assert!(answer.took >= Duration::from_millis(1499), "{answer:?}");
            assert!(answer.took < AT_ONCE, "{answer:?}");
        }
        // The agent is told of each that nobody waits any more.
        let mut told: Vec<u64> = (0..4).map(|_| agent.cancelled()).collect();
        told.sort_unstable();
        let mut all = [silent_id, receipt_id, progress_id, both_id];
        all.sort_unstable();
        assert_eq!(told, all);
        agent.peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn too_many_calls_in_flight_are_busy() {
    let gateway = Gateway::start("[limits]\ncalls_per_agent = 2\ncalls_per_tenant = 3\n");
    let backend = Backend::of(&gateway);
    let mut one = Agent::connect(&gateway, "one", Encoding::Json);
    let mut two = Agent::connect(&gateway, "two", Encoding::Binary);
    let mut flying = Vec::new();
    for _ in 0..2 {
        let call = backend.begin("one", to_do("fits", "60s"));
        flying.push(("one", call, one.call().call));
    }
    let answer = backend.call("one", &to_do("over.the.agents", "60s"));
    assert_eq!(answer.outcome("one"), "busy");
    let call = backend.begin("two", to_do("fits", "60s"));
    flying.push(("two", call, two.call().call));
    let answer = backend.call("two", &to_do("over.the.tenants", "60s"));
    assert_eq!(answer.outcome("two"), "busy");
    assert!(answer.took < AT_ONCE, "{answer:?}");

    for (id, call, number) in flying {
        let agent = if id == "one" { &mut one } else { &mut two };
        agent.answer(number, &json!(1));
        call.end().expect_result(id, &json!(1), number);
    }
    // Each place was given back, and those that were refused never took one.
    let flying: Vec<_> = (0..2).map(|_| backend.begin("one", to_do("fits.again", "60s"))).collect();
    for number in [one.call().call, one.call().call] {
        one.answer(number, &json!(2));
    }
    for call in flying {
        assert_eq!(call.end().outcome("one"), "ok");
    }
    gateway.wait_metric("holdfast_calls_total", "outcome=\"busy\"", 2);
}

#[test]
fn a_caller_that_hangs_up_cancels_its_call() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for (encoding, count) in ENCODINGS.into_iter().zip([1, 2]) {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let caller = backend.begin_raw("web-1", &to_do("long", "60s"));
        let other = backend.begin("web-1", to_do("other", "60s"));
        let (first, second) = (agent.call(), agent.call());
        let (long, other_id) = match first.method.as_str() {
            "long" => (first.call, second.call),
            _ => (second.call, first.call),
        };
        drop(caller);
        assert_eq!(agent.cancelled(), long);
        gateway.wait_metric("holdfast_calls_total", "outcome=\"cancelled\"", count);
        // The agent's answer comes too late for it, and other calls are not touched.
        agent.answer(long, &json!("late"));
        agent.answer(other_id, &json!("good"));
        other.end().expect_result("web-1", &json!("good"), other_id);
        gateway.wait_metric("holdfast_replies_dropped_total", "", count);
        assert_eq!(gateway.metric("holdfast_calls_in_flight", ""), 0);
        agent.peer.reset();
        gateway.wait_no_agents();
    }
}

#[test]
fn a_node_that_drains_finishes_calls_and_takes_no_new_ones() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"100ms\"\nhard_end = \"60s\"\n");
    let backend = Backend::of(&gateway);
    let mut agents: Vec<_> =
        ENCODINGS.into_iter().map(|encoding| Agent::connect(&gateway, &format!("{encoding:?}"), encoding)).collect();
    let calls: Vec<_> = ["Json", "Binary"]
        .map(|id| backend.begin(id, to_do("in.flight", "60s")))
        .into_iter()
        .zip(agents.iter_mut().map(|agent| agent.call().call))
        .collect();
    gateway.signal(Signal::SIGTERM);
    until(|| backend.get("/readyz").status == 503, "not ready while it drains");
    let answer = backend.call("Json", &to_do("new", "60s"));
    assert_eq!(answer.outcome("Json"), "draining");
    let answer = backend.call("nobody", &to_do("new", "60s"));
    assert_eq!(answer.outcome("nobody"), "draining");

    for ((call, number), agent) in calls.into_iter().zip(&mut agents) {
        assert!(!call.has_ended());
        agent.answer(number, &json!("finished"));
        let answer = call.end();
        assert_eq!(answer.body["result"], "finished", "{answer:?}");
    }
    for mut agent in agents {
        assert_eq!(agent.envelope().kind, "goaway");
        assert_eq!(agent.peer.closed(), 4003);
    }
    assert!(gateway.wait_end().success());
}
