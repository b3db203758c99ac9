//! TLS at the agents' door: agents connect, are called and answer; whoever does it wrong is refused, and the others do not notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, StreamOwned};
use serde_json::{Value, json};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::{Message, WebSocket};

use crate::gateway::{Gateway, SOON, http, until};
use crate::secured_files::{Authority, NAME, swap_link};

/// A rustls client's stream.
type Secured = StreamOwned<ClientConnection, TcpStream>;

/// An agent that is connected over TLS.
pub struct SecuredAgent {
    socket: WebSocket<Secured>,
}

/// Shakes hands, and no more.
pub fn shake(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Secured> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SOON))?;
    let name = name.to_owned().try_into().expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("settings that serve");
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

impl SecuredAgent {
    /// Connects with a token, where there is one, and reads the welcome.
    pub fn connect(gateway: &Gateway, config: &Arc<ClientConfig>, token: Option<String>) -> Self {
        let stream = shake(gateway.agents, config, NAME).expect("a handshake");
        Self::upgrade(stream, token).unwrap_or_else(|status| panic!("refused with {status}"))
    }

    /// Asks for the upgrade; the status where it is refused.
    fn upgrade(stream: Secured, token: Option<String>) -> Result<Self, u16> {
        let uri = format!("ws://{NAME}/v1/agent").parse().expect("a URI");
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(token) = token {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => {
                let mut agent = Self { socket };
                assert_eq!(agent.read()["method"], "welcome");
                Ok(agent)
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message that is no ping, which is JSON.
    pub fn read(&mut self) -> Value {
        loop {
            let message = self.socket.read().expect("a message");
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// The TLS connection.
    pub fn tls(&mut self) -> &mut Secured {
        self.socket.get_mut()
    }

    /// Takes a call and answers it with its parameters.
    pub fn answer(&mut self) {
        let call = self.read();
        let answer = json!({"jsonrpc": "2.0", "id": call["id"], "result": call["params"]});
        self.socket.send(Message::text(answer.to_string())).expect("sent");
    }
}

/// A call from another thread, while this one is the agent.
pub fn called(gateway: &Gateway, agent: &mut SecuredAgent, id: &str, params: &Value) {
    std::thread::scope(|scope| {
        let body = json!({"method": "echo", "params": params, "timeout": "10s"}).to_string();
        let call = scope.spawn(move || gateway.call(id, &body));
        agent.answer();
        let (status, answer) = call.join().expect("an answer");
        assert_eq!((status, &answer["outcome"], &answer["result"]), (200, &json!("ok"), params), "{answer}");
    });
}

#[test]
fn an_agent_over_tls_connects_is_called_and_answers() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let config = authority.shared_client();
    for resumed in [false, true] {
        let mut agent = SecuredAgent::connect(&gateway, &config, Some(gateway.token("web-1")));
        let connection = &agent.tls().conn;
        assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(connection.handshake_kind() == Some(HandshakeKind::Resumed), resumed);
        called(&gateway, &mut agent, "web-1", &json!({"small": [1, 2, 3]}));
        called(&gateway, &mut agent, "web-1", &json!("\u{e4}".repeat(150_000)));
        // A key of its own, and one that it asks us for.
        agent.tls().conn.refresh_traffic_keys().expect("keys are renewed");
        called(&gateway, &mut agent, "web-1", &json!("after a key update"));
        agent.socket.close(None).expect("closes");
        while agent.socket.read().is_ok() {}
        let mut rest = Vec::new();
        agent.tls().read_to_end(&mut rest).expect("close_notify came before the end");
        gateway.wait_no_agents();
    }
    assert_eq!(gateway.metric("holdfast_tls_handshakes_total", "full"), 1);
    assert_eq!(gateway.metric("holdfast_tls_handshakes_total", "resumed"), 1);
    gateway.wait_metric("holdfast_tls_connections", "", 0);
}

#[test]
fn who_speaks_no_tls_is_told_by_an_alert() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let config = authority.shared_client();
    let mut agent = SecuredAgent::connect(&gateway, &config, Some(gateway.token("web-1")));
    let garbage: [&[u8]; 4] = [
        b"GET /v1/agent HTTP/1.1\r\nHost: h\r\n\r\n",
        &[0x16, 3, 1, 0xff, 0xff],
        &[0x16, 3, 1, 0, 4, 99, 0, 0, 0],
        &[0; 64],
    ];
    for bytes in garbage {
        let mut stream = TcpStream::connect(gateway.agents).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        stream.write_all(bytes).expect("sent");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("closed in an orderly way");
        assert_eq!((said.first(), said.len()), (Some(&21), 7), "{bytes:?}: an alert, not {said:?}");
    }
    assert_eq!(gateway.metric("holdfast_tls_handshakes_total", "message"), 4);
    called(&gateway, &mut agent, "web-1", &json!(1));
    assert!(!gateway.log().contains("GET /v1/agent"));
}

#[test]
fn tls_1_2_is_refused_or_served() {
    let authority = Authority::new();
    let old = || authority.old_client();
    {
        let gateway = Gateway::start(&authority.settings(""));
        let refused = shake(gateway.agents, &old(), NAME).expect_err("1.2 is too old");
        assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
        assert_eq!(gateway.metric("holdfast_tls_handshakes_total", "incompatible"), 1);
    }
    let gateway = Gateway::start(&authority.settings("min_version = \"1.2\""));
    let mut agent = SecuredAgent::connect(&gateway, &old(), Some(gateway.token("old")));
    assert_eq!(agent.tls().conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    called(&gateway, &mut agent, "old", &json!("x".repeat(100_000)));
    called(&gateway, &mut agent, "old", &json!(2));
    assert_eq!(gateway.metric("holdfast_tls_connections", "1.2"), 1);
}

#[test]
fn a_client_certificate_is_an_identity() {
    let authority = Authority::new();
    let organisation = |name: &str, unit: &str| {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        move |params: &mut rcgen::CertificateParams| {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.distinguished_name.push(rcgen::DnType::OrganizationName, unit);
        }
    };
    authority.issue("web-1", organisation("web-1", "default"));
    authority.issue("nobody", organisation("no name", "default"));
    let name = organisation("short", "default");
    authority.issue("short", move |params: &mut rcgen::CertificateParams| {
        name(params);
        params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(1800)).into();
    });
    let root = authority.path("root.pem");
    let tls = format!(
        "client_certificates = \"required\"\nclient_ca = \"{root}\"\nclient_identity = \"cn:{{agent}} o:{{tenant}}\""
    );
    let gateway = Gateway::start(&authority.settings(&tls));
    let shown = |file: Option<&str>| Arc::new(authority.client(file));
    {
        // With TLS 1.3 a client learns at its first read that it was refused.
        let stream = shake(gateway.agents, &shown(None), NAME);
        let refused = stream.and_then(|mut stream| stream.read(&mut [0]));
        assert!(refused.is_err_and(|error| error.to_string().contains("CertificateRequired")));
    }
    // A newer token that outlives the certificate: the agent is told how long it may really stay. The leeway is 30 s.
    let mut short = SecuredAgent::connect(&gateway, &shown(Some("short")), None);
    let refresh = |token: String| {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "refresh", "params": {"token": token}});
        Message::text(request.to_string())
    };
    for (secs, at_most_ms) in [(3600, 1_800_000), (60, 90_000), (3600, 1_800_000)] {
        short.socket.send(refresh(gateway.token_for("short", secs))).expect("sent");
        let answer = short.read();
        let left_ms = answer["result"]["expires_in_ms"].as_u64().unwrap_or_else(|| panic!("{answer}"));
        assert!((at_most_ms - 60_000..=at_most_ms).contains(&left_ms) && left_ms > 0, "{secs}: {left_ms}");
    }
    let mut agent = SecuredAgent::connect(&gateway, &shown(Some("web-1")), None);
    called(&gateway, &mut agent, "web-1", &json!("no token"));
    let statuses = [
        ("web-1", Some("web-1"), Ok(())),
        ("web-1", Some("web-2"), Err(401)),
        ("nobody", None, Err(401)),
        ("nobody", Some("nobody"), Err(401)),
    ];
    for (file, token, expected) in statuses {
        let stream = shake(gateway.agents, &shown(Some(file)), NAME).expect("a handshake");
        let seen = SecuredAgent::upgrade(stream, token.map(|agent| gateway.token(agent))).map(drop);
        assert_eq!(seen, expected, "{file} {token:?}");
    }
    assert_eq!(gateway.metric("holdfast_auth_failures_total", "certificate"), 3);
}

#[test]
fn certificates_change_while_calls_run() {
    let authority = Authority::new();
    let (first, second) = (authority.file("one"), authority.file("two"));
    for (folder, name) in [(&first, "one.test"), (&second, "two.test")] {
        authority.issue("gateway", |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().expect("a name"))];
        });
        std::fs::create_dir(folder).expect("a folder");
        for file in ["gateway.pem", "gateway.key"] {
            std::fs::rename(authority.file(file), folder.join(file)).expect("moved");
        }
    }
    // As Kubernetes does: a link to the folder of the day.
    swap_link(&authority.file("day"), &first);
    let (certificate, key) = (authority.path("day/gateway.pem"), authority.path("day/gateway.key"));
    let settings = format!(
        "[server]\ntls = \"required\"\nlisten = \"127.0.0.1:0\"\n[control]\nlisten = \"127.0.0.1:0\"\n[[tls.keys]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    let gateway = Gateway::start(&settings);
    let config = authority.shared_client();
    let fits = |name: &str| shake(gateway.agents, &config, name).is_ok();
    assert!(fits("one.test") && !fits("two.test"));
    let mut agent = {
        let stream = shake(gateway.agents, &config, "one.test").expect("a handshake");
        SecuredAgent::upgrade(stream, Some(gateway.token("stays"))).expect("let in")
    };
    swap_link(&authority.file("day"), &second);
    until(|| fits("two.test"), "the new certificate is served");
    // Each loop hears of it by itself.
    until(|| !fits("one.test"), "the old one is served no more");
    called(&gateway, &mut agent, "stays", &json!("still here"));
    assert_eq!(gateway.metric("holdfast_tls_reloads_total", "ok"), 1);

    // What is wrong changes nothing, at a signal or without one.
    std::fs::write(second.join("gateway.key"), "none").expect("written");
    until(|| gateway.metric("holdfast_tls_reloads_total", "failed") == 1, "the bad key is seen");
    assert!(gateway.log().contains("gateway.key: holds no"), "{}", gateway.log());
    assert!(gateway.reload().contains("not read again"));
    assert!(fits("two.test"));
    swap_link(&authority.file("day"), &first);
    assert!(gateway.reload().contains("settings read again"));
    assert!(fits("one.test"));
    called(&gateway, &mut agent, "stays", &json!("still here"));
}

