//! Somebody wants to come in: who is it, and is it let in?

use std::time::Duration;

use metrics::counter;

use crate::audit;
use crate::auth::token::{Claims, Login, Refused, TOKEN_BYTES_MAX};
use crate::directory::{LastClose, NewAgent, NotJoined};
use crate::kit::ids::{AgentSlot, ConnId};
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::net::mailbox::{Admission, Order};
use crate::session::effect::Greeting;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::session::rules::Door;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::{self, Offer, Refusal};
use crate::work::answers::Answers;
use crate::work::dispatch::Dispatch;
use crate::work::gate::{self, Gate};
use crate::work::pending_logins::Pending;
use crate::work::webhook::{Asker, Decision};

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
    // The wall may have been set since anybody looked.
    clock.follow_wall();
    judge_pending(dispatch, &gate, now);
    // Before the token is looked at: keys that come meanwhile are a reason to look again.
    let fetches = gate.verifier.fetches();
    match gate.identify(greeting, clock.unix_ms(now) / 1000) {
        Ok(login) => admit(dispatch, answers, (conn, greeting), &login, now),
        Err(Refused::Unverified) => ask(dispatch, answers, (conn, greeting), now),
        Err(refused) => {
            if let (Refused::Pending, Some(token), Some(held_to)) = (refused, &greeting.token, greeting.held_to) {
                let pending = Pending { token: token.clone(), peer: greeting.peer, held_to };
                dispatch.pending_logins().keep(pending, fetches);
            }
            refuse(dispatch, answers, (conn, greeting), refused, now);
        }
    }
}

/// Keys have been fetched: those tokens that were shown before are judged by them, and who showed a forged one has failed to log in. Where
/// a webhook may vouch for it, only that could say, and it is asked when somebody comes with it.
fn judge_pending(dispatch: &Dispatch, gate: &Gate, now: Now) {
    let (now_unix, fetches) = (dispatch.moment(now).unix_secs, gate.verifier.fetches());
    for pending in dispatch.pending_logins().take(|| fetches) {
        match gate.vouch(&pending.token, now_unix) {
            Err(Refused::Pending) => dispatch.pending_logins().keep(pending, fetches),
            Err(why @ Refused::Unverified) if dispatch.webhook().is_none() => {
                let login = audit::Login::of_a_stranger(door(Door::Agents), why.label(), pending.peer);
                dispatch.login_refused(now, why, Some(pending.held_to), login);
            }
            _ => {}
        }
    }
}

/// No key vouches for the token. Where there is a webhook, it may.
fn ask(dispatch: &Dispatch, answers: &mut Answers, (conn, greeting): Knocking<'_>, now: Now) {
    let token = greeting.token.as_deref().unwrap_or_default();
    let Some(webhook) = dispatch.webhook().filter(|_| token.len() <= TOKEN_BYTES_MAX) else {
        return refuse(dispatch, answers, (conn, greeting), Refused::Unverified, now);
    };
    if let Some(decision) = webhook.remembered(token, now) {
        return decided(dispatch, answers, (conn, greeting), Some(decision), now);
    }
    if webhook.ask(Asker::Knock(conn, Box::new(greeting.clone())), now).is_err() {
        decided(dispatch, answers, (conn, greeting), None, now);
    }
}

/// What the webhook said, on whichever thread; `None` when it could not be asked, which lets nobody in.
pub(in crate::work) fn decided(
    dispatch: &Dispatch,
    answers: &mut Answers,
    knocking: Knocking<'_>,
    decision: Option<Decision>,
    now: Now,
) {
    match decision {
        Some(Decision::Allowed(login)) => match knocking.1.certified.as_deref() {
            None => admit(dispatch, answers, knocking, &login, now),
            Some(certified) => match gate::with_certificate(certified, login) {
                Ok(login) => admit(dispatch, answers, knocking, &login, now),
                Err(refused) => refuse(dispatch, answers, knocking, refused, now),
            },
        },
        Some(Decision::Refused) => refuse(dispatch, answers, knocking, Refused::Denied, now),
        None => answers.push(knocking.0, Order::Refuse { conn: knocking.0, refusal: Refusal::Unavailable }),
    }
}

/// Who asks, and on which connection.
pub(in crate::work) type Knocking<'a> = (ConnId, &'a Greeting);

fn refuse(dispatch: &Dispatch, answers: &mut Answers, (conn, greeting): Knocking<'_>, refused: Refused, now: Now) {
    // Who the token names is believed where its signature was right, and nowhere else.
    let token = greeting.token.as_deref().filter(|_| greeting.door == Door::Agents && refused.is_of_a_signed_token());
    let agent = token.and_then(|token| dispatch.gate().verifier.claimed_agent(token));
    refuse_named(dispatch, answers, (conn, greeting), (refused, agent), now);
}

