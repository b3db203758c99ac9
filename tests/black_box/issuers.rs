//! Tokens of issuers whose keys are fetched: by URL and by file, changed, unknown, and from a source that is down.

use serde_json::{Value, json};

use crate::agent::{Agent, Encoding};
use crate::gateway::{ANY_PORTS, Gateway, until};
use crate::keys::{Key, claims_with};
use crate::peer::to;
use crate::source::{Mood, Source};

const PACE: &str = "[jwks]\nrefresh = \"2s\"\nunknown_pause = \"200ms\"\ntimeout = \"1s\"\nbytes_max = \"16KiB\"\n";

fn issuer(name: &str, iss: &str, source: &str, tenants: &str) -> String {
    format!(
        "[[auth.issuers]]\nname = \"{name}\"\niss = \"{iss}\"\n{source}\naudiences = [\"holdfast\", \"other\"]\n\
         tenants = [{tenants}]\nalgorithms = [\"ES256\"]\nleeway = \"1s\"\n"
    )
}

fn token(key: &Key, iss: &str, more: Value) -> String {
    let mut claims = claims_with("web-1", json!({"iss": iss, "aud": "holdfast"}));
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    key.token(&claims)
}

fn set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// The status of an upgrade with this token.
fn knock(gateway: &Gateway, token: &str) -> u16 {
    let stream = std::net::TcpStream::connect(gateway.agents).expect("connects");
    let request = to(gateway, "/v1/agent").with_header("Authorization", format!("Bearer {token}"));
    match tungstenite::client(request, stream) {
        Ok(_) => 101,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn each_issuer_vouches_for_its_own() {
    let (one, other) = (Key::es256("k"), Key::es256("k"));
    let by_url = Source::start(Mood::Says(200, set(&[&one])));
    let folder = crate::gateway::fresh_folder();
    let file = folder.join("keys.json");
    std::fs::write(&file, set(&[&other])).expect("a file");
    let config = format!(
        "{PACE}{}{}",
        issuer("url", "https://one.example/", &format!("jwks_url = \"{}\"", by_url.url()), "\"acme\""),
        issuer("file", "two", &format!("jwks_file = \"{}\"", file.display()), "\"globex\", \"initech\""),
    );
    let gateway = Gateway::launch(&config, &ANY_PORTS);
    let good = token(&one, "https://one.example/", json!({}));
    until(|| knock(&gateway, &good) == 101, "the keys were fetched");
    for (what, key, iss, more, status) in [
        ("of the file's issuer", &other, "two", json!({"tenant": "globex"}), 101),
        ("and its other tenant", &other, "two", json!({"tenant": "initech"}), 101),
        ("no tenant of two", &other, "two", json!({}), 401),
        ("the tenant of the other", &other, "two", json!({"tenant": "acme"}), 401),
        ("a tenant that is not its own", &one, "https://one.example/", json!({"tenant": "globex"}), 401),
        ("another's key", &other, "https://one.example/", json!({}), 401),
        ("another's name", &one, "two", json!({"tenant": "globex"}), 401),
        ("a name that nobody has", &one, "three", json!({}), 401),
        ("no name", &one, "", json!({"iss": null}), 401),
        ("the other audience", &one, "https://one.example/", json!({"aud": ["x", "other"]}), 101),
        ("no audience", &one, "https://one.example/", json!({"aud": null}), 401),
        ("a foreign audience", &one, "https://one.example/", json!({"aud": "x"}), 401),
        ("expired", &one, "https://one.example/", json!({"exp": 1_000_000_000}), 401),
    ] {
        assert_eq!(knock(&gateway, &token(key, iss, more)), status, "{what}");
    }
    let heard = by_url.heard();
    assert!(heard.iter().all(|heard| heard.head.starts_with("GET /asked HTTP/1.1\r\n")), "{heard:?}");
    assert!(gateway.metric("holdfast_issuer_keys", "issuer=\"file\"") == 1);
}

#[test]
fn a_key_that_changed_is_fetched_and_strangers_do_not_hammer_the_source() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let source = Source::start(Mood::Says(200, set(&[&old])));
    // Nothing but unknown keys makes it ask again within the test.
    let pace = "[jwks]\nrefresh = \"1h\"\nunknown_pause = \"2s\"\ntimeout = \"1s\"\n";
    let config = format!("{pace}{}", issuer("url", "i", &format!("jwks_url = \"{}\"", source.url()), ""));
    let gateway = Gateway::launch(&config, &ANY_PORTS);
    let (by_old, by_new) = (token(&old, "i", json!({})), token(&new, "i", json!({})));
    until(|| knock(&gateway, &by_old) == 101, "the keys were fetched");
    assert_eq!((source.count(), knock(&gateway, &by_new)), (1, 401), "it was asked just now");

    source.set(Mood::Says(200, set(&[&new])));
    // 503 while it is being asked: an agent that was told 401 would not come back.
    let began = std::time::Instant::now();
    until(
        || match knock(&gateway, &by_new) {
            101 => true,
            status => {
                assert!(matches!(status, 401 | 503), "{status}");
                false
            }
        },
        "the new key was fetched",
    );
    let asked = source.count();
    assert!(asked <= 2 + began.elapsed().as_secs() as usize / 2, "{asked}");
    assert_eq!(knock(&gateway, &by_old), 401);
    // Strangers who name any key have it asked no more than once in two seconds.
    let stranger = Key::es256("stranger");
    let (began, before) = (std::time::Instant::now(), source.count());
    for _ in 0..50 {
        knock(&gateway, &token(&stranger, "i", json!({})));
    }
    let most = 1 + began.elapsed().as_secs() as usize / 2 + 1;
    assert!(source.count() - before <= most, "{} in {:?}", source.count() - before, began.elapsed());
}

#[test]
fn the_last_good_keys_stay_whatever_the_source_says() {
    let key = Key::es256("k");
    let source = Source::start(Mood::HangsUp);
    let config = format!("{PACE}{}", issuer("url", "i", &format!("jwks_url = \"{}\"", source.url()), ""));
    let gateway = Gateway::launch(&config, &ANY_PORTS);
    let good = token(&key, "i", json!({}));
    // Without any keys nobody can say: try again later.
    assert_eq!(knock(&gateway, &good), 503);
    source.set(Mood::Says(200, set(&[&key])));
    until(|| knock(&gateway, &good) == 101, "the keys were fetched");
    let floods = Mood::Floods;
    for (what, mood) in [
        ("an error", Mood::Says(500, set(&[]))),
        ("no set", Mood::Says(200, "<html>".to_owned())),
        ("an empty set", Mood::Says(200, set(&[]))),
        ("too much", floods),
        ("elsewhere", Mood::Redirects(source.url())),
        ("no answer", Mood::Hangs),
        ("no word", Mood::HangsUp),
    ] {
        let failed = gateway.metric("holdfast_key_fetches_total", "result=\"failed\"");
        source.set(mood);
        until(
            || gateway.metric("holdfast_key_fetches_total", "result=\"failed\"") > failed,
            &format!("{what} is no set of keys"),
        );
        assert_eq!(knock(&gateway, &good), 101, "{what}");
    }
    let log = gateway.log();
    assert!(log.contains("keys cannot be fetched") && !log.contains(&good), "{log}");
    // It is up again, with other keys.
    let next = Key::es256("next");
    source.set(Mood::Says(200, set(&[&next])));
    let by_next = token(&next, "i", json!({}));
    until(|| knock(&gateway, &by_next) == 101, "the source is up again");
}

#[test]
fn a_reload_brings_other_issuers_and_keeps_keys() {
    let (one, other) = (Key::es256("a"), Key::es256("b"));
    let source = Source::start(Mood::Says(200, set(&[&one])));
    let first = issuer("url", "i", &format!("jwks_url = \"{}\"", source.url()), "");
    let listen = "[server]\nlisten = \"127.0.0.1:0\"\n[control]\nlisten = \"127.0.0.1:0\"\n";
    let gateway = Gateway::launch(&format!("{listen}{PACE}{first}"), &[]);
    let by_one = token(&one, "i", json!({}));
    until(|| knock(&gateway, &by_one) == 101, "the keys were fetched");
    let bearer = format!("Bearer {}", token(&one, "i", json!({"sub": "stays"})));
    let request = to(&gateway, "/v1/agent").with_header("Authorization", bearer);
    let mut stays = Agent::open(&gateway, request, Encoding::Binary);

    source.set(Mood::HangsUp);
    let file = gateway.file("keys.json");
    std::fs::write(&file, "{\"keys\":[").expect("a file");
    let second = issuer("file", "j", "jwks_file = \"keys.json\"", "");
    gateway.configure(&format!("{listen}{PACE}{first}{second}"));
    let log = gateway.reload();
    assert!(log.contains("the old ones stay") && log.contains("keys.json"), "{log}");
    std::fs::write(&file, set(&[&other])).expect("a file");
    assert!(!gateway.reload().contains("ERROR"));
    // The source of the first is down, and its keys are still those before.
    assert_eq!((knock(&gateway, &token(&other, "j", json!({}))), knock(&gateway, &by_one)), (101, 101));

    // An issuer that is gone lets nobody in; who is in stays.
    gateway.configure(&format!("{listen}{PACE}{second}"));
    gateway.reload();
    assert_eq!(knock(&gateway, &by_one), 401);
    stays.peer.send(tungstenite::Message::Ping(tungstenite::Bytes::from_static(b"x")));
    assert!(stays.peer.read().is_pong());
}

#[test]
fn a_reload_that_fails_brings_no_key_of_the_files_that_were_good() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let listen = "[server]\nlisten = \"127.0.0.1:0\"\n[control]\nlisten = \"127.0.0.1:0\"\n";
    let pace = "[jwks]\nrefresh = \"1h\"\nunknown_pause = \"1h\"\n";
    let issuers = [("one", "i", "one.json"), ("two", "j", "two.json")]
        .map(|(name, iss, file)| issuer(name, iss, &format!("jwks_file = \"{file}\""), ""));
    let folder = crate::gateway::fresh_folder();
    let put = |file: &str, text: &str| std::fs::write(folder.join(file), text).expect("a file");
    put("one.json", &set(&[&old]));
    put("two.json", &set(&[&old]));
    let config = format!("{listen}{pace}{}", issuers.concat())
        .replace("jwks_file = \"", &format!("jwks_file = \"{}/", folder.display()));
    let gateway = Gateway::launch(&config, &[]);
    let (by_old, by_new) = (token(&old, "i", json!({})), token(&new, "i", json!({})));
    assert_eq!(knock(&gateway, &by_old), 101);
    put("one.json", &set(&[&new]));
    put("two.json", "{");
    assert!(gateway.reload().contains("the old ones stay"));
    assert_eq!(knock(&gateway, &by_old), 101);
    put("two.json", &set(&[&old]));
    assert!(!gateway.reload().contains("ERROR"));
    assert_eq!((knock(&gateway, &by_old), knock(&gateway, &by_new)), (401, 101));
}

