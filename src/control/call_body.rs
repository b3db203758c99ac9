//! The body of a call: `{"method": …, "params": …, "timeout": …}`.
//!
//! Owns what may be in it and how a mistake is pointed at. Parameters stay opaque: they are checked to be JSON, never taken apart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::problem::{Fault, Kind, Problem};
use crate::wire::envelope::link_side::METHOD_BYTES_MAX;

/// What a caller may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// When the caller says nothing.
    pub default: Duration,
    /// The most.
    pub max: Duration,
}

/// A call as it was asked for.
#[derive(Debug, PartialEq)]
pub struct CallBody<'a> {
    /// What to run.
    pub method: Cow<'a, str>,
    /// One JSON value, as it was written; `None` where it was left out.
    pub params: Option<&'a str>,
    /// How long to wait.
    pub timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    timeout: Option<&'a RawValue>,
}

/// `null` is a value that the agent gets, and not the same as nothing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads the body of a call.
///
/// # Errors
/// A 400 that points at every place that is wrong.
pub fn parse(bytes: &[u8], timeouts: Timeouts) -> Result<CallBody<'_>, Problem> {
    let typed: Typed<'_> = serde_json::from_slice(bytes).map_err(|error| explain(bytes, timeouts, &error))?;
    let mut faults = Vec::new();
    check_method(&typed.method, &mut faults);
    let timeout = read_timeout(typed.timeout.map(RawValue::get), timeouts).unwrap_or_else(|detail| {
        faults.push(Fault::pointer("#/timeout", detail));
        timeouts.default
    });
    if !faults.is_empty() {
        return Err(invalid(faults));
    }
    Ok(CallBody { method: typed.method, params: typed.params.map(RawValue::get), timeout })
}

fn check_method(method: &str, faults: &mut Vec<Fault>) {
    let detail = if method.is_empty() {
        "must not be empty".to_owned()
    } else if method.len() > METHOD_BYTES_MAX {
        format!("is over {METHOD_BYTES_MAX} bytes")
    } else if method.chars().any(char::is_control) {
        "must not have control characters".to_owned()
    } else {
        return;
    };
    faults.push(Fault::pointer("#/method", detail));
}

/// `"20s"`, or whole milliseconds.
fn read_timeout(raw: Option<&str>, timeouts: Timeouts) -> Result<Duration, String> {
    const FORMS: &str = "must be a text like \"20s\" or whole milliseconds";
    let Some(raw) = raw.filter(|raw| *raw != "null") else {
        return Ok(timeouts.default);
    };
    let timeout = if raw.starts_with('"') {
        let text: Cow<'_, str> = serde_json::from_str(raw).map_err(|_| FORMS)?;
        humantime::parse_duration(&text).map_err(|error| format!("{FORMS}: {error}"))?
    } else {
        Duration::from_millis(raw.parse().map_err(|_| FORMS)?)
    };
    if timeout < Duration::from_millis(1) {
        return Err("must be at least 1ms".to_owned());
    }
    if timeout > timeouts.max {
        let max = humantime::format_duration(timeouts.max);
        return Err(format!("must be at most {max}"));
    }
    Ok(timeout)
}

/// Finds out what is wrong with a body that could not be read. Only mistakes come here, so it may take its time.
#[cold]
fn explain(bytes: &[u8], timeouts: Timeouts, error: &serde_json::Error) -> Problem {
    let members: BTreeMap<String, &RawValue> = match serde_json::from_slice(bytes) {
        Ok(members) => members,
        Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => {
            let fault = Fault::pointer("#", "the body is empty");
            return Problem::new(Kind::Malformed).errors(vec![fault]);
        }
        Err(error) if error.classify() == Category::Data => {
            return invalid(vec![Fault::pointer("#", "must be an object")]);
        }
        Err(error) => return Problem::new(Kind::Malformed).errors(vec![at_place(&error)]),
    };
    let mut faults = Vec::new();
    match members.get("method") {
        None => faults.push(Fault::pointer("#/method", "is missing")),
        Some(raw) => match serde_json::from_str::<String>(raw.get()) {
            Ok(method) => check_method(&method, &mut faults),
            Err(_) => faults.push(Fault::pointer("#/method", "must be a text")),
        },
    }
    let timeout = members.get("timeout").map(|raw| raw.get());
    if let Err(detail) = read_timeout(timeout, timeouts) {
        faults.push(Fault::pointer("#/timeout", detail));
    }
    for name in members.keys() {
        if !["method", "params", "timeout"].contains(&name.as_str()) {
            let pointer = format!("#/{}", pointer_token(name));
            faults.push(Fault::pointer(pointer, "is unknown; a call has `method`, `params` and `timeout`"));
        }
    }
    if faults.is_empty() {
        // What is left is a member that came twice.
        faults.push(at_place(error));
    }
    invalid(faults)
}

fn invalid(faults: Vec<Fault>) -> Problem {
    Problem::new(Kind::Invalid).detail("The call is JSON, but not as it must be.").errors(faults)
}

/// Line, column and words of the parser, without the place that it repeats in its words.
fn at_place(error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let detail = text.split(" at line ").next().unwrap_or(&text);
    Fault {
        detail: detail.to_owned(),
        pointer: Some("#".to_owned()),
        line: Some(error.line()),
        column: Some(error.column()),
        ..Fault::default()
    }
}

/// A member's name in a JSON pointer (RFC 6901, section 3), as URI fragment (section 6).
fn pointer_token(name: &str) -> String {
    let escaped = name.replace('~', "~0").replace('/', "~1");
    percent_encoding::utf8_percent_encode(&escaped, FRAGMENT).to_string()
}