/// The same, where it is known who it is, as `tenant/agent`.
fn refuse_named(
    dispatch: &Dispatch,
    answers: &mut Answers,
    (conn, greeting): Knocking<'_>,
    (refused, agent): (Refused, Option<String>),
    now: Now,
) {
    // The cause is for the operator alone; every peer reads the same 401. A browser knows which page it shows.
    if let Some(left_out) = dispatch.may_log_refusal(now) {
        let peer = greeting.peer.map(tracing::field::display);
        tracing::info!(?conn, peer, cause = ?refused, left_out, "upgrade refused");
    }
    let login = audit::Login::of_a_stranger(door(greeting.door), refused.label(), greeting.peer);
    dispatch.login_refused(now, refused, greeting.held_to, audit::Login { agent, ..login });
    let refusal = match refused {
        Refused::Origin => Refusal::Forbidden,
        // It may be good a little later: an agent that was told 401 would not come back.
        Refused::Pending => Refusal::Unavailable,
        _ => Refusal::Unauthorized,
    };
    answers.push(conn, Order::Refuse { conn, refusal });
}

/// The port, in the audit log.
fn door(door: Door) -> &'static str {
    match door {
        Door::Agents => "agents",
        Door::Links => "links",
    }
}

/// An agent's name, in the audit log.
fn name(claims: &Claims) -> String {
    format!("{}/{}", claims.tenant, claims.agent)
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
    let login = audit::Login {
        agent: Some(name(claims)),
        ..audit::Login::of_a_stranger(door(greeting.door), TENANT_AGENTS, greeting.peer)
    };
    dispatch.audit().login_refused(now, login);
    answers.push(conn, Order::Refuse { conn, refusal: Refusal::TenantFull { wait: TENANT_FULL_WAIT } });
}

fn admit(dispatch: &Dispatch, answers: &mut Answers, (conn, greeting): Knocking<'_>, login: &Login, now: Now) {
    let encoding = match greeting.offer {
        Offer::Nothing => Encoding::Json,
        Offer::Ours(encoding) => encoding,
    };
    let Login { claims, ends_unix } = login;
    let (revocations, moment) = (dispatch.revocations(), dispatch.moment(now));
    // What a webhook said is kept for a while, and may have ended since.
    if ends_unix.is_some_and(|ends| ends <= moment.unix_secs) {
        return refuse_named(dispatch, answers, (conn, greeting), (Refused::Expired, Some(name(claims))), now);
    }
    if revocations.means(claims, moment) {
        return refuse_named(dispatch, answers, (conn, greeting), (Refused::Revoked, Some(name(claims))), now);
    }
    let tenant = dispatch.directory.tenant(&claims.tenant);
    let token = revocations.mark(claims);
    let (id, labels, methods) = (claims.agent.as_str(), claims.labels.as_slice(), claims.methods.as_deref());
    let agent = NewAgent { tenant, id, labels, methods, conn, encoding, token };
    // As long as the token would let it in again, it may stay.
    let admission = |agent| {
        let mut response = upgrade::switching(greeting.accept, greeting.offer, greeting.deflate).to_vec();
        response.extend_from_slice(&dispatch.welcome(conn, encoding));
        Order::Admit(Box::new(Admission {
            conn,
            agent,
            encoding,
            expiry: Expiry::at(*ends_unix),
            response: response.into(),
        }))
    };
    let joined = match dispatch.directory.join(&agent, dispatch.arrivals().generations()) {
        Ok(joined) => joined,
        Err(NotJoined::TenantFull) => return turn_away(dispatch, answers, (conn, greeting), claims, now),
        Err(NotJoined::Older { than }) => {
            // It was asked about for longer than the one that came after it: it is told what it would have been told by now.
            replaced(claims, conn, than);
            answers.push(conn, admission(AgentSlot::NONE));
            return answers.push(conn, Order::Close { conn, reason: Reason::Replaced, last_words: None });
        }
    };
    if let Some(old) = joined.replaced {
        replaced(claims, old, conn);
        answers.push(old, Order::Close { conn: old, reason: Reason::Replaced, last_words: None });
    }
    // Who revokes looks into the directory after the revocation is in force, and this looks at the revocations after the agent is in
    // the directory: one of the two sees the other.
    if revocations.means(claims, moment) {
        dispatch.directory.leave(joined.slot, conn, LastClose { reason: Reason::Revoked, at: now });
        return refuse_named(dispatch, answers, (conn, greeting), (Refused::Revoked, Some(name(claims))), now);
    }
    let peer = greeting.peer.map(tracing::field::display);
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, peer, "agent connected");
    answers.push(conn, admission(joined.slot));
}

/// One connection of an agent makes way for another.
fn replaced(claims: &Claims, conn: ConnId, by: ConnId) {
    counter!(metric::REPLACED).increment(1);
    tracing::debug!(tenant = %claims.tenant, agent = %claims.agent, ?conn, ?by, "agent replaced");
}
