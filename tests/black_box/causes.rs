//! Every cause for which a token is refused, at the door and on a live connection: what whoever showed it hears, what is counted, and the
//! line in the audit log. `certificate` needs TLS, and is walked in `secured`.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::{Agent, Encoding};
use crate::backend::Backend;
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway, fresh_folder, until};
use crate::keys::{Key, claims_with, unix_secs};
use crate::peer::to;
use crate::permissions::key_that;
use crate::source::{Mood, Source};

struct Site {
    gateway: Gateway,
    key: Key,
    audit: std::path::PathBuf,
    _webhook: Source,
    _issuer: Source,
}

impl Site {
    fn start() -> Self {
        let (webhook, issuer) = (Source::start(Mood::Says(401, String::new())), Source::start(Mood::HangsUp));
        let (folder, key) = (fresh_folder(), Key::hs256("main"));
        let audit = folder.join("audit.jsonl");
        let config = format!(
            "[auth]\naudience = \"holdfast\"\nleeway = \"0s\"\n[audit]\nfile = \"{}\"\n[revocations]\nfile = \"{}\"\n\
             [webhook]\nurl = \"{}\"\n{}[[auth.issuers]]\nname = \"down\"\niss = \"down\"\njwks_url = \"{}\"\n\
             audiences = [\"holdfast\"]\ntenants = []\nalgorithms = [\"ES256\"]\n{}",
            audit.display(),
            folder.join("revoked").display(),
            webhook.url(),
            key.settings,
            issuer.url(),
            key_that("ops", "allow = [\"administer\"]"),
        );
        let gateway = Gateway::launch(&config, &ANY_PORTS_AND_LINK);
        let body = json!({"token_id": "j1"}).to_string();
        assert_eq!(Backend::with_key(&gateway, "ops").ask("POST", "/v1/revocations", Some(body)).status, 201);
        Self { gateway, key, audit, _webhook: webhook, _issuer: issuer }
    }

    fn token(&self, more: Value) -> String {
        let mut claims = claims_with("web-1", json!({"aud": "holdfast"}));
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        self.key.token(&claims)
    }

    /// A token that is refused for this cause.
    fn refused_for(&self, cause: &str) -> String {
        match cause {
            "expired" => self.token(json!({"exp": unix_secs() - 60})),
            "not_yet" => self.token(json!({"nbf": unix_secs() + 600})),
            "audience" => self.token(json!({"aud": "others"})),
            "claims" => self.token(json!({"methods": null})),
            "revoked" => self.token(json!({"jti": "j1"})),
            "keys_pending" => self.token(json!({"iss": "down"})),
            "denied" => "whatever.that.is".to_owned(),
            other => panic!("{other}"),
        }
    }

    fn count(&self, cause: &str) -> u64 {
        self.gateway.metric("holdfast_auth_failures_total", &format!("cause=\"{cause}\""))
    }

    /// Lines of the audit log about a cause at a door, all of which say where from, and who it is where a good signature says so.
    fn lines(&self, door: &str, cause: &str) -> usize {
        let is_named = door == "refresh" || NAMED.contains(&cause);
        let is_meant = |line: &Value| {
            line["event"] == "login_refused"
                && (line["door"].as_str(), line["cause"].as_str()) == (Some(door), Some(cause))
                && line["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:"))
                && line["agent"].is_string() == is_named
        };
        lines(&self.audit).iter().filter(|line| is_meant(line)).count()
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Causes of which the audit log says who it was.
const NAMED: [&str; 5] = ["expired", "not_yet", "audience", "claims", "revoked"];

/// The status of an upgrade with these fields.
fn knock(gateway: &Gateway, at: std::net::SocketAddr, path: &str, fields: &[(&str, String)]) -> u16 {
    let request =
        fields.iter().fold(to(gateway, path), |request, (name, value)| request.with_header(*name, value.clone()));
    match tungstenite::client(request, std::net::TcpStream::connect(at).expect("connects")) {
        Ok(_) => 101,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_cause_is_answered_counted_and_written_down() {
    let site = Site::start();
    let (gateway, agents) = (&site.gateway, site.gateway.agents);
    let bearer = |token: String| ("Authorization", format!("Bearer {token}"));
    let with = |cause: &str| vec![bearer(site.refused_for(cause))];
    for (cause, fields, status) in [
        ("missing", vec![], 401),
        ("expired", with("expired"), 401),
        ("not_yet", with("not_yet"), 401),
        ("audience", with("audience"), 401),
        ("claims", with("claims"), 401),
        ("revoked", with("revoked"), 401),
        ("denied", with("denied"), 401),
        ("keys_pending", with("keys_pending"), 503),
        ("origin", vec![("Origin", "https://evil.example".to_owned()), bearer(site.token(json!({})))], 403),
    ] {
        assert_eq!(knock(gateway, agents, "/v1/agent", &fields), status, "{cause}");
        assert_eq!(site.count(cause), 1, "{cause}");
        until(|| site.lines("agents", cause) == 1, cause);
    }
    // With a webhook no agent's token is simply unverified: keys of backends are.
    let link = gateway.link.expect("a link port");
    assert_eq!(knock(gateway, link, "/v1/link", &[bearer("wrong".to_owned())]), 401);
    assert_eq!(Backend::with_key(gateway, "wrong").get("/v1/agents").status, 401);
    assert_eq!(site.count("unverified"), 2);
    until(|| site.lines("links", "unverified") + site.lines("control", "unverified") == 2, "two doors");
    let _ = std::fs::remove_dir_all(site.audit.parent().expect("a folder"));
}

#[test]
fn each_cause_is_the_same_for_a_newer_token() {
    let site = Site::start();
    let mut agent = Agent::with_token(&site.gateway, &site.token(json!({})), Encoding::Json);
    for (cause, code) in [
        ("expired", -32020),
        ("not_yet", -32020),
        ("audience", -32020),
        ("claims", -32020),
        ("revoked", -32020),
        ("denied", -32020),
        ("keys_pending", -32021),
    ] {
        let params = json!({"token": site.refused_for(cause)});
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "refresh", "params": params});
        agent.peer.send(tungstenite::Message::text(request.to_string()));
        let answer = agent.peer.json();
        assert_eq!(answer["error"]["code"], code, "{cause}: {answer}");
        assert_eq!(site.count(cause), 1, "{cause}");
        let refreshes = site.gateway.metric("holdfast_token_refreshes_total", &format!("result=\"{cause}\""));
        assert_eq!(refreshes, 1, "{cause}");
        until(|| site.lines("refresh", cause) == 1, cause);
    }
    let named = |line: &&Value| line["door"] == "refresh" && line["agent"] == "default/web-1";
    assert_eq!(lines(&site.audit).iter().filter(named).count(), 7, "who is on the connection");
    let _ = std::fs::remove_dir_all(site.audit.parent().expect("a folder"));
}
