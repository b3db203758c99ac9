//! A backend of the tests: asks over HTTP and holds every answer to the contract of `docs/api.md`.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::{Gateway, http};

/// Each outcome and its HTTP status.
const STATUSES: [(&str, u16); 10] = [
    ("ok", 200),
    ("agent_error", 200),
    ("offline", 404),
    ("not_delivered", 410),
    ("no_receipt", 504),
    ("no_reply", 504),
    ("lost", 502),
    ("busy", 429),
    ("cancelled", 499),
    ("draining", 503),
];

/// Who asks.
#[derive(Clone)]
pub struct Backend {
    control: SocketAddr,
    key: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub media: String,
    /// Whether it says when to come again.
    pub retry_after: bool,
    /// The body.
    pub body: Value,
    /// How long it took.
    pub took: Duration,
}

/// A call that was sent and whose answer is not here yet.
pub struct InFlight(JoinHandle<Answer>);

impl Backend {
    /// Without a key.
    pub fn of(gateway: &Gateway) -> Self {
        Self { control: gateway.control, key: None }
    }

    /// With a key.
    pub fn with_key(gateway: &Gateway, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::of(gateway) }
    }

    /// Sends any request.
    pub fn ask(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        self.try_ask(method, path, body).expect("an HTTP answer")
    }

    /// The same; `None` when the connection broke before the answer was here.
    pub fn try_ask(&self, method: &str, path: &str, body: Option<String>) -> Option<Answer> {
        let asked = Instant::now();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.control));
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let response = match body {
            Some(body) => http().run(request.body(body).expect("a request")),
            None => http().run(request.body(()).expect("a request")),
        };
        let mut response = response.ok()?;
        let text = response.body_mut().read_to_string().ok()?;
        let field = |name| response.headers().get(name).map(|value| value.as_bytes());
        let media = field("content-type").unwrap_or_default();
        Some(Answer {
            status: response.status().as_u16(),
            media: String::from_utf8_lossy(media).into_owned(),
            retry_after: field("retry-after").is_some(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            took: asked.elapsed(),
        })
    }

    /// Fetches a page.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None)
    }

    /// Calls an agent and waits for how it ends.
    pub fn call(&self, agent: &str, body: &Value) -> Answer {
        let path = format!("/v1/agents/{agent}/calls");
        self.ask("POST", &path, Some(body.to_string()))
    }

    /// Calls an agent from a thread of its own.
    pub fn begin(&self, agent: &str, body: Value) -> InFlight {
        let (backend, agent) = (self.clone(), agent.to_owned());
        InFlight(thread::spawn(move || backend.call(&agent, &body)))
    }

    /// Calls an agent over a connection that the test may end.
    pub fn begin_raw(&self, agent: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.control).expect("connects");
        let length = body.len();
        let request = format!(
            "POST /v1/agents/{agent}/calls HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n{body}",
            self.control
        );
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    }
}

impl InFlight {
    /// Waits for the answer.
    pub fn end(self) -> Answer {
        self.0.join().expect("an answer")
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Answer {
    /// The outcome's word; everything around it must be as the contract says.
    pub fn outcome(&self, agent: &str) -> &str {
        let body = &self.body;
        let outcome = body["outcome"].as_str().unwrap_or("(none)");
        let row = STATUSES.iter().find(|(word, _)| *word == outcome);
        assert_eq!(row.map(|(_, status)| *status), Some(self.status), "{self:?}");
        assert_eq!(body["agent"], agent, "{self:?}");
        if self.status == 200 {
            assert_eq!(self.media, "application/json", "{self:?}");
            assert!(body["elapsed_ms"].is_u64(), "{self:?}");
        } else {
            assert_eq!(self.media, "application/problem+json", "{self:?}");
            assert_eq!(body["type"], format!("/problems/{outcome}"), "{self:?}");
            assert_eq!(body["status"], self.status, "{self:?}");
            assert!(body["title"].is_string() && body["detail"].is_string());
            let again = matches!(self.status, 429 | 503);
            assert_eq!(self.retry_after, again, "{self:?}");
        }
        // A call that is busy got an id when it was its connection that had no room for it.
        if outcome != "busy" {
            let has_id = !matches!(outcome, "offline" | "draining");
            assert_eq!(body.get("call").is_some(), has_id, "{self:?}");
        }
        outcome
    }

    /// The outcome must be this one, of the call with this id.
    pub fn expect(&self, agent: &str, outcome: &str, call: u64) {
        assert_eq!(self.outcome(agent), outcome, "{self:?}");
        assert_eq!(self.body["call"], format!("{call:016x}"), "{self:?}");
    }

    /// The agent answered with this.
    pub fn expect_result(&self, agent: &str, result: &Value, call: u64) {
        self.expect(agent, "ok", call);
        assert_eq!(&self.body["result"], result, "{self:?}");
    }

    /// The problem's `type`, without its path.
    pub fn problem(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.strip_prefix("/problems/").unwrap_or("(none)")
    }
}

/// The body of a call.
pub fn to_do(method: &str, timeout: &str) -> Value {
    json!({"method": method, "timeout": timeout})
}
