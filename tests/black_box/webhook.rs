//! The webhook: a token that no key vouches for is asked about; without an answer nobody gets in.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::{Agent, Encoding};
use crate::backend::Backend;
use crate::gateway::{ANY_PORTS, Gateway, fresh_folder, until};
use crate::keys::{Key, api_key, claims_with, unix_secs};
use crate::peer::to;
use crate::source::{Mood, Source};

struct Site {
    gateway: Gateway,
    source: Source,
    key: Key,
}

/// Says yes to `good-ID`, in tenant acme; no to all else.
fn judge(body: &str) -> (u16, String) {
    let asked: Value = serde_json::from_str(body).expect("JSON");
    let answer = match asked["token"].as_str().and_then(|token| token.strip_prefix("good-")) {
        Some(agent) => json!({"allow": true, "agent": agent, "tenant": "acme", "labels": {"via": "webhook"}}),
        None => json!({"allow": false}),
    };
    (200, answer.to_string())
}

impl Site {
    fn start(settings: &str) -> Self {
        let source = Source::start(Mood::Thinks(judge));
        let secret = fresh_folder().join("secret");
        std::fs::write(&secret, "what only we know\n".replace(' ', "-")).expect("a file");
        let key = Key::hs256("main");
        let config = format!(
            "[webhook]\nurl = \"{}\"\nsecret_file = \"{}\"\n{settings}\n{}{}",
            source.url(),
            secret.display(),
            key.settings,
            api_key("key", "acme")
        );
        Self { gateway: Gateway::launch(&config, &ANY_PORTS), source, key }
    }

