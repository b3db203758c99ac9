//! Who gets in, as whom, and what they reach: without `--dev`, with keys in two algorithms.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS, Gateway, SOON, until};
use crate::keys::{Key, api_key, claims, claims_with, unix_secs, unsigned};
use crate::peer::to;

/// A gateway with keys, and who may use it.
struct Site {
    gateway: Gateway,
    secret: Key,
    pair: Key,
    /// A backend of tenant `acme`.
    acme: Backend,
    /// A backend of tenant `globex`.
    globex: Backend,
}

impl Site {
    /// `settings` come before the keys.
    fn start(settings: &str) -> Self {
        let (secret, pair) = (Key::hs256("secret"), Key::es256("pair"));
        // The file of a key is found beside the configuration: it must be there before the gateway starts.
        let folder = crate::gateway::fresh_folder();
        let pem = folder.join("pair.pem");
        std::fs::write(&pem, &pair.public_pem).expect("a file");
        let pair_settings = pair.settings.replace("pair.pem", &pem.to_string_lossy());
        let config = format!(
            "{settings}\n{}{pair_settings}{}{}",
            secret.settings,
            api_key("key_of_acme", "acme"),
            api_key("key_of_globex", "globex")
        );
        let gateway = Gateway::launch(&config, &ANY_PORTS);
        Self {
            acme: Backend::with_key(&gateway, "key_of_acme"),
            globex: Backend::with_key(&gateway, "key_of_globex"),
            gateway,
            secret,
            pair,
        }
    }

    fn agent(&self, id: &str, tenant: &str, encoding: Encoding) -> Agent {
        let token = self.secret.token(&claims_with(id, json!({"tenant": tenant})));
        self.agent_with(&token, encoding)
    }

    fn agent_with(&self, token: &str, encoding: Encoding) -> Agent {
        let request = to(&self.gateway, "/v1/agent");
        let request = request.with_header("Authorization", format!("Bearer {token}"));
        Agent::open(&self.gateway, request, encoding)
    }
}

