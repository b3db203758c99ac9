//! Somebody wants to come in: who is it, and is it let in?

use std::time::Duration;

use metrics::counter;

use crate::audit::Login;
use crate::auth::token::{self, Claims, Refused};
use crate::directory::NewAgent;
use crate::kit::ids::ConnId;
use crate::kit::metric;
use crate::kit::retry_after::retry_after_secs;
use crate::kit::tick::Now;
use crate::net::mailbox::{Admission, Order};
use crate::session::effect::Greeting;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{self, Offer, Refusal};
use crate::work::answers::Answers;
use crate::work::dispatch::Dispatch;

use super::link;

/// The limit on a tenant's agents, in the metric and in the log.
const TENANT_AGENTS: &str = "tenant_connections";
/// Nobody knows when an agent of a tenant will leave: those who wait ask again at this pace.
const TENANT_FULL_WAIT: Duration = Duration::from_secs(30);

pub(in crate::work) fn apply(dispatch: &Dispatch, answers: &mut Answers, conn: ConnId, greeting: &Greeting, now: Now) {
    if dispatch.is_draining() {
        return answers.push(conn, Order::Refuse { conn, refusal: Refusal::Unavailable });
    }
    let (gate, clock) = (dispatch.gate(), dispatch.clock());
    if greeting.door == Door::Links {
        return match gate.identify_backend(greeting) {
            Ok(linker) => match link::admit(dispatch, answers, conn, greeting, &linker) {
                Ok(()) => {}
                Err(refused) => refuse(dispatch, answers, (conn, greeting), refused, now),
            },
            Err(refused) => refuse(dispatch, answers, (conn, greeting), refused, now),
        };
    }
    match gate.identify(greeting, clock.unix_ms(now) / 1000) {
        // As long as the token would let it in again, it may stay.
        Ok(claims) => {
            let ends_unix = claims.expires_unix.saturating_add(gate.leeway_secs);
            let expires = (claims.expires_unix != u64::MAX).then(|| clock.at_unix_secs(ends_unix));
            admit(dispatch, answers, (conn, greeting), &claims, expires, now);
        }
        Err(refused) => refuse(dispatch, answers, (conn, greeting), refused, now),
    }
}

/// Who asks, and on which connection.
type Knocking<'a> = (ConnId, &'a Greeting);

fn refuse(dispatch: &Dispatch, answers: &mut Answers, (conn, greeting): Knocking<'_>, refused: Refused, now: Now) {
    // The cause is for the operator alone; every peer reads the same 401. A browser knows which page it shows.
    if let Some(left_out) = dispatch.may_log_refusal(now) {
        let peer = greeting.peer.map(tracing::field::display);
        tracing::info!(?conn, peer, cause = ?refused, left_out, "upgrade refused");
    }
    // Who the token names is believed where its signature was right, and nowhere else.
    let token = greeting.token.as_deref().filter(|_| greeting.door == Door::Agents && refused.is_of_a_signed_token());
    let agent = token.and_then(token::claimed_agent);
    let login = Login { agent, ..Login::of_a_stranger(door(greeting.door), refused.label(), greeting.peer) };
    dispatch.login_refused(now, login);
    let refusal = if refused == Refused::Origin { Refusal::Forbidden } else { Refusal::Unauthorized };
    answers.push(conn, Order::Refuse { conn, refusal });
}

/// The port, in the audit log.
fn door(door: Door) -> &'static str {
    match door {
        Door::Agents => "agents",
        Door::Links => "links",
    }
}

/// The tenant has as many agents as it may.
fn turn_away(dispatch: &Dispatch, answers: &mut Answers, (conn, greeting): Knocking<'_>, claims: &Claims, now: Now) {
    if let Some(left_out) = dispatch.may_log_refusal(now) {
        let peer = greeting.peer.map(tracing::field::display);
        tracing::info!(
            ?conn,
            peer,
            tenant = claims.tenant,
            limit = TENANT_AGENTS,
            left_out,
            "connection refused by a limit"
        );
    }
    counter!(metric::SHED, "limit" => TENANT_AGENTS).increment(1);
    let login = Login {
        agent: Some(format!("{}/{}", claims.tenant, claims.agent)),
        ..Login::of_a_stranger(door(greeting.door), TENANT_AGENTS, greeting.peer)
    };
    dispatch.audit().login_refused(now, login);
    let retry_after_secs = retry_after_secs(TENANT_FULL_WAIT, conn.bits());
    answers.push(conn, Order::Refuse { conn, refusal: Refusal::TenantFull { retry_after_secs } });
}

fn admit(
    dispatch: &Dispatch,
    answers: &mut Answers,
    (conn, greeting): Knocking<'_>,
    claims: &Claims,
    expires: Option<Now>,
    now: Now,
) {
    let encoding = match greeting.offer {
        Offer::Nothing => Encoding::Json,
        Offer::Ours(encoding) => encoding,
    };
    let tenant = dispatch.directory.tenant(&claims.tenant);
    let agent = NewAgent { tenant, id: &claims.agent, labels: &claims.labels, conn, encoding };
    let Ok(joined) = dispatch.directory.join(&agent) else {
        return turn_away(dispatch, answers, (conn, greeting), claims, now);
    };
    if let Some(old) = joined.replaced {
        counter!(metric::REPLACED).increment(1);
        tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, conn = ?old, by = ?conn, "agent replaced");
        answers.push(old, Order::Close { conn: old, reason: Reason::Replaced, last_words: None });
    }
    let peer = greeting.peer.map(tracing::field::display);
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, peer, "agent connected");
    let mut response = upgrade::switching(greeting.accept, greeting.offer, greeting.deflate).to_vec();
    response.extend_from_slice(&dispatch.welcome(conn, encoding));
    let admission = Admission { conn, agent: joined.slot, encoding, expires, response: response.into() };
    answers.push(conn, Order::Admit(Box::new(admission)));
}