/// All but the unreserved characters of RFC 3986, which is more than must be, and never wrong.
const FRAGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts { default: Duration::from_secs(20), max: Duration::from_secs(300) };

    fn errors_of(body: &[u8]) -> (String, Value) {
        let answer = parse(body, TIMEOUTS).unwrap_err().into_answer();
        assert_eq!(answer.status, 400);
        let mut found: Value = serde_json::from_slice(&answer.body).unwrap();
        let kind = found["type"].as_str().unwrap().to_owned();
        (kind, found["errors"].take())
    }

    #[test]
    fn bodies_that_are_calls() {
        for (body, method, params, timeout_ms) in [
            (r#"{"method":"m"}"#, "m", None, 20_000),
            (r#" {"method" : "a\u0062" } "#, "ab", None, 20_000),
            (r#"{"params": {"a" : [1e400]},"method":"m"}"#, "m", Some(r#"{"a" : [1e400]}"#), 20_000),
            (r#"{"method":"m","params":null}"#, "m", Some("null"), 20_000),
            (r#"{"method":"m","timeout":null}"#, "m", None, 20_000),
            (r#"{"method":"m","timeout":1}"#, "m", None, 1),
            (r#"{"method":"m","timeout":"1m 30s"}"#, "m", None, 90_000),
            (r#"{"method":"m","timeout":"5m"}"#, "m", None, 300_000),
            (r#"{"method":"ü"}"#, "ü", None, 20_000),
        ] {
            let found = parse(body.as_bytes(), TIMEOUTS).unwrap();
            assert_eq!(
                (found.method.as_ref(), found.params, found.timeout),
                (method, params, Duration::from_millis(timeout_ms)),
                "{body}"
            );
        }
    }

    #[test]
    fn deep_parameters_pass_without_recursion() {
        let deep = format!(r#"{{"method":"m","params":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let found = parse(deep.as_bytes(), TIMEOUTS).unwrap();
        assert_eq!(found.params.map(str::len), Some(200_000));
        let wrong = deep.replace("method", "methods");
        let (kind, errors) = errors_of(wrong.as_bytes());
        assert_eq!(kind, "/problems/invalid");
        assert_eq!(errors[0]["pointer"], "#/method");
    }

    #[test]
    fn mistakes_are_pointed_at() {
        for (body, pointers) in [
            ("[]", vec!["#"]),
            ("7", vec!["#"]),
            ("{}", vec!["#/method"]),
            (r#"{"method":7}"#, vec!["#/method"]),
            (r#"{"method":""}"#, vec!["#/method"]),
            (r#"{"method":"a\nb"}"#, vec!["#/method"]),
            (r#"{"method":"m","timeout":"soon"}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":0}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":-1}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":1.5}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":300001}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":"0s"}"#, vec!["#/timeout"]),
            (r#"{"method":"m","timeout":[1]}"#, vec!["#/timeout"]),
            (r#"{"method":"m","param":1}"#, vec!["#/param"]),
            (r#"{"method":"m","a/b~c ü":1}"#, vec!["#/a~1b~0c%20%C3%BC"]),
            (r#"{"method":7,"timeout":false,"x":1}"#, vec!["#/method", "#/timeout", "#/x"]),
        ] {
            let (kind, errors) = errors_of(body.as_bytes());
            assert_eq!(kind, "/problems/invalid", "{body}");
            let found: Vec<_> = errors.as_array().unwrap().iter().collect();
            let found: Vec<_> = found.iter().map(|e| e["pointer"].as_str().unwrap()).collect();
            assert_eq!(found, pointers, "{body}");
        }
        let long = format!(r#"{{"method":"{}"}}"#, "m".repeat(METHOD_BYTES_MAX + 1));
        assert_eq!(errors_of(long.as_bytes()).1[0]["pointer"], "#/method");
    }

    #[test]
    fn what_is_not_json_is_placed_by_line_and_column() {
        for (body, line, column) in [
            (&b"{\"method\":\"m\",\n \"params\": {,}}"[..], 2, 13),
            (b"{\"method\":\"m\"} x", 1, 16),
            (b"{\"method\":\"m\"", 1, 13),
            (b"method=m", 1, 1),
        ] {
            let (kind, errors) = errors_of(body);
            assert_eq!(kind, "/problems/malformed");
            assert_eq!(
                (errors[0]["line"].as_u64(), errors[0]["column"].as_u64()),
                (Some(line), Some(column)),
                "{}",
                String::from_utf8_lossy(body)
            );
            assert!(!errors[0]["detail"].as_str().unwrap().contains(" at line "));
        }
        assert_eq!(errors_of(b" \n").1[0]["detail"], "the body is empty");
        assert_eq!(errors_of(b"{\"method\":\"\xff\"}").0, "/problems/malformed");
    }

    #[test]
    fn a_member_that_comes_twice_is_refused() {
        let (kind, errors) = errors_of(br#"{"method":"a","method":"b"}"#);
        assert_eq!(kind, "/problems/invalid");
        assert_eq!(errors[0]["detail"], "duplicate field `method`");
    }

    #[test]
    fn every_cut_of_a_body_is_refused() {
        let whole = r#"{"method":"disk","params":{"a":"\u00fc"},"timeout":"1s"}"#.as_bytes();
        assert!(parse(whole, TIMEOUTS).is_ok());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut], TIMEOUTS).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes, TIMEOUTS);
        }

        #[test]
        fn no_members_are_a_panic(name in ".{0,8}", value in ".{0,8}") {
            let body = serde_json::json!({"method": "m", name: value}).to_string();
            let _ = parse(body.as_bytes(), TIMEOUTS);
        }
    }
}
