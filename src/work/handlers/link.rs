//! A backend's control link: letting it in, its messages, its end.
//!
//! Owns what a link's envelopes do. How calls end is the business of `calls`; the answers are written by `links`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;

use crate::auth::token::Refused;
use crate::calls::Outcome;
use crate::kit::ids::{AgentSlot, ConnId};
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::net::mailbox::{Admission, Order};
use crate::session::effect::Greeting;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::wire::envelope::link_side::{self, FromBackend};
use crate::wire::envelope::{self, Encoding, Fault, Outbound};
use crate::wire::upgrade::{self, Offer};
use crate::work::answers::Answers;
use crate::work::call_audit;
use crate::work::call_count::Way;
use crate::work::caller::Caller;
use crate::work::dispatch::{CallRequest, Dispatch};
use crate::work::gate::Linker;
use crate::work::links::{Link, LinkTerms};

/// Lets a link in.
///
/// # Errors
/// Its key was taken out meanwhile: it is to be refused.
pub(in crate::work) fn admit(
    dispatch: &Dispatch,
    answers: &mut Answers,
    conn: ConnId,
    greeting: &Greeting,
    linker: &Linker,
) -> Result<(), Refused> {
    let encoding = match greeting.offer {
        Offer::Nothing => Encoding::Json,
        Offer::Ours(encoding) => encoding,
    };
    let tenant = dispatch.tenant(&linker.backend.tenant);
    let (key, backend) = (linker.key, Arc::clone(&linker.backend));
    let caller = Caller { tenant, key, backend, way: Way::Link, peer: greeting.peer };
    let terms = dispatch.links.open(conn, encoding, caller);
    if !is_up_to_date(dispatch, conn) {
        dispatch.links.close(conn);
        return Err(Refused::Unverified);
    }
    tracing::debug!(tenant = %linker.backend.tenant, ?conn, "link opened");
    let mut response = upgrade::switching(greeting.accept, greeting.offer, greeting.deflate).to_vec();
    response.extend_from_slice(&dispatch.link_welcome(conn, encoding, terms.window));
    let agent = AgentSlot::NONE;
    let admission = Admission { conn, agent, encoding, expiry: Expiry::NEVER, response: response.into() };
    answers.push(conn, Order::Admit(Box::new(admission)));
    Ok(())
}

/// The keys may have been swapped since a link was identified. Who swaps them looks at the links afterwards, and this looks at the keys
/// after the link is among them, until they stay the same: one of the two sees the other. False where its key is none any more.
fn is_up_to_date(dispatch: &Dispatch, conn: ConnId) -> bool {
    loop {
        let (gate, Some(link)) = (dispatch.gate(), dispatch.links.get(conn)) else {
            return false;
        };
        let caller = link.caller();
        let Some(backend) = gate.admits_still(&caller.backend, caller.key) else {
            return false;
        };
        link.set_backend(backend);
        if Arc::ptr_eq(&gate, &dispatch.gate()) {
            return true;
        }
    }
}

/// A message came in on a link.
pub(in crate::work) fn apply(
    dispatch: &Dispatch,
    answers: &mut Answers,
    conn: ConnId,
    encoding: Encoding,
    message: &Bytes,
    now: Now,
) {
    // It has ended: what was still under way is not begun.
    let Some(link) = dispatch.links.get(conn) else {
        return;
    };
    let asking = Asking { terms: dispatch.links.terms(), caller: link.caller(), link };
    let mut refusals: Vec<Outbound<'_>> = Vec::new();
    let batch = link_side::decode(encoding, message, &mut |said| {
        if let Some((id, fault)) = apply_one(dispatch, answers, &asking, said, now) {
            refusals.push(Outbound::Refusal { id, fault });
        }
    });
    if let Some(frame) = envelope::encode_replies(encoding, batch, &refusals) {
        answers.push(conn, Order::Send { conn, frame });
    }
}

/// Who asks in a message, and on what terms: the same for all of it.
struct Asking {
    link: Arc<Link>,
    caller: Arc<Caller>,
    terms: LinkTerms,
}

/// Applies one envelope; the id and the fault of one that must be refused.
fn apply_one<'a>(
    dispatch: &Dispatch,
    answers: &mut Answers,
    asking: &Asking,
    said: FromBackend<'a>,
    now: Now,
) -> Option<(&'a [u8], Fault)> {
    let Asking { link, caller, terms } = asking;
    match said {
        FromBackend::Call { id, agent, method, params, timeout_ms } => {
            let timeout = timeout_ms.map_or(terms.timeout, Duration::from_millis);
            if timeout.is_zero() || timeout > terms.timeout_max {
                return Some((id, Fault::Params));
            }
            let request = CallRequest { by: caller, agent: &agent, method: &method, params, timeout };
            let permitted = match dispatch.permit(request) {
                Ok(permitted) => permitted,
                Err(forbidden) => {
                    dispatch.call_forbidden(now, &request, forbidden);
                    return Some((id, Fault::Forbidden));
                }
            };
            let place = dispatch.may_call(caller.key, now).ok().and_then(|()| link.begin(id, &agent));
            let Some(ticket) = place else {
                link.refuse(id, &agent, &Outcome::Busy);
                call_audit::refused(dispatch.audit(), now, &request, &Outcome::Busy);
                return None;
            };
            if let Some((call, order)) = dispatch.open_call(now, &permitted, link.on_end(ticket, now)) {
                link.sent(ticket, call.id);
                answers.push(call.conn, order);
            }
            None
        }
        FromBackend::Cancel { id } => {
            dispatch.cancel_all(link.calls_of(id), answers, now);
            None
        }
        FromBackend::Other => None,
        FromBackend::Invalid { id, fault } => {
            counter!(metric::BAD_ENVELOPES).increment(1);
            Some((id, fault))
        }
    }
}

/// A link has ended: its calls in flight are taken back, as those of an HTTP caller that went away.
pub(in crate::work) fn ended(dispatch: &Dispatch, answers: &mut Answers, conn: ConnId, reason: Reason, now: Now) {
    // An agent that was replaced before it came in, and went away before it could be told, has no place in the directory either.
    if dispatch.links.get(conn).is_some() {
        tracing::debug!(?conn, reason = reason.row().label, "link closed");
    }
    dispatch.cancel_all(dispatch.links.close(conn), answers, now);
}
