//! Tokens that run out on a live connection: told ahead, refreshed in-band, or closed in time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::Message;

use crate::agent::{Agent, ENCODINGS, Encoding};
use crate::gateway::{ANY_PORTS, Gateway, until};
use crate::keys::{Key, claims_with, unix_secs};
use crate::peer::to;

/// A closing that comes this long after its moment is late: a sweep takes less than a second, the rest is the machine's.
const LATE: Duration = Duration::from_millis(1500);

struct Site {
    gateway: Gateway,
    key: Key,
}

impl Site {
    fn start(settings: &str) -> Self {
        let key = Key::hs256("main");
        let api = crate::keys::api_key("key", "acme");
        let gateway = Gateway::launch(&format!("{settings}\n{}{api}", key.settings), &ANY_PORTS);
        Self { gateway, key }
    }

    fn token(&self, agent: &str, secs: u64) -> String {
        self.key.token(&claims_with(agent, json!({"tenant": "acme", "exp": unix_secs() + secs})))
    }

    fn agent(&self, agent: &str, secs: u64, encoding: Encoding) -> Agent {
        let bearer = format!("Bearer {}", self.token(agent, secs));
        Agent::open(&self.gateway, to(&self.gateway, "/v1/agent").with_header("Authorization", bearer), encoding)
    }
}

