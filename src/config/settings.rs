//! The table of settings: every key with its meaning, kind, bounds and default.
//!
//! This is the only home of defaults. Two types come out of it for each section: what was typed (`Raw…`), and what
//! the program uses.

use super::Sources;
use super::issuers::{Issuers, RawIssuer};
use super::keys::{ApiKeys, AuthKeys, RawApiKey, RawAuthKey};
use super::kind::{
    Address, Certificates, Count, Format, HttpUrl, Kind, Level, NetworkList, OptionalAddress, OptionalName, OriginList,
    Places, ProxyHeader, Readers, Size, Span, Switch, Text, TlsPort, TlsVersion,
};
use super::problem::Problems;
use super::schema::{self, Key, Section, literal, sections};
use super::tls_keys::{RawTlsKey, Secure, TlsKeys};
use crate::kit::secret::Secret;

sections! {
    /// Where agents connect, and the threads that serve them.
    server: RawServer => Server {
        /// Where agents connect (WebSocket, `/v1/agent`). Never the control port.
        listen: Address = "127.0.0.1:8080",
        /// The name of this node, which agents are told. Empty: the host's name.
        node: OptionalName = "",
        /// Event loops, a thread each. 0: one for each core, or as many as `limits.connections` needs tables of descriptors.
        loops: Places [0, 256] = 0,
        /// Worker threads. 0: half as many as there are cores, at least one.
        workers: Places [0, 1024] = 0,
        /// How long a loop looks for more to do before it sleeps. Shorter waits for agents on a core of its own, all of which it then uses while there is traffic; on a core that it shares it only takes time from the others.
        busy_poll: Span ["0s", "10ms"] = "0s",
        /// "required": every connection begins with a PROXY header, version 1 or 2, which says where it comes from; for a TCP balancer in front. "off": none does.
        proxy_protocol: ProxyHeader = "off",
        /// The networks of the balancers. Where `proxy_protocol` is required, connections from elsewhere are closed.
        proxy_from: NetworkList = [],
        /// "required": agents connect with TLS (`wss://`), with the certificates of `[[tls.keys]]`. "off": without, for a proxy in front that ends TLS.
        tls: TlsPort = "off",
        /// Web pages that may open a WebSocket, by the `Origin` that browsers send: `https://app.example.com`, or with one star for the first label, `https://*.example.com`. Any other is answered 403. A client without `Origin` is no browser and passes.
        origins: OriginList = [],
    }

    /// The HTTP API for backends and operators, on a port of its own.
    control: RawControl => Control {
        /// Where backends and operators connect. Never the agents' port.
        listen: Address = "127.0.0.1:8081",
        /// The largest request body.
        body_max: Size ["1KiB", "1GiB"] = "1MiB",
        /// Connections at once; one more is answered 503.
        connections: Places [1, 1_000_000] = 1_024,
        /// Who may read `/metrics`: "open" for everybody who reaches this port, "keyed" for API keys that may "observe".
        metrics: Readers = "open",
        /// How long a connection may rest between requests.
        idle: Span ["1s", "1day"] = "75s",
    }

    /// Control links: WebSockets of backends with high rates, which carry many calls at once.
    link: RawLink => Link {
        /// Where backends open links (WebSocket, `/v1/link`). Never the agents' or the control port. Empty: nowhere.
        listen: OptionalAddress = "",
        /// As `server.proxy_protocol`, for links.
        proxy_protocol: ProxyHeader = "off",
        /// As `server.proxy_from`, for links.
        proxy_from: NetworkList = [],
        /// As `server.tls`, for links. Backends show API keys, never certificates.
        tls: TlsPort = "off",
        /// Links at once, of each loop; one more is answered 503. Each takes a descriptor.
        connections: Count [1, 65536] = 64,
        /// Calls in flight on one link, which its `welcome` names; above it `busy`.
        window: Count [1, 1_000_000] = 1_024,
        /// The largest message from a backend; above it close code 1009.
        message_max: Size ["1KiB", "1GiB"] = "1MiB",
        /// Bytes of answers queued for a link above which no more calls are read from it, and that it may keep for `limits.write_deadline`.
        queue_soft: Size ["1KiB", "1GiB"] = "1MiB",
        /// Bytes of answers queued for a link, behind the first ones, above which it is closed as a slow consumer.
        queue_hard: Size ["1KiB", "16GiB"] = "64MiB",
    }

    /// What one peer, one tenant and the whole node may use.
    limits: RawLimits => Limits {
        /// Connections of the node. 0: as many as the descriptors of its loops allow.
        connections: Count [0, 1_000_000_000] = 0,
        /// Memory of this process above which a new connection is answered 503. 0B: nine tenths of what the machine or the control group has, of which the kernel's share for each connection is taken too.
        memory: Size ["0B", "1PiB"] = "0B",
        /// Descriptors of each loop that connections never take: for logs, the control port, and files.
        descriptors_reserve: Count [16, 65536] = 64,
        /// The largest head of an upgrade request, and of a request to the control port, which takes 8 KiB at least; above it 431.
        head_max: Size ["256B", "32KiB"] = "8KiB",
        /// The most header fields of an upgrade request, and of a request to the control port; above it 431.
        head_fields_max: Places [8, 64] = 64,
        /// The largest message from an agent; above it close code 1009.
        message_max: Size ["125B", "1GiB"] = "1MiB",
        /// The largest message of `/dev/echo`, which exists under `--dev` alone.
        echo_message_max: Size ["125B", "1GiB"] = "16MiB",
        /// Bytes queued for a slow agent that it may keep for `write_deadline`; longer, and it is closed as a slow consumer.
        queue_soft: Size ["1KiB", "1GiB"] = "64KiB",
        /// Bytes queued for an agent, behind the first frame, above which it is closed at once; a call that does not fit is `busy`.
        queue_hard: Size ["1KiB", "1GiB"] = "1MiB",
        /// How long an agent may stay above `queue_soft`.
        write_deadline: Span ["10ms", "1day"] = "10s",
        /// How long a new connection may take until its upgrade request has come whole. On the control port: until its first head has come, and for each body.
        handshake_deadline: Span ["10ms", "1h"] = "10s",
        /// How long a peer may take to answer a close frame.
        close_deadline: Span ["10ms", "1h"] = "5s",
        /// Calls in flight to one agent; above it `busy`.
        calls_per_agent: Count [1, 1_000_000] = 64,
        /// Calls in flight to all agents of one tenant; above it `busy`.
        calls_per_tenant: Count [1, 100_000_000] = 10_000,
        /// Agents of one tenant at once; one more is answered 429. 0: no limit.
        connections_per_tenant: Count [0, 1_000_000_000] = 0,
        /// Frames of one connection that a loop handles before the next connection has its turn.
        turn_frames: Count [1, 1_000_000] = 64,
        /// Bytes of one connection that a loop reads before the next connection has its turn.
        turn_bytes: Size ["4KiB", "64MiB"] = "256KiB",
        /// Bytes of all messages of agents that one loop has received a part of, and as much again for links. Above it, close code 1013 for who needs more; above half of it, for who takes longer than `write_deadline` to send one. A quarter of it bounds what a loop has read and not handled yet.
        lease_bytes: Size ["1MiB", "1TiB"] = "64MiB",
        /// Orders that wait for one loop. 0: 16,384 for all loops together, and 1,024 for each at least.
        mailbox: Places [0, 16_777_216] = 0,
        /// Batches of messages that wait for one worker.
        worker_queue: Places [16, 1_048_576] = 1_024,
        /// Bytes of messages that wait for one worker; above it, loops stop reading its connections.
        worker_queue_bytes: Size ["1MiB", "64GiB"] = "64MiB",
        /// Connections of one loop that have not finished their upgrade; above it 503.
        half_open: Places [1, 16_777_216] = 4_096,
        /// Closes of late that the node remembers, to say why an agent is gone.
        closes_kept: Places [1, 16_777_216] = 1_024,
    }

    /// When the node or a loop has too much to do, and what it leaves out then: it lets nobody else in, cuts the largest queues, closes slow peers.
    overload: RawOverload => Overload {
        /// Percent of the memory budget (`limits.memory`) from which the largest queues are cut. At 100 nobody else is let in.
        memory_shed: Count [100, 1000] = 105,
        /// Percent of the memory budget from which agents above `limits.queue_soft` are closed after `patience`.
        memory_close: Count [100, 1000] = 108,
        /// Lag of a loop, which is what becomes ready in it waits for, from which it leaves newcomers in the backlog.
        lag_refuse: Span ["1ms", "1day"] = "100ms",
        /// Lag from which the largest queues are cut.
        lag_shed: Span ["1ms", "1day"] = "500ms",
        /// Lag from which agents above `limits.queue_soft` are closed after `patience`.
        lag_close: Span ["1ms", "1day"] = "2s",
        /// How long a lag must last before anything is done.
        rise: Span ["0s", "1h"] = "2s",
        /// How long it must be calmer before a level is left for the next lower one.
        fall: Span ["0s", "1h"] = "5s",
        /// How long an agent may stay above `limits.queue_soft` then, where that is less than `limits.write_deadline`.
        patience: Span ["10ms", "1day"] = "1s",
    }

    /// How often something may happen. All limits are off (0) until you set them: whether an address is one agent or a proxy with a million of them, the gateway cannot know.
    rates: RawRates => Rates {
        /// Connections of agents that the node takes, a second; others are closed at once.
        accepts: Count [0, 10_000_000] = 0,
        /// The same, of each network prefix.
        prefix_accepts: Count [0, 10_000_000] = 0,
        /// Logins of each network prefix that may fail, a minute; above it everybody there is answered 429 before a token is looked at.
        prefix_failed_logins: Count [0, 10_000_000] = 0,
        /// Messages from each agent, a second, pings included; above it the agent is not read until there is room again, and TCP slows it down.
        agent_messages: Count [0, 10_000_000] = 0,
        /// Bytes from each agent, a second; above it as for `agent_messages`.
        agent_bytes: Size ["0B", "64GiB"] = "0B",
        /// Calls with each API key, a second; above it 429, on a link `busy`.
        key_calls: Count [0, 10_000_000] = 0,
        /// How much of a rate may come at once: what was left unused in this time.
        burst: Span ["0s", "1h"] = "10s",
        /// How many bits of an IPv4 address make a network prefix.
        prefix_v4: Count [1, 32] = 24,
        /// How many bits of an IPv6 address make a network prefix.
        prefix_v6: Count [1, 128] = 56,
        /// Network prefixes that each of the two limits on them keeps count of at once, 16 bytes each. With more, newcomers may be refused early, and nobody is let off.
        prefixes: Places [128, 16_777_216] = 65_536,
        /// Networks that the limits on accepts and failed logins leave alone.
        exempt: NetworkList = ["127.0.0.0/8", "::1"],
    }

    /// TLS at the ports where `server.tls` or `link.tls` requires it. Files are relative to this file; when one changes, it is read again.
    tls: RawTls => Tls {
        /// The oldest version that a client may speak: "1.3", or "1.2", of which each connection takes some kilobytes.
        min_version: TlsVersion = "1.3",
        /// Whether agents show certificates: "off", "optional" or "required".
        client_certificates: Certificates = "off",
        /// PEM file: the roots that agents' certificates must lead to.
        client_ca: Text = "",
        /// PEM file: revocation lists, one of each issuer on the way to a root. Empty: none is looked at.
        client_crl: Text = "",
        /// Where a certificate names its agent, and perhaps the tenant, who then needs no token: "cn:{agent} o:{tenant}", "dns:{agent}.{tenant}.agents.example.com", "uri:spiffe://example.com/{tenant}/{agent}". Fields are cn, o, ou, dns and uri. Empty: certificates name nobody.
        client_identity: Text = "",
        /// A file of ticket keys, one a line (`openssl rand -base64 32`), the first seals: nodes that share it resume each other's sessions. Empty: a key of this process' own.
        tickets: Text = "",
        /// How long a session may be resumed. "0s": none is.
        ticket_lifetime: Span ["0s", "7days"] = "1day",
        /// Handshakes of the node under way at once, and fewer where all of them at their worst (22 KiB, 70 KiB with `client_certificates`) would take more than an eighth of the memory budget; who comes later waits in line.
        handshakes: Places [1, 16_777_216] = 4_096,
        keys: RawTlsKey => TlsKeys,
    }

    /// Calls to agents.
    calls: RawCalls => Calls {
        /// How long a call waits for its reply when the backend doesn't say.
        timeout: Span ["1ms", "1day"] = "20s",
        /// The longest that a backend may ask for.
        timeout_max: Span ["1ms", "1day"] = "5m",
        /// How long an `Idempotency-Key` is remembered after its call has ended.
        idempotency_window: Span ["1s", "7days"] = "10m",
        /// Most keys remembered, those of calls in flight too. None is forgotten early: when there is no room, a call with a new key is answered 503.
        idempotency_max: Places [1, 16_777_216] = 10_000,
        /// Most bytes of answers remembered. The oldest answers are dropped first; their keys stay, and a repeat is answered 409.
        idempotency_bytes: Size ["1KiB", "64GiB"] = "16MiB",
    }

    /// How the node finds out that an agent is gone.
    heartbeat: RawHeartbeat => Heartbeat {
        /// Each agent is pinged once in this time. Many proxies cut a connection that is silent for 60s.
        interval: Span ["100ms", "7days"] = "45s",
        /// An agent that stays quiet for this long after the ping is closed.
        timeout: Span ["10ms", "1day"] = "20s",
    }

    /// permessage-deflate (RFC 7692): messages between agents and the gateway are compressed, each by itself.
    deflate: RawDeflate => Deflate {
        /// "on": with agents that offer it. "off": with nobody; who offers it is not answered.
        mode: Switch = "off",
        /// The shortest message to an agent that is compressed.
        from: Size ["1B", "1GiB"] = "256B",
        /// The longest one. A loop does nothing else while it compresses, some 0.2 ms for this much; longer messages go out as they are.
        to: Size ["1B", "1GiB"] = "64KiB",
        /// How hard to try: 1 is fast, 9 is small.
        level: Count [1, 9] = 1,
    }

    /// Agents' tokens. Without a key, agents get in only under `serve --dev`.
    auth: RawAuth => Auth {
        /// Tokens must name this in `aud`. Empty: a token that has an `aud` is meant for somebody else, and is refused.
        audience: Text = "",
        /// How far the clocks of token makers may be off.
        leeway: Span ["0s", "1h"] = "30s",
        /// The longest time from `iat` to `exp`; tokens that live longer, or do not say since when, are refused. It tells when a revocation has outlived every token that it means. 0s: no bound.
        lifetime_max: Span ["0s", "3650days"] = "0s",
        /// How long before its token runs out a connected agent is told (`token_expiring`), so that it can send a newer one (`refresh`). 0s: it is not told.
        expiry_notice: Span ["0s", "1day"] = "1m",
        keys: RawAuthKey => AuthKeys,
        issuers: RawIssuer => Issuers,
    }

    /// Fetching the keys of `[[auth.issuers]]`. What was fetched last stays in force while a source is down.
    jwks: RawJwks => Jwks {
        /// How often each source is asked. A tenth of it is drawn at random.
        refresh: Span ["1s", "7days"] = "10m",
        /// A token with an unknown key id has its issuer's source asked at once, but not again within this time. Also the first pause after a fetch that failed; pauses double up to `refresh`.
        unknown_pause: Span ["100ms", "1h"] = "10s",
        /// The longest time for one fetch.
        timeout: Span ["10ms", "1m"] = "5s",
        /// The most bytes of a set of keys.
        bytes_max: Size ["1KiB", "16MiB"] = "256KiB",
        /// The most keys in a set. A token without `kid` is checked with each key of its algorithm.
        keys_max: Places [1, 1024] = 32,
    }

    /// Asking somebody else who an agent is, for tokens that no key here vouches for. Without an answer nobody gets in.
    webhook: RawWebhook => Webhook {
        /// Where to ask (POST, `http` or `https`). Empty: nobody is asked.
        url: HttpUrl = "",
        /// A file whose text goes along as `Authorization: Bearer …`, so that the webhook knows who asks. Empty: nothing does.
        secret_file: Text = "",
        /// The longest time for one answer; and who has waited for longer in the queue is answered 503 without being asked about.
        timeout: Span ["10ms", "1m"] = "3s",
        /// How long an answer that lets an agent in is used again for the same token. 0s: never.
        allowed_kept: Span ["0s", "1day"] = "1m",
        /// How long an answer that does not is.
        refused_kept: Span ["0s", "1day"] = "10s",
        /// The most answers that are kept.
        kept_max: Places [0, 16_777_216] = 65_536,
        /// Questions at once, a thread each.
        threads: Places [1, 256] = 8,
        /// Questions that wait; above it 503.
        waiting_max: Places [1, 1_048_576] = 1_024,
        /// The most bytes of an answer.
        bytes_max: Size ["256B", "1MiB"] = "64KiB",
    }

    /// Tokens that are good by themselves and are to let nobody in any more (`POST /v1/revocations`).
    revocations: RawRevocations => Revocations {
        /// The file that they are kept in, relative to this one; it is made when it is not there. Empty: the node keeps none, and the API says so.
        file: Text = "",
        /// The most of them.
        max: Places [1, 10_000_000] = 100_000,
    }

    /// Backends' API keys. Without one, the control API answers 401 except under `serve --dev`.
    api: RawApi => Api {
        keys: RawApiKey => ApiKeys,
    }

    /// The orderly stop after SIGTERM.
    drain: RawDrain => Drain {
        /// Agents' connections are closed one by one over this long, so that they do not all reconnect at once.
        window: Span ["1ms", "1day"] = "20s",
        /// The process ends after this long, whatever is still open.
        hard_end: Span ["1ms", "1day"] = "30s",
    }

    /// The audit log: JSON lines in a file of its own that say which logins were refused, what was changed, and who called whom. Payloads and tokens are never in it.
    audit: RawAudit => Audit {
        /// The file, relative to this one; made for its owner alone. SIGUSR1 opens it anew after it was moved. Empty: no audit log.
        file: Text = "",
        /// "on": each call has a line, with its outcome and how many bytes went both ways. "off": calls have none.
        calls: Switch = "on",
        /// "on": an administrative act over the API is answered 503 and not done when its line cannot be written before. "off": it is done, and the missing line is counted.
        required: Switch = "off",
        /// Lines that wait to be written; calls leave an eighth of it to others. What does not fit is counted, and its number is written later.
        queue: Places [64, 1_048_576] = 16_384,
        /// Refused logins that have a line of their own, a second, and as many forbidden requests. Of more than that the number is written.
        refusals: Count [1, 100_000] = 100,
    }

    /// Log lines, to standard error. Tokens and payloads are never logged.
    log: RawLog => Log {
        /// "text" for people, "json" for machines.
        format: Format = "text",
        /// How much: "error", "warn", "info", "debug" or "trace".
        level: Level = "info",
    }
}

