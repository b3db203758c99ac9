//! Revocation: at the door, on live connections, across a restart, and when the disk is full or the file is damaged.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::backend::{Answer, Backend};
use crate::gateway::{ANY_PORTS, Gateway, fresh_folder};
use crate::keys::{Key, api_key, claims_with, unix_secs};
use crate::peer::to;

/// What is revoked is gone from live connections within this.
const IN_FORCE: Duration = Duration::from_secs(2);

struct Site {
    gateway: Gateway,
    key: Key,
    config: String,
    /// Its own, so that it outlives a gateway.
    file: PathBuf,
    acme: Backend,
    globex: Backend,
}

impl Site {
    fn start(settings: &str) -> Self {
        let file = fresh_folder().join("revoked");
        let key = Key::hs256("main");
        let config = format!(
            "[revocations]\nfile = \"{}\"\n{settings}\n{}{}{}",
            file.display(),
            key.settings,
            administrator("key_of_acme", "acme"),
            administrator("key_of_globex", "globex")
        );
        Self::on(file, key, config)
    }

    fn on(file: PathBuf, key: Key, config: String) -> Self {
        let gateway = Gateway::launch(&config, &ANY_PORTS);
        let acme = Backend::with_key(&gateway, "key_of_acme");
        let globex = Backend::with_key(&gateway, "key_of_globex");
        Self { gateway, key, config, file, acme, globex }
    }

    /// Kills the process without a warning, and starts it again on the same file.
    fn killed(self) -> Self {
        let Self { mut gateway, key, config, file, .. } = self;
        gateway.signal(Signal::SIGKILL);
        gateway.wait_end();
        drop(gateway);
        Self::on(file, key, config)
    }

