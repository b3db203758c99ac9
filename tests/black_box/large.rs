//! Large calls to an agent that reads: they take their time, and cost nobody a connection.

use serde_json::json;

use crate::agent::{Agent, ENCODINGS};
use crate::backend::{Backend, InFlight, to_do};
use crate::gateway::{Gateway, until};

#[test]
fn the_largest_call_that_a_backend_may_send_arrives() {
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let empty = json!({"method": "m", "params": "", "timeout": "60s"}).to_string();
        // `control.body_max` is 1MiB.
        let params = json!("x".repeat((1 << 20) - empty.len()));
        let call = backend.begin("web-1", json!({"method": "m", "params": params, "timeout": "60s"}));
        let order = agent.call();
        assert!(order.params == params, "the parameters are others");
        agent.answer(order.call, &json!(1));
        call.end().expect_result("web-1", &json!(1), order.call);
    }
}

#[test]
fn many_large_calls_at_once_to_an_agent_that_reads_arrive() {
    const CALLS: usize = 20;
    let gateway = Gateway::start("");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let body = json!({"method": "m", "params": "x".repeat(100_000), "timeout": "60s"});
        let calls: Vec<_> = (0..CALLS).map(|_| backend.begin("web-1", body.clone())).collect();
        for _ in 0..CALLS {
            let call = agent.call();
            agent.answer(call.call, &json!(1));
        }
        for call in calls {
            assert_eq!(call.end().outcome("web-1"), "ok");
        }
    }
}

#[test]
fn calls_that_do_not_fit_are_busy_and_the_agent_stays() {
    const CALLS: usize = 40;
    let gateway = Gateway::start("[limits]\nwrite_deadline = \"1h\"\n");
    let backend = Backend::of(&gateway);
    for encoding in ENCODINGS {
        let mut agent = Agent::connect(&gateway, "web-1", encoding);
        let body = json!({"method": "m", "params": "x".repeat(700_000), "timeout": "60s"});
        let calls: Vec<_> = (0..CALLS).map(|_| backend.begin("web-1", body.clone())).collect();
        // It does not read yet, so most find no room; those that did are all there when it does.
        let ended = || calls.iter().filter(|call| call.has_ended()).count();
        let waiting = || gateway.metric("holdfast_calls_in_flight", "") as usize;
        until(|| ended() > 0 && ended() + waiting() == CALLS, "each is busy or in flight");
        let fit = waiting();
        assert!(fit > 0, "none found room");
        for _ in 0..fit {
            let call = agent.call();
            agent.answer(call.call, &json!(1));
        }
        let answers: Vec<_> = calls.into_iter().map(InFlight::end).collect();
        let of = |outcome| answers.iter().filter(|answer| answer.outcome("web-1") == outcome).count();
        assert_eq!((of("ok"), of("busy")), (fit, CALLS - fit), "{encoding:?}");

        // And the same connection goes on.
        let call = backend.begin("web-1", to_do("after", "60s"));
        let order = agent.call();
        assert_eq!(order.method, "after");
        agent.answer(order.call, &json!(2));
        call.end().expect_result("web-1", &json!(2), order.call);
    }
}
