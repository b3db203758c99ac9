//! An agent that is in shows a newer token.
//!
//! Owns what a newer token must be: good, of the same tenant and agent, and not revoked. One that is not changes nothing, and the
//! connection lives on until the token before it ends; it is a refused login all the same, and is counted and written down as one.

use std::borrow::Cow;

use metrics::counter;
use serde::Deserialize;

use crate::auth::token::{Login, Refused, TOKEN_BYTES_MAX};
use crate::directory::NewAgent;
use crate::kit::ids::ConnId;
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::net::mailbox::{Order, Renewal};
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::wire::envelope::link_side::ID_BYTES_MAX;
use crate::wire::envelope::{self, Encoding, Fault, Outbound, Payload};
use crate::work::answers::Answers;
use crate::work::dispatch::Dispatch;
use crate::work::put_off::Shown;
use crate::work::webhook::{Asker, Decision};

/// What an agent asks for by this name.
pub(in crate::work) const METHOD: &str = "refresh";

/// Who asks: its connection, how its envelopes are written, and the id of its request.
type Asking<'a> = (ConnId, Encoding, &'a [u8]);

/// Parameters of `refresh`.
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
}

/// Why a token is not taken.
enum NotTaken {
    /// It is refused.
    Refused(Refused),
    /// Whoever would say cannot be asked now.
    Later,
}

/// An agent shows a token: it waits until others have been heard.
///
/// # Errors
/// What the agent is told now: then nothing is kept of it. A second token while the first is being checked is not even looked at.
pub(in crate::work) fn put_off(
    dispatch: &Dispatch,
    answers: &mut Answers,
    (conn, encoding, id): Asking<'_>,
    params: Payload<'_>,
    now: Now,
) -> Result<(), Fault> {
    // It is kept until the token is checked, maybe by the webhook: a message may be made of nothing else.
    if id.len() > ID_BYTES_MAX {
        return Err(Fault::Invalid);
    }
    let place = dispatch.checking().begin(conn).ok_or(Fault::Underway)?;
    let Params { token } = serde_json::from_slice(params.bytes).map_err(|_| Fault::Params)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(fault_of(dispatch, answers, conn, NotTaken::Refused(Refused::Unverified), now));
    }
    let shown = Shown { conn, encoding, id: id.to_vec(), token: token.into_owned().into(), place: Some(place) };
    if answers.1.push(shown) { Ok(()) } else { Err(Fault::Later) }
}

/// Checks a token that was put off, and tells the agent.
pub(in crate::work) fn apply(dispatch: &Dispatch, answers: &mut Answers, mut shown: Shown, now: Now) {
    let clock = dispatch.clock();
    clock.follow_wall();
    match dispatch.gate().vouch(&shown.token, clock.unix_ms(now) / 1000) {
        Ok(login) => {
            let taken = renew(dispatch, answers, &mut shown, &login, now);
            tell(dispatch, answers, &shown, taken, now);
        }
        Err(Refused::Unverified) => ask(dispatch, answers, shown, now),
        Err(why) => tell(dispatch, answers, &shown, Err(NotTaken::Refused(why)), now),
    }
}

/// No key vouches for the token. Where there is a webhook, it may.
fn ask(dispatch: &Dispatch, answers: &mut Answers, shown: Shown, now: Now) {
    let Some(webhook) = dispatch.webhook() else {
        return tell(dispatch, answers, &shown, Err(NotTaken::Refused(Refused::Unverified)), now);
    };
    if let Some(decision) = webhook.remembered(&shown.token, now) {
        return decided(dispatch, answers, shown, Some(decision), now);
    }
    if let Err(Asker::Refresh(shown)) = webhook.ask(Asker::Refresh(shown), now) {
        decided(dispatch, answers, shown, None, now);
    }
}

/// What the webhook said, on whichever thread; `None` when it could not be asked.
pub(in crate::work) fn decided(
    dispatch: &Dispatch,
    answers: &mut Answers,
    mut shown: Shown,
    decision: Option<Decision>,
    now: Now,
) {
    let taken = match decision {
        Some(Decision::Allowed(login)) => renew(dispatch, answers, &mut shown, &login, now),
        Some(Decision::Refused) => Err(NotTaken::Refused(Refused::Denied)),
        None => Err(NotTaken::Later),
    };
    tell(dispatch, answers, &shown, taken, now);
}

/// Tells the agent of a token that was not taken. Of one that was, its loop tells: that knows when the connection really ends.
fn tell(dispatch: &Dispatch, answers: &mut Answers, shown: &Shown, taken: Result<(), NotTaken>, now: Now) {
    let Shown { conn, encoding, id, .. } = shown;
    if let Err(why) = taken {
        let fault = fault_of(dispatch, answers, *conn, why, now);
        let frame = envelope::encode(*encoding, &Outbound::Refusal { id, fault });
        answers.push(*conn, Order::Send { conn: *conn, frame });
    }
}

/// The cause is counted and written down, and the agent is not told: it may not be the one who is meant to read it.
fn fault_of(dispatch: &Dispatch, answers: &mut Answers, conn: ConnId, why: NotTaken, now: Now) -> Fault {
    match why {
        NotTaken::Later => Fault::Later,
        NotTaken::Refused(why) => {
            dispatch.refresh_refused(answers, conn, why, now);
            if why == Refused::Pending { Fault::Later } else { Fault::Token }
        }
    }
}

fn renew(
    dispatch: &Dispatch,
    answers: &mut Answers,
    shown: &mut Shown,
    login: &Login,
    now: Now,
) -> Result<(), NotTaken> {
    let (Login { claims, ends_unix }, conn, encoding) = (login, shown.conn, shown.encoding);
    let (revocations, moment) = (dispatch.revocations(), dispatch.moment(now));
    if ends_unix.is_some_and(|ends| ends <= moment.unix_secs) {
        return Err(NotTaken::Refused(Refused::Expired));
    }
    if revocations.means(claims, moment) {
        return Err(NotTaken::Refused(Refused::Revoked));
    }
    let tenant = dispatch.directory.tenant(&claims.tenant);
    let token = revocations.mark(claims);
    let (name, labels, methods) = (claims.agent.as_str(), claims.labels.as_slice(), claims.methods.as_deref());
    let agent = NewAgent { tenant, id: name, labels, methods, conn, encoding, token };
    // The directory knows whose connection this is: a token of anybody else finds another one there, or none.
    if !dispatch.directory.renew(&agent) {
        return Err(NotTaken::Refused(Refused::Claims));
    }
    if revocations.means(claims, moment) {
        // It came between: as at the door, one of the two sides sees the other.
        answers.push(conn, Order::Close { conn, reason: Reason::Revoked, last_words: None });
        return Ok(());
    }
    counter!(metric::REFRESHES, "result" => "ok").increment(1);
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, "token refreshed");
    let (id, held) = (std::mem::take(&mut shown.id), Box::new(shown.place.take()));
    let renewal = Renewal { conn, expiry: Expiry::at(*ends_unix), encoding, id, held };
    answers.push(conn, Order::Renew(Box::new(renewal)));
    Ok(())
}
