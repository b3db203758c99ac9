//! The body of a revocation: exactly one of `token_id`, `agent` and `tenant`, and how far it reaches.
//!
//! Owns what may be in it and how a mistake is pointed at. What a revocation does is decided below.

use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::{Fault, Kind, Problem};
use crate::kit::ids::{NAME_RULE, is_name};
use crate::revocations::{Ban, TEXT_BYTES_MAX, Target};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    token_id: Option<String>,
    agent: Option<String>,
    tenant: Option<String>,
    issued_before: Option<Value>,
    expires_at: Option<Value>,
    reason: Option<String>,
}

/// Reads the body of a revocation that somebody of `tenant` asks for at `now_unix`.
///
/// # Errors
/// A 400 that points at every place that is wrong.
pub fn parse(bytes: &[u8], tenant: &str, now_unix: u64) -> Result<Ban, Problem> {
    let typed: Typed = serde_json::from_slice(bytes).map_err(|error| explain(&error))?;
    let mut faults = Vec::new();
    let target = target(&typed, tenant, &mut faults);
    let mut moment = |name: &str, value: &Option<Value>| {
        let moment = value.as_ref().map(moment).transpose();
        moment.unwrap_or_else(|detail| {
            faults.push(Fault::pointer(format!("#/{name}"), detail));
            None
        })
    };
    // A token of the same second may have been issued before the moment within it.
    let issued_before = moment("issued_before", &typed.issued_before);
    let expires_unix = moment("expires_at", &typed.expires_at);
    if expires_unix.is_some_and(|expires| expires <= now_unix) {
        faults.push(Fault::pointer("#/expires_at", "is over already"));
    }
    let reason = typed.reason.unwrap_or_default();
    if reason.len() > TEXT_BYTES_MAX || reason.chars().any(char::is_control) {
        let detail = format!("must be at most {TEXT_BYTES_MAX} bytes without control characters");
        faults.push(Fault::pointer("#/reason", detail));
    }
    match target {
        Some(target) if faults.is_empty() => {
            Ok(Ban { tenant: tenant.to_owned(), target, issued_before, reason, expires_unix })
        }
        _ => Err(Problem::new(Kind::Invalid).detail("The revocation is JSON, but not as it must be.").errors(faults)),
    }
}

fn target(typed: &Typed, tenant: &str, faults: &mut Vec<Fault>) -> Option<Target> {
    match (&typed.token_id, &typed.agent, &typed.tenant) {
        (Some(id), None, None) if id.is_empty() || id.len() > TEXT_BYTES_MAX => {
            faults.push(Fault::pointer("#/token_id", format!("must be 1 to {TEXT_BYTES_MAX} bytes")));
            None
        }
        (Some(id), None, None) => Some(Target::TokenId(id.clone())),
        (None, Some(agent), None) if !is_name(agent) => {
            faults.push(Fault::pointer("#/agent", format!("must be {NAME_RULE}")));
            None
        }
        (None, Some(agent), None) => Some(Target::Agent(agent.clone())),
        (None, None, Some(name)) if name != tenant => {
            faults.push(Fault::pointer("#/tenant", "must be the tenant of this API key"));
            None
        }
        (None, None, Some(_)) => Some(Target::Tenant),
        _ => {
            faults.push(Fault::pointer("#", "must have exactly one of `token_id`, `agent` and `tenant`"));
            None
        }
    }
}

/// RFC 3339, or whole seconds since the UNIX epoch; a part of a second makes it the next one.
fn moment(value: &Value) -> Result<u64, String> {
    let wanted = "must be a time such as \"2026-01-05T10:00:00Z\", or whole seconds since 1970";
    match value {
        Value::Number(secs) => secs.as_u64().ok_or_else(|| wanted.to_owned()),
        Value::String(text) => {
            let time = humantime::parse_rfc3339(text).map_err(|_| wanted.to_owned())?;
            let since = time.duration_since(UNIX_EPOCH).map_err(|_| wanted.to_owned())?;
            Ok(since.as_secs() + u64::from(since.subsec_nanos() > 0))
        }
        _ => Err(wanted.to_owned()),
    }
}

fn explain(error: &serde_json::Error) -> Problem {
    let fault = Fault { line: Some(error.line()), column: Some(error.column()), ..Fault::pointer("#", words(error)) };
    match error.classify() {
        Category::Data => Problem::new(Kind::Invalid).detail("The revocation is JSON, but not as it must be."),
        _ => Problem::new(Kind::Malformed),
    }
    .errors(vec![fault])
}

/// serde's words without the place, which is told apart.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.as_str(), |(words, _)| words).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_607_200;

    fn parsed(body: &str) -> Result<Ban, String> {
        parse(body.as_bytes(), "acme", NOW).map_err(|problem| {
            let answer = problem.into_answer();
            assert_eq!(answer.status, 400, "{body}");
            String::from_utf8_lossy(&answer.body).into_owned()
        })
    }

    #[test]
    fn each_target_is_read_for_the_tenant_of_the_key() {
        let ban = |target, issued_before, expires_unix, reason: &str| Ban {
            tenant: "acme".into(),
            target,
            issued_before,
            reason: reason.into(),
            expires_unix,
        };
        for (body, expected) in [
            (r#"{"token_id":"j 1"}"#, ban(Target::TokenId("j 1".into()), None, None, "")),
            (r#"{"agent":"web-1","reason":"lost"}"#, ban(Target::Agent("web-1".into()), None, None, "lost")),
            (r#"{"tenant":"acme","issued_before":1700000000}"#, ban(Target::Tenant, Some(1_700_000_000), None, "")),
            (
                r#"{"tenant":"acme","issued_before":"2026-01-05T10:00:00.001Z","expires_at":"2026-01-05T10:00:01Z"}"#,
                ban(Target::Tenant, Some(NOW + 1), Some(NOW + 1), ""),
            ),
        ] {
            assert_eq!(parsed(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let long = format!(r#"{{"token_id":"{}"}}"#, "x".repeat(1025));
        for (body, told) in [
            ("", "malformed"),
            ("{", "malformed"),
            ("[]", "invalid"),
            ("{}", "exactly one"),
            (r#"{"agent":"a","token_id":"b"}"#, "exactly one"),
            (r#"{"agent":"a","tenant":"acme"}"#, "exactly one"),
            (r#"{"agent":"a b"}"#, "#/agent"),
            (r#"{"agent":7}"#, "invalid"),
            (r#"{"agents":"a"}"#, "agents"),
            (r#"{"token_id":""}"#, "#/token_id"),
            (&long, "#/token_id"),
            (r#"{"tenant":"globex"}"#, "#/tenant"),
            (r#"{"agent":"a","issued_before":"yesterday"}"#, "#/issued_before"),
            (r#"{"agent":"a","issued_before":-1}"#, "#/issued_before"),
            (r#"{"agent":"a","expires_at":1.5}"#, "#/expires_at"),
            (r#"{"agent":"a","expires_at":1767607200}"#, "is over"),
            (r#"{"agent":"a","reason":"\u0000"}"#, "#/reason"),
            (r#"{"agent":"a"} x"#, "malformed"),
        ] {
            let answer = parsed(body).unwrap_err();
            assert!(answer.contains(told), "{body}: {answer}");
        }
    }
}
