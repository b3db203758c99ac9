//! Connections that end in the middle of calls: what was written is lost, what was not is safe to repeat.

use std::collections::HashMap;
use std::net::TcpStream;

use serde_json::json;
use tungstenite::Message;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{Gateway, until};

/// How far an agent gets with its call before it is killed.
#[derive(Clone, Copy, Debug)]
enum Step {
    BeforeItReads,
    AfterItRead,
    AfterReceipt,
    AfterProgress,
    HalfwayThroughItsReply,
    AfterItsReply,
}

#[test]
fn an_agent_killed_at_any_step_gives_the_true_outcome() {
    use Step::*;
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        for (step, outcome) in [
            (BeforeItReads, "lost"),
            (AfterItRead, "lost"),
            (AfterReceipt, "lost"),
            (AfterProgress, "lost"),
            (HalfwayThroughItsReply, "lost"),
            (AfterItsReply, "ok"),
        ] {
            let agent = Agent::connect(&gateway, "mortal", encoding);
            let call = backend.begin("mortal", to_do("m", "60s"));
            let number = die_at(&gateway, agent, step);
            let answer = call.end();
            assert_eq!(answer.outcome("mortal"), outcome, "{step:?} {encoding:?}");
            if let Some(number) = number {
                answer.expect("mortal", outcome, number);
            }
            // What it left behind is no agent any more, and nothing waits for it.
            gateway.wait_no_agents();
            assert_eq!(gateway.metric("holdfast_calls_in_flight", ""), 0);
        }
    }
}

/// Goes as far as the step says, then resets the connection; the call's id where the agent has read it.
fn die_at(gateway: &Gateway, mut agent: Agent, step: Step) -> Option<u64> {
    if let Step::BeforeItReads = step {
        wait_for_bytes(agent.peer.raw());
        agent.peer.reset();
        return None;
    }
    let number = agent.call().call;
    match step {
        Step::BeforeItReads | Step::AfterItRead => {}
        Step::AfterReceipt => agent.receipt(number),
        Step::AfterProgress => {
            agent.receipt(number);
            agent.progress(number, &json!({"percent": 99}));
        }
        Step::HalfwayThroughItsReply => agent.answer_half(number, &json!("x".repeat(1000))),
        Step::AfterItsReply => {
            agent.answer(number, &json!("done"));
            // A reset throws away what was not read yet, so the reply must have come first.
            gateway.wait_metric("holdfast_calls_in_flight", "", 0);
        }
    }
    agent.peer.reset();
    Some(number)
}

/// Waits until the kernel has something for this socket.
fn wait_for_bytes(stream: &TcpStream) {
    let bytes = stream.peek(&mut [0; 1]).expect("a byte");
    assert_eq!(bytes, 1);
}

#[test]
fn what_was_written_whole_is_lost_and_the_rest_was_not_delivered() {
    const CALLS: u64 = 60;
    let gateway = Gateway::start("[limits]\nqueue_soft = \"32MiB\"\nqueue_hard = \"64MiB\"\nwrite_deadline = \"1h\"\n");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "deaf", encoding);
        let body = json!({"method": "m", "params": "x".repeat(400_000), "timeout": "60s"});

        // Calls that are answered show how long each is on the wire. An answer comes in a later turn of the loop than
        // its call goes out, so by then the bytes of the call are counted.
        let mut answered = || {
            let call = backend.begin("deaf", body.clone());
            let number = agent.call().call;
            agent.answer(number, &json!(0));
            call.end().expect_result("deaf", &json!(0), number);
            bytes_out(&gateway)
        };
        let each = answered().abs_diff(answered());

        let start = bytes_out(&gateway);
        let calls: Vec<_> = (0..CALLS).map(|_| backend.begin("deaf", body.clone())).collect();
        gateway.wait_metric("holdfast_calls_in_flight", "", CALLS);
        agent.peer.reset();
        let mut count: HashMap<String, u64> = HashMap::new();
        for call in calls {
            let answer = call.end();
            let outcome = answer.outcome("deaf").to_owned();
            *count.entry(outcome).or_default() += 1;
        }
        let lost = count.remove("lost").unwrap_or(0);
        let whole = || (bytes_out(&gateway) - start) / each;
        until(|| whole() == lost, "as many are lost as were written whole");
        assert!((1..CALLS).contains(&lost), "no queue was left behind");
        let rest = HashMap::from([("not_delivered".to_owned(), CALLS - lost)]);
        assert_eq!(count, rest, "{encoding:?}");
    }
}

/// Bytes that the kernel took for agents.
fn bytes_out(gateway: &Gateway) -> u64 {
    gateway.metric("holdfast_bytes_out_total", "")
}

#[test]
fn a_call_that_waits_behind_others_at_its_deadline_was_not_delivered() {
    let gateway = Gateway::start("[limits]\nqueue_soft = \"32MiB\"\nqueue_hard = \"64MiB\"\nwrite_deadline = \"1h\"\n");
    let backend = Backend::of(&gateway);
    let mut agent = Agent::connect(&gateway, "deaf", Encoding::Json);
    let body = json!({"method": "large", "params": "x".repeat(900_000), "timeout": "60s"});
    let large: Vec<_> = (0..30).map(|_| backend.begin("deaf", body.clone())).collect();
    gateway.wait_metric("holdfast_calls_in_flight", "", 30);
    let answer = backend.call("deaf", &to_do("withdrawn", "200ms"));
    assert_eq!(answer.outcome("deaf"), "not_delivered");

    // It is true: the agent wakes up, reads all that was written, and that call is not among it.
    for _ in 0..30 {
        let call = agent.call();
        assert_eq!(call.method, "large");
        agent.answer(call.call, &json!(1));
    }
    for call in large {
        assert_eq!(call.end().outcome("deaf"), "ok");
    }
    let after = backend.begin("deaf", to_do("after", "60s"));
    let call = agent.call();
    assert_eq!(call.method, "after");
    agent.answer(call.call, &json!(1));
    assert_eq!(after.end().outcome("deaf"), "ok");
}

#[test]
fn an_agent_that_says_goodbye_loses_what_it_did_not_answer() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "polite", encoding);
        let call = backend.begin("polite", to_do("m", "60s"));
        let number = agent.call().call;
        agent.receipt(number);
        agent.peer.send(Message::Close(None));
        call.end().expect("polite", "lost", number);
        agent.peer.closed();
    }
}