#[test]
fn half_open_handshakes_up_to_the_cap_keep_nobody_who_is_in_waiting() {
    let authority = Authority::new();
    let settings = authority.settings("handshakes = 20");
    let gateway = Gateway::start(&format!("{settings}[limits]\nhandshake_deadline = \"3s\"\n"));
    let config = authority.shared_client();
    let mut agent = SecuredAgent::connect(&gateway, &config, Some(gateway.token("web-1")));
    // The beginning of a hello, and nothing after it.
    let begun: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.agents).expect("connects");
            stream.write_all(&[0x16, 3, 1, 1, 0, 1]).expect("sent");
            stream
        })
        .collect();
    until(|| gateway.metric("holdfast_tls_handshakes_waiting", "") >= 20, "the line is long");
    assert!(gateway.metric("holdfast_tls_handshakes_in_progress", "") <= 21);
    for number in 0..20 {
        called(&gateway, &mut agent, "web-1", &json!(number));
    }
    // Whoever comes behind them, again where it has waited for too long, gets in when they have had their time.
    until(|| shake(gateway.agents, &config, NAME).is_ok(), "the line moves on");
    let mut late = SecuredAgent::connect(&gateway, &config, Some(gateway.token("late")));
    called(&gateway, &mut late, "late", &json!("in the end"));
    until(|| gateway.metric("holdfast_tls_handshakes_total", "timeout") >= 60, "all of them have had their time");
    gateway.wait_metric("holdfast_tls_handshakes_in_progress", "", 0);
    drop(begun);
}

