"""The bugs that scripts/mutants plants: where, what stands there, what takes its place, and the tests that have to find it.

Of a text, which must stand in its file exactly once, «old⇒new» is an expression and ‹old⇒new› statements, or the end of a block.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    name: str
    file: str
    text: str
    # Filters of `cargo test --lib`.
    tests: tuple = ("sim::seeds",)


TLS = ("net::tls",)

BUGS = [
    # ---- the event loop, and what meets there ----
    Bug("forgotten-dirty-mark", "src/net/event_loop/carry_out.rs", "            ‹self.dirty.push(token);⇒›"),
    Bug("generation-ignored", "src/net/event_loop/carry_out.rs", ".filter(|conn| «conn.generation == token.generation⇒true»)"),
    Bug("flag-lowered-after-the-look", "src/net/wake.rs", """‹self.put(false);
        fence(Ordering::SeqCst);
        is_empty()⇒let empty = is_empty();
        self.put(false);
        fence(Ordering::SeqCst);
        empty›""", ("net::wake",)),
    Bug("no-unclaim", "src/net/outbox.rs", "‹delivery.unclaim();⇒›"),
    Bug("not-written-unsaid", "src/net/event_loop/reap.rs",
        "‹outbox.clear(|call| self.intake.push(id, Event::NotWritten { call }));⇒outbox.clear(|_| {});›"),
    Bug("cut-call-not-given-up", "src/net/outbox.rs", """    pub fn clear(&mut self, mut not_written: impl FnMut(CallId)) {
        for segment in self.segments.drain(..) {
            if let Some((call, delivery)) = segment.call {
                ‹delivery.give_up();⇒›"""),
    Bug("end-of-stream-ignored", "src/net/event_loop/read.rs", "if «ended⇒false» { Until::Refused } else { Until::Short }"),
    Bug("kept-bytes-dropped-at-the-end", "src/net/event_loop/read.rs", "_ if kept > 0 => («kept⇒SCRATCH_BYTES», Behind::More),"),
    Bug("not-armed-again", "src/net/event_loop/flush.rs", ".rewatch(&mut conn.stream, token, «Watch::ReadWrite⇒Watch::Read»)"),
    Bug("not-read-after-admission", "src/net/event_loop/carry_out.rs", "«!before.reads()⇒false» || "),
    Bug("not-read-after-catching-up", "src/net/event_loop/flush.rs", "if «caught_up⇒caught_up && self.stopping» {"),
    Bug("soft-mark-not-timed", "src/net/event_loop/flush.rs", "            if outbox.armed {\n                ‹outbox.measure(queue_soft, self.now.tick());⇒›"),
    Bug("listener-after-the-stop", "src/net/event_loop/accept.rs", """            ‹accepting.more |= !accepting.stopped && self.ready.contains(&Ready::Listener(door));⇒accepting.more |= self.ready.contains(&Ready::Listener(door));›
            if accepting"""),
    Bug("answers-for-links-not-collected", "src/work/dispatch.rs", "        ‹self.links.collect(answers);⇒›"),
    Bug("first-answer-of-a-link-not-noted", "src/work/links.rs", "if «begun == Begun::Now⇒begun == Begun::Now && lock(&self.state).flights.len() > 1» {"),
    Bug("begun-frame-cut-off", "src/net/outbox.rs", "        let keep = «self.fixed_frames()⇒0»;"),
    Bug("foreign-reply-believed", "src/calls/shard.rs", "if «self.calls.get(&call)?.conn != conn⇒false» {"),
    Bug("old-connection-takes-the-agent-along", "src/directory/table.rs", "if «self.entries.get(index)?.conn != conn⇒false» {"),
    Bug("rested-agent-not-read", "src/net/event_loop/read.rs", """                ‹self.read_again(token);⇒›
            }
        }
        // Those that waited"""),
    Bug("header-not-cut-off", "src/net/event_loop/arrive.rs", "‹self.scratch.copy_within(header.bytes..count, 0);⇒›"),
    Bug("source-not-forgotten", "src/net/event_loop/reap.rs", "‹self.sources.forget(token.slot);⇒›"),
    Bug("alarm-not-moved-forward", "src/work/alarm.rs", "«deadline.0 < self.planned.load(Ordering::Relaxed)⇒deadline.0 > self.planned.load(Ordering::Relaxed)»"),

    # ---- TLS ----
    Bug("tls-numbers-not-counted", "src/net/tls/counter.rs", "        ‹self.0 += 1;⇒›", TLS),
    Bug("tls-key-update-not-answered", "src/net/tls/at_rest.rs", "if «asks⇒false» { OWED_TOLD } else { owed }", TLS),
    Bug("tls-key-of-the-peer-not-changed", "src/net/tls/at_rest.rs",
        "‹self.suite().next_secret(&mut self.rx.secret).map_err(|_| Alert::InternalError)?;⇒›", TLS),
    Bug("tls-own-key-not-changed-behind-its-update", "src/net/tls/at_rest.rs",
        "‹self.suite().next_secret(&mut self.tx.secret).map_err(|_| Spent)?;⇒›", TLS),
    Bug("tls-own-key-kept-for-ever", "src/net/tls/at_rest.rs", "_ if «self.tx.counter.number() >= SEALED_RECORDS_MAX⇒false» =>", TLS),
    Bug("tls-old-key-of-the-peer-never-minded", "src/net/tls/at_rest.rs", "if «self.rx.counter.number() == OPENED_RECORDS_MAX⇒false» {", TLS),
    Bug("tls-close-notify-ignored", "src/net/tls/at_rest.rs", """            Inner::CloseNotify => {
                ‹self.rx.counter.mark(ENDED, ENDED);
                Ok(Opened::Closed)⇒self.idle().map(|()| Opened::Nothing)›""", TLS),
    Bug("tls-heard-after-the-end", "src/net/tls/at_rest.rs", "if «self.rx.counter.marks(ENDED) != 0⇒false» {", TLS),
    Bug("tls-sealed-after-the-end", "src/net/tls/at_rest.rs", "‹self.tx.counter.marks(CLOSED) != 0⇒false›", TLS),
    Bug("tls-idle-records-not-counted", "src/net/tls/at_rest.rs", "if «idle > IDLE_RECORDS_MAX * IDLE_ONE⇒false» {", TLS),
    Bug("tls-idle-records-never-forgiven", "src/net/tls/at_rest.rs", "‹self.rx.counter.mark(IDLE, 0);⇒›", TLS),
    Bug("tls-clear-records-not-refused", "src/net/tls/at_rest.rs", "if «head[0] != APPLICATION_DATA⇒false» {", TLS),
    Bug("tls-records-of-17k-sealed", "src/net/tls/at_rest.rs", "pieces.left().min(«PLAIN_BYTES_MAX⇒PLAIN_BYTES_MAX + 1024») + 1", TLS),
    Bug("tls-content-type-not-checked", "src/net/tls/inner.rs", """        HANDSHAKE => handshake(content),
        _ => «Err(Alert::UnexpectedMessage)⇒Ok(Inner::Data(0..end))»,""", TLS),
    Bug("tls-inner-cap-off-by-one", "src/net/tls/inner.rs", "if plain.len() > PLAIN_BYTES_MAX + «1⇒2» {", TLS),
    Bug("tls-record-cap-off-by-one", "src/net/tls/record.rs", "if body_bytes > «BODY_BYTES_MAX⇒BODY_BYTES_MAX + 1» {", TLS),
    Bug("tls-handshake-without-a-bound", "src/net/tls/handshake.rs", ".checked_sub(«bytes.len()⇒0»);", TLS),
    Bug("tls-resumed-certificate-not-checked", "src/net/tls/handshake.rs", "if «!client.resumed⇒true» {", TLS),
    Bug("tls-ticket-without-an-end", "src/net/tls/tickets.rs", "«now.saturating_sub(made) <= u64::from(self.lifetime)⇒true»", TLS),
    Bug("tls-ticket-for-any-listener", "src/net/tls/resumption.rs",
        "‹context.copy_from_slice(&hash.finish().as_ref()[..CONTEXT_BYTES]);⇒let _ = hash;›", TLS),
    Bug("tls-bad-record-not-answered", "src/net/event_loop/unseal.rs", "‹records.fail(ciphers, alert, &mut bytes);⇒let _ = ciphers;›", ("sim::records",)),
    Bug("tls-update-owed-and-never-paid", "src/net/event_loop/unseal.rs", "Then::Owes => «self.stir(token)⇒()»,", ("sim::records",)),
    Bug("tls-no-goodbye-to-who-closes", "src/net/event_loop/unseal.rs", "Opened::Closed => «then = Then::Closed⇒()»,", ("sim::records",)),
    Bug("handshakes-all-in-one-turn", "src/net/event_loop/shake.rs", "if «self.step(token) == Cost::Dear⇒self.step(token) == Cost::Dear && self.stopping» {", ("sim::line",)),

    # ---- who may come in, and what they may do ----
    Bug("hidden-agents-reached", "src/auth/permissions.rs", "(labels::all_hold(&self.agents, labels), «Ruling::Hidden⇒Ruling::Allowed»)", ("auth::permissions",)),
    Bug("labels-not-looked-at", "src/work/dispatch/reach.rs", "        if «by.permissions().conditions().is_empty()⇒true» {\n            let found = ", ("control::tests",)),
    Bug("methods-not-looked-at", "src/auth/permissions.rs", "self.has(Right::Call) && «are_listed(self.methods.as_deref(), method)⇒true»", ("auth::permissions",)),
    Bug("a-route-without-its-right", "src/control/admit.rs", "match by.permissions().may(Act::Use(«right⇒Right::Call»)) {", ("control::tests",)),
    Bug("origin-not-looked-at", "src/work/gate.rs", "‹self.check_origin(greeting, self.openness == Openness::Dev)?;⇒›", ("work::gate",)),
    Bug("origin-of-links-not-looked-at", "src/work/gate.rs", "‹self.check_origin(greeting, matches!(self.backends, Backends::Dev))?;⇒›", ("work::gate",)),
    Bug("a-star-for-many-labels", "src/wire/origins.rs", "«is_label(label)⇒true» && end.eq_ignore_ascii_case(rest)", ("wire::origins",)),
    Bug("an-expired-token-let-in", "src/auth/claims.rs", "if «now_unix >= end⇒now_unix > end» {", ("auth::",)),
    Bug("a-live-token-without-an-end", "src/session/expiry.rs", "Ok(0) => «Demand::End⇒Demand::Nothing»,", ("sim::expiring",)),
    Bug("a-late-answer-of-the-webhook-believed", "src/work/handlers/knock.rs", "if «ends_unix.is_some_and(|ends| ends <= moment.unix_secs)⇒false» {", ("work::tests",)),
    Bug("the-algorithm-of-the-header-believed", "src/auth/jws.rs", "of_id.find(|key| «key.algorithm == algorithm⇒true»)", ("auth::",)),
    Bug("critical-headers-passed-over", "src/auth/token.rs", "if «header.crit.is_some()⇒false» {", ("auth::",)),
    Bug("a-key-for-any-tenant", "src/auth/token.rs", "Some(only) if «*only != claims.tenant⇒false» =>", ("auth::",)),
    Bug("a-no-of-the-webhook-is-a-yes", "src/work/webhook/answer.rs", "if «!json.allow⇒false» {", ("work::webhook",)),
    Bug("a-certificate-and-any-token", "src/work/gate.rs", "if «login.claims.agent != *agent || login.claims.tenant != tenant⇒false» {", ("work::gate",)),
    Bug("revoked-agents-stay", "src/work/revocation_keeper.rs", "let closed = «end_live(dispatch, &revocation.ban)⇒0»;", ("work::revocation_keeper",)),
    Bug("a-token-revoked-by-id-is-any", "src/work/revocation_keeper.rs", "token.is_some_and(|token| «mark.has_id(token)⇒token > 0»)", ("work::revocation_keeper",)),
    Bug("revocations-hold-for-all-tenants", "src/revocations/set.rs",
        "let ids = «self.by_target.get(&(shown.tenant.to_owned(), target))⇒self.by_target.iter().find(|(meant, _)| meant.1 == target).map(|(_, ids)| ids)»;", ("revocations::",)),
    Bug("a-refreshed-token-that-has-ended", "src/work/handlers/refresh.rs", "if «ends_unix.is_some_and(|ends| ends <= moment.unix_secs)⇒false» {", ("work::tests",)),
    Bug("a-refreshed-token-of-somebody-else", "src/work/handlers/refresh.rs", "if «!dispatch.directory.renew(&agent)⇒false» {", ("work::tests",)),

    # ---- limits ----
    Bug("a-bucket-that-never-refuses", "src/kit/token_bucket.rs", "«(after > limit)⇒false».then(", ("kit::token_bucket",)),
    Bug("a-prefix-never-refused", "src/net/arrivals.rs", "«prefixes.take(now, source).is_err()⇒false»", ("net::arrivals",)),
    Bug("failed-logins-not-counted", "src/net/arrivals.rs", "‹failed.charge(now, source);⇒let _ = failed;›", ("net::arrivals",)),
    Bug("a-header-from-anywhere", "src/net/arrivals.rs", "Some(balancers) if «balancers.contain(peer)⇒true» =>", ("net::arrivals",)),
    Bug("pieces-of-a-message-not-summed", "src/wire/decoder.rs", "if «message.bytes⇒head.payload_bytes» > message_bytes_max {", ("wire::decoder",)),
    Bug("a-bomb-inflated", "src/wire/deflate.rs", "if «*plain > bytes_max⇒false» {", ("wire::deflate",)),
    Bug("overload-without-hysteresis", "src/kit/overload.rs", "mark.is_some_and(|mark| number < «mark.leave⇒mark.enter»)", ("kit::overload",)),
    Bug("overload-without-patience", "src/kit/overload.rs", "if «now.since(since) >= ladder.rise⇒true» {", ("kit::overload",)),
    Bug("refusals-with-a-line-each", "src/audit/desk.rs", "Kind::Login => «logins.step(at).is_none()⇒false»,", ("audit::",)),
]
