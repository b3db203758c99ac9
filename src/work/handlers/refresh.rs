//! An agent that is in shows a newer token.
//!
//! Owns what a newer token must be: good, of the same tenant and agent, and not revoked. One that is not changes nothing, and the
//! connection lives on until the token before it ends.

use std::borrow::Cow;

use metrics::counter;
use serde::Deserialize;

use crate::auth::token::{Login, Refused, TOKEN_BYTES_MAX};
use crate::directory::NewAgent;
use crate::kit::ids::ConnId;
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::net::mailbox::Order;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::wire::envelope::{self, Encoding, Fault, Outbound, Payload};
use crate::work::answers::Answers;
use crate::work::dispatch::Dispatch;
use crate::work::put_off::Shown;
use crate::work::webhook::{Asked, Asker, Decision};

/// What an agent asks for by this name.
pub(in crate::work) const METHOD: &str = "refresh";

/// Who asks: its connection, how its envelopes are written, and the id of its request.
pub(in crate::work) type Asking<'a> = (ConnId, Encoding, &'a [u8]);

/// Parameters of `refresh`.
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

/// The token that a request shows.
///
/// # Errors
/// It shows none, or one that is too long to be any: those are not kept.
pub(in crate::work) fn token_of(params: Payload<'_>) -> Result<String, Fault> {
    let Params { token } = serde_json::from_slice(params.bytes).map_err(|_| Fault::Params)?;
    if token.len() > TOKEN_BYTES_MAX { Err(refused(Refused::Unverified)) } else { Ok(token.into_owned()) }
}

/// Checks a token that was put off, and tells the agent.
pub(in crate::work) fn apply(dispatch: &Dispatch, answers: &mut Answers, shown: &Shown, now: Now) {
    if let Some(fault) = check(dispatch, answers, shown, now) {
        refuse(answers, (shown.conn, shown.encoding, &shown.id), fault);
    }
}

fn refuse(answers: &mut Answers, (conn, encoding, id): Asking<'_>, fault: Fault) {
    let frame = envelope::encode(encoding, &Outbound::Refusal { id, fault });
    answers.push(conn, Order::Send { conn, frame });
}

fn check(dispatch: &Dispatch, answers: &mut Answers, shown: &Shown, now: Now) -> Option<Fault> {
    let clock = dispatch.clock();
    clock.follow_wall();
    let Shown { conn, encoding, id, token } = shown;
    let asking = (*conn, *encoding, id.as_slice());
    let asker = || Asker::Refresh { conn: *conn, encoding: *encoding, id: id.clone(), token: token.clone() };
    let asked = match dispatch.gate().vouch(token, clock.unix_ms(now) / 1000) {
        Ok(login) => return renew(dispatch, answers, asking, &login, now),
        Err(Refused::Unverified) => dispatch.webhook().map(|webhook| webhook.ask(token, now, asker)),
        Err(why) => return Some(refused(why)),
    };
    match asked {
        None => Some(refused(Refused::Unverified)),
        Some(Asked::Underway) => None,
        Some(Asked::Shed) => Some(Fault::Later),
        Some(Asked::Known(Decision::Allowed(login))) => renew(dispatch, answers, asking, &login, now),
        Some(Asked::Known(Decision::Refused)) => Some(refused(Refused::Denied)),
    }
}

/// What the webhook said, on a thread of its own; `None` when it could not be asked.
pub(in crate::work) fn decided(
    dispatch: &Dispatch,
    answers: &mut Answers,
    asking: Asking<'_>,
    decision: Option<Decision>,
    now: Now,
) {
    let fault = match decision {
        Some(Decision::Allowed(login)) => renew(dispatch, answers, asking, &login, now),
        Some(Decision::Refused) => Some(refused(Refused::Denied)),
        None => Some(Fault::Later),
    };
    if let Some(fault) = fault {
        refuse(answers, asking, fault);
    }
}

fn refused(why: Refused) -> Fault {
    // The cause is counted, and the agent is not told: it may not be the one who is meant to read it.
    counter!(metric::REFRESHES, "result" => why.label()).increment(1);
    if why == Refused::Pending { Fault::Later } else { Fault::Token }
}

fn renew(
    dispatch: &Dispatch,
    answers: &mut Answers,
    (conn, encoding, id): Asking<'_>,
    login: &Login,
    now: Now,
) -> Option<Fault> {
    let Login { claims, ends_unix } = login;
    let (revocations, now_unix) = (dispatch.revocations(), dispatch.clock().unix_ms(now) / 1000);
    if ends_unix.is_some_and(|ends| ends <= now_unix) {
        return Some(refused(Refused::Expired));
    }
    if revocations.means(claims, now_unix) {
        return Some(refused(Refused::Revoked));
    }
    let tenant = dispatch.directory.tenant(&claims.tenant);
    let token = revocations.mark(claims);
    let agent = NewAgent { tenant, id: &claims.agent, labels: &claims.labels, conn, encoding, token };
    // The directory knows whose connection this is: a token of anybody else finds another one there, or none.
    if !dispatch.directory.renew(&agent) {
        return Some(refused(Refused::Claims));
    }
    if revocations.means(claims, now_unix) {
        // It came between: as at the door, one of the two sides sees the other.
        answers.push(conn, Order::Close { conn, reason: Reason::Revoked, last_words: None });
        return None;
    }
    counter!(metric::REFRESHES, "result" => "ok").increment(1);
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, "token refreshed");
    answers.push(conn, Order::Renew { conn, expiry: Expiry::at(*ends_unix) });
    let left_ms = ends_unix.map(|ends| ends.saturating_sub(now_unix).saturating_mul(1000));
    let result = serde_json::json!({ "expires_in_ms": left_ms }).to_string();
    let result = Payload { bytes: result.as_bytes(), json: true };
    let frame = envelope::encode(encoding, &Outbound::Answer { id, result });
    answers.push(conn, Order::Send { conn, frame });
    None
}
