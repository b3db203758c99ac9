//! A backend's control link: letting it in, its messages, its end.
//!
//! Owns what a link's envelopes do. How calls end is the business of `calls`; the answers are written by `links`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use metrics::counter;

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
use crate::wire::upgrade::{self, Offer, Refusal};
use crate::work::answers::Answers;
use crate::work::dispatch::{CallRequest, Dispatch};
use crate::work::gate::Linker;
use crate::work::links::{Link, LinkTerms};

/// Lets a link in.
pub(in crate::work) fn admit(
    dispatch: &Dispatch,
    answers: &mut Answers,
    conn: ConnId,
    greeting: &Greeting,
    linker: &Linker,
) {
    let encoding = match greeting.offer {
        Offer::Nothing => Encoding::Json,
        Offer::Ours(encoding) => encoding,
    };
    let tenant = dispatch.tenant(&linker.tenant);
    let terms = dispatch.links.open(conn, encoding, tenant, (linker.tenant.clone(), linker.key));
    // The keys may have been swapped since it was identified. Who swaps them looks at the links afterwards, and this looks at the
    // keys after the link is among them: one of the two sees the other.
    if !dispatch.gate().still_admits(&linker.tenant, linker.key) {
        dispatch.links.close(conn);
        return answers.push(conn, Order::Refuse { conn, refusal: Refusal::Unauthorized });
    }
    tracing::debug!(tenant = %linker.tenant, ?conn, "link opened");
    let mut response = upgrade::switching(greeting.accept, greeting.offer).to_vec();
    response.extend_from_slice(&dispatch.link_welcome(conn, encoding, terms.window));
    let agent = AgentSlot::NONE;
    let admission = Admission { conn, agent, encoding, expiry: Expiry::NEVER, response: response.into() };
    answers.push(conn, Order::Admit(Box::new(admission)));
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
    let terms = dispatch.links.terms();
    let mut refusals: Vec<Outbound<'_>> = Vec::new();
    let batch = link_side::decode(encoding, message, &mut |said| {
        if let Some((id, fault)) = apply_one(dispatch, answers, &link, terms, said, now) {
            refusals.push(Outbound::Refusal { id, fault });
        }
    });
    if let Some(frame) = envelope::encode_replies(encoding, batch, &refusals) {
        answers.push(conn, Order::Send { conn, frame });
    }
}

/// Applies one envelope; the id and the fault of one that must be refused.
fn apply_one<'a>(
    dispatch: &Dispatch,
    answers: &mut Answers,
    link: &Arc<Link>,
    terms: LinkTerms,
    said: FromBackend<'a>,
    now: Now,
) -> Option<(&'a [u8], Fault)> {
    match said {
        FromBackend::Call { id, agent, method, params, timeout_ms } => {
            let timeout = timeout_ms.map_or(terms.timeout, Duration::from_millis);
            if timeout.is_zero() || timeout > terms.timeout_max {
                return Some((id, Fault::Params));
            }
            if dispatch.may_call(link.owner.1, now).is_err() {
                link.refuse(id, &agent, &Outcome::Busy);
                return None;
            }
            let Some(ticket) = link.begin(id, &agent) else {
                link.refuse(id, &agent, &Outcome::Busy);
                return None;
            };
            let request = CallRequest { tenant: link.tenant, agent: &agent, method: &method, params, timeout };
            if let Some((call, order)) = dispatch.open_call(now, &request, link.on_end(ticket, now)) {
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
    tracing::debug!(?conn, reason = reason.row().label, "link closed");
    dispatch.cancel_all(dispatch.links.close(conn), answers, now);
}