/// A web server that speaks TLS, with a certificate that no public authority has signed.
const HTTPS: &str = "\
import http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
";

#[test]
fn over_https_the_source_must_have_a_certificate_that_the_system_trusts() {
    let key = Key::es256("k");
    let folder = crate::gateway::fresh_folder();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    for (name, text) in
        [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem()), ("jwks.json", set(&[&key]))]
    {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let mut server = std::process::Command::new("python3")
        .args(["-u", "-c", HTTPS])
        .current_dir(&folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("python3 runs");
    let mut port = String::new();
    let stdout = server.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).expect("a line");
    let url = format!("jwks_url = \"https://127.0.0.1:{}/jwks.json\"", port.trim());
    let config = format!("{PACE}{}", issuer("tls", "i", &url, ""));
    let good = token(&key, "i", json!({}));
    {
        let gateway = Gateway::launch(&config, &ANY_PORTS);
        until(|| gateway.metric("holdfast_key_fetches_total", "result=\"failed\"") > 1, "nobody trusts it");
        assert_eq!(knock(&gateway, &good), 503);
    }
    let trusts = folder.join("cert.pem");
    let gateway = Gateway::launch_in(&config, &ANY_PORTS, &[("SSL_CERT_FILE", &trusts)]);
    until(|| knock(&gateway, &good) == 101, "the keys were fetched over TLS");
    let _ = server.kill();
    let _ = server.wait();
}