/// What came back for a request: its id, and the result or the code.
fn refresh(agent: &mut Agent, encoding: Encoding, id: u64, params: &Value) -> (u64, Result<Value, i64>) {
    let message = match encoding {
        Encoding::Json => {
            Message::text(json!({"jsonrpc": "2.0", "id": id, "method": "refresh", "params": params}).to_string())
        }
        Encoding::Binary => {
            // docs/protocol.md: kind 9, flags, a name of 7 bytes, aux, the id.
            let mut bytes = vec![9, 1, 7, 0, 0, 0, 0, 0];
            bytes.extend(id.to_le_bytes());
            bytes.extend(b"refresh");
            bytes.extend(params.to_string().as_bytes());
            Message::binary(bytes)
        }
    };
    agent.peer.send(message);
    match agent.peer.read() {
        Message::Text(text) => {
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            let id = answer["id"].as_u64().expect("an id");
            (id, answer.get("result").cloned().ok_or_else(|| answer["error"]["code"].as_i64().expect("a code")))
        }
        Message::Binary(bytes) => {
            let id = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
            let code = i32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
            match bytes[0] {
                11 => (id, Ok(serde_json::from_slice(&bytes[16..]).expect("JSON"))),
                12 => (id, Err(code.into())),
                other => panic!("kind {other}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_agent_is_told_ahead_and_stays_with_a_newer_token() {
    let site = Site::start("[auth]\nleeway = \"0s\"\nexpiry_notice = \"2s\"\n");
    for encoding in ENCODINGS {
        let mut agent = site.agent("web-1", 4, encoding);
        let told = agent.envelope();
        assert_eq!(told.kind, "token_expiring");
        let left = told.params["expires_in_ms"].as_u64().expect("a number");
        assert!((1000..=2000).contains(&left), "{left}");
        let newer = site.token("web-1", 5);
        let (id, result) = refresh(&mut agent, encoding, 7, &json!({ "token": newer }));
        let left = result.expect("it is good")["expires_in_ms"].as_u64().expect("a number");
        assert!(id == 7 && (3000..=5000).contains(&left), "{left}");
        // The old one has run out long ago when it is told of the new one, and called in between.
        let told = agent.envelope();
        assert_eq!(told.kind, "token_expiring");
        let backend = crate::backend::Backend::with_key(&site.gateway, "key");
        let call = backend.begin("web-1", crate::backend::to_do("m", "60s"));
        let number = agent.call().call;
        agent.answer(number, &json!(1));
        call.end().expect_result("web-1", &json!(1), number);
        let began = Instant::now();
        assert_eq!(agent.peer.closed(), 4002);
        assert!(began.elapsed() < Duration::from_secs(2) + LATE, "{:?}", began.elapsed());
    }
    site.gateway.wait_metric("holdfast_token_refreshes_total", "result=\"ok\"", 2);
    site.gateway.wait_closed_for("token_expired", 2);
}

#[test]
fn a_token_that_is_not_accepted_changes_nothing() {
    let site = Site::start("[auth]\nleeway = \"0s\"\nexpiry_notice = \"0s\"\n");
    for encoding in ENCODINGS {
        let ends = unix_secs() + 4;
        let mut agent = site.agent("web-1", 4, encoding);
        let _other = site.agent("web-2", 60, encoding);
        let foreign = Key::hs256("other").token(&claims_with("web-1", json!({"tenant": "acme"})));
        let elsewhere = site.key.token(&claims_with("web-1", json!({"tenant": "globex"})));
        for (what, params, code) in [
            ("of another agent that is in", json!({"token": site.token("web-2", 60)}), -32020),
            ("of another agent that is not", json!({"token": site.token("web-3", 60)}), -32020),
            ("of another tenant", json!({ "token": elsewhere }), -32020),
            ("of another key", json!({ "token": foreign }), -32020),
            (
                "expired",
                json!({"token": site.key.token(&claims_with("web-1", json!({"tenant": "acme", "exp": 1})))}),
                -32020,
            ),
            ("no token", json!({"token": "x"}), -32020),
            ("empty", json!({"token": ""}), -32020),
            ("a number", json!({"token": 7}), -32602),
            ("nothing", json!({}), -32602),
        ] {
            let (id, result) = refresh(&mut agent, encoding, 9, &params);
            assert_eq!((id, result), (9, Err(code)), "{what}");
        }
        assert_eq!(agent.peer.closed(), 4002);
        let late = Duration::from_secs(unix_secs().saturating_sub(ends));
        assert!(unix_secs() >= ends && late <= LATE, "{late:?}");
        // The other agent stays.
        site.gateway.wait_metric("holdfast_agents", "", 1);
    }
}

/// A token that is refused in-band is a failed login as at the door: written down with who is on the connection, and counted.
#[test]
fn a_refused_refresh_is_a_refused_login() {
    let file = crate::gateway::fresh_folder().join("audit.jsonl");
    let rates = "[rates]\nexempt = []\nprefix_failed_logins = 1\nburst = \"3m\"\n";
    let site = Site::start(&format!("[audit]\nfile = \"{}\"\n{rates}", file.display()));
    let mut agents = ENCODINGS.map(|encoding| (encoding, site.agent(&format!("web-{encoding:?}"), 600, encoding)));
    let good = format!("Bearer {}", site.token("web-3", 600));
    let status = || {
        let stream = std::net::TcpStream::connect(site.gateway.agents).expect("connects");
        let request = to(&site.gateway, "/v1/agent").with_header("Authorization", good.clone());
        match tungstenite::client(request, stream) {
            Ok(_) => 101,
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    // Three of them are what a network may fail at once.
    for (number, token) in [site.token("web-9", 600), "hush.hush.hush".to_owned(), "x".repeat(9000)].iter().enumerate()
    {
        assert_eq!(status(), 101, "{number}");
        let (encoding, agent) = &mut agents[number % 2];
        assert_eq!(refresh(agent, *encoding, 7, &json!({ "token": token })).1, Err(-32020), "{number}");
    }
    until(|| status() == 429, "its network is counted for them");
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["event"] == "login_refused").collect()
    };
    until(|| lines().len() == 3, "they are in the audit log");
    let told: Vec<_> = lines()
        .iter()
        .map(|line| ["door", "cause", "agent"].map(|name| line[name].as_str().unwrap_or_default().to_owned()))
        .collect();
    for (number, (cause, agent)) in
        [("claims", "acme/web-Json"), ("unverified", "acme/web-Binary"), ("unverified", "acme/web-Json")]
            .iter()
            .enumerate()
    {
        assert_eq!(told[number], ["refresh", *cause, *agent], "{told:?}");
    }
    assert!(lines().iter().all(|line| line["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:"))));
    assert!(!std::fs::read_to_string(&file).expect("a file").contains("hush"));
    site.gateway.wait_metric("holdfast_auth_failures_total", "cause=\"unverified\"", 2);
    site.gateway.wait_metric("holdfast_token_refreshes_total", "result=\"unverified\"", 2);
    // Who is in stays in, and may still show a good one.
    let (encoding, agent) = &mut agents[0];
    assert!(refresh(agent, *encoding, 8, &json!({"token": site.token("web-Json", 600)})).1.is_ok());
    let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
}

/// The gateway counts on the wall's clock, which the tests cannot set; how tokens follow it is a unit test of `session/expiry`.
#[test]
fn tokens_end_within_a_second_of_their_time() {
    let site = Site::start("[auth]\nleeway = \"2s\"\n");
    let agents: Vec<_> =
        (0..40).map(|n| site.agent(&format!("web-{n}"), 1 + n % 3, ENCODINGS[n as usize % 2])).collect();
    let began = Instant::now();
    for agent in agents {
        assert_eq!(agent.peer.closed(), 4002);
    }
    // The last of them ends after 3 s and the leeway.
    assert!(began.elapsed() < Duration::from_secs(5) + LATE, "{:?}", began.elapsed());
    site.gateway.wait_no_agents();
}

/// `holdfast agent` with a token in a file: whoever renews tokens only writes the file.
#[test]
fn the_agent_program_sends_what_is_in_its_file() {
    let site = Site::start("[auth]\nleeway = \"0s\"\nexpiry_notice = \"3s\"\n");
    let file = site.gateway.file("token");
    std::fs::write(&file, site.token("web-1", 5)).expect("a file");
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["agent", "--url", &format!("ws://{}", site.gateway.agents), "--token-file"])
        .arg(&file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    until(|| site.gateway.metric("holdfast_agents", "") == 1, "it is connected");
    // After the agent was told, so that it has to look again.
    std::thread::sleep(Duration::from_secs(3));
    std::fs::write(&file, site.token("web-1", 600)).expect("a file");
    site.gateway.wait_metric("holdfast_token_refreshes_total", "result=\"ok\"", 1);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((site.gateway.metric("holdfast_agents", ""), site.gateway.closed_for("token_expired")), (1, 0));
    let _ = program.kill();
    let _ = program.wait();
}

/// Whoever renews tokens may be late: the agent has lost its connection, and comes back once there is a newer one.
#[test]
fn the_agent_program_waits_for_a_newer_token() {
    let site = Site::start("[auth]\nleeway = \"0s\"\nexpiry_notice = \"1s\"\n");
    let file = site.gateway.file("token");
    std::fs::write(&file, site.token("web-1", 3)).expect("a file");
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["agent", "--url", &format!("ws://{}", site.gateway.agents), "--token-file"])
        .arg(&file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    site.gateway.wait_closed_for("token_expired", 1);
    std::thread::sleep(Duration::from_secs(3));
    assert!(program.try_wait().expect("it is ours").is_none(), "it is still there");
    assert_eq!(site.gateway.metric("holdfast_auth_failures_total", ""), 0, "it has not shown the old one again");
    std::fs::write(&file, site.token("web-1", 600)).expect("a file");
    until(|| site.gateway.metric("holdfast_agents", "") == 1, "it is back");
    let _ = program.kill();
    let _ = program.wait();
}
