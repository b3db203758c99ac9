//! TLS of the real gateway against clients that are not ours: OpenSSL's `s_client`, and the example agents in Python, Node and Go.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::json;

use crate::gateway::{Gateway, SOON};
use crate::polyglot::{Running, example, must_exist, tools};
use crate::secured_files::{Authority, NAME};

/// Runs an example agent over TLS, and has it answer.
fn answers_over_tls(command: &mut Command) {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let root = authority.file("root.pem");
    // OpenSSL under Python, and Go, read the first; Node the second.
    let command = command.env("SSL_CERT_FILE", &root).env("NODE_EXTRA_CA_CERTS", &root);
    let child = command
        .arg(format!("wss://{NAME}:{}", gateway.agents.port()))
        .env("HOLDFAST_TOKEN", gateway.token("web-1"))
        .stdin(Stdio::null())
        .spawn();
    let _agent = Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}: run scripts/test")));
    gateway.wait_for_agent("web-1");
    for params in [json!(null), json!({"deep": [1, {"a": null}]}), json!("\u{e4}".repeat(100_000))] {
        let body = json!({"method": "echo", "params": params, "timeout": "10s"});
        let (status, answer) = gateway.call("web-1", &body.to_string());
        assert_eq!((status, &answer["result"]), (200, &params));
    }
}

#[test]
fn the_python_agent_answers_over_tls() {
    let python = tools().join("python/bin/python");
    must_exist(&python);
    answers_over_tls(Command::new(&python).arg(example("agent.py")));
}

#[test]
fn the_node_agent_answers_over_tls() {
    let modules = tools().join("node/node_modules");
    must_exist(&modules);
    answers_over_tls(Command::new("node").env("NODE_PATH", &modules).arg(example("agent.js")));
}

#[test]
fn the_go_agent_answers_over_tls() {
    let program = tools().join("go/agent");
    must_exist(&program);
    answers_over_tls(&mut Command::new(program));
}

/// `s_client`, whose output is read as it comes. It is killed when dropped.
struct OpenSsl {
    child: Child,
    said: Receiver<Vec<u8>>,
    heard: Vec<u8>,
}

impl OpenSsl {
    fn connect(port: u16, root: &Path, more: &[&str]) -> Self {
        Self::connect_in("-tls1_3", port, root, more)
    }

