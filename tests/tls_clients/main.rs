//! The TLS layer against clients that are not rustls: OpenSSL's `s_client`, Python's `ssl`, Go's `crypto/tls`.
//!
//! An echo server on loopback that keeps a connection as a loop would: [`Handshake`], then a [`Rest`]. Needs `openssl`,
//! `python3` and `go`.

mod echo;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use holdfast::net::tls::suite::Suite;

use self::echo::{Echo, NAME};

/// How long a client may take to start, or to answer.
const SOON: Duration = Duration::from_secs(60);

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdfast-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("it can be made");
        Self(path)
    }

    fn put(&self, file: &str, text: &str) -> String {
        let path = self.0.join(file);
        fs::write(&path, text).expect("it can be written");
        path.to_str().expect("it is text").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program whose output is read as it comes. It is killed when dropped.
struct Program {
    child: Child,
    said: Receiver<Vec<u8>>,
    heard: String,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} is needed for this test: {error}"));
        let (tell, said) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("it is piped")), Box::new(child.stderr.take().expect("it is piped"))];
        for mut pipe in pipes {
            let tell = tell.clone();
            thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(bytes @ 1..) = pipe.read(&mut part) {
                    let _ = tell.send(part[..bytes].to_vec());
                }
            });
        }
        Self { child, said, heard: String::new() }
    }

    fn say(&mut self, line: &str) {
        self.say_exactly(&format!("{line}\n"));
    }

    fn say_exactly(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("it listens");
    }

    /// Waits until this has been said, and forgets what was said up to there.
    fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.heard.find(text) {
                self.heard.drain(..at + text.len());
                return;
            }
            match self.said.recv_timeout(SOON) {
                Ok(part) => self.heard.push_str(&String::from_utf8_lossy(&part)),
                Err(error) => panic!("no {text:?}: {error}; there was {}", self.heard),
            }
        }
    }

    /// Waits for its end, which must be a good one.
    fn end(mut self) {
        drop(self.child.stdin.take());
        while let Ok(part) = self.said.recv_timeout(SOON) {
            self.heard.push_str(&String::from_utf8_lossy(&part));
        }
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.heard);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `s_client`, connected; `more` are arguments for this time.
fn s_client(port: u16, root: &str, more: &[&str]) -> Program {
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-tls1_3", "-CAfile", root, "-verify_return_error"]);
    command.args(["-servername", NAME, "-verify_hostname", NAME, "-alpn", "http/1.1"]).args(more);
    Program::start(&mut command)
}

#[test]
fn openssl_updates_keys_in_every_suite() {
    let suites = [
        (Suite::Aes128Gcm, "TLS_AES_128_GCM_SHA256"),
        (Suite::Aes256Gcm, "TLS_AES_256_GCM_SHA384"),
        (Suite::ChaCha20Poly1305, "TLS_CHACHA20_POLY1305_SHA256"),
    ];
    let scratch = Scratch::new("openssl");
    for (suite, name) in suites {
        let echo = Echo::start(1);
        let root = scratch.put("root.pem", &echo.certificate);
        let mut client = s_client(echo.port, &root, &["-ciphersuites", name]);
        client.wait_for("Verify return code: 0 (ok)");
        client.say("first words");
        client.wait_for("first words");
        // `K` asks us for a key update too, `k` does not; `s_client` says so before it sends one.
        for (command, words) in [("K", "second words"), ("k", "third words"), ("K", "fourth words")] {
            client.say(command);
            client.wait_for("KEYUPDATE");
            client.say(words);
            client.wait_for(words);
        }
        client.say("Q");
        client.wait_for("DONE");
        client.end();
        let [seen] = echo.end().try_into().expect("one connection");
        assert_eq!((seen.suite, seen.asked, seen.resumed, seen.closed), (suite, 2, false, true), "{name}");
    }
}

