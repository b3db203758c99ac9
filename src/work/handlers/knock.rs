//! Somebody wants to come in: who is it, and is it let in?

use metrics::counter;

use crate::auth::token::{Claims, Refused};
use crate::directory::NewAgent;
use crate::kit::ids::ConnId;
use crate::kit::metric;
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

pub(in crate::work) fn apply(dispatch: &Dispatch, answers: &mut Answers, conn: ConnId, greeting: &Greeting, now: Now) {
    if dispatch.is_draining() {
        return answers.push(conn, Order::Refuse { conn, refusal: Refusal::Unavailable });
    }
    let (gate, clock) = (dispatch.gate(), dispatch.clock());
    if greeting.door == Door::Links {
        return match gate.identify_backend(greeting) {
            Ok(linker) => link::admit(dispatch, answers, conn, greeting, &linker),
            Err(refused) => refuse(dispatch, answers, conn, refused, now),
        };
    }
    match gate.identify(greeting, clock.unix_ms(now) / 1000) {
        // As long as the token would let it in again, it may stay.
        Ok(claims) => {
            let ends_unix = claims.expires_unix.saturating_add(gate.leeway_secs);
            let expires = (claims.expires_unix != u64::MAX).then(|| clock.at_unix_secs(ends_unix));
            admit(dispatch, answers, conn, greeting, &claims, expires);
        }
        Err(refused) => refuse(dispatch, answers, conn, refused, now),
    }
}

fn refuse(dispatch: &Dispatch, answers: &mut Answers, conn: ConnId, refused: Refused, now: Now) {
    // The cause is for the operator alone; every peer reads the same 401.
    if let Some(left_out) = dispatch.may_log_refusal(now) {
        tracing::info!(?conn, cause = ?refused, left_out, "upgrade refused");
    }
    counter!(metric::AUTH_FAILURES, "cause" => refused.label()).increment(1);
    answers.push(conn, Order::Refuse { conn, refusal: Refusal::Unauthorized });
}

fn admit(
    dispatch: &Dispatch,
    answers: &mut Answers,
    conn: ConnId,
    greeting: &Greeting,
    claims: &Claims,
    expires: Option<Now>,
) {
    let encoding = match greeting.offer {
        Offer::Nothing => Encoding::Json,
        Offer::Ours(encoding) => encoding,
    };
    let tenant = dispatch.directory.tenant(&claims.tenant);
    let agent = NewAgent { tenant, id: &claims.agent, labels: &claims.labels, conn, encoding };
    let joined = dispatch.directory.join(&agent);
    if let Some(old) = joined.replaced {
        counter!(metric::REPLACED).increment(1);
        tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, conn = ?old, by = ?conn, "agent replaced");
        answers.push(old, Order::Close { conn: old, reason: Reason::Replaced, last_words: None });
    }
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, "agent connected");
    let mut response = upgrade::switching(greeting.accept, greeting.offer).to_vec();
    response.extend_from_slice(&dispatch.welcome(conn, encoding));
    let admission = Admission { conn, agent: joined.slot, encoding, expires, response: response.into() };
    answers.push(conn, Order::Admit(Box::new(admission)));
}
