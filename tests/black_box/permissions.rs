//! What API keys may do, over HTTP and over links: the same rules, and nobody learns of agents that are not for them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway, json_of, until};
use crate::keys::{Key, api_key, claims_with};
use crate::linker::{Linker, request};
use crate::peer::to;
use crate::polyglot::{Running, tools};

/// The code of a call over a link that the key may not make.
const FORBIDDEN: i64 = -32009;

/// A key that may do this: lines of its block in the settings.
pub fn key_that(name: &str, lines: &str) -> String {
    format!("{}{lines}\n", api_key(name, "default").replace("of-default", name))
}

/// Lets an agent with these labels in.
pub fn agent_with(gateway: &Gateway, key: &Key, id: &str, labels: Value) -> Agent {
    let bearer = format!("Bearer {}", key.token(&claims_with(id, json!({"labels": labels}))));
    Agent::open(gateway, to(gateway, "/v1/agent").with_header("Authorization", bearer), Encoding::Json)
}

/// Opens a link with a key.
pub fn link_with(gateway: &Gateway, key: &str, encoding: Encoding) -> Linker {
    let asked = request(gateway, encoding).with_header("Authorization", format!("Bearer {key}"));
    Linker::with(gateway, asked, encoding)
}

#[test]
fn a_key_reaches_its_agents_and_methods_and_no_others_whichever_way_it_calls() {
    let key = Key::hs256("key");
    let narrow =
        "allow = [\"call\", \"list\", \"disconnect\"]\nmethods = [\"disk.*\"]\nagents = [\"site=ams\", \"tier=gold\"]";
    let config = format!("{}{}{}", key.settings, key_that("narrow", narrow), key_that("wide", ""));
    let gateway = Gateway::launch(&config, &ANY_PORTS_AND_LINK);
    let mut ours = agent_with(&gateway, &key, "ours", json!({"site": "ams", "tier": "gold", "os": "linux"}));
    let mut theirs = agent_with(&gateway, &key, "them", json!({"site": "fra", "tier": "gold"}));
    let (narrow, wide) = (Backend::with_key(&gateway, "narrow"), Backend::with_key(&gateway, "wide"));

    // Over HTTP.
    let call = narrow.begin("ours", to_do("disk.free", "60s"));
    let number = ours.call().call;
    ours.answer(number, &json!(7));
    call.end().expect_result("ours", &json!(7), number);
    let forbidden = narrow.call("ours", &to_do("shell.exec", "60s"));
    assert_eq!((forbidden.status, forbidden.problem()), (403, "forbidden"));
    let same = |answer: crate::backend::Answer, agent: &str| {
        (answer.status, answer.media, answer.body.to_string().replace(agent, "AGENT"))
    };
    for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/calls")] {
        let ask = |agent: &str| {
            let body = (method == "POST").then(|| to_do("disk.free", "60s").to_string());
            same(narrow.ask(method, &format!("/v1/agents/{agent}{rest}"), body), agent)
        };
        assert_eq!(ask("them"), ask("none"), "{method}");
    }
    let listed = |backend: &Backend| backend.get("/v1/agents").body["agents"].as_array().map(Vec::len);
    assert_eq!((listed(&narrow), listed(&wide)), (Some(1), Some(2)));
    let node = narrow.get("/v1/node");
    assert_eq!((node.status, node.problem()), (403, "forbidden"), "it may not observe");
    assert_eq!(wide.get("/v1/node").status, 200);

    // Over links, in both encodings.
    for encoding in ENCODINGS {
        let mut link = link_with(&gateway, "narrow", encoding);
        link.call(1, "ours", "shell.exec", &json!(null), 0);
        let refused = link.said();
        assert_eq!((refused.kind, refused.id.as_u64(), refused.code), ("refused", Some(1), FORBIDDEN), "{refused:?}");
        for (id, agent) in [(2, "them"), (3, "none")] {
            link.call(id, agent, "disk.free", &json!(null), 0);
            let said = link.expect(id, "offline");
            assert_eq!(said.call, None);
        }
        link.call(4, "ours", "disk.free", &json!(1), 0);
        let number = ours.call().call;
        ours.answer(number, &json!(8));
        assert_eq!(link.expect(4, "ok").body, json!(8));
    }
    // Nothing of all this came to the other agent: what it hears first is from somebody who may.
    let call = wide.begin("them", to_do("any.thing", "60s"));
    let heard = theirs.call();
    assert_eq!(heard.method, "any.thing");
    theirs.answer(heard.call, &json!(9));
    call.end().expect_result("them", &json!(9), heard.call);
    assert!(gateway.metric("holdfast_forbidden_total", "what=\"method\"") == 3, "one over HTTP, two over links");
    assert_eq!(gateway.metric("holdfast_forbidden_total", "what=\"observe\""), 1);
}