#[test]
fn openssl_resumes() {
    let scratch = Scratch::new("openssl-resumes");
    let echo = Echo::start(2);
    let root = scratch.put("root.pem", &echo.certificate);
    let session = scratch.put("session.pem", "");
    for (option, resumed) in [("-sess_out", "New, TLSv1.3"), ("-sess_in", "Reused, TLSv1.3")] {
        let mut client = s_client(echo.port, &root, &[option, &session]);
        client.wait_for(resumed);
        client.say("some words");
        client.wait_for("some words");
        client.say("Q");
        client.end();
    }
    let resumed: Vec<bool> = echo.end().iter().map(|seen| seen.resumed).collect();
    assert_eq!(resumed, [false, true]);
}

#[test]
fn openssl_brings_each_group_is_asked_for_another_and_cuts_its_hello() {
    let scratch = Scratch::new("openssl-groups");
    // Names of protocols that make the hello longer than one record of 512 bytes.
    let long: String = (0..150).map(|number| format!("p-{number},")).collect();
    let long = format!("{long}http/1.1");
    let cases: [(&[&str], usize, &str); 5] = [
        (&["-groups", "X25519"], 1, "X25519"),
        (&["-groups", "P-256"], 1, "prime256v1"),
        // Its share is of the first: it is asked for another, which is a ServerHello too (RFC 8446 section 4.1.4).
        (&["-groups", "X448:P-256"], 2, "prime256v1"),
        (&["-groups", "P-521:X25519"], 2, "X25519"),
        (&["-groups", "X448:X25519", "-max_send_frag", "512", "-alpn", &long], 2, "X25519"),
    ];
    for (options, hellos, group) in cases {
        let echo = Echo::start(1);
        let root = scratch.put("root.pem", &echo.certificate);
        let mut client = s_client(echo.port, &root, &[options, &["-msg"]].concat());
        (0..hellos).for_each(|_| client.wait_for("ServerHello"));
        client.wait_for(group);
        client.wait_for("Verify return code: 0 (ok)");
        client.say("some words");
        client.wait_for("some words");
        client.say("Q");
        client.end();
        let [seen] = echo.end().try_into().expect("one connection");
        assert!(seen.closed, "{options:?}");
    }
}

#[test]
fn openssl_hears_that_the_server_closes() {
    let scratch = Scratch::new("openssl-bye");
    let echo = Echo::start(1);
    let root = scratch.put("root.pem", &echo.certificate);
    // Without the end of a line, which would be a part of the record.
    let mut client = s_client(echo.port, &root, &["-msg"]);
    client.wait_for("Verify return code: 0 (ok)");
    client.say_exactly("bye");
    client.wait_for("<<< TLS 1.3, Alert [length 0002], warning close_notify");
    client.end();
    let [seen] = echo.end().try_into().expect("one connection");
    assert!(seen.closed);
}

/// Runs a program that connects several times, and says what the server saw.
fn connects(name: &str, expected: &[(bool, bool)], command: impl FnOnce(&Scratch) -> Command) {
    let scratch = Scratch::new(name);
    let echo = Echo::start(expected.len());
    let root = scratch.put("root.pem", &echo.certificate);
    let mut command = command(&scratch);
    Program::start(command.env("PORT", echo.port.to_string()).env("ROOT", root).env("NAME", NAME)).end();
    let seen = echo.end();
    let seen: Vec<(bool, bool)> = seen.iter().map(|seen| (seen.resumed, seen.closed)).collect();
    assert_eq!(seen, expected, "who resumes, and that all are closed");
}

#[test]
fn python_sends_all_sizes_resumes_and_hears_the_end() {
    connects("python", &[(false, true), (true, true), (true, true)], |_| {
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("client.py")]);
        command
    });
}

#[test]
fn go_sends_all_sizes_resumes_brings_each_curve_and_hears_the_end() {
    let resuming = [(false, true), (true, true), (true, true)];
    let by_curve = [(false, true); 3];
    connects("go", &[resuming, by_curve].concat(), |_| {
        let mut command = Command::new("go");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls_clients/client.go");
        command.arg("run").arg(program);
        command
    });
}