/// What the program uses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where agents connect, and the threads that serve them.
    pub server: Server,
    /// The HTTP API.
    pub control: Control,
    /// Control links of backends.
    pub link: Link,
    /// What one peer, one tenant and the whole node may use.
    pub limits: Limits,
    /// When there is too much to do.
    pub overload: Overload,
    /// How often something may happen.
    pub rates: Rates,
    /// TLS, as it was typed.
    pub tls: Tls,
    /// TLS, its files read; `None` where no port has it.
    pub secure: Option<std::sync::Arc<Secure>>,
    /// Calls to agents.
    pub calls: Calls,
    /// How the node finds out that an agent is gone.
    pub heartbeat: Heartbeat,
    /// permessage-deflate.
    pub deflate: Deflate,
    /// Agents' tokens.
    pub auth: Auth,
    /// Fetching issuers' keys.
    pub jwks: Jwks,
    /// Asking somebody else.
    pub webhook: Webhook,
    /// What the webhook knows us by; no text where there is none.
    pub webhook_secret: Secret,
    /// Revoked tokens.
    pub revocations: Revocations,
    /// Backends' API keys.
    pub api: Api,
    /// The orderly stop.
    pub drain: Drain,
    /// The audit log.
    pub audit: Audit,
    /// Log lines.
    pub log: Log,
    /// Where all of it came from, to load it again ([`super::load`]).
    pub sources: Sources,
}