/// A file that Python's own web server serves.
#[test]
fn keys_come_from_a_web_server_that_is_not_ours() {
    let key = Key::es256("k");
    let folder = crate::gateway::fresh_folder();
    std::fs::write(folder.join("jwks.json"), set(&[&key])).expect("a file");
    let mut server = std::process::Command::new("python3")
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
        .arg(&folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("python3 runs");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    // Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ...
    let url = line.split(['(', ')']).nth(1).expect("a URL").to_owned();
    let config = format!("{PACE}{}", issuer("url", "i", &format!("jwks_url = \"{url}jwks.json\""), "\"acme\""));
    let gateway = Gateway::launch(&config, &ANY_PORTS);
    let good = token(&key, "i", json!({}));
    until(|| knock(&gateway, &good) == 101, "the keys were fetched");
    let _ = server.kill();
    let _ = server.wait();
    until(|| gateway.metric("holdfast_key_fetches_total", "result=\"failed\"") > 0, "the source is down");
    assert_eq!(knock(&gateway, &good), 101);
}

/// While the source is down nobody can tell a forged token from one of a new key: both get 503. Once there are keys the forged ones are
/// failed logins, whether or not somebody comes again with them.
#[test]
fn tokens_that_waited_for_keys_are_judged_when_there_are_some() {
    let (ours, stranger) = (Key::es256("k"), Key::es256("k"));
    let source = Source::start(Mood::HangsUp);
    let file = crate::gateway::fresh_folder().join("audit.jsonl");
    let limits = format!(
        "[audit]\nfile = \"{}\"\n[rates]\nexempt = []\nprefix_failed_logins = 1\nburst = \"3m\"\n",
        file.display()
    );
    let issuer = issuer("url", "i", &format!("jwks_url = \"{}\"", source.url()), "");
    let gateway = Gateway::launch(&format!("{PACE}{limits}{issuer}"), &ANY_PORTS);
    let good = token(&ours, "i", json!({}));
    let forged: Vec<String> = (0..3).map(|n| token(&stranger, "i", json!({"jti": format!("{n}")}))).collect();
    for _ in 0..4 {
        assert!(forged.iter().chain([&good]).all(|token| knock(&gateway, token) == 503));
    }
    let failures = |cause: &str| gateway.metric("holdfast_auth_failures_total", &format!("cause=\"{cause}\""));
    assert_eq!((failures("keys_pending"), failures("unverified")), (16, 0));
    source.set(Mood::Says(200, set(&[&ours])));
    // Whoever comes first has them judged; a good token among them is no failure, and each forged one is a single one.
    until(|| gateway.metric("holdfast_issuer_keys", "issuer=\"url\"") == 1, "the keys were fetched");
    assert_eq!(knock(&gateway, &good), 101);
    assert_eq!(failures("unverified"), 3);
    assert_eq!(knock(&gateway, &good), 429, "three failures are what a network may have");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let told = |cause: &str| {
        let of =
            |line: &&str| line.contains(&format!("\"cause\":\"{cause}\"")) && line.contains("\"remote\":\"127.0.0.1:");
        lines().lines().filter(of).count()
    };
    until(|| (told("keys_pending"), told("unverified")) == (16, 3), "each has its line, with where it came from");
    let _ = std::fs::remove_dir_all(file.parent().expect("a folder"));
}