    /// The status of an upgrade with this token, and whether it says when to come again.
    fn knock(&self, token: &str) -> (u16, bool) {
        let stream = std::net::TcpStream::connect(self.gateway.agents).expect("connects");
        let request = to(&self.gateway, "/v1/agent").with_header("Authorization", format!("Bearer {token}"));
        match tungstenite::client(request, stream) {
            Ok(_) => (101, false),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn answers(&self, word: &str) -> u64 {
        self.gateway.metric("holdfast_webhook_answers_total", &format!("answer=\"{word}\""))
    }
}

#[test]
fn it_says_who_an_agent_is() {
    let site = Site::start("");
    let request = to(&site.gateway, "/v1/agent").with_header("Authorization", "Bearer good-web-1");
    let mut agent = Agent::open(&site.gateway, request, Encoding::Json);
    let backend = Backend::with_key(&site.gateway, "key");
    let shown = backend.get("/v1/agents/web-1");
    assert_eq!(shown.body["labels"], json!({"via": "webhook"}), "{shown:?}");
    let call = backend.begin("web-1", crate::backend::to_do("m", "60s"));
    let number = agent.call().call;
    agent.answer(number, &json!(1));
    call.end().expect_result("web-1", &json!(1), number);
    // What it was asked: the token, where from, and who asks.
    let heard = site.source.heard().remove(0);
    let asked: Value = serde_json::from_str(&heard.body).expect("JSON");
    assert_eq!((&asked["token"], &asked["path"]), (&json!("good-web-1"), &json!("/v1/agent")));
    assert!(asked["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{asked}");
    assert!(heard.head.to_ascii_lowercase().contains("authorization: bearer what-only-we-know\r\n"), "{heard:?}");
    // A no is 401 like every other; nobody is asked about a token that a key of ours vouches for, or that it knows and refuses.
    assert_eq!(site.knock("bad"), (401, false));
    let asked = site.source.count();
    assert_eq!(site.knock(&site.key.token(&claims_with("web-2", json!({})))), (101, false));
    assert_eq!(site.knock(&site.key.token(&claims_with("web-2", json!({"exp": 1})))), (401, false));
    assert_eq!(site.source.count(), asked);
    let log = site.gateway.log();
    assert!(!log.contains("good-web-1") && !log.contains("what-only-we-know"), "{log}");
}

#[test]
fn answers_are_used_again_for_a_while() {
    let site = Site::start("allowed_kept = \"2s\"\nrefused_kept = \"1s\"\n");
    for _ in 0..5 {
        assert_eq!(site.knock("good-a").0, 101);
        assert_eq!(site.knock("bad").0, 401);
    }
    assert_eq!(site.source.count(), 2);
    assert_eq!(site.answers("cached"), 8);
    // Dead, it is not asked about what is known; then it is.
    site.source.set(Mood::HangsUp);
    assert_eq!(site.knock("good-a").0, 101);
    until(|| site.knock("good-a") == (503, true), "the answer is too old");
}

#[test]
fn without_an_answer_nobody_gets_in() {
    let site = Site::start("timeout = \"500ms\"\nbytes_max = \"1KiB\"\nallowed_kept = \"0s\"\nrefused_kept = \"0s\"\n");
    let lies = [
        json!({"allow": "yes", "agent": "a"}).to_string(),
        json!({"allow": true}).to_string(),
        json!({"allow": true, "agent": "not a name"}).to_string(),
        json!({"allow": true, "agent": "a", "tenant": "/"}).to_string(),
        json!({"allow": true, "agent": "a", "pad": "x".repeat(2000)}).to_string(),
        "allow".to_owned(),
        String::new(),
    ];
    let yes = json!({"allow": true, "agent": "a"}).to_string();
    let moods = lies.iter().map(|lie| Mood::Says(200, lie.clone())).chain([
        Mood::Says(500, yes.clone()),
        Mood::Says(204, String::new()),
        Mood::Redirects(site.source.url()),
        Mood::HangsUp,
        Mood::Hangs,
        Mood::Floods,
    ]);
    let mut failed = 0;
    for (number, mood) in moods.enumerate() {
        site.source.set(mood);
        assert_eq!(site.knock(&format!("good-{number}")), (503, true), "mood {number}");
        failed += 1;
        assert_eq!(site.answers("failed"), failed, "mood {number}");
    }
    for (status, answer) in [(401, String::new()), (403, yes.clone()), (200, json!({"allow": false}).to_string())] {
        site.source.set(Mood::Says(status, answer));
        assert_eq!(site.knock("good-x"), (401, false), "{status}");
    }
    let over = json!({"allow": true, "agent": "a", "expires_at": unix_secs()}).to_string();
    site.source.set(Mood::Says(200, over));
    assert_eq!(site.knock("good-x"), (401, false), "what has run out is a no");
    site.source.set(Mood::Says(200, yes));
    assert_eq!(site.knock("good-x"), (101, false));
}

#[test]
fn a_slow_webhook_holds_up_nobody_else() {
    let site = Site::start("timeout = \"2s\"\nthreads = 2\nwaiting_max = 4\n");
    site.source.set(Mood::Hangs);
    std::thread::scope(|scope| {
        let knocks: Vec<_> = (0..16)
            .map(|n| {
                let site = &site;
                scope.spawn(move || site.knock(&format!("good-{n}")))
            })
            .collect();
        // Meanwhile a token that a key of ours vouches for is let in at once.
        until(|| site.answers("shed") >= 10, "more than two are asked about and four wait");
        let began = Instant::now();
        assert_eq!(site.knock(&site.key.token(&claims_with("web-2", json!({})))).0, 101);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        for knock in knocks {
            assert_eq!(knock.join().expect("an answer"), (503, true));
        }
    });
    assert_eq!(site.answers("shed") + site.answers("failed") + site.answers("late"), 16);
    site.source.set(Mood::Thinks(judge));
    assert_eq!(site.knock("good-again").0, 101);
}

#[test]
fn a_token_of_the_webhook_may_be_refreshed() {
    let site = Site::start("allowed_kept = \"0s\"\n[auth]\nexpiry_notice = \"0s\"\n");
    site.source.set(Mood::Thinks(|_| {
        let answer = json!({"allow": true, "agent": "web-1", "tenant": "acme", "expires_at": unix_secs() + 3});
        (200, answer.to_string())
    }));
    let request = to(&site.gateway, "/v1/agent").with_header("Authorization", "Bearer one");
    let mut agent = Agent::open(&site.gateway, request, Encoding::Json);
    let ask = |agent: &mut Agent, token: &str| -> Value {
        let request = json!({"jsonrpc": "2.0", "id": "r", "method": "refresh", "params": {"token": token}});
        agent.peer.send(tungstenite::Message::text(request.to_string()));
        agent.peer.json()
    };
    let answer = ask(&mut agent, "two");
    assert!(answer["result"]["expires_in_ms"].is_u64(), "{answer}");
    site.source.set(Mood::HangsUp);
    assert_eq!(ask(&mut agent, "three")["error"]["code"], -32021);
    site.source.set(Mood::Says(401, String::new()));
    assert_eq!(ask(&mut agent, "four")["error"]["code"], -32020);
    assert_eq!(agent.peer.closed(), 4002);
}

/// As `judge`; about `slow-ID` it thinks for a while.
fn ponder(body: &str) -> (u16, String) {
    if body.contains("\"slow-") {
        std::thread::sleep(Duration::from_millis(1500));
    }
    judge(&body.replace("slow-", "good-"))
}

#[test]
fn an_older_connection_whose_answer_comes_late_makes_way_for_the_newer() {
    // In one loop, and in several: which of them accepted it says nothing of its age.
    for loops in [1, 4] {
        let site = Site::start(&format!("timeout = \"4s\"\nallowed_kept = \"0s\"\n[server]\nloops = {loops}\n"));
        site.source.set(Mood::Thinks(ponder));
        for round in 1..=3 {
            std::thread::scope(|scope| {
                let late = scope.spawn(|| {
                    let request = to(&site.gateway, "/v1/agent").with_header("Authorization", "Bearer slow-web-1");
                    Agent::open(&site.gateway, request, Encoding::Json)
                });
                until(
                    || site.source.heard().iter().filter(|heard| heard.body.contains("slow-")).count() == round,
                    "asked",
                );
                let token = site.key.token(&claims_with("web-1", json!({"tenant": "acme"})));
                let mut newer = Agent::with_token(&site.gateway, &token, Encoding::Binary);
                // It is let in, and told at once that it was replaced: it does not come back.
                assert_eq!(late.join().expect("upgraded").peer.closed(), 4500);
                let call = Backend::with_key(&site.gateway, "key").begin("web-1", crate::backend::to_do("m", "60s"));
                let number = newer.call().call;
                newer.answer(number, &json!(round));
                call.end().expect_result("web-1", &json!(round), number);
                newer.peer.reset();
            });
            site.gateway.wait_no_agents();
            site.gateway.wait_metric("holdfast_agents_replaced_total", "", round as u64);
        }
        // Where the newer one is gone by then, the older one is all there is.
        let mut alone = Agent::with_token(&site.gateway, "slow-web-1", Encoding::Json);
        let call = Backend::with_key(&site.gateway, "key").begin("web-1", crate::backend::to_do("m", "60s"));
        let number = alone.call().call;
        alone.answer(number, &json!("alone"));
        call.end().expect_result("web-1", &json!("alone"), number);
    }
}

#[test]
fn of_each_agent_one_newer_token_is_asked_about_at_a_time() {
    let site = Site::start("timeout = \"4s\"\nallowed_kept = \"0s\"\n");
    site.source.set(Mood::Thinks(ponder));
    let [mut agent, mut other] =
        ["web-1", "web-2"].map(|id| Agent::with_token(&site.gateway, &format!("good-{id}"), Encoding::Json));
    let refresh = |agent: &mut Agent, id: u64, token: &str| {
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "refresh", "params": {"token": token}});
        agent.peer.send(tungstenite::Message::text(request.to_string()));
    };
    let asked = site.source.count();
    refresh(&mut agent, 1, "slow-web-1");
    until(|| site.source.count() == asked + 1, "it is asked");
    for id in 2..20 {
        refresh(&mut agent, id, "slow-web-1");
        let answer = agent.peer.json();
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32022)), "{answer}");
    }
    // Another one's is asked about meanwhile.
    refresh(&mut other, 1, "good-web-2");
    assert_eq!(other.peer.json()["result"], json!({"expires_in_ms": null}));
    assert_eq!(site.source.count(), asked + 2);
    assert_eq!(agent.peer.json()["result"], json!({"expires_in_ms": null}), "the first one's answer");
    refresh(&mut agent, 20, "good-web-1");
    let answer = agent.peer.json();
    assert_eq!((&answer["id"], &answer["result"]), (&json!(20), &json!({"expires_in_ms": null})), "{answer}");
}

#[test]
fn it_may_bind_an_agent_to_methods() {
    let site = Site::start("");
    site.source.set(Mood::Thinks(|body| {
        let methods = if body.contains("bound") { json!(["ping", "disk.*"]) } else { Value::Null };
        (200, json!({"allow": true, "agent": "web-1", "tenant": "acme", "methods": methods}).to_string())
    }));
    assert_eq!(site.knock("no-list"), (503, true));
    let mut agent = Agent::with_token(&site.gateway, "bound", Encoding::Json);
    let backend = Backend::with_key(&site.gateway, "key");
    assert_eq!(backend.call("web-1", &crate::backend::to_do("shell.exec", "60s")).status, 403);
    let call = backend.begin("web-1", crate::backend::to_do("disk.free", "60s"));
    let number = agent.call().call;
    agent.answer(number, &json!(1));
    call.end().expect_result("web-1", &json!(1), number);
}