#[test]
fn over_the_limit_nobody_gets_a_handshake() {
    let authority = Authority::new();
    let gateway = Gateway::start(&format!("{}[limits]\nconnections = 1\n", authority.settings("")));
    let config = authority.shared_client();
    let mut agent = SecuredAgent::connect(&gateway, &config, Some(gateway.token("web-1")));
    for _ in 0..5 {
        // Closed without a word: a 503 would take the handshake first.
        let mut stream = TcpStream::connect(gateway.agents).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("a time-out");
        assert_eq!(stream.read_to_end(&mut Vec::new()).expect("closed in an orderly way"), 0);
    }
    called(&gateway, &mut agent, "web-1", &json!("alone"));
    assert_eq!(gateway.metric("holdfast_tls_handshakes_total", ""), 1);
    drop(agent);
    until(|| shake(gateway.agents, &config, NAME).is_ok(), "there is room again");
}

#[test]
fn the_memory_of_tls_is_a_part_of_its_own() {
    let authority = Authority::new();
    let gateway = Gateway::start(&authority.settings(""));
    let config = authority.shared_client();
    let part = || gateway.memory()["parts"]["tls"].as_u64().expect("a number");
    let agents: Vec<_> = (0..50)
        .map(|number| SecuredAgent::connect(&gateway, &config, Some(gateway.token(&format!("web-{number}")))))
        .collect();
    until(|| part() >= 50 * 84, "fifty connections are told");
    let memory = gateway.memory();
    let sum: u64 = memory["parts"].as_object().expect("parts").values().filter_map(Value::as_u64).sum();
    assert_eq!(memory["bytes"].as_u64(), Some(sum));
    drop(agents);
    gateway.wait_no_agents();
    let url = format!("http://{}/v1/agents/web-1", gateway.control);
    assert_eq!(http().get(&url).call().expect("an answer").status(), 404);
}
