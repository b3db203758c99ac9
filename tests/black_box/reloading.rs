//! SIGHUP: keys and limits are read again while agents stay connected; what is wrong changes nothing.

use serde_json::json;
use tungstenite::Message;

use crate::agent::{Agent, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::Gateway;
use crate::keys::{Key, api_key, claims};
use crate::peer::to;

/// Addresses that the kernel chooses, in the file and not in flags: a reload reads them again.
const LISTEN: &str = "[server]\nlisten = \"127.0.0.1:0\"\n[control]\nlisten = \"127.0.0.1:0\"\n";

/// Whether an agent with this token is let in; it is gone again when this returns.
fn is_let_in(gateway: &Gateway, token: &str) -> bool {
    let stream = std::net::TcpStream::connect(gateway.agents).expect("connects");
    let bearer = format!("Bearer {token}");
    let request = to(gateway, "/v1/agent").with_header("Authorization", bearer);
    tungstenite::client(request, stream).is_ok()
}

#[test]
fn keys_change_while_agents_stay() {
    let (old, new) = (Key::hs256("old"), Key::hs256("new"));
    let (a, b) = (api_key("key_a", "default"), api_key("key_b", "default"));
    let b = b.replace("of-default", "b");
    let config = |parts: &[&str]| format!("{LISTEN}{}", parts.concat());
    let gateway = Gateway::launch(&config(&[&old.settings, &a]), &[]);
    let (old_token, new_token) = (old.token(&claims("web-1")), new.token(&claims("web-2")));
    let (of_a, of_b) = (Backend::with_key(&gateway, "key_a"), Backend::with_key(&gateway, "key_b"));
    let bearer = format!("Bearer {}", old.token(&claims("stays")));
    let request = to(&gateway, "/v1/agent").with_header("Authorization", bearer);
    let mut stays = Agent::open(&gateway, request, Encoding::Json);
    let seen = || {
        (
            is_let_in(&gateway, &old_token),
            is_let_in(&gateway, &new_token),
            of_a.get("/v1/agents/stays").status,
            of_b.get("/v1/agents/stays").status,
        )
    };
    assert_eq!(seen(), (true, false, 200, 401));

    gateway.configure(&config(&[&old.settings, &new.settings, &a, &b]));
    let log = gateway.reload();
    assert!(log.contains("INFO") && log.contains("settings read again"));
    assert_eq!(seen(), (true, true, 200, 200));

    gateway.configure(&config(&[&new.settings, &b]));
    gateway.reload();
    assert_eq!(seen(), (false, true, 401, 200));

    // Who is in stays in, and is called.
    let call = of_b.begin("stays", to_do("m", "60s"));
    let number = stays.call().call;
    stays.answer(number, &json!(1));
    call.end().expect_result("stays", &json!(1), number);
}

#[test]
fn limits_change_for_those_who_are_in() {
    let key = Key::hs256("main");
    let api = api_key("key_a", "default");
    let config = |limits: &str| format!("{LISTEN}{limits}{}{api}", key.settings);
    let gateway = Gateway::launch(&config("[limits]\ncalls_per_agent = 1\n[calls]\ntimeout = \"9s\"\n"), &[]);
    let backend = Backend::with_key(&gateway, "key_a");
    let bearer = format!("Bearer {}", key.token(&claims("web-1")));
    let request = to(&gateway, "/v1/agent").with_header("Authorization", bearer);
    let mut agent = Agent::open(&gateway, request, Encoding::Json);
    let first = backend.begin("web-1", json!({"method": "m"}));
    let first_order = agent.call();
    assert!(first_order.deadline_ms <= 9_000, "{first_order:?}");
    let busy = backend.call("web-1", &to_do("m", "60s"));
    assert_eq!(busy.outcome("web-1"), "busy");

    gateway.configure(&config("[limits]\ncalls_per_agent = 2\nmessage_max = \"1KiB\"\n[calls]\ntimeout = \"90s\"\n"));
    gateway.reload();
    let second = backend.begin("web-1", json!({"method": "m"}));
    let order = agent.call();
    assert!(order.deadline_ms > 60_000, "{order:?}");
    let busy = backend.call("web-1", &to_do("m", "60s"));
    assert_eq!(busy.outcome("web-1"), "busy");
    for (call, number) in [(first, first_order.call), (second, order.call)] {
        agent.answer(number, &json!(1));
        call.end().expect_result("web-1", &json!(1), number);
    }
    agent.peer.send(Message::text("x".repeat(1025)));
    assert_eq!(agent.peer.closed(), 1009);
}

#[test]
fn a_half_written_file_keeps_the_old_settings_and_is_told() {
    let key = Key::hs256("main");
    let api = api_key("key_a", "default");
    let good = format!("{LISTEN}{}{api}", key.settings);
    let gateway = Gateway::launch(&good, &[]);
    let backend = Backend::with_key(&gateway, "key_a");
    let token = key.token(&claims("web-1"));
    let cut = &good[..good.len() - 10];
    let unknown = format!("{good}[limit]\ncalls_per_agent = 1\n");
    let clash = format!("{LISTEN}[calls]\ntimeout = \"10m\"\n");
    for (config, word) in [(cut, "holdfast.toml"), (unknown.as_str(), "`limits`"), (clash.as_str(), "calls.timeout")] {
        gateway.configure(config);
        let log = gateway.reload();
        assert!(log.contains("ERROR"), "{log}");
        assert!(log.contains("the old ones stay"), "{log}");
        assert!(log.contains(word), "{word}: {log}");
        // No half of it is in force.
        assert!(is_let_in(&gateway, &token));
        assert_eq!(backend.get("/v1/agents").status, 200);
    }
    gateway.configure("");
    std::fs::remove_file(gateway.file("holdfast.toml")).expect("removed");
    let log = gateway.reload();
    assert!(log.contains("cannot read the configuration file"), "{log}");
    assert!(is_let_in(&gateway, &token));

    gateway.configure(&good);
    let log = gateway.reload();
    assert!(log.contains("INFO") && !log.contains("need"), "{log}");
}

#[test]
fn what_needs_a_restart_is_named_until_there_was_one() {
    let key = Key::hs256("main");
    let rest = format!("{}{}", key.settings, api_key("key_a", "default"));
    let gateway = Gateway::launch(&format!("{LISTEN}{rest}"), &[]);
    let token = key.token(&claims("web-1"));
    let changed = format!(
        "[server]\nlisten = \"127.0.0.1:1\"\n[control]\nlisten = \"127.0.0.1:0\"\n[limits]\nmailbox = 128\n{rest}"
    );
    gateway.configure(&changed);
    // The second time it is still not in force.
    for _ in 0..2 {
        let log = gateway.reload();
        assert!(log.contains("need a restart"), "{log}");
        assert!(log.contains("server.listen"), "{log}");
        assert!(log.contains("limits.mailbox"), "{log}");
        assert!(!log.contains("control.listen"), "{log}");
        assert!(is_let_in(&gateway, &token));
    }
    // What is in force again needs none.
    gateway.configure(&format!("{LISTEN}{rest}"));
    let log = gateway.reload();
    assert!(!log.contains("restart"), "{log}");
}
