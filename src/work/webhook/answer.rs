//! What a webhook answers: read strictly, since whatever is not understood lets nobody in.
//!
//! Owns the form. A clear no is an answer; anything that is neither yes nor no is none.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Decision;
use crate::auth::claims::{TENANT_WHEN_ABSENT, read_methods};
use crate::auth::token::{Claims, Login};

/// The members of an answer; others are passed over.
#[derive(Deserialize)]
struct Json {
    allow: bool,
    agent: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    labels: Map<String, Value>,
    /// `null` is no list, as in a token.
    #[serde(default, deserialize_with = "present")]
    methods: Option<Vec<String>>,
    /// Seconds since the UNIX epoch.
    expires_at: Option<u64>,
    issued_at: Option<u64>,
    token_id: Option<String>,
}

/// A member that may be absent, and may not be `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// The decision of an answer: 200 with `{"allow":…}`, or 401 or 403 whatever it says.
///
/// # Errors
/// Why it is none.
pub(in crate::work) fn read(status: u16, body: &[u8], now_unix: u64) -> Result<Decision, String> {
    match status {
        200 => {}
        401 | 403 => return Ok(Decision::Refused),
        other => return Err(format!("it answered {other}")),
    }
    let json: Json = serde_json::from_slice(body).map_err(|error| format!("its answer cannot be read: {error}"))?;
    if !json.allow {
        return Ok(Decision::Refused);
    }
    let mut labels = Vec::with_capacity(json.labels.len());
    for (key, value) in json.labels {
        let Value::String(value) = value else {
            return Err(format!("its label {key:?} is no text"));
        };
        labels.push((key, value));
    }
    labels.sort_unstable();
    let methods = json.methods.map(|names| read_methods(&names)).transpose();
    let methods = methods.map_err(|fault| format!("its answer: {fault}"))?;
    let claims = Claims {
        agent: json.agent.ok_or("it allows and names no agent")?,
        tenant: json.tenant.unwrap_or_else(|| TENANT_WHEN_ABSENT.to_owned()),
        labels,
        methods,
        expires_unix: json.expires_at.unwrap_or(u64::MAX),
        issued_unix: json.issued_at,
        token_id: json.token_id.filter(|id| !id.is_empty()),
    };
    claims.check_form().map_err(|fault| format!("its answer: {fault}"))?;
    match json.expires_at {
        Some(expires) if expires <= now_unix => Ok(Decision::Refused),
        ends_unix => Ok(Decision::Allowed(Login { claims, ends_unix })),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn allowed(answer: &str) -> Login {
        match read(200, answer.as_bytes(), NOW) {
            Ok(Decision::Allowed(login)) => login,
            other => panic!("{answer}: {other:?}"),
        }
    }

    #[test]
    fn a_yes_says_who() {
        let login = allowed(
            r#"{"allow":true,"agent":"web-1","tenant":"acme","labels":{"b":"2","a":"1"},"expires_at":1800000060,"token_id":"j","x":[1]}"#,
        );
        let claims = &login.claims;
        assert_eq!((claims.agent.as_str(), claims.tenant.as_str(), login.ends_unix), ("web-1", "acme", Some(NOW + 60)));
        assert_eq!(claims.labels, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(claims.token_id.as_deref(), Some("j"));
        let least = allowed(r#"{"allow":true,"agent":"a"}"#);
        assert_eq!((least.claims.tenant.as_str(), least.ends_unix, least.claims.methods), ("default", None, None));
        let bound = allowed(r#"{"allow":true,"agent":"a","methods":["ping","disk.*","ping"]}"#).claims.methods.unwrap();
        assert_eq!(bound.iter().map(ToString::to_string).collect::<Vec<_>>(), ["ping", "disk.*"]);
        assert_eq!(allowed(r#"{"allow":true,"agent":"a","methods":[]}"#).claims.methods, Some(Vec::new()));
    }

    #[test]
    fn a_no_is_an_answer_and_all_else_is_none() {
        for (status, body) in [
            (200, r#"{"allow":false}"#),
            (200, r#"{"allow":false,"agent":"a"}"#),
            (200, r#"{"allow":true,"agent":"a","expires_at":1800000000}"#),
            (401, ""),
            (403, r#"{"allow":true,"agent":"a"}"#),
        ] {
            assert_eq!(read(status, body.as_bytes(), NOW), Ok(Decision::Refused), "{status} {body}");
        }
        let many: Vec<String> = (0..33).map(|n| format!(r#""k{n}":"v""#)).collect();
        let labels = format!(r#"{{"allow":true,"agent":"a","labels":{{{}}}}}"#, many.join(","));
        for (status, body) in [
            (200, ""),
            (200, "yes"),
            (200, "{}"),
            (200, "[]"),
            (200, r#"{"allow":"true","agent":"a"}"#),
            (200, r#"{"allow":1,"agent":"a"}"#),
            (200, r#"{"allow":true}"#),
            (200, r#"{"allow":true,"agent":null}"#),
            (200, r#"{"allow":true,"agent":"a b"}"#),
            (200, r#"{"allow":true,"agent":"a","tenant":"/"}"#),
            (200, r#"{"allow":true,"agent":"a","labels":{"k":1}}"#),
            (200, r#"{"allow":true,"agent":"a","methods":null}"#),
            (200, r#"{"allow":true,"agent":"a","methods":"*"}"#),
            (200, r#"{"allow":true,"agent":"a","methods":["a*b"]}"#),
            (200, r#"{"allow":true,"agent":"a","expires_at":"soon"}"#),
            (200, r#"{"allow":true,"allow":false,"agent":"a"}"#),
            (200, r#"{"allow":true,"agent":"a"} x"#),
            (200, &labels),
            (204, r#"{"allow":true,"agent":"a"}"#),
            (302, ""),
            (404, ""),
            (500, r#"{"allow":true,"agent":"a"}"#),
        ] {
            assert!(read(status, body.as_bytes(), NOW).is_err(), "{status} {body}");
        }
    }
}
