//! `holdfast call`: one call to an agent, over the HTTP API or a control link, for people and scripts.
//!
//! Owns how the API's answers become stdout, stderr and exit codes. It never prints an API key.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::call_link::{self, Call};
use super::printout::{Exit, Printout};
use super::trust::Trust;
use crate::kit::ids::{NAME_RULE, is_name};

/// Where the API key is looked for when no option gives one.
const KEY_VARIABLE: &str = "HOLDFAST_API_KEY";

/// How much longer than the call's own timeout its HTTP request may take.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(10);

/// Longest HTTP request when no timeout is given: the gateway's default longest call, and the margin.
const TIMEOUT_LONGEST: Duration = Duration::from_secs(310);

/// What no gateway lets a call take. Above it only the gateway's refusal is waited for; the HTTP client cannot add much more
/// to the time of day.
const TIMEOUT_MOST: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Largest response that is read, in bytes.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Call an agent and print its result.
///
/// The result goes to stdout as the agent gave it; what went wrong goes to stderr.
#[derive(Args, Clone)]
#[command(
    after_help = "Exit codes: 0 the agent answered with a result, 1 the agent answered with an error, 2 bad arguments, \
3 any other outcome (offline, no_reply, busy and so on; also a gateway that cannot be reached or refuses the API key)."
)]
pub struct CallArgs {
    /// Id of the agent
    agent: String,
    /// What to do
    method: String,
    /// Parameters as JSON; `-` reads them from stdin
    params: Option<String>,
    /// The gateway's control port
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    url: String,
    /// A control link to call over instead, such as ws://127.0.0.1:8082, or wss:// with TLS
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "idempotency_key"])]
    link: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// How long to wait for the agent, such as 20s or 1m; the gateway has a default
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// API key; also in HOLDFAST_API_KEY, where other users of this machine cannot see it
    #[arg(long)]
    api_key: Option<String>,
    /// Repeating a call with the same key gives the first one's outcome instead of running it again
    #[arg(long)]
    idempotency_key: Option<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
}

/// The API's 200 answer and its problems (RFC 9457) in one: every member is optional, `outcome` decides.
#[derive(Deserialize)]
struct Response<'a> {
    outcome: Option<String>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    result_base64: Option<String>,
    #[serde(borrow)]
    error: Option<AgentError<'a>>,
    title: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    errors: Vec<Fault>,
}

/// One place in the request that the gateway did not like.
#[derive(Deserialize)]
struct Fault {
    detail: Option<String>,
    pointer: Option<String>,
    parameter: Option<String>,
}

#[derive(Deserialize)]
struct AgentError<'a> {
    code: i64,
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// Makes the call and prints what came of it.
#[must_use]
pub fn run(args: CallArgs) -> ExitCode {
    let printout = match (read_params(&args), &args.link) {
        (Err(why), _) => Printout::failed(Exit::Usage, why),
        (Ok(params), Some(url)) => {
            let asked = Call { agent: &args.agent, method: &args.method, params, timeout: args.timeout };
            call_link::call(url, &args.trust, key(&args), &asked)
        }
        (Ok(params), None) => match body(&args, params.as_deref()) {
            Ok(body) => post(&args, &body),
            Err(why) => Printout::failed(Exit::Usage, why),
        },
    };
    if !printout.err.is_empty() {
        eprintln!("holdfast call: {}", printout.err);
    }
    let mut stdout = std::io::stdout().lock();
    // Whoever closed stdout does not want the result; the exit code still tells.
    let _ = stdout.write_all(&printout.out).and_then(|()| stdout.flush());
    ExitCode::from(printout.exit as u8)
}