impl Settings {
    /// Whether there is anything that says who an agent is: without it agents get in under `serve --dev` alone.
    #[must_use]
    pub fn knows_agents(&self) -> bool {
        let by_token = !self.auth.keys.is_empty() || !self.auth.issuers.is_empty() || !self.webhook.url.is_empty();
        by_token || !self.tls.client_identity.is_empty()
    }

    /// The longest that a token may live (`auth.lifetime_max`), in whole seconds; `None` where that has no bound. A part of a second is no
    /// bound that tokens could keep, and must not become none at all.
    #[must_use]
    pub fn lifetime_max_secs(&self) -> Option<u64> {
        let longest = self.auth.lifetime_max;
        (!longest.is_zero()).then(|| longest.as_secs().max(1))
    }

    /// Parses every value; each problem is noted. `None` when a default is no value, which a test rules out.
    pub(super) fn resolve(
        raw: &Raw,
        (auth_keys, issuers): (AuthKeys, Issuers),
        api_keys: ApiKeys,
        sources: &Sources,
        problems: &mut Problems,
    ) -> Option<Self> {
        Some(Self {
            sources: sources.clone(),
            server: Server::resolve(&raw.server, problems)?,
            control: Control::resolve(&raw.control, problems)?,
            link: Link::resolve(&raw.link, problems)?,
            limits: Limits::resolve(&raw.limits, problems)?,
            overload: Overload::resolve(&raw.overload, problems)?,
            rates: Rates::resolve(&raw.rates, problems)?,
            tls: Tls::resolve(&raw.tls, TlsKeys::resolve(&raw.tls.keys, problems), problems)?,
            secure: None,
            calls: Calls::resolve(&raw.calls, problems)?,
            heartbeat: Heartbeat::resolve(&raw.heartbeat, problems)?,
            deflate: Deflate::resolve(&raw.deflate, problems)?,
            auth: Auth::resolve(&raw.auth, auth_keys, issuers, problems)?,
            jwks: Jwks::resolve(&raw.jwks, problems)?,
            webhook: Webhook::resolve(&raw.webhook, problems)?,
            webhook_secret: Secret::default(),
            revocations: Revocations::resolve(&raw.revocations, problems)?,
            api: Api::resolve(&raw.api, api_keys, problems)?,
            drain: Drain::resolve(&raw.drain, problems)?,
            audit: Audit::resolve(&raw.audit, problems)?,
            log: Log::resolve(&raw.log, problems)?,
        })
    }
}
