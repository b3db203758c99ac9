//! How settings must relate to each other.
//!
//! Owns every rule that names two keys. A rule is left out when one of its keys has a problem of its own.

use std::net::SocketAddr;
use std::time::Duration;

use super::kind::ProxyProtocol;
use super::problem::{Origin, Problems};
use super::settings::{Raw, Settings};

/// The shortest `heartbeat.timeout` beside a rate of agents: twice the longest rest.
const HEARTBEAT_TIMEOUT_WITH_RATES_MIN: Duration = Duration::from_secs(2);

/// Notes each rule that is broken; `origin` tells where a key was typed.
pub(super) fn check(settings: &Settings, raw: &Raw, origin: &dyn Fn(&str) -> Origin, problems: &mut Problems) {
    let mut rules = Rules { origin, problems, found: Vec::new() };
    limits(settings, raw, &mut rules);
    times(settings, raw, &mut rules);
    ports(settings, raw, &mut rules);
    balancers(settings, raw, &mut rules);
    rests(settings, raw, &mut rules);
    sizes(settings, raw, &mut rules);
    levels(settings, raw, &mut rules);
    audit(settings, raw, &mut rules);
    rules.tell();
}

/// What must be written needs somewhere to be written to.
fn audit(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    rules.hold(
        !settings.audit.required || !settings.audit.file.is_empty(),
        ["audit.required", "audit.file"],
        [&raw.audit.required, &raw.audit.file],
        "needs a file in",
        "without one, no act could be written down",
    );
}

/// An agent that has used up its rate is not read for up to a second, and must not be taken for dead meanwhile.
fn rests(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    let rates = &settings.rates;
    for (is_set, key, typed) in [
        (rates.agent_messages > 0, "rates.agent_messages", &raw.rates.agent_messages.to_string()),
        (rates.agent_bytes > 0, "rates.agent_bytes", &raw.rates.agent_bytes),
    ] {
        rules.hold(
            !is_set || settings.heartbeat.timeout >= HEARTBEAT_TIMEOUT_WITH_RATES_MIN,
            [key, "heartbeat.timeout"],
            [typed, &raw.heartbeat.timeout],
            "needs two seconds or more of",
            "an agent that is over its rate is not heard for up to a second",
        );
    }
}

/// No level begins below the one before it.
fn levels(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    let (overload, typed) = (&settings.overload, &raw.overload);
    for (holds, keys, typed) in [
        (
            overload.memory_shed <= overload.memory_close,
            ["overload.memory_shed", "overload.memory_close"],
            [&typed.memory_shed.to_string(), &typed.memory_close.to_string()],
        ),
        (
            overload.lag_refuse <= overload.lag_shed,
            ["overload.lag_refuse", "overload.lag_shed"],
            [&typed.lag_refuse, &typed.lag_shed],
        ),
        (
            overload.lag_shed <= overload.lag_close,
            ["overload.lag_shed", "overload.lag_close"],
            [&typed.lag_shed, &typed.lag_close],
        ),
    ] {
        rules.hold(holds, keys, typed, "must not be more than", "each level of overload does what those below it do");
    }
}

/// Bounds of what is compressed.
fn sizes(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    rules.hold(
        settings.deflate.from <= settings.deflate.to,
        ["deflate.from", "deflate.to"],
        [&raw.deflate.from, &raw.deflate.to],
        "must not be more than",
        "no message would be compressed",
    );
}

/// A port that believes headers says whose.
fn balancers(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    let (server, link) = (&settings.server, &settings.link);
    for (header, from, keys, typed) in [
        (
            server.proxy_protocol,
            &server.proxy_from,
            ["server.proxy_protocol", "server.proxy_from"],
            [&raw.server.proxy_protocol, &format!("{:?}", raw.server.proxy_from)],
        ),
        (
            link.proxy_protocol,
            &link.proxy_from,
            ["link.proxy_protocol", "link.proxy_from"],
            [&raw.link.proxy_protocol, &format!("{:?}", raw.link.proxy_from)],
        ),
    ] {
        rules.hold(
            header == ProxyProtocol::Off || !from.0.is_empty(),
            keys,
            typed,
            "needs a network in",
            "whoever may write the header may say that it comes from anywhere",
        );
    }
}

fn ports(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    let (agents, control) = (settings.server.listen, settings.control.listen);
    rules.hold(
        differ(agents, control),
        ["server.listen", "control.listen"],
        [&raw.server.listen, &raw.control.listen],
        "needs another port than",
        "agents and backends never share a port",
    );
    for (other, key, typed) in
        [(agents, "server.listen", &raw.server.listen), (control, "control.listen", &raw.control.listen)]
    {
        rules.hold(
            settings.link.listen.is_none_or(|link| differ(link, other)),
            ["link.listen", key],
            [&raw.link.listen, typed],
            "needs another port than",
            "links have a port of their own",
        );
    }
}

/// Whether two listeners can be told apart. Port 0 is chosen by the kernel.
fn differ(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == 0 || one.port() != other.port() || !same_ip
}

