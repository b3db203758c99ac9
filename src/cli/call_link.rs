//! `holdfast call --link`: one call over a control link.
//!
//! Owns how the link's answers become stdout, stderr and exit codes, the same as over HTTP. It never prints an API key.

use std::fmt::Write as _;
use std::time::Duration;

use super::printout::{Exit, Printout};
use super::trust::Trust;
use crate::backend::{Answer, Body, CallError, ConnectError, Encoding, Link, Options, Target};

/// Longest time to connect, and to be welcomed.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The call to make.
pub(super) struct Call<'a> {
    pub(super) agent: &'a str,
    pub(super) method: &'a str,
    pub(super) params: Option<String>,
    pub(super) timeout: Option<Duration>,
}

/// Opens a link, calls, and closes it.
pub(super) fn call(url: &str, trust: &Trust, key: Option<String>, asked: &Call<'_>) -> Printout {
    let target = match Target::parse(url) {
        Ok(target) => target,
        Err(why) => return Printout::failed(Exit::Usage, why.to_string()),
    };
    let tls = match trust.read_for(url) {
        Ok(tls) => tls,
        Err(why) => return Printout::failed(Exit::Usage, why),
    };
    let options = Options {
        target,
        tls,
        key,
        encoding: Encoding::Json,
        connect_deadline: CONNECT_DEADLINE,
        write_deadline: CONNECT_DEADLINE,
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let link = match Link::connect(&options) {
        Ok(link) => link,
        Err(error) => return Printout::failed(Exit::Other, not_open(&error)),
    };
    printout(link.call(asked.agent, asked.method, asked.params.as_deref(), asked.timeout))
}

fn not_open(error: &ConnectError) -> String {
    match error {
        ConnectError::Refused { status: 401, .. } => format!("{error} (give --api-key or HOLDFAST_API_KEY)"),
        _ => error.to_string(),
    }
}

fn printout(ended: Result<Answer, CallError>) -> Printout {
    match ended {
        Ok(Answer::Ok(body)) => Printout { exit: Exit::Ok, out: printed(body), err: String::new() },
        Ok(Answer::AgentError { code, message, data }) => {
            let mut err = format!("the agent failed ({code}): {message}");
            if let Some(data) = data {
                // Writing to a string cannot fail.
                let _ = write!(err, "\n{}", String::from_utf8_lossy(&data.bytes));
            }
            Printout::failed(Exit::AgentError, err)
        }
        Ok(Answer::Failed(failure)) => {
            let (outcome, _, words) = failure.row();
            Printout::failed(Exit::Other, format!("{outcome}: {words}"))
        }
        Err(error) => Printout::failed(Exit::Other, error.to_string()),
    }
}

/// JSON gets a line of its own; other bytes are left as they are.
fn printed(body: Body) -> Vec<u8> {
    let mut out = body.bytes;
    if body.json {
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Failure;

    #[test]
    fn printouts() {
        let json = |text: &str| Body { bytes: text.as_bytes().to_vec(), json: true };
        for (ended, exit, out, err) in [
            (Ok(Answer::Ok(json("{\"a\": 1}"))), Exit::Ok, "{\"a\": 1}\n", ""),
            (Ok(Answer::Ok(Body { bytes: b"hi".to_vec(), json: false })), Exit::Ok, "hi", ""),
            (
                Ok(Answer::AgentError { code: -1, message: "no".to_owned(), data: Some(json("[1]")) }),
                Exit::AgentError,
                "",
                "the agent failed (-1): no\n[1]",
            ),
            (Ok(Answer::Failed(Failure::Offline)), Exit::Other, "", "offline: the agent is not connected"),
            (Err(CallError::Unknown("cut".to_owned())), Exit::Other, "", "the link broke, the outcome is unknown: cut"),
        ] {
            let found = printout(ended);
            assert_eq!(found, Printout { exit, out: out.as_bytes().to_vec(), err: err.to_owned() });
        }
    }
}
