//! SIGTERM: agents are sent away in a paced way, calls in flight finish, and the process ends in time whatever happens.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tungstenite::Message;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{Gateway, SOON, until};
use crate::peer::to;

/// Waits until the node says that it drains.
fn wait_draining(gateway: &Gateway) {
    let backend = Backend::of(gateway);
    until(|| backend.get("/readyz").status == 503, "it drains");
    let ready = backend.get("/readyz");
    let detail = ready.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("draining"), "{ready:?}");
    assert_eq!(backend.get("/livez").status, 200);
    assert_eq!(backend.get("/v1/node").body["draining"], true);
}

/// Waits until nobody listens on the agents' port.
fn wait_closed(gateway: &Gateway) {
    until(
        || {
            let tried = TcpStream::connect(gateway.agents);
            tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        },
        "the agents' port is closed",
    );
}

#[test]
fn agents_are_sent_away_one_by_one_and_come_back_spread_out() {
    const AGENTS: u64 = 20;
    const WINDOW_MS: u64 = 2000;
    let mut gateway = Gateway::start("[drain]\nwindow = \"2s\"\nhard_end = \"60s\"\n");
    let agents: Vec<_> = (0..AGENTS)
        .map(|n| {
            let encoding = ENCODINGS[n as usize % 2];
            Agent::connect(&gateway, &format!("a-{n}"), encoding)
        })
        .collect();
    let begun = Instant::now();
    gateway.signal(Signal::SIGTERM);
    let waiting: Vec<_> = agents.into_iter().map(|agent| thread::spawn(move || sent_away(agent, begun))).collect();
    wait_draining(&gateway);
    wait_closed(&gateway);
    let mut left: Vec<Duration> = Vec::new();
    let mut back: Vec<u64> = Vec::new();
    for agent in waiting {
        let (when, after_ms) = agent.join().expect("an agent");
        left.push(when);
        back.push(after_ms);
    }
    assert!(gateway.wait_end().success());
    // Neither all at once, nor to come back all at once.
    left.sort_unstable();
    let spread = *left.last().expect("agents") - left[0];
    assert!(spread > Duration::from_millis(WINDOW_MS / 2), "{left:?}");
    assert!(back.iter().all(|ms| *ms < WINDOW_MS), "{back:?}");
    back.sort_unstable();
    back.dedup();
    assert!(back.len() as u64 > AGENTS / 2, "{back:?}");
}

/// Reads the goaway and the close; when it came, and after how many milliseconds the agent may come back.
fn sent_away(mut agent: Agent, begun: Instant) -> (Duration, u64) {
    let goaway = agent.envelope();
    let when = begun.elapsed();
    assert_eq!(goaway.kind, "goaway", "{goaway:?}");
    assert_eq!(goaway.params["reason"], "drain", "{goaway:?}");
    let after_ms = goaway.params["reconnect_after_ms"].as_u64();
    assert_eq!(agent.peer.closed(), 4003);
    (when, after_ms.expect("a time"))
}

#[test]
fn a_node_without_agents_ends_at_once() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"1h\"\nhard_end = \"2h\"\n");
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait_end().success());
}

#[test]
fn sigint_stops_as_sigterm_does() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"100ms\"\nhard_end = \"60s\"\n");
    let agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    gateway.signal(Signal::SIGINT);
    sent_away(agent, Instant::now());
    assert!(gateway.wait_end().success());
}

#[test]
fn a_busy_agent_keeps_its_connection_until_its_calls_are_done() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"50ms\"\nhard_end = \"60s\"\n");
    let backend = Backend::of(&gateway);
    let mut busy = Agent::connect(&gateway, "busy", Encoding::Json);
    let idle = Agent::connect(&gateway, "idle", Encoding::Binary);
    let calls = [(); 2].map(|()| {
        let call = backend.begin("busy", to_do("m", "60s"));
        (call, busy.call().call)
    });
    gateway.signal(Signal::SIGTERM);
    wait_draining(&gateway);
    sent_away(idle, Instant::now());
    for (call, number) in calls {
        // The window is long over, and it still may say that it works on it.
        busy.progress(number, &json!(1));
        busy.answer(number, &json!("done"));
        call.end().expect_result("busy", &json!("done"), number);
    }
    sent_away(busy, Instant::now());
    assert!(gateway.wait_end().success());
}

