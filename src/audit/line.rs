//! Events as lines of JSON: one object each, flat, without a line feed inside.
//!
//! Owns the names of the fields, which `docs/operations.md` lists. It never writes what an event does not hold.

use std::time::{Duration, UNIX_EPOCH};

use super::event::{Act, Call, Event, Kind, Login, Tally, Trespass, Who};

/// A line while it is written.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        // A text always has a JSON form, and a vector always takes it.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.0.extend_from_slice(value.to_string().as_bytes());
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn who(&mut self, who: &Who) {
        self.text("over", who.over);
        self.optional("key", who.key.as_deref());
        self.text("tenant", &who.tenant);
        self.optional("remote", who.remote.map(|remote| remote.to_string()).as_deref());
    }
}

/// Appends a line that begins with when, where and what.
fn begin<'a>(out: &'a mut Vec<u8>, unix_ms: u64, node: &str, event: &str) -> Line<'a> {
    let wall = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(humantime::format_rfc3339_millis(wall).to_string().as_bytes());
    out.push(b'"');
    let mut line = Line(out);
    line.text("node", node);
    line.text("event", event);
    line
}

/// Appends the line of an event.
pub(super) fn write(out: &mut Vec<u8>, unix_ms: u64, node: &str, event: &Event) {
    match event {
        Event::Call(call) => write_call(begin(out, unix_ms, node, "call"), call),
        Event::Login(login) => write_login(begin(out, unix_ms, node, "login_refused"), login),
        Event::Trespass(trespass) => write_trespass(begin(out, unix_ms, node, "forbidden"), trespass),
        Event::Act(act) => write_act(begin(out, unix_ms, node, act.what), act),
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the line that says how many lines are not there.
pub(super) fn write_missed(out: &mut Vec<u8>, unix_ms: u64, node: &str, missed: Tally) {
    let mut line = begin(out, unix_ms, node, "missed");
    for kind in Kind::ALL {
        line.number(kind.word(), missed.0[kind as usize]);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the line that says how many refusals there were beside those that have lines.
pub(super) fn write_more(out: &mut Vec<u8>, unix_ms: u64, node: &str, more: Tally) {
    let mut line = begin(out, unix_ms, node, "more_refusals");
    for kind in [Kind::Login, Kind::Trespass] {
        line.number(kind.word(), more.0[kind as usize]);
    }
    out.extend_from_slice(b"}\n");
}

fn write_call(mut line: Line<'_>, call: &Call) {
    line.who(&call.who);
    line.text("agent", &call.agent);
    line.text("method", &call.method);
    line.optional("call", call.call.map(|id| id.to_string()).as_deref());
    line.text("outcome", call.outcome);
    line.number("ms", call.took_ms.into());
    line.number("params_bytes", call.params_bytes.into());
    line.number("result_bytes", call.result_bytes.into());
}

fn write_login(mut line: Line<'_>, login: &Login) {
    line.text("door", login.door);
    line.text("cause", login.cause);
    line.optional("remote", login.remote.map(|remote| remote.to_string()).as_deref());
    line.optional("agent", login.agent.as_deref());
}

fn write_trespass(mut line: Line<'_>, trespass: &Trespass) {
    line.who(&trespass.who);
    line.text("right", trespass.right);
    line.text("what", trespass.what);
    line.optional("agent", trespass.agent.as_deref());
    line.optional("method", trespass.method.as_deref());
}

fn write_act(mut line: Line<'_>, act: &Act) {
    if let Some(who) = &act.who {
        line.who(who);
    }
    line.optional("agent", act.agent.as_deref());
    line.text("outcome", act.outcome);
    line.optional("detail", act.detail.as_deref());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kit::ids::CallId;

    fn who() -> Who {
        Who {
            over: "link",
            key: Some("billing".into()),
            tenant: "acme".into(),
            remote: Some("10.0.0.5:51022".parse().unwrap()),
        }
    }

    fn written(event: &Event) -> Value {
        let mut out = Vec::new();
        write(&mut out, 1_767_607_200_123, "gw-1", event);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(out.last(), Some(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_call_is_told_without_its_payload() {
        let call = Call {
            who: who(),
            agent: "web-1".into(),
            method: "disk \"free\"\n\u{1}".into(),
            call: Some(CallId(0xabc)),
            outcome: "ok",
            took_ms: 12,
            params_bytes: 7,
            result_bytes: 9,
        };
        assert_eq!(
            written(&Event::Call(call)),
            json!({
                "time": "2026-01-05T10:00:00.123Z", "node": "gw-1", "event": "call", "over": "link", "key": "billing",
                "tenant": "acme", "remote": "10.0.0.5:51022", "agent": "web-1", "method": "disk \"free\"\n\u{1}",
                "call": "0000000000000abc", "outcome": "ok", "ms": 12, "params_bytes": 7, "result_bytes": 9,
            })
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let stranger = written(&Event::Login(Box::new(Login::of_a_stranger("agents", "missing", None))));
        assert_eq!(
            stranger,
            json!({"time": "2026-01-05T10:00:00.123Z", "node": "gw-1", "event": "login_refused", "door": "agents", "cause": "missing"})
        );
        let act = Act { what: "reload", who: None, agent: None, outcome: "done", detail: None };
        let act = written(&Event::Act(Box::new(act)));
        assert_eq!(
            (&act["event"], &act["outcome"], act.as_object().unwrap().len()),
            (&json!("reload"), &json!("done"), 4)
        );
        let who = Who { key: None, remote: None, ..who() };
        let trespass = Trespass { who, right: "list", what: "list", agent: None, method: None };
        let trespass = written(&Event::Trespass(Box::new(trespass)));
        assert_eq!(
            (&trespass["event"], &trespass["right"], &trespass["what"], trespass.get("key")),
            (&json!("forbidden"), &json!("list"), &json!("list"), None)
        );
    }

    #[test]
    fn what_is_missing_is_a_line_too() {
        let mut out = Vec::new();
        write_missed(&mut out, 0, "n", Tally([3, 2, 0, 1]));
        write_more(&mut out, 0, "n", Tally([0, 12_345, 6, 0]));
        let lines: Vec<Value> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(
            (&lines[0]["event"], &lines[0]["calls"], &lines[0]["logins"], &lines[0]["acts"]),
            (&json!("missed"), &json!(3), &json!(2), &json!(1))
        );
        assert_eq!(
            (&lines[1]["event"], &lines[1]["logins"], &lines[1]["forbidden"]),
            (&json!("more_refusals"), &json!(12_345), &json!(6))
        );
    }
}
