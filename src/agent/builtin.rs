//! The handler for those who have none yet: `ping` and `echo`.

use super::handler::{Body, Call, Responder, fault};

/// Answers `ping` with `"pong"`, `echo` with its own parameters (`null` without any), anything else with
/// [`fault::METHOD`].
pub fn builtin(call: Call, responder: Responder) {
    match call.method.as_str() {
        "ping" => responder.result(Body::json(*br#""pong""#)),
        "echo" if call.params.bytes.is_empty() => responder.result(Body::json(*b"null")),
        "echo" => responder.result(call.params),
        other => responder.error(
            fault::METHOD,
            format!("no method `{other}`: this agent runs no program and knows only ping and echo"),
        ),
    }
}
