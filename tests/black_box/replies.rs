//! Replies that nobody waits for, and replies in any order: each call gets its own, and no reply ends a connection.

use serde_json::json;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::Gateway;

/// Counts replies that answered no waiting call.
const DROPPED: &str = "holdfast_replies_dropped_total";

#[test]
fn late_and_doubled_replies_are_counted_and_the_connection_stays() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for (encoding, before) in ENCODINGS.into_iter().zip([0, 3]) {
        let id = format!("{encoding:?}");
        let mut agent = Agent::connect(&gateway, &id, encoding);
        let late = backend.begin(&id, to_do("late", "100ms"));
        let late_id = agent.call().call;
        late.end().expect(&id, "no_receipt", late_id);
        assert_eq!(agent.cancelled(), late_id);
        agent.receipt(late_id);
        agent.answer(late_id, &json!("too late"));
        gateway.wait_metric(DROPPED, "", before + 1);

        let twice = backend.begin(&id, to_do("twice", "60s"));
        let twice_id = agent.call().call;
        agent.answer(twice_id, &json!("first"));
        agent.answer(twice_id, &json!("second"));
        twice.end().expect_result(&id, &json!("first"), twice_id);
        gateway.wait_metric(DROPPED, "", before + 2);

        // An id that was never given.
        agent.answer(0x0123_4567_89ab_cdef, &json!("stray"));
        gateway.wait_metric(DROPPED, "", before + 3);

        let still = backend.begin(&id, to_do("still.there", "60s"));
        let still_id = agent.call().call;
        agent.answer(still_id, &json!("yes"));
        still.end().expect_result(&id, &json!("yes"), still_id);
    }
}

#[test]
fn another_connection_cannot_answer_a_call() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    let mut count = 0;
    for encoding in ENCODINGS {
        let mut asked = Agent::connect(&gateway, "asked", encoding);
        for foreign in ENCODINGS {
            let mut thief = Agent::connect(&gateway, "thief", foreign);
            let call = backend.begin("asked", to_do("m", "2s"));
            let number = asked.call().call;
            thief.answer(number, &json!("stolen"));
            thief.refuse(number, 1, "stolen", &json!(null));
            count += 2;
            gateway.wait_metric(DROPPED, "", count);
            assert!(!call.has_ended());
            asked.answer(number, &json!("mine"));
            call.end().expect_result("asked", &json!("mine"), number);
        }
    }
    // Nor is its receipt a sign of life of the agent that was asked.
    let mut asked = Agent::connect(&gateway, "asked", Encoding::Json);
    let mut thief = Agent::connect(&gateway, "thief", Encoding::Json);
    let call = backend.begin("asked", to_do("m", "1s"));
    let number = asked.call().call;
    thief.receipt(number);
    thief.progress(number, &json!(1));
    thief.answer(number, &json!(1));
    gateway.wait_metric(DROPPED, "", count + 1);
    call.end().expect("asked", "no_receipt", number);
}

#[test]
fn calls_are_answered_in_any_order() {
    const CALLS: usize = 20;
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let calls: Vec<_> = (0..CALLS)
            .map(|number| {
                let body = json!({"method": "m", "params": number, "timeout": "60s"});
                backend.begin("web-1", body)
            })
            .collect();
        let mut orders: Vec<_> = (0..CALLS).map(|_| agent.call()).collect();
        // The backend's threads race, so the order of arrival is any; it is answered in reverse.
        orders.reverse();
        for order in &orders {
            agent.answer(order.call, &json!({"of": order.params}));
        }
        for (number, call) in calls.into_iter().enumerate() {
            let answer = call.end();
            assert_eq!(answer.body["result"], json!({"of": number}), "{answer:?}");
        }
    }
}

#[test]
fn a_slow_handler_does_not_delay_another_call_to_its_agent() {
    let gateway = Gateway::start("[server]\nloops = 1\nworkers = 1\n");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let slow = backend.begin("web-1", to_do("slow", "60s"));
        let slow_id = agent.call().call;
        agent.receipt(slow_id);
        for _ in 0..10 {
            let quick = backend.begin("web-1", to_do("quick", "60s"));
            let quick_id = agent.call().call;
            agent.answer(quick_id, &json!("quick"));
            quick.end().expect_result("web-1", &json!("quick"), quick_id);
            assert!(!slow.has_ended());
        }
        agent.answer(slow_id, &json!("slow"));
        slow.end().expect_result("web-1", &json!("slow"), slow_id);
    }
}
