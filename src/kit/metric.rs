//! Names of all metrics, each once, with its help text: a name spelled twice drifts apart.

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $constant: &str = $name;)*
        /// Every metric: name, kind, help.
        pub const ALL: &[(&str, Kind, &str)] = &[$(($name, Kind::$kind, $help)),*];
    };
}

metrics! {
    CONNECTIONS = Gauge "holdfast_connections", "Open connections at the port of agents, by loop.";
    LINKS = Gauge "holdfast_links", "Open connections of backends at the port of control links, by loop.";
    AGENTS = Gauge "holdfast_agents", "Agents in the directory of this node.";
    ACCEPTED = Counter "holdfast_accepted_total", "Connections accepted, by loop.";
    ACCEPT_ERRORS = Counter "holdfast_accept_errors_total", "Accepts that failed, by loop; each backs off.";
    REFUSED = Counter "holdfast_refused_total", "Connections answered with an HTTP error instead of an upgrade, by status.";
    SHED = Counter "holdfast_shed_total", "Connections and calls that a limit refused, by limit.";
    SLOWED = Counter "holdfast_slowed_total", "Times that an agent was not read for a while because of its rate, by loop.";
    TLS_CONNECTIONS = Gauge "holdfast_tls_connections", "Connections whose TLS handshake is done, by loop and version.";
    TLS_HANDSHAKES = Counter "holdfast_tls_handshakes_total", "TLS handshakes that ended, by result: full, resumed, or why they failed.";
    TLS_HANDSHAKE_SECONDS = Histogram "holdfast_tls_handshake_seconds", "Time from accepting a connection to the end of its TLS handshake.";
    TLS_SHAKING = Gauge "holdfast_tls_handshakes_in_progress", "TLS handshakes under way, by loop.";
    TLS_WAITING = Gauge "holdfast_tls_handshakes_waiting", "Connections that wait in line for a step of their TLS handshake, by loop.";
    TLS_EXPIRES = Gauge "holdfast_tls_certificate_expires_seconds", "Seconds until the first certificate in use is no longer valid.";
    TLS_RELOADS = Counter "holdfast_tls_reloads_total", "Times that changed TLS files were read again, by result: ok or failed.";
    CLOSED = Counter "holdfast_closed_total", "Connections that ended, by reason.";
    FRAMES_IN = Counter "holdfast_messages_in_total", "Messages received from agents, by loop.";
    FRAMES_OUT = Counter "holdfast_frames_out_total", "Frames queued to peers, by loop.";
    BYTES_IN = Counter "holdfast_bytes_in_total", "Bytes read from sockets, by loop.";
    BYTES_OUT = Counter "holdfast_bytes_out_total", "Bytes written to sockets, by loop.";
    DEFLATE_BYTES = Counter "holdfast_deflate_bytes_total", "Bytes of compressed messages: way=\"in\" from agents, way=\"out\" to them; form=\"plain\" as they were written, form=\"compressed\" as they travelled.";
    TURNS = Counter "holdfast_loop_turns_total", "Turns of an event loop.";
    LONG_TURNS = Counter "holdfast_loop_long_turns_total", "Turns of an event loop that took this many seconds or longer (label over), by loop.";
    TURN_LONGEST = Gauge "holdfast_loop_turn_longest_seconds", "The longest turn since the start, by loop; of=\"wall\" as the clock has it, of=\"cpu\" at most what the thread ran.";
    WORKERS_FULL = Counter "holdfast_workers_full_total", "Times a loop stopped reading because the workers were full.";
    CALLS = Counter "holdfast_calls_total", "Calls that ended, by outcome and by the way that they came in: http or link.";
    CALLS_IN_FLIGHT = Gauge "holdfast_calls_in_flight", "Calls that wait for their outcome.";
    CALL_SECONDS = Histogram "holdfast_call_seconds", "Time from accepting a call to its outcome; without calls that were not sent (offline, busy, draining).";
    REPLIES_DROPPED = Counter "holdfast_replies_dropped_total", "Replies that answered no waiting call: late, doubled or foreign.";
    BAD_ENVELOPES = Counter "holdfast_bad_envelopes_total", "Messages from agents that were no envelope.";
    AUTH_FAILURES = Counter "holdfast_auth_failures_total", "Upgrades and requests refused for their token or key, by cause.";
    FORBIDDEN = Counter "holdfast_forbidden_total", "Requests and calls with a good key that may not do what was asked, by what it lacks.";
    AUDIT_LINES = Counter "holdfast_audit_lines_total", "Lines written to the audit log.";
    AUDIT_MISSED = Counter "holdfast_audit_missed_total", "Lines that could not be written to the audit log, by kind.";
    AUDIT_FAILING = Gauge "holdfast_audit_failing", "1 while the audit log cannot be written.";
    REFRESHES = Counter "holdfast_token_refreshes_total", "Newer tokens that agents showed on a live connection, by result: ok, or the cause of the refusal.";
    KEY_FETCHES = Counter "holdfast_key_fetches_total", "Fetches of issuers' keys (JWKS), by issuer and result: ok or failed.";
    KEYS = Gauge "holdfast_issuer_keys", "Keys of an issuer that are in force, by issuer.";
    KEYS_FETCHED = Gauge "holdfast_issuer_keys_fetched_timestamp_seconds", "When the keys that are in force were fetched, in seconds since the UNIX epoch, by issuer: their age is the time since.";
    REVOCATIONS = Gauge "holdfast_revocations", "Revocations that this node keeps.";
    WEBHOOK = Counter "holdfast_webhook_answers_total", "Questions to the webhook, by answer: allowed, refused, cached, failed, late or shed.";
    REPLACED = Counter "holdfast_agents_replaced_total", "Connections that a newer one of the same agent replaced.";
    HTTP_REQUESTS = Counter "holdfast_http_requests_total", "Requests to the control port, by route and status.";
    MEMORY = Gauge "holdfast_memory_bytes", "Memory of the process, by part; the parts add up to what is resident.";
    MEMORY_USED = Gauge "holdfast_memory_used_bytes", "What counts against the memory budget.";
    MEMORY_BUDGET = Gauge "holdfast_memory_budget_bytes", "The memory budget; +Inf where there is none.";
    OVER_BUDGET = Gauge "holdfast_memory_over_budget", "1 while the node is over its memory budget and lets nobody else in.";
    OVERLOAD = Gauge "holdfast_overload_level", "How overloaded: 0 calm, 1 nobody else is let in, 2 the largest queues are cut, 3 slow peers are closed; by=\"memory\" the node, by=\"lag\" each loop.";
    LAG = Gauge "holdfast_loop_lag_seconds", "What becomes ready in a loop waits for so long, by its last second, by loop.";
    QUEUES_SHED = Counter "holdfast_queues_shed_total", "Queues to peers that were cut because of overload, by loop.";
    DRAINING = Gauge "holdfast_draining", "1 while the node drains.";
}

/// Gives every metric its help text. Call it once, after the recorder is in place.
pub fn describe() {
    for &(name, kind, help) in ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_prefixed() {
        let mut names: Vec<_> = ALL.iter().map(|(name, ..)| *name).collect();
        assert!(names.iter().all(|name| name.starts_with("holdfast_")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
