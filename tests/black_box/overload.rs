//! Overload from outside: a node with too little memory for what slow agents leave queued cuts the largest queues, serves the others
//! meanwhile, and comes back to calm.

use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::WebSocket;

use crate::agent::{Agent, Encoding};
use crate::backend::Backend;
use crate::gateway::{Gateway, until};
use crate::peer::to;

const SLOW: usize = 6;
/// The kernel takes some 4 MiB for an agent that does not read; this is twice that.
const CALLS: usize = 10;
const PARAMS_BYTES: usize = 900_000;

/// An agent that reads nothing, and whose kernel takes next to nothing for it.
fn slow_agent(gateway: &Gateway, id: &str) -> WebSocket<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    socket.connect(&gateway.agents.into()).expect("connects");
    let bearer = format!("Bearer {}", gateway.token(id));
    let request = to(gateway, "/v1/agent").with_header("Authorization", bearer);
    tungstenite::client(request, TcpStream::from(socket)).expect("upgraded").0
}

fn level(gateway: &Gateway) -> Value {
    let node: Value = serde_json::from_str(&gateway.page("/v1/node")).expect("JSON");
    node["overload"]["memory"].clone()
}

#[test]
fn slow_agents_lose_their_queues_and_everybody_else_is_served() {
    const SETTINGS: &str = "[server]\nloops = 1\n[limits]\nwrite_deadline = \"1h\"\nqueue_hard = \"16MiB\"\n\
        [overload]\nfall = \"500ms\"\nmemory_close = 1000\n[calls]\ntimeout = \"60s\"\n";
    let gateway = Gateway::start(SETTINGS);
    let backend = Backend::of(&gateway);
    let mut honest = Agent::connect(&gateway, "honest", Encoding::Json);
    let deaf: Vec<_> = (0..SLOW).map(|number| slow_agent(&gateway, &format!("deaf-{number}"))).collect();
    let used = || gateway.memory()["used"].as_u64().expect("a number");
    assert_eq!(level(&gateway), "calm");

    // A third of what they are asked is too much.
    let budget = used() + (SLOW * CALLS * PARAMS_BYTES) as u64 / 3;
    gateway
        .configure(&Gateway::config(&SETTINGS.replace("[limits]\n", &format!("[limits]\nmemory = \"{budget}B\"\n"))));
    gateway.reload();
    let body = json!({"method": "m", "params": "x".repeat(PARAMS_BYTES), "timeout": "60s"});
    let outcomes: Vec<String> = thread::scope(|scope| {
        let callers: Vec<_> = (0..SLOW * CALLS)
            .map(|number| {
                let (backend, body) = (&backend, &body);
                scope.spawn(move || {
                    let answer = backend.call(&format!("deaf-{}", number % SLOW), body);
                    answer.body["outcome"].as_str().unwrap_or_default().to_owned()
                })
            })
            .collect();
        until(|| gateway.metric("holdfast_queues_shed_total", "") > 0, "queues are cut");
        // Who is in and takes what it is sent is served meanwhile.
        for _ in 0..20 {
            let call = backend.begin("honest", json!({"method": "m"}));
            let order = honest.call();
            honest.answer(order.call, &json!(1));
            call.end().expect_result("honest", &json!(1), order.call);
        }
        let log = gateway.log();
        assert!(log.contains("overload level changed") && log.contains("to=\"shed\""), "{log}");
        // Calls that the kernel has taken wait for their agents, which go now.
        deaf.into_iter().for_each(drop);
        callers.into_iter().map(|caller| caller.join().expect("an answer")).collect()
    });
    let ended = |outcome: &str| outcomes.iter().filter(|ended| *ended == outcome).count();
    assert!(ended("not_delivered") >= SLOW, "{outcomes:?}");
    let known = ["not_delivered", "lost", "busy"].into_iter().map(ended).sum::<usize>();
    assert_eq!(known, outcomes.len(), "{outcomes:?}");
    until(|| level(&gateway) == "calm", "what was cut is given back");
    until(|| gateway.page("/readyz").contains("\"ready\":true"), "the node is ready");
    assert_eq!(gateway.metric("holdfast_overload_level", "memory"), 0);
    assert_eq!(gateway.closed_for("slow_consumer"), 0);
    drop(Agent::connect(&gateway, "late", Encoding::Binary));
}