/// What an agent's token lists is all that it is called with, whatever a key allows; and nothing is sent that it does not list.
#[test]
fn an_agents_token_says_what_it_is_called_with_whichever_way() {
    let key = Key::hs256("key");
    let file = crate::gateway::fresh_folder().join("audit.jsonl");
    let keys = format!("{}{}", key_that("wide", ""), key_that("ams", "allow = [\"call\"]\nagents = [\"site=ams\"]"));
    let config = format!("[audit]\nfile = \"{}\"\n{}{keys}", file.display(), key.settings);
    let gateway = Gateway::launch(&config, &ANY_PORTS_AND_LINK);
    let bound = |id: &str, methods: Value, encoding| {
        let token = key.token(&claims_with(id, json!({"labels": {"site": "ams"}, "methods": methods})));
        Agent::with_token(&gateway, &token, encoding)
    };
    let mut refused = 0;
    for encoding in ENCODINGS {
        let mut agent = bound("bound", json!(["disk.*", "ping"]), encoding);
        let mute = bound("mute", json!([]), encoding);
        let shown =
            |id: &str| Backend::with_key(&gateway, "wide").get(&format!("/v1/agents/{id}")).body["methods"].clone();
        assert_eq!((shown("bound"), shown("mute")), (json!(["ping", "disk.*"]), json!([])));
        let mut free = agent_with(&gateway, &key, "free", json!({"site": "fra"}));
        for backend in [Backend::with_key(&gateway, "wide"), Backend::with_key(&gateway, "ams")] {
            for (id, method) in [("bound", "shell.exec"), ("bound", "pings"), ("bound", "disk"), ("mute", "ping")] {
                let answer = backend.call(id, &to_do(method, "60s"));
                assert_eq!((answer.status, answer.problem()), (403, "forbidden"), "{id} {method}");
                assert!(answer.body.get("outcome").is_none(), "nothing was sent: {answer:?}");
                refused += 1;
            }
            for method in ["disk.free", "ping"] {
                let call = backend.begin("bound", to_do(method, "60s"));
                let heard = agent.call();
                assert_eq!(heard.method, method);
                agent.answer(heard.call, &json!(1));
                call.end().expect_result("bound", &json!(1), heard.call);
            }
        }
        // Whoever does not reach an agent learns nothing of its token.
        let narrow = Backend::with_key(&gateway, "ams");
        for method in ["ping", "shell.exec"] {
            assert_eq!(narrow.call("free", &to_do(method, "60s")).outcome("free"), "offline");
        }
        assert_eq!(shown("free"), Value::Null);
        let call = Backend::with_key(&gateway, "wide").begin("free", to_do("shell.exec", "60s"));
        let heard = free.call();
        free.answer(heard.call, &json!(2));
        call.end().expect_result("free", &json!(2), heard.call);
        for link_encoding in ENCODINGS {
            let mut link = link_with(&gateway, "wide", link_encoding);
            for (number, (id, method)) in [("bound", "shell.exec"), ("mute", "ping")].into_iter().enumerate() {
                link.call(number as u64, id, method, &json!(null), 0);
                let said = link.said();
                assert_eq!(
                    (said.kind, said.id.as_u64(), said.code),
                    ("refused", Some(number as u64), FORBIDDEN),
                    "{said:?}"
                );
                refused += 1;
            }
            link.call(9, "bound", "disk.free", &json!(null), 0);
            let heard = agent.call();
            agent.answer(heard.call, &json!(3));
            assert_eq!(link.expect(9, "ok").body, json!(3));
        }
        drop(mute);
    }
    gateway.wait_metric("holdfast_forbidden_total", "what=\"agent_method\"", refused);
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let of = |line: &&str| line.contains("\"event\":\"forbidden\"") && line.contains("\"what\":\"agent_method\"");
    until(|| lines().lines().filter(of).count() as u64 == refused, "each has its line");
    let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn a_newer_token_says_anew_what_an_agent_is_called_with() {
    let key = Key::hs256("key");
    let gateway = Gateway::launch(&format!("{}{}", key.settings, key_that("k", "")), &ANY_PORTS_AND_LINK);
    let token = |methods: Value| {
        let mut claims = claims_with("web-1", json!({}));
        if !methods.is_null() {
            claims["methods"] = methods;
        }
        key.token(&claims)
    };
    let mut agent = Agent::with_token(&gateway, &token(json!(["one"])), Encoding::Json);
    let backend = Backend::with_key(&gateway, "k");
    let mut link = link_with(&gateway, "k", Encoding::Binary);
    for (number, (methods, allowed)) in
        [(json!(["two"]), Some("two")), (json!([]), None), (Value::Null, Some("three")), (json!(["one"]), Some("one"))]
            .into_iter()
            .enumerate()
    {
        let request = json!({"jsonrpc": "2.0", "id": number, "method": "refresh", "params": {"token": token(methods)}});
        agent.peer.send(tungstenite::Message::text(request.to_string()));
        let answer = agent.peer.json();
        assert!(answer["result"].is_object(), "{answer}");
        let all = allowed == Some("three");
        for method in ["one", "two", "three"] {
            if !all && allowed != Some(method) {
                assert_eq!(backend.call("web-1", &to_do(method, "60s")).status, 403, "{number} {method}");
                continue;
            }
            link.call(number as u64, "web-1", method, &json!(null), 0);
            let heard = agent.call();
            agent.answer(heard.call, &json!(method));
            assert_eq!(link.expect(number as u64, "ok").body, json!(method));
        }
    }
    // A token that is malformed changes nothing, and lets nobody in.
    let bad = token(json!("*"));
    let request = json!({"jsonrpc": "2.0", "id": 9, "method": "refresh", "params": {"token": bad}});
    agent.peer.send(tungstenite::Message::text(request.to_string()));
    assert_eq!(agent.peer.json()["error"]["code"], -32020);
    assert_eq!(backend.call("web-1", &to_do("two", "60s")).status, 403);
    let stream = std::net::TcpStream::connect(gateway.agents).expect("connects");
    let asked = to(&gateway, "/v1/agent").with_header("Authorization", format!("Bearer {bad}"));
    assert!(tungstenite::client(asked, stream).is_err());
    gateway.wait_metric("holdfast_auth_failures_total", "cause=\"claims\"", 2);
}

#[test]
fn permissions_change_for_links_that_are_open() {
    let key = Key::hs256("key");
    let config = |lines: &str| format!("{}{}", key.settings, key_that("k", lines));
    let gateway = Gateway::launch(&config("allow = [\"call\"]"), &ANY_PORTS_AND_LINK);
    let mut agent = agent_with(&gateway, &key, "web-1", json!({"site": "ams"}));
    let mut link = link_with(&gateway, "k", Encoding::Binary);
    let mut is_called = |link: &mut Linker, id| {
        link.call(id, "web-1", "disk.free", &json!(null), 0);
        let number = agent.call().call;
        agent.answer(number, &json!(1));
        link.expect(id, "ok");
    };
    is_called(&mut link, 1);
    gateway.configure(&config("allow = [\"call\"]\nmethods = [\"other\"]"));
    gateway.reload();
    link.call(2, "web-1", "disk.free", &json!(null), 0);
    assert_eq!(link.said().code, FORBIDDEN);
    gateway.configure(&config("allow = [\"call\"]\nagents = [\"site=fra\"]"));
    gateway.reload();
    link.call(3, "web-1", "disk.free", &json!(null), 0);
    link.expect(3, "offline");
    gateway.configure(&config("allow = [\"list\"]"));
    gateway.reload();
    link.call(4, "web-1", "disk.free", &json!(null), 0);
    assert_eq!(link.said().code, FORBIDDEN);
    gateway.configure(&config(""));
    gateway.reload();
    is_called(&mut link, 5);
}

#[test]
fn metrics_can_be_kept_for_keys_that_observe() {
    let key = Key::hs256("key");
    let keys =
        format!("{}{}", key_that("prometheus", "allow = [\"observe\"]"), key_that("caller", "allow = [\"call\"]"));
    let config = format!("[control]\nmetrics = \"keyed\"\n{}{keys}", key.settings);
    let gateway = Gateway::launch(&config, &ANY_PORTS_AND_LINK);
    let status = |backend: Backend, path: &str| backend.get(path).status;
    assert_eq!(status(Backend::of(&gateway), "/metrics"), 401);
    assert_eq!(status(Backend::with_key(&gateway, "caller"), "/metrics"), 403);
    assert_eq!(status(Backend::with_key(&gateway, "prometheus"), "/metrics"), 200);
    assert_eq!(status(Backend::with_key(&gateway, "prometheus"), "/v1/node"), 200);
    assert_eq!(status(Backend::with_key(&gateway, "prometheus"), "/v1/agents"), 403);
    assert_eq!(status(Backend::of(&gateway), "/readyz"), 200);
}

/// What a backend in Python hears of each method of an agent, over HTTP and over a link.
fn python_hears(gateway: &Gateway, key: &str, agent: &str) -> Value {
    let link = gateway.link.expect("a link port").to_string();
    let mut python = Command::new(tools().join("python/bin/python"));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/black_box/backend.py"));
    json_of(python.args([&gateway.control.to_string(), &link, key, agent, "ping", "echo"]))
}

#[test]
fn a_backend_and_an_agent_in_python_are_held_to_the_same_rules() {
    let key = Key::hs256("key");
    let narrow = key_that("narrow", "allow = [\"call\"]\nmethods = [\"pi*\"]\nagents = [\"site=ams\"]");
    let gateway = Gateway::launch(&format!("{}{narrow}{}", key.settings, key_that("wide", "")), &ANY_PORTS_AND_LINK);
    let agent = |id: &str, site: &str| {
        let mut python = Command::new(tools().join("python/bin/python"));
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents/agent.py"));
        let token = key.token(&claims_with(id, json!({"labels": {"site": site}})));
        let python = python.arg(format!("ws://{}", gateway.agents)).env("HOLDFAST_TOKEN", token);
        Running(python.stdin(Stdio::null()).spawn().expect("run scripts/test"))
    };
    let _agents = [agent("ours", "ams"), agent("them", "fra")];
    let wide = Backend::with_key(&gateway, "wide");
    let connected = || wide.get("/v1/agents").body["agents"].as_array().map(Vec::len) == Some(2);
    until(connected, "two agents");
    let forbidden = json!({"status": 403, "problem": "forbidden"});
    let offline = json!({"status": 404, "problem": "offline"});
    assert_eq!(
        python_hears(&gateway, "narrow", "ours"),
        json!([[{"status": 200, "result": "pong"}, forbidden], ["pong", FORBIDDEN]])
    );
    for hidden in ["them", "none"] {
        assert_eq!(
            python_hears(&gateway, "narrow", hidden),
            json!([[offline, forbidden], [-32001, FORBIDDEN]]),
            "{hidden}"
        );
    }
    assert_eq!(
        python_hears(&gateway, "wide", "them"),
        json!([[{"status": 200, "result": "pong"}, {"status": 200, "result": null}], ["pong", null]])
    );
}
