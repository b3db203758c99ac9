//! A web server of the tests, for what the gateway asks of others: keys of an issuer, and the webhook. It answers as the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is answered from now on.
#[derive(Clone)]
pub enum Mood {
    /// A status and a body.
    Says(u16, String),
    /// More bytes than anybody would take.
    Floods,
    /// Nothing: the request is read, and the connection stays open.
    Hangs,
    /// The connection is closed without a word.
    HangsUp,
    /// Somewhere else.
    Redirects(String),
    /// What the body of the request makes of it.
    Thinks(fn(&str) -> (u16, String)),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request line and the fields.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A server; it lives as long as the test.
pub struct Source {
    /// Where it listens.
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Source {
    /// A server that answers so.
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let source = Self { address, mood: Arc::new(Mutex::new(mood)), heard: Arc::default() };
        let (mood, heard) = (Arc::clone(&source.mood), Arc::clone(&source.heard));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (mood, heard) = (Arc::clone(&mood), Arc::clone(&heard));
                thread::spawn(move || serve(stream, &mood, &heard));
            }
        });
        source
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/asked", self.address)
    }

    /// Answers so from now on.
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
    }

    /// What was asked so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("no panic").clone()
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.heard.lock().expect("no panic").len()
    }
}

fn serve(mut stream: TcpStream, mood: &Mutex<Mood>, heard: &Mutex<Vec<Heard>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {
            continue;
        }
        return;
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let mood = mood.lock().expect("no panic").clone();
    heard.lock().expect("no panic").push(Heard { head, body: body.clone() });
    let said = match mood {
        Mood::Says(status, text) => answer(status, "", &text),
        Mood::Thinks(think) => {
            let (status, text) = think(&body);
            answer(status, "", &text)
        }
        Mood::Redirects(to) => answer(302, &format!("Location: {to}\r\n"), ""),
        Mood::HangsUp => return,
        Mood::Hangs => {
            thread::sleep(Duration::from_secs(60));
            return;
        }
        Mood::Floods => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 65536]).is_ok() {}
            return;
        }
    };
    // Who asked may be gone.
    let _ = stream.write_all(said.as_bytes());
}

fn answer(status: u16, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