    /// The same, in one version.
    fn connect_in(version: &str, port: u16, root: &Path, more: &[&str]) -> Self {
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, version, "-verify_return_error", "-CAfile"]).arg(root);
        command.args(["-servername", NAME, "-verify_hostname", NAME, "-alpn", "http/1.1"]).args(more);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is needed for this test");
        let (tell, said) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for mut pipe in pipes {
            let tell = tell.clone();
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(bytes @ 1..) = pipe.read(&mut part) {
                    let _ = tell.send(part[..bytes].to_vec());
                }
            });
        }
        Self { child, said, heard: Vec::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("it listens");
    }

    /// Waits until this has been said, and forgets what was said up to there.
    fn wait_for(&mut self, text: &str) {
        loop {
            let found = self.heard.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.heard.drain(..at + text.len());
                return;
            }
            match self.said.recv_timeout(SOON) {
                Ok(part) => self.heard.extend(part),
                Err(error) => panic!("no {text:?}: {error}; there was {}", String::from_utf8_lossy(&self.heard)),
            }
        }
    }

    /// As an agent, takes a call and answers it with a number.
    fn answer(&mut self, gateway: &Gateway, number: usize) {
        thread::scope(|scope| {
            let body = json!({"method": "any", "timeout": "10s"}).to_string();
            let call = scope.spawn(move || gateway.call("openssl", &body));
            self.wait_for("\"id\":\"");
            let id = {
                while self.heard.len() < 16 {
                    self.heard.extend(self.said.recv_timeout(SOON).expect("the id"));
                }
                String::from_utf8(self.heard[..16].to_vec()).expect("an id")
            };
            self.say(&frame(&format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"result\":{number}}}")));
            let (status, answer) = call.join().expect("an answer");
            assert_eq!((status, &answer["result"]), (200, &json!(number)), "{answer}");
        });
    }

    /// Asks for an upgrade as an agent.
    fn upgrade(&mut self, gateway: &Gateway, agent: &str) {
        let token = gateway.token(agent);
        let request = format!(
            "GET /v1/agent HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        self.say(request.as_bytes());
        self.wait_for("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        self.wait_for("welcome");
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A masked text frame of fewer than 126 bytes, with a masking key of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[test]
fn openssl_updates_keys_on_a_live_agent_connection() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let mut client = OpenSsl::connect(gateway.agents.port(), &authority.file("root.pem"), &[]);
    client.wait_for("Verify return code: 0 (ok)");
    client.upgrade(&gateway, "openssl");
    // `K` alone on a line asks us for a key update too, `k` does not; both are looked for at the beginning of what is typed.
    for (round, command) in ["K\n", "k\n", "K\n"].into_iter().enumerate() {
        client.say(command.as_bytes());
        client.wait_for("KEYUPDATE");
        client.answer(&gateway, round);
    }
}

#[test]
fn openssl_with_tls_1_2_is_told_by_an_alert_or_served() {
    let authority = Authority::new();
    let root = authority.file("root.pem");
    {
        let gateway = Gateway::start(&authority.settings(""));
        let mut client = OpenSsl::connect_in("-tls1_2", gateway.agents.port(), &root, &[]);
        client.wait_for("alert protocol version");
        assert_eq!(gateway.metric("holdfast_tls_handshakes_total", "incompatible"), 1);
    }
    let gateway = Gateway::start(&authority.settings("min_version = \"1.2\""));
    let mut client = OpenSsl::connect_in("-tls1_2", gateway.agents.port(), &root, &[]);
    client.wait_for("Verify return code: 0 (ok)");
    client.upgrade(&gateway, "openssl");
    (0..3).for_each(|round| client.answer(&gateway, round));
}

#[test]
fn a_session_of_one_gateway_is_resumed_by_another() {
    let authority = Authority::new();
    let keys = authority.path("tickets");
    std::fs::write(&keys, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").expect("written");
    let settings = authority.settings(&format!("tickets = \"{keys}\""));
    let (root, session) = (authority.file("root.pem"), authority.path("session.pem"));
    for (option, expected) in [("-sess_out", "New, TLSv1.3"), ("-sess_in", "Reused, TLSv1.3")] {
        // One after the other, each a process of its own.
        let gateway = Gateway::start(&settings);
        let mut client = OpenSsl::connect(gateway.agents.port(), &root, &[option, &session]);
        client.wait_for(expected);
        client.upgrade(&gateway, "openssl");
        client.say(b"Q\n");
    }
}

#[test]
fn our_own_agent_and_link_speak_tls() {
    let authority = Authority::new();
    let gateway = Gateway::with_link(&authority.settings_with_links());
    let (root, other) = (authority.file("root.pem"), Authority::new());
    let program = env!("CARGO_BIN_EXE_holdfast");
    let url = format!("wss://{NAME}:{}", gateway.agents.port());
    let agent = |root: &Path| {
        let mut command = Command::new(program);
        command.args(["agent", "--url", &url, "--id", "web-1", "--ca"]).arg(root).args(["--", "cat"]);
        Running(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    };
    let stranger = agent(&other.file("root.pem"));
    crate::gateway::until(|| gateway.metric("holdfast_tls_handshakes_total", "alert") > 0, "a foreign root is refused");
    drop(stranger);
    let _agent = agent(&root);
    gateway.wait_for_agent("web-1");
    let link = format!("wss://{NAME}:{}", gateway.link.expect("a link port").port());
    let long = format!("{:?}", "x".repeat(100_000));
    for params in ["{\"a\":1}", long.as_str()] {
        let mut call = Command::new(program);
        call.args(["call", "--link", &link, "--ca"]).arg(&root).args(["web-1", "echo", params]);
        let output = call.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), params);
    }
    let refused = Command::new(program).args(["call", "--link", &link, "web-1", "echo"]).output().expect("it runs");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("a root that is trusted here"),
        "the system does not trust it: {refused:?}"
    );
}