/// The parameters, which are JSON; also holds that the agent's id can be one.
fn read_params(args: &CallArgs) -> Result<Option<String>, String> {
    if !is_name(&args.agent) {
        return Err(format!("`{}` is no agent id: {NAME_RULE}", args.agent));
    }
    let text = match args.params.as_deref() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| format!("cannot read the parameters from stdin: {error}"))?;
            Some(text)
        }
        given => given.map(str::to_owned),
    };
    if let Some(text) = &text {
        serde_json::from_str::<&RawValue>(text).map_err(|error| format!("the parameters are no JSON: {error}"))?;
    }
    Ok(text)
}

/// The API key, where one is given.
fn key(args: &CallArgs) -> Option<String> {
    args.api_key.clone().or_else(|| std::env::var(KEY_VARIABLE).ok()).filter(|key| !key.is_empty())
}

fn body(args: &CallArgs, params: Option<&str>) -> Result<Vec<u8>, String> {
    if !args.url.starts_with("http://") {
        return Err(format!("`{}` must begin with http:// (for TLS, use a proxy)", args.url));
    }
    let params = params.map(serde_json::from_str::<&RawValue>).transpose().map_err(|error| error.to_string())?;
    let timeout = args.timeout.map(|timeout| humantime::format_duration(timeout).to_string().replace(' ', ""));
    let request = Request { method: &args.method, params, timeout };
    serde_json::to_vec(&request).map_err(|error| error.to_string())
}

fn post(args: &CallArgs, body: &[u8]) -> Printout {
    let longest = args.timeout.map_or(TIMEOUT_LONGEST, |timeout| timeout.min(TIMEOUT_MOST) + TIMEOUT_MARGIN);
    let client: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(TIMEOUT_MARGIN))
        .timeout_global(Some(longest))
        .build()
        .into();
    let base = args.url.trim_end_matches('/');
    let mut request =
        client.post(format!("{base}/v1/agents/{}/calls", args.agent)).header("Content-Type", "application/json");
    if let Some(key) = key(args) {
        request = request.header("Authorization", format!("Bearer {key}"));
    }
    if let Some(key) = &args.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    let read = request.send(body).and_then(|mut response| {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(RESPONSE_BYTES_MAX).read_to_vec()?;
        Ok((status, body))
    });
    match read {
        Ok((status, body)) => printout(status, &body),
        Err(error) => Printout::failed(Exit::Other, unreachable(base, &error)),
    }
}

fn unreachable(url: &str, error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("nothing listens at {url} (connection refused): is the gateway running?")
        }
        error => format!("no answer from {url}: {error}"),
    }
}

fn printout(status: u16, body: &[u8]) -> Printout {
    let Ok(response) = serde_json::from_slice::<Response<'_>>(body) else {
        let what = format!(
            "the gateway answered {status} with something that is not its API's JSON; is this the control port?"
        );
        return Printout::failed(Exit::Other, what);
    };
    match response.outcome.as_deref() {
        Some("ok") => result(&response),
        Some("agent_error") => agent_error(response.error),
        _ => Printout::failed(Exit::Other, problem(status, &response)),
    }
}

fn problem(status: u16, response: &Response<'_>) -> String {
    // An outcome's word says what its title says.
    let (mut err, title) = match &response.outcome {
        Some(outcome) => (outcome.clone(), &None),
        None => (format!("HTTP {status}"), &response.title),
    };
    // Writing to a string cannot fail.
    for part in [title, &response.detail].into_iter().flatten() {
        let _ = write!(err, ": {}", part.trim_end_matches('.'));
    }
    for fault in &response.errors {
        let place = fault.pointer.as_ref().or(fault.parameter.as_ref());
        let place = place.map_or("", String::as_str);
        let detail = fault.detail.as_deref().unwrap_or_default();
        let _ = write!(err, "\n  {place} {detail}");
    }
    if status == 401 {
        err.push_str(" (give --api-key or HOLDFAST_API_KEY)");
    }
    err
}

