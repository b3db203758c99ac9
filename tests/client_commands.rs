//! `holdfast agent` and `holdfast call` as processes: messages and exit codes that scripts depend on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn holdfast(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .args(arguments)
        .env_remove("HOLDFAST_TOKEN")
        .env_remove("HOLDFAST_API_KEY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// The next connection; the test fails when none comes.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + PATIENCE;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) => assert!(Instant::now() < end, "nobody connects"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads a request: head and body, as many bytes as its `Content-Length` says.
fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_call_is_one_request_and_its_result_is_stdout() {
    let (listener, address) = listen();
    let child = holdfast(&["call", "web-1", "disk.free", r#"{"path": "/"}"#])
        .args(["--timeout", "5s", "--idempotency-key", "k-1"])
        .args(["--url", &format!("http://{address}")])
        .env("HOLDFAST_API_KEY", "secret")
        .spawn()
        .unwrap();
    let mut stream = accept(&listener);
    let (head, body) = request(&mut stream);
    assert!(head.starts_with("post /v1/agents/web-1/calls http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: bearer secret\r\n"), "{head}");
    assert!(head.contains("\r\nidempotency-key: k-1\r\n"), "{head}");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, json!({"method": "disk.free", "params": {"path": "/"}, "timeout": "5s"}));
    let answer = r#"{"outcome":"ok","call":"0","agent":"web-1","elapsed_ms":1,"result":{"free": 7}}"#;
    respond(&mut stream, "200 OK", answer);
    let (code, out, err) = said(&child.wait_with_output().unwrap());
    assert_eq!((code, &out[..], &err[..]), (Some(0), "{\"free\": 7}\n", ""));
}

#[test]
fn the_exit_code_tells_the_kind_of_failure() {
    for (status, body, code, word) in [
        ("200 OK", r#"{"outcome":"agent_error","error":{"code":3,"message":"no such disk"}}"#, 1, "no such disk"),
        ("404 Not Found", r#"{"outcome":"offline","title":"Offline"}"#, 3, "offline"),
        ("401 Unauthorized", "{}", 3, "--api-key"),
    ] {
        let (listener, address) = listen();
        let child = holdfast(&["call", "web-1", "m", "--url", &format!("http://{address}")]).spawn().unwrap();
        let mut stream = accept(&listener);
        request(&mut stream);
        respond(&mut stream, status, body);
        let (found, out, err) = said(&child.wait_with_output().unwrap());
        assert_eq!((found, &out[..]), (Some(code), ""), "{status}: {err}");
        assert!(err.contains(word), "{status}: {err}");
    }
    let (listener, address) = listen();
    drop(listener);
    let nowhere = format!("http://{address}");
    for (arguments, code, word) in [
        (&["call", "web-1", "m", "--url", &nowhere][..], 3, "connection refused"),
        (&["call", "web-1", "m", "--url", &nowhere, "--timeout", "18446744073709551615s"], 3, "connection refused"),
        (&["call", "web-1", "m", "{]"], 2, "line 1 column 2"),
        (&["call", "web-1"], 2, "METHOD"),
        (&["agent"], 2, "--id"),
        (&["agent", "--id", "web-1", "--url", "wss://gw.example", "--ca", "no-such.pem"], 2, "no-such.pem"),
        (&["agent", "--id", "web-1", "--url", "ftp://gw.example"], 2, "wss://"),
        (&["agent", "--id", "web-1", "--", "no-such-program"], 2, "`no-such-program`"),
    ] {
        let (found, _, err) = said(&holdfast(arguments).output().unwrap());
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
    }
}

#[test]
fn parameters_may_come_from_stdin() {
    let (listener, address) = listen();
    let mut child = holdfast(&["call", "web-1", "m", "-", "--url", &format!("http://{address}")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"[1]\n").unwrap();
    let mut stream = accept(&listener);
    let (_, body) = request(&mut stream);
    assert_eq!(body, br#"{"method":"m","params":[1]}"#);
    respond(&mut stream, "200 OK", r#"{"outcome":"ok","result_base64":"/wA="}"#);
    assert_eq!(child.wait_with_output().unwrap().stdout, [0xff, 0]);
}

#[test]
fn an_agent_that_is_refused_says_why_and_ends() {
    let (listener, address) = listen();
    let child =
        holdfast(&["agent", "--url", &format!("ws://{address}")]).env("HOLDFAST_TOKEN", "a.b.c").spawn().unwrap();
    let mut stream = accept(&listener);
    let (head, _) = request(&mut stream);
    assert!(head.contains("\r\nauthorization: bearer a.b.c\r\n"), "{head}");
    respond(&mut stream, "401 Unauthorized", "");
    let (code, _, err) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(1));
    assert!(err.contains("401") && err.contains("token"), "{err}");
    assert!(!err.contains("a.b.c"), "a token is never printed: {err}");
}

#[test]
fn an_agent_runs_its_program_without_the_token_until_it_is_stopped() {
    let (listener, address) = listen();
    let script = r#"echo "[$HOLDFAST_TOKEN]""#;
    let child = holdfast(&["agent", "--url", &format!("ws://{address}")])
        .args(["--", "sh", "-c", script])
        .env("HOLDFAST_TOKEN", "a.b.c")
        .spawn()
        .unwrap();
    let mut peer = welcomed(accept(&listener));
    let call = json!({"jsonrpc": "2.0", "id": "0000000000000001", "method": "m"});
    peer.send(call.to_string().into()).unwrap();
    let receipt = peer.read().unwrap().into_text().unwrap();
    assert!(receipt.contains("receipt"), "{receipt}");
    let reply = peer.read().unwrap().into_text().unwrap();
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["result"], json!([]));
    signal(&child, Signal::SIGTERM);
    while peer.read().is_ok() {}
    drop(peer);
    let (code, _, err) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{err}");
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// The gateway's side of an upgraded connection, welcome sent.
fn welcomed(stream: TcpStream) -> tungstenite::WebSocket<TcpStream> {
    use tungstenite::handshake::server::{ErrorResponse, Request, Response};
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let callback = |_: &Request, mut response: Response| {
        let name = "holdfast.v1.json".parse().unwrap();
        response.headers_mut().insert("Sec-WebSocket-Protocol", name);
        Ok::<_, ErrorResponse>(response)
    };
    let mut peer = tungstenite::accept_hdr(stream, callback).unwrap();
    let params = json!({"session": "s", "heartbeat_ms": 60000, "node": "n"});
    let welcome = json!({"jsonrpc": "2.0", "method": "welcome", "params": params});
    peer.send(welcome.to_string().into()).unwrap();
    peer
}