/// Sends an upgrade request by hand and reads all that comes back.
fn knock(address: SocketAddr, target: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("closed");
    answer
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

#[test]
fn good_tokens_come_in_by_header_and_by_query() {
    let site = Site::start("[auth]\naudience = \"holdfast\"\n");
    for (number, key) in [&site.secret, &site.pair].into_iter().enumerate() {
        for encoding in ENCODINGS {
            for by_query in [false, true] {
                let id = format!("{number}-{encoding:?}-{by_query}");
                let more = json!({"tenant": "acme", "aud": ["x", "holdfast"], "nbf": unix_secs()});
                let token = key.token(&claims_with(&id, more));
                let mut agent = if by_query {
                    let target = format!("/v1/agent?access_token={token}");
                    Agent::open(&site.gateway, to(&site.gateway, &target), encoding)
                } else {
                    site.agent_with(&token, encoding)
                };
                let call = site.acme.begin(&id, to_do("who.are.you", "60s"));
                let number = agent.call().call;
                agent.answer(number, &json!(id));
                call.end().expect_result(&id, &json!(id), number);
            }
        }
    }
    // Without a `kid`, the key of the header's algorithm is found.
    let more = json!({"tenant": "acme", "aud": "holdfast", "labels": {"region": "eu"}});
    let token = site.pair.token_as(None, &claims_with("labelled", more));
    let _agent = site.agent_with(&token, Encoding::Json);
    let page = site.acme.get("/v1/agents?label=region%3Deu");
    assert_eq!(page.body["agents"][0]["agent"], "labelled", "{page:?}");
}

#[test]
fn every_bad_token_gets_the_same_401() {
    let site = Site::start("[auth]\naudience = \"holdfast\"\nleeway = \"1s\"\n");
    let now = unix_secs();
    let ours = |more| claims_with("web-1", more);
    let good = ours(json!({"aud": "holdfast"}));
    let (secret, pair) = (&site.secret, &site.pair);
    let other = Key::hs256("other");
    // Signed with the public key as if it were a secret: the classic confusion of algorithms.
    let (head, body) = (json!({"alg": "HS256", "kid": "pair"}), &good);
    let swapped = unsigned(&head, body);
    let none = unsigned(&json!({"alg": "none"}), &good);
    let whole = secret.token(&good);
    let tokens = [
        ("expired", secret.token(&ours(json!({"aud": "holdfast", "exp": now - 60})))),
        ("not yet", secret.token(&ours(json!({"aud": "holdfast", "nbf": now + 600})))),
        ("no aud", secret.token(&claims("web-1"))),
        ("wrong aud", pair.token(&ours(json!({"aud": "other"})))),
        ("no exp", secret.token(&json!({"sub": "web-1", "aud": "holdfast"}))),
        ("no sub", secret.token(&json!({"exp": now + 60, "aud": "holdfast"}))),
        ("bad sub", secret.token(&ours(json!({"aud": "holdfast", "sub": "a b"})))),
        ("bad tenant", secret.token(&ours(json!({"aud": "holdfast", "tenant": ""})))),
        ("unknown kid", secret.token_as(Some("nobody"), &good)),
        ("kid of another algorithm", secret.token_as(Some("pair"), &good)),
        ("another key", other.token_as(Some("secret"), &good)),
        ("another key, no kid", other.token_as(None, &good)),
        ("alg none", none.clone()),
        ("alg none with kid", unsigned(&json!({"alg": "none", "kid": "secret"}), &good)),
        ("alg swapped, unsigned", swapped),
        ("cut", whole[..whole.len() - 4].to_owned()),
        ("garbage", "garbage".to_owned()),
        ("dots", "..".to_owned()),
        ("not base64", "!!.!!.!!".to_owned()),
        ("very long", "a".repeat(5000)),
    ];
    let agents = site.gateway.agents;
    let expected = knock(agents, "/v1/agent", "");
    assert!(expected.starts_with("HTTP/1.1 401 "), "{expected}");
    assert!(expected.contains("\r\nWWW-Authenticate: Bearer\r\n"));
    assert!(expected.contains("\r\nConnection: close\r\n"));
    let mut count = 1;
    for (what, token) in &tokens {
        let by_header = knock(agents, "/v1/agent", &bearer(token));
        let by_query = knock(agents, &format!("/v1/agent?access_token={token}"), "");
        assert_eq!(by_header, expected, "{what}, by header");
        assert_eq!(by_query, expected, "{what}, by query");
        count += 2;
    }
    for target in ["/v1/agent?agent=web-1", "/v1/agent?access_token="] {
        assert_eq!(knock(agents, target, ""), expected, "{target}");
        count += 1;
    }
    site.gateway.wait_metric("holdfast_auth_failures_total", "", count);
    assert_eq!(site.gateway.metric("holdfast_agents", ""), 0);
    // The log names the cause, never the token.
    let log = site.gateway.log();
    assert!(!tokens.iter().any(|(_, token)| token.len() > 8 && log.contains(token)));
    // The token that all these are spoilt copies of is good.
    let _agent = site.agent_with(&whole, Encoding::Json);
}

#[test]
fn a_newer_connection_replaces_the_older() {
    let site = Site::start("[limits]\nclose_deadline = \"60s\"\n");
    for encoding in ENCODINGS {
        let mut old = site.agent("web-1", "acme", encoding);
        let call = site.acme.begin("web-1", to_do("m", "60s"));
        let number = old.call().call;
        old.receipt(number);
        let dropped = site.gateway.metric("holdfast_replies_dropped_total", "");
        let mut new = site.agent("web-1", "acme", encoding);
        // The new connection must not answer for the old one.
        new.answer(number, &json!("not mine"));
        site.gateway.wait_metric("holdfast_replies_dropped_total", "", dropped + 1);
        assert_eq!(old.peer.closed(), 4500);
        call.end().expect("web-1", "lost", number);

        let call = site.acme.begin("web-1", to_do("m", "60s"));
        let number = new.call().call;
        new.answer(number, &json!("mine"));
        call.end().expect_result("web-1", &json!("mine"), number);
        new.peer.reset();
        site.gateway.wait_no_agents();
    }
    site.gateway.wait_metric("holdfast_agents_replaced_total", "", 2);
}

#[test]
fn a_connection_ends_with_its_token() {
    const LEEWAY: u64 = 3;
    let site = Site::start("[auth]\nleeway = \"3s\"\n");
    let exp = unix_secs();
    let token = |id, exp| site.pair.token(&claims_with(id, json!({"tenant": "acme", "exp": exp})));
    let brief = site.agent_with(&token("brief", exp), Encoding::Json);
    let late = site.agent_with(&token("late", exp - 1), Encoding::Binary);
    let _lasting = site.agent("lasting", "acme", Encoding::Json);
    assert_eq!(late.peer.closed(), 4002);
    assert_eq!(brief.peer.closed(), 4002);
    assert!(unix_secs() >= exp + LEEWAY, "closed before its token ran out");
    site.gateway.wait_closed_for("token_expired", 2);
    assert_eq!(site.acme.get("/v1/agents/lasting").status, 200);
}

#[test]
fn tenants_see_and_call_only_their_own_agents() {
    let site = Site::start("");
    let mut of_acme = site.agent("web-1", "acme", Encoding::Json);
    let mut of_globex = site.agent("web-1", "globex", Encoding::Binary);
    let _only = site.agent("only-globex", "globex", Encoding::Json);
    for (backend, agent, tenant) in [(&site.acme, &mut of_acme, "acme"), (&site.globex, &mut of_globex, "globex")] {
        let call = backend.begin("web-1", to_do("whose", "60s"));
        let number = agent.call().call;
        agent.answer(number, &json!(tenant));
        call.end().expect_result("web-1", &json!(tenant), number);
    }
    let missing = site.acme.call("only-globex", &to_do("m", "60s"));
    assert_eq!(missing.outcome("only-globex"), "offline");
    assert_eq!(site.acme.get("/v1/agents/only-globex").status, 404);
    let deleted = site.acme.ask("DELETE", "/v1/agents/only-globex", None);
    assert_eq!(deleted.status, 404);
    assert_eq!(site.globex.get("/v1/agents/only-globex").status, 200);
    let names = |backend: &Backend| {
        let page = backend.get("/v1/agents").body;
        let agents = page["agents"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = agents.iter().map(|a| a["agent"].to_string()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&site.acme), ["\"web-1\""]);
    assert_eq!(names(&site.globex), ["\"only-globex\"", "\"web-1\""]);
    // One tenant's disconnect leaves the other's agent of the same name alone.
    let deleted = site.acme.ask("DELETE", "/v1/agents/web-1", None);
    assert_eq!(deleted.status, 204);
    assert_eq!(of_acme.envelope().kind, "goaway");
    assert_eq!(of_acme.peer.closed(), 4005);
    assert_eq!(site.globex.get("/v1/agents/web-1").status, 200);
}

#[test]
fn the_control_port_wants_a_key_and_serves_no_agents() {
    let site = Site::start("");
    let strangers = [
        Backend::of(&site.gateway),
        Backend::with_key(&site.gateway, "key_of_nobody"),
        Backend::with_key(&site.gateway, "key_of_acm"),
    ];
    for stranger in &strangers {
        for (method, path) in
            [("GET", "/v1/agents"), ("GET", "/v1/agents/web-1"), ("DELETE", "/v1/agents/web-1"), ("GET", "/v1/node")]
        {
            let answer = stranger.ask(method, path, None);
            assert_eq!((answer.status, answer.problem()), (401, "unauthorized"), "{method} {path}");
        }
        let answer = stranger.call("web-1", &to_do("m", "60s"));
        assert_eq!((answer.status, answer.problem()), (401, "unauthorized"));
        assert_eq!(stranger.get("/livez").status, 200);
        assert_eq!(stranger.get("/readyz").status, 200);
    }
    let answer = site.acme.get("/v1/agent");
    assert_eq!((answer.status, answer.problem()), (404, "wrong_port"));
    let detail = answer.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(&site.gateway.agents.to_string()), "{detail}");
    let token = site.secret.token(&claims("web-1"));
    let stream = TcpStream::connect(site.gateway.control).expect("connects");
    let request = to(&site.gateway, "/v1/agent");
    let request = request.with_header("Authorization", format!("Bearer {token}"));
    let upgraded = tungstenite::client(request, stream);
    assert!(upgraded.is_err(), "the control port took an agent");
}

#[test]
fn the_agents_port_serves_no_backends() {
    let site = Site::start("");
    let agents = site.gateway.agents;
    let key = bearer("key_of_acme");
    for target in ["/v1/agents", "/v1/agents/web-1/calls", "/v1/node", "/metrics", "/livez", "/dev/echo", "/"] {
        let answer = knock(agents, target, &key);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{target}: {answer}");
        assert!(answer.contains("/v1/agent"), "{target}: {answer}");
    }
    let mut stream = TcpStream::connect(agents).expect("connects");
    stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{key}\r\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("closed");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn a_connection_over_the_limit_gets_a_clean_503() {
    let site = Site::start("[server]\nloops = 4\n[limits]\nconnections = 2\n");
    let one = site.agent("one", "acme", Encoding::Json);
    let _two = site.agent("two", "acme", Encoding::Binary);
    let token = site.secret.token(&claims_with("three", json!({"tenant": "acme"})));
    for _ in 0..3 {
        let answer = knock(site.gateway.agents, "/v1/agent", &bearer(&token));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: "), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let ready = site.acme.get("/readyz");
    assert_eq!((ready.status, ready.problem()), (503, "not_ready"));
    // Room for one again.
    one.peer.reset();
    let has_room = || site.acme.get("/readyz").status == 200;
    until(has_room, "ready again");
    let _three = site.agent_with(&token, Encoding::Json);
}