fn limits(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    let limits = &settings.limits;
    rules.hold(
        limits.queue_soft < limits.queue_hard,
        ["limits.queue_soft", "limits.queue_hard"],
        [&raw.limits.queue_soft, &raw.limits.queue_hard],
        "must be less than",
        "between the two an agent has `limits.write_deadline` to catch up",
    );
    rules.hold(
        limits.message_max <= limits.queue_hard,
        ["limits.message_max", "limits.queue_hard"],
        [&raw.limits.message_max, &raw.limits.queue_hard],
        "must not be more than",
        "a message that no queue can hold could never be sent on",
    );
    rules.hold(
        // A buffer grows by doubling.
        limits.message_max.checked_next_power_of_two().is_some_and(|buffer| buffer <= limits.lease_bytes),
        ["limits.message_max", "limits.lease_bytes"],
        [&raw.limits.message_max, &raw.limits.lease_bytes],
        "rounded up to a power of two must not be more than",
        "a message that there is no buffer for could never be received",
    );
    rules.hold(
        settings.link.message_max.checked_next_power_of_two().is_some_and(|buffer| buffer <= limits.lease_bytes),
        ["link.message_max", "limits.lease_bytes"],
        [&raw.link.message_max, &raw.limits.lease_bytes],
        "rounded up to a power of two must not be more than",
        "a message that there is no buffer for could never be received",
    );
    rules.hold(
        settings.control.body_max <= limits.queue_hard,
        ["control.body_max", "limits.queue_hard"],
        [&raw.control.body_max, &raw.limits.queue_hard],
        "must not be more than",
        "a call that no queue can hold could only be sent to an agent with nothing queued",
    );
    rules.hold(
        settings.link.message_max <= limits.queue_hard,
        ["link.message_max", "limits.queue_hard"],
        [&raw.link.message_max, &raw.limits.queue_hard],
        "must not be more than",
        "a call that no queue can hold could only be sent to an agent with nothing queued",
    );
    rules.hold(
        settings.link.queue_soft < settings.link.queue_hard,
        ["link.queue_soft", "link.queue_hard"],
        [&raw.link.queue_soft, &raw.link.queue_hard],
        "must be less than",
        "between the two a backend has `limits.write_deadline` to catch up",
    );
    rules.hold(
        limits.calls_per_agent <= limits.calls_per_tenant,
        ["limits.calls_per_agent", "limits.calls_per_tenant"],
        [&raw.limits.calls_per_agent.to_string(), &raw.limits.calls_per_tenant.to_string()],
        "must not be more than",
        "the tenant's limit would always come first",
    );
}

fn times(settings: &Settings, raw: &Raw, rules: &mut Rules<'_>) {
    rules.hold(
        settings.calls.timeout <= settings.calls.timeout_max,
        ["calls.timeout", "calls.timeout_max"],
        [&raw.calls.timeout, &raw.calls.timeout_max],
        "must not be more than",
        "the default is bound by the limit too",
    );
    rules.hold(
        settings.calls.timeout_max <= settings.calls.idempotency_window,
        ["calls.timeout_max", "calls.idempotency_window"],
        [&raw.calls.timeout_max, &raw.calls.idempotency_window],
        "must not be more than",
        "a call must not outlive the memory of its key",
    );
    rules.hold(
        settings.heartbeat.timeout < settings.heartbeat.interval,
        ["heartbeat.timeout", "heartbeat.interval"],
        [&raw.heartbeat.timeout, &raw.heartbeat.interval],
        "must be less than",
        "one ping is answered or missed before the next is due",
    );
    rules.hold(
        settings.jwks.unknown_pause <= settings.jwks.refresh,
        ["jwks.unknown_pause", "jwks.refresh"],
        [&raw.jwks.unknown_pause, &raw.jwks.refresh],
        "must not be more than",
        "a source is asked once in `jwks.refresh` anyway",
    );
    rules.hold(
        settings.webhook.url.is_empty() || 2 * settings.webhook.timeout < settings.limits.handshake_deadline,
        ["webhook.timeout", "limits.handshake_deadline"],
        [&raw.webhook.timeout, &raw.limits.handshake_deadline],
        "must be less than half of",
        "a question waits for as long as it may take, and the connection that it is asked for would be gone",
    );
    rules.hold(
        settings.drain.window <= settings.drain.hard_end,
        ["drain.window", "drain.hard_end"],
        [&raw.drain.window, &raw.drain.hard_end],
        "must not be more than",
        "the process ends at `drain.hard_end`",
    );
}

/// Rules while they are checked. What they find is told at the end, so that one broken rule hides no other.
struct Rules<'a> {
    origin: &'a dyn Fn(&str) -> Origin,
    problems: &'a mut Problems,
    found: Vec<([&'static str; 2], String)>,
}

impl Rules<'_> {
    fn hold(&mut self, holds: bool, keys: [&'static str; 2], typed: [&String; 2], relation: &str, because: &str) {
        if holds || keys.iter().any(|key| self.problems.mention(key)) {
            return;
        }
        let text = format!("`{}` ({}) {relation} `{}` ({}): {because}", keys[0], typed[0], keys[1], typed[1]);
        self.found.push((keys, text));
    }

    fn tell(self) {
        for ([first, second], text) in self.found {
            // Of two values the one that somebody typed is the one to change.
            let typed = match (self.origin)(first) {
                Origin::Default => (self.origin)(second),
                origin => origin,
            };
            self.problems.push(typed, first, text);
        }
    }
}
