//! A call that checks itself: what is asked, what the agent answers, and whether an answer is right.
//!
//! Owns the words of both sides. Each call has a number of its own, so an answer to another call is told from the right one.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::target::agent_id;

/// What every call runs.
pub const METHOD: &str = "load.echo";

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Number of the agent that is called.
    pub agent: u32,
    /// Number of the call; never used twice in a run.
    pub number: u64,
    /// Bytes of padding in the parameters.
    pub pad_bytes: usize,
}

impl Question {
    /// The parameters, JSON.
    pub fn params(&self) -> String {
        let (to, number) = (agent_id(self.agent), self.number);
        let pad = "x".repeat(self.pad_bytes);
        format!(r#"{{"to":"{to}","n":{number},"pad":"{pad}"}}"#)
    }

    /// Body of the HTTP request; `timeout_ms` is the call's deadline.
    pub fn body(&self, timeout_ms: u64) -> String {
        let params = self.params();
        format!(r#"{{"method":"{METHOD}","timeout":"{timeout_ms}ms","params":{params}}}"#)
    }

    /// What the answer over a control link says: its outcome, and the agent's result where that is `ok`.
    pub fn judge_result(&self, outcome: &str, result: &[u8]) -> Worth {
        let expected = result_text(self.agent, &self.params());
        match outcome {
            "ok" if result == expected.as_bytes() => Worth::Right,
            "ok" => {
                let got = String::from_utf8_lossy(&result[..result.len().min(200)]);
                Worth::Wrong(format!("expected {expected:.200}, got {got}"))
            }
            other => Worth::Other(other.to_owned()),
        }
    }

    /// What the HTTP response says.
    pub fn judge(&self, status: u16, body: &[u8]) -> Worth {
        let Ok(answer) = serde_json::from_slice::<HttpAnswer>(body) else {
            return Worth::Wrong(format!(
                "status {status}, unreadable body {:?}",
                String::from_utf8_lossy(&body[..body.len().min(200)])
            ));
        };
        match (status, answer.outcome, answer.result) {
            (200, Some("ok"), Some(result)) => {
                let expected = result_text(self.agent, &self.params());
                if result.get() == expected && answer.agent == Some(&agent_id(self.agent)) {
                    Worth::Right
                } else {
                    let got = &result.get()[..result.get().len().min(200)];
                    Worth::Wrong(format!("expected {expected:.200}, got {got}"))
                }
            }
            (status, Some(outcome), None) if status != 200 => Worth::Other(outcome.to_owned()),
            _ => Worth::Wrong(format!("status {status} without its outcome")),
        }
    }
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worth {
    /// The agent's own answer to this call.
    Right,
    /// Another outcome, which may be true: its name.
    Other(String),
    /// Not an answer to this call, or not an answer; says why.
    Wrong(String),
}

#[derive(Deserialize)]
struct HttpAnswer<'a> {
    #[serde(borrow)]
    outcome: Option<&'a str>,
    #[serde(borrow)]
    agent: Option<&'a str>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// A message of the gateway, as an agent reads it.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// The first message of a connection.
    Welcome,
    /// A call, the reply to it, and its number where it is one of our questions to this agent.
    Call {
        /// The call's number; `None` when the call was meant for another agent.
        number: Option<u64>,
        /// The reply, ready to send.
        reply: String,
    },
    /// A notification that needs nothing: cancel, goaway.
    Notice,
    /// Not an envelope.
    Nonsense,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a str>,
    #[serde(borrow)]
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    to: &'a str,
    n: u64,
}

/// Reads a message to agent number `agent`.
pub fn hear(agent: u32, message: &[u8]) -> Heard {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(message) else {
        return Heard::Nonsense;
    };
    match (envelope.method, envelope.id) {
        (Some("welcome"), None) => Heard::Welcome,
        (Some(_), None) => Heard::Notice,
        (Some(_), Some(id)) => {
            let params = envelope.params.map_or("null", RawValue::get);
            let number = serde_json::from_str::<Params>(params)
                .ok()
                .filter(|params| params.to == agent_id(agent))
                .map(|params| params.n);
            let result = result_text(agent, params);
            Heard::Call { number, reply: format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{result}}}"#) }
        }
        (None, _) => Heard::Nonsense,
    }
}

fn result_text(agent: u32, params: &str) -> String {
    format!(r#"{{"agent":"{}","params":{params}}}"#, agent_id(agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question = Question { agent: 7, number: 41, pad_bytes: 3 };

    fn answered(question: &Question, agent: u32) -> String {
        let call =
            format!(r#"{{"jsonrpc":"2.0","id":"00000000000000ff","method":"m","params":{}}}"#, question.params());
        let Heard::Call { reply, .. } = hear(agent, call.as_bytes()) else {
            panic!("not heard as a call");
        };
        let reply: serde_json::Value = serde_json::from_str(&reply).expect("JSON");
        assert_eq!(reply["id"], "00000000000000ff");
        let result = result_text(agent, &question.params());
        format!(r#"{{"outcome":"ok","agent":"load-{agent}","result":{result}}}"#)
    }

    #[test]
    fn only_the_right_answer_of_the_right_agent_is_right() {
        let right = answered(&QUESTION, 7);
        assert_eq!(QUESTION.judge(200, right.as_bytes()), Worth::Right);
        let other = Question { number: 42, ..QUESTION };
        for (status, body) in [
            (200, answered(&other, 7)),
            (200, answered(&QUESTION, 8)),
            (500, right.clone()),
            (200, right[..right.len() - 1].to_owned()),
            (200, r#"{"outcome":"lost"}"#.to_owned()),
        ] {
            let worth = QUESTION.judge(status, body.as_bytes());
            assert!(matches!(worth, Worth::Wrong(_)), "{body}: {worth:?}");
        }
        assert_eq!(QUESTION.judge(502, br#"{"outcome":"lost"}"#), Worth::Other("lost".to_owned()));
    }

    #[test]
    fn agents_tell_messages_apart() {
        let welcome = br#"{"jsonrpc":"2.0","method":"welcome","params":{}}"#;
        assert_eq!(hear(1, welcome), Heard::Welcome);
        let cancel = br#"{"jsonrpc":"2.0","method":"cancel","params":{"id":"x"}}"#;
        assert_eq!(hear(1, cancel), Heard::Notice);
        assert_eq!(hear(1, b"[]"), Heard::Nonsense);
        let stray = format!(r#"{{"id":"a","method":"m","params":{}}}"#, QUESTION.params());
        let Heard::Call { number, .. } = hear(8, stray.as_bytes()) else {
            panic!("not a call");
        };
        assert_eq!(number, None, "meant for another agent");
    }
}