    fn token(&self, agent: &str, tenant: &str, more: &Value) -> String {
        let mut claims = claims_with(agent, json!({ "tenant": tenant }));
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    fn open(&self, token: &str, encoding: Encoding) -> Agent {
        let request = to(&self.gateway, "/v1/agent").with_header("Authorization", format!("Bearer {token}"));
        Agent::open(&self.gateway, request, encoding)
    }

    fn agent(&self, agent: &str, tenant: &str, more: &Value) -> Agent {
        self.open(&self.token(agent, tenant, more), ENCODINGS[agent.len() % 2])
    }

    /// The status of an upgrade with this token.
    fn knock(&self, token: &str) -> u16 {
        let stream = std::net::TcpStream::connect(self.gateway.agents).expect("connects");
        let request = to(&self.gateway, "/v1/agent").with_header("Authorization", format!("Bearer {token}"));
        match tungstenite::client(request, stream) {
            Ok(_) => 101,
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A key that may do everything in its tenant.
fn administrator(key: &str, tenant: &str) -> String {
    format!("{}allow = [\"call\", \"list\", \"disconnect\", \"observe\", \"administer\"]\n", api_key(key, tenant))
}

fn revoke(backend: &Backend, body: &Value) -> Answer {
    backend.ask("POST", "/v1/revocations", Some(body.to_string()))
}

fn numbers(backend: &Backend) -> Vec<String> {
    let page = backend.get("/v1/revocations?limit=1000");
    assert_eq!(page.status, 200, "{page:?}");
    let all = page.body["revocations"].as_array().expect("a list").clone();
    all.iter().map(|one| one["revocation"].as_str().expect("a number").to_owned()).collect()
}

#[test]
fn each_target_ends_its_own_and_keeps_them_out() {
    let site = Site::start("");
    let now = unix_secs();
    let before = |secs: u64| json!({"iat": now - secs});
    for (what, body, gone) in [
        ("a token", json!({"token_id": "j1", "reason": "lost"}), vec!["a1"]),
        ("an agent", json!({"agent": "b2"}), vec!["b2"]),
        ("an agent's old tokens", json!({"agent": "c3", "issued_before": now - 600}), vec![]),
        ("old tokens", json!({"tenant": "acme", "issued_before": now - 600}), vec!["d4", "e5"]),
        ("the tenant", json!({"tenant": "acme"}), vec!["a1", "b2", "c3", "d4", "e5"]),
    ] {
        let who = [
            ("a1", json!({"jti": "j1", "iat": now})),
            ("b2", json!({"jti": "j2", "iat": now})),
            ("c3", json!({"iat": now})),
            ("d4", before(3600)),
            ("e5", json!({})),
        ];
        let tokens: Vec<(&str, String)> =
            who.iter().map(|(agent, more)| (*agent, site.token(agent, "acme", more))).collect();
        let agents: Vec<(&str, Agent)> =
            tokens.iter().map(|(agent, token)| (*agent, site.open(token, Encoding::Json))).collect();
        let mut stranger = site.agent("a1", "globex", &json!({"jti": "j1"}));
        let began = Instant::now();
        let answer = revoke(&site.acme, &body);
        assert_eq!(answer.status, 201, "{what}: {answer:?}");
        let number = answer.body["revocation"].as_str().expect("a number").to_owned();
        for (agent, live) in agents {
            if gone.contains(&agent) {
                assert_eq!(live.peer.closed(), 4501, "{what}: {agent}");
                assert!(began.elapsed() < IN_FORCE, "{what}: {:?}", began.elapsed());
            } else {
                assert_eq!(site.acme.get(&format!("/v1/agents/{agent}")).status, 200, "{what}: {agent}");
                live.peer.reset();
            }
        }
        for (agent, token) in &tokens {
            let expected = if gone.contains(agent) { 401 } else { 101 };
            assert_eq!(site.knock(token), expected, "{what}: {agent}");
        }
        // A tenant is none of another's business.
        stranger.peer.send(tungstenite::Message::Ping(tungstenite::Bytes::from_static(b"x")));
        assert!(stranger.peer.read().is_pong(), "{what}");
        stranger.peer.reset();
        let path = format!("/v1/revocations/{number}");
        assert_eq!(site.globex.ask("DELETE", &path, None).problem(), "no_such_revocation");
        assert!(numbers(&site.globex).is_empty());
        assert_eq!(site.acme.ask("DELETE", &path, None).status, 204);
        assert_eq!(site.acme.ask("DELETE", &path, None).status, 404);
        assert_eq!(site.knock(&tokens[0].1), 101, "{what}: taken back");
        site.gateway.wait_no_agents();
    }
    assert!(site.gateway.metric("holdfast_auth_failures_total", "cause=\"revoked\"") >= 8);
    let log = site.gateway.log();
    assert!(log.contains("revoked") && !log.contains("j1"), "an id of a token is no business of the log");
}

#[test]
fn what_was_acknowledged_outlives_a_kill() {
    let mut site = Site::start("");
    for round in 0..4 {
        let agent = format!("web-{round}");
        let body = match round % 2 {
            0 => json!({ "agent": agent }),
            _ => json!({"token_id": format!("j-{round}")}),
        };
        let token = site.token(&agent, "acme", &json!({"jti": format!("j-{round}")}));
        assert_eq!(site.knock(&token), 101);
        let answer = revoke(&site.acme, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        site = site.killed();
        assert_eq!(site.knock(&token), 401, "round {round}");
        assert_eq!(numbers(&site.acme).len(), round + 1);
    }
    let first = numbers(&site.acme).remove(0);
    assert_eq!(site.acme.ask("DELETE", &format!("/v1/revocations/{first}"), None).status, 204);
    let token = site.token("web-0", "acme", &json!({}));
    site = site.killed();
    assert_eq!((site.knock(&token), numbers(&site.acme).len()), (101, 3));
    // Numbers are not given again, also by a process that was never told of the first ones.
    let answer = revoke(&site.acme, &json!({"agent": "x"}));
    assert_eq!(answer.body["revocation"], "5", "{answer:?}");
}

#[test]
fn a_torn_end_is_dropped_and_a_damaged_file_stops_the_start() {
    let site = Site::start("");
    for agent in ["a", "b"] {
        assert_eq!(revoke(&site.acme, &json!({ "agent": agent })).status, 201);
    }
    let text = std::fs::read(&site.file).expect("a file");
    let torn = [&text[..], b"0123456789abcdef {\"add\":{\"id\":3,"].concat();
    std::fs::write(&site.file, torn).expect("written");
    let site = site.killed();
    assert_eq!(numbers(&site.acme), ["1", "2"]);
    assert_eq!(revoke(&site.acme, &json!({"agent": "c"})).status, 201);
    let site = site.killed();
    assert_eq!(numbers(&site.acme).len(), 3);

    let Site { gateway, file, config, .. } = site;
    drop(gateway);
    let config_file = fresh_folder().join("holdfast.toml");
    std::fs::write(&config_file, config).expect("written");
    let good = std::fs::read_to_string(&file).expect("text");
    for (what, bad, words) in [
        ("a changed agent", good.replace("\"a\"", "\"z\""), "line 2 is damaged"),
        ("a lost line feed", good.replacen("\n", " ", 1), "no file of revocations"),
        ("nothing", String::new(), "no file of revocations"),
        ("something else", "{}\n".to_owned(), "no file of revocations"),
    ] {
        std::fs::write(&file, &bad).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["serve", "--config"])
            .arg(&config_file)
            .args(ANY_PORTS)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{what}: {told}");
        assert!(told.contains(words) && told.contains(&*file.to_string_lossy()), "{what}: {told}");
        // It is as it was, for whoever mends it.
        assert_eq!(std::fs::read_to_string(&file).expect("text"), bad, "{what}");
    }
}

#[test]
fn there_are_no_more_than_there_may_be() {
    let site = Site::start("max = 2\n");
    for agent in ["a", "b"] {
        assert_eq!(revoke(&site.acme, &json!({ "agent": agent })).status, 201);
    }
    let full = revoke(&site.acme, &json!({"agent": "c"}));
    assert_eq!((full.status, full.problem()), (507, "revocations_full"), "{full:?}");
    assert_eq!(site.knock(&site.token("c", "acme", &json!({}))), 101);
    assert_eq!(site.acme.ask("DELETE", "/v1/revocations/1", None).status, 204);
    assert_eq!(revoke(&site.acme, &json!({"agent": "c"})).status, 201);
    assert_eq!(numbers(&site.acme), ["2", "3"]);
}

/// A process that may write no file larger than 32 KiB: the kernel says so at the byte where a full disk would.
#[test]
fn a_full_disk_is_told_and_nothing_is_half_revoked() {
    let site = Site::start("");
    limit_files(site.gateway.process_id(), 32 * 1024);
    let mut acknowledged = 0;
    let mut refused = 0;
    for n in 0..200 {
        let agent = format!("agent-{n}");
        let answer = revoke(&site.acme, &json!({"agent": agent, "reason": "r".repeat(200)}));
        match answer.status {
            201 => acknowledged += 1,
            507 => {
                assert_eq!(answer.problem(), "not_stored", "{answer:?}");
                assert_eq!(site.knock(&site.token(&agent, "acme", &json!({}))), 101);
                refused += 1;
            }
            other => panic!("{other}: {answer:?}"),
        }
        if refused == 3 {
            break;
        }
    }
    assert!(acknowledged > 3 && refused == 3, "{acknowledged} {refused}");
    assert_eq!(numbers(&site.acme).len(), acknowledged);
    let site = site.killed();
    assert_eq!(numbers(&site.acme).len(), acknowledged);
    assert_eq!(site.knock(&site.token("agent-0", "acme", &json!({}))), 401);
}

/// Bounds the files of another process, by the system's own tool.
fn limit_files(process: u32, bytes: u64) {
    let status = Command::new("prlimit")
        .args([format!("--pid={process}"), format!("--fsize={bytes}:{bytes}")])
        .status()
        .expect("prlimit (util-linux) runs");
    assert!(status.success());
}

#[test]
fn without_a_file_nothing_is_revoked_and_strangers_see_none() {
    let key = Key::hs256("main");
    let config =
        format!("{}{}{}", key.settings, administrator("key_of_acme", "acme"), api_key("key_of_guest", "guest"));
    let gateway = Gateway::launch(&config, &ANY_PORTS);
    let acme = Backend::with_key(&gateway, "key_of_acme");
    let answer = revoke(&acme, &json!({"agent": "a"}));
    assert_eq!((answer.status, answer.problem()), (503, "revocations_off"), "{answer:?}");
    assert!(numbers(&acme).is_empty());
    let guest = Backend::with_key(&gateway, "key_of_guest");
    for (method, path) in [("POST", "/v1/revocations"), ("GET", "/v1/revocations"), ("DELETE", "/v1/revocations/1")] {
        assert_eq!(guest.ask(method, path, None).status, 403, "{method} {path}: a key that may not administer");
    }
    let stranger = Backend::of(&gateway);
    for (method, path) in [("POST", "/v1/revocations"), ("GET", "/v1/revocations"), ("DELETE", "/v1/revocations/1")] {
        assert_eq!(stranger.ask(method, path, None).status, 401, "{method} {path}");
    }
    for (body, status) in [("", 400), ("{}", 400), (r#"{"tenant":"globex"}"#, 400), (r#"{"agent":"a/b"}"#, 400)] {
        assert_eq!(acme.ask("POST", "/v1/revocations", Some(body.to_owned())).status, status, "{body}");
    }
    assert_eq!(acme.get("/v1/revocations?limit=0").status, 400);
    assert_eq!(acme.ask("DELETE", "/v1/revocations/x", None).status, 404);
}

#[test]
fn revocations_end_with_the_tokens_that_they_mean() {
    let site = Site::start("[auth]\nlifetime_max = \"1h\"\nleeway = \"10s\"\n");
    let now = unix_secs();
    let answer = revoke(&site.acme, &json!({"token_id": "j"}));
    let ends = humantime::parse_rfc3339(answer.body["expires_at"].as_str().expect("an end")).expect("a time");
    let ends = ends.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!((now + 3620..now + 3640).contains(&ends), "{answer:?}");
    let answer = revoke(&site.acme, &json!({"agent": "a"}));
    assert_eq!(answer.body["expires_at"], Value::Null, "a ban stays: {answer:?}");
    let answer = revoke(&site.acme, &json!({"agent": "b", "expires_at": now + 6}));
    assert_eq!(answer.status, 201);
    // By one clock: a token that is made a second later would live for a second too long.
    let token = site.token("b", "acme", &json!({"iat": now, "exp": now + 3600}));
    assert_eq!(site.knock(&token), 401);
    assert_eq!(site.gateway.metric("holdfast_auth_failures_total", "cause=\"revoked\""), 1);
    crate::gateway::until(|| site.knock(&token) == 101, "it is in force no more");
    // Tokens that live for longer, or do not say, are none here.
    assert_eq!(site.knock(&site.token("c", "acme", &json!({}))), 401);
    assert_eq!(site.knock(&site.token("c", "acme", &json!({"iat": now, "exp": now + 3601}))), 401);
    // And a list is read page by page.
    let page = site.acme.get("/v1/revocations?limit=2");
    assert_eq!(page.body["revocations"].as_array().map(Vec::len), Some(2), "{page:?}");
    let next = page.body["next"].as_str().expect("there is more");
    let page = site.acme.get(&format!("/v1/revocations?limit=2&cursor={next}"));
    assert_eq!((page.body["revocations"].as_array().map(Vec::len), &page.body["next"]), (Some(1), &Value::Null));
}

/// The webhook is asked until the next start, whatever the file says: whom it lets in, no bound of tokens' lives is for.
#[test]
fn a_revocation_outlives_a_webhook_that_the_file_does_not_name_any_more() {
    let lifetime = "[auth]\nlifetime_max = \"1h\"\n";
    let webhook = "[webhook]\nurl = \"http://127.0.0.1:9/\"\n";
    let site = Site::start(&format!("{webhook}{lifetime}"));
    let end = |id: &str| revoke(&site.acme, &json!({ "token_id": id })).body["expires_at"].clone();
    assert_eq!(end("before"), Value::Null);
    site.gateway.configure(&site.config.replace(webhook, ""));
    assert!(site.gateway.reload().contains("webhook.url"), "it needs a restart");
    assert_eq!(end("after"), Value::Null);
}