#[test]
fn a_call_that_never_ends_ends_with_the_process() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"100ms\"\nhard_end = \"1s\"\n");
    let backend = Backend::of(&gateway);
    let mut calls = Vec::new();
    let mut agents = Vec::new();
    for encoding in ENCODINGS {
        let id = format!("{encoding:?}");
        let mut agent = Agent::connect(&gateway, &id, encoding);
        let call = backend.begin(&id, to_do("for.ever", "60s"));
        let number = agent.call().call;
        calls.push((id, call, number));
        agents.push(agent);
    }
    gateway.signal(Signal::SIGTERM);
    for (id, call, number) in calls {
        let answer = call.end();
        // It was written, and may have run.
        answer.expect(&id, "lost", number);
        assert!(answer.took < SOON, "{answer:?}");
    }
    for mut agent in agents {
        assert_eq!(agent.peer.close_code(), 1001);
    }
    assert!(gateway.wait_end().success());
    assert!(gateway.log().contains("hard end"), "{}", gateway.log());
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"1h\"\nhard_end = \"2h\"\n");
    let backend = Backend::of(&gateway);
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let caller = backend.begin("web-1", to_do("for.ever", "60s"));
    let number = agent.call().call;
    gateway.signal(Signal::SIGTERM);
    wait_draining(&gateway);
    gateway.signal(Signal::SIGTERM);
    caller.end().expect("web-1", "lost", number);
    assert!(gateway.wait_end().success());
    assert!(gateway.log().contains("second signal"), "{}", gateway.log());
}

#[test]
fn a_reload_during_the_drain_changes_nothing() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"100ms\"\nhard_end = \"60s\"\n");
    let backend = Backend::of(&gateway);
    let mut agent = Agent::connect(&gateway, "web-1", Encoding::Json);
    let call = backend.begin("web-1", to_do("m", "60s"));
    let number = agent.call().call;
    gateway.signal(Signal::SIGTERM);
    wait_draining(&gateway);
    gateway.signal(Signal::SIGHUP);
    agent.answer(number, &Value::Null);
    call.end().expect_result("web-1", &Value::Null, number);
    sent_away(agent, Instant::now());
    assert!(gateway.wait_end().success());
}

#[test]
fn agents_that_come_while_the_drain_begins_are_sent_away_too() {
    for _ in 0..5 {
        let mut gateway = Gateway::start("[drain]\nwindow = \"50ms\"\nhard_end = \"1h\"\n");
        let (address, stop) = (gateway.agents, AtomicBool::new(false));
        thread::scope(|scope| {
            let storm = |seat: usize| {
                let (token, stop, gateway) = (gateway.token(&format!("a-{seat}")), &stop, &gateway);
                move || {
                    let mut sockets = Vec::new();
                    while !stop.load(Ordering::Acquire) {
                        let Ok(stream) = TcpStream::connect(address) else {
                            break;
                        };
                        stream.set_read_timeout(Some(SOON)).expect("a time-out");
                        let bearer = format!("Bearer {token}");
                        let request = to(gateway, "/v1/agent").with_header("Authorization", bearer);
                        sockets.extend(tungstenite::client(request, stream).ok().map(|it| it.0));
                    }
                    // Each is told why it has to go.
                    let mut codes: Vec<Option<u16>> = Vec::new();
                    for mut socket in sockets {
                        let mut code = None;
                        while let Ok(message) = socket.read() {
                            if let Message::Close(Some(close)) = message {
                                code = Some(close.code.into());
                            }
                        }
                        codes.push(code);
                    }
                    codes
                }
            };
            let storms: Vec<_> = (0..4).map(|seat| scope.spawn(storm(seat))).collect();
            until(|| gateway.metric("holdfast_agents", "") == 4, "a storm");
            gateway.signal(Signal::SIGTERM);
            wait_draining(&gateway);
            wait_closed(&gateway);
            stop.store(true, Ordering::Release);
            for storm in storms {
                let codes = storm.join().expect("a storm");
                // Replaced by the same agent's next connection, or drained; never cut off.
                assert!(codes.iter().all(|code| matches!(code, Some(4500 | 4003))), "{codes:?}");
            }
        });
        assert!(gateway.wait_end().success());
        assert!(!gateway.log().contains("hard end"));
    }
}

#[test]
fn agents_that_leave_by_themselves_are_not_waited_for() {
    let mut gateway = Gateway::start("[drain]\nwindow = \"1h\"\nhard_end = \"2h\"\n");
    let agents: Vec<Agent> = (0..8).map(|n| Agent::connect(&gateway, &format!("web-{n}"), Encoding::Json)).collect();
    gateway.signal(Signal::SIGTERM);
    wait_draining(&gateway);
    drop(agents);
    assert!(gateway.wait_end().success());
}