fn result(response: &Response<'_>) -> Printout {
    let out = match (&response.result_base64, response.result) {
        (Some(text), _) => match STANDARD.decode(text) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Printout::failed(Exit::Other, format!("a broken result: {error}"));
            }
        },
        // `null` is read as an absent member, and is what an absent result means.
        (None, result) => {
            let mut line = result.map_or("null", RawValue::get).as_bytes().to_vec();
            line.push(b'\n');
            line
        }
    };
    Printout { exit: Exit::Ok, out, err: String::new() }
}

fn agent_error(error: Option<AgentError<'_>>) -> Printout {
    let Some(error) = error else {
        return Printout::failed(Exit::AgentError, "the agent failed and did not say why");
    };
    let mut err = format!("the agent failed ({}): {}", error.code, error.message);
    let data = error.data.map(RawValue::get);
    if let Some(data) = data.or(error.data_base64.as_deref()) {
        let _ = write!(err, "\n{data}");
    }
    Printout::failed(Exit::AgentError, err)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CallArgs,
    }

    fn parsed(line: &[&str]) -> CallArgs {
        Line::try_parse_from([&["call"], line].concat()).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn requests() {
        for (line, expected) in [
            (&["web-1", "m"][..], r#"{"method":"m"}"#),
            (&["web-1", "m", r#"{"path": "/"}"#], r#"{"method":"m","params":{"path": "/"}}"#),
            (&["web-1", "m", "null", "--timeout", "1m 30s"], r#"{"method":"m","params":null,"timeout":"1m30s"}"#),
        ] {
            let args = parsed(line);
            let params = read_params(&args).expect("good parameters");
            let body = body(&args, params.as_deref()).expect("a good request");
            assert_eq!(String::from_utf8(body).expect("a good request"), expected);
        }
        for (line, word) in [
            (&["a/b", "m"][..], "agent id"),
            (&["web-1", "m", r#"{"a":}"#], "line 1 column 6"),
            (&["web-1", "m", "1 2"], "column 3"),
            (&["web-1", "m", "--url", "https://x"], "http://"),
        ] {
            let args = parsed(line);
            let why = read_params(&args).and_then(|params| body(&args, params.as_deref())).expect_err("a bad request");
            assert!(why.contains(word), "{line:?}: {why}");
        }
    }

    #[test]
    fn printouts() {
        for (status, body, exit, out, err) in [
            (
                200,
                r#"{"outcome":"ok","call":"0","agent":"a","elapsed_ms":3,"result":{"a": 1}}"#,
                Exit::Ok,
                "{\"a\": 1}\n",
                "",
            ),
            (200, r#"{"outcome":"ok","result":null}"#, Exit::Ok, "null\n", ""),
            (200, r#"{"outcome":"ok","result_base64":"aGkA"}"#, Exit::Ok, "hi\0", ""),
            (
                200,
                r#"{"outcome":"agent_error","error":{"code":-1,"message":"no","data":[1]}}"#,
                Exit::AgentError,
                "",
                "the agent failed (-1): no\n[1]",
            ),
            (
                404,
                r#"{"type":"/problems/offline","title":"Offline","status":404,"detail":"not here","outcome":"offline"}"#,
                Exit::Other,
                "",
                "offline: not here",
            ),
            (
                401,
                r#"{"title":"Unauthorized"}"#,
                Exit::Other,
                "",
                "HTTP 401: Unauthorized (give --api-key or HOLDFAST_API_KEY)",
            ),
            (
                400,
                r##"{"title":"Bad","detail":"It is bad.","errors":[{"detail":"is missing","pointer":"#/method"}]}"##,
                Exit::Other,
                "",
                "HTTP 400: Bad: It is bad\n  #/method is missing",
            ),
            (
                500,
                "<html>",
                Exit::Other,
                "",
                "the gateway answered 500 with something that is not its API's JSON; is this the control port?",
            ),
        ] {
            let found = printout(status, body.as_bytes());
            let out = out.as_bytes().to_vec();
            let err = err.to_owned();
            assert_eq!(found, Printout { exit, out, err }, "{body}");
        }
    }
}
