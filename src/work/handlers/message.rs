//! A message of an agent: replies go to their waiters, what is no envelope is answered with an error, and the
//! connection stays.

use bytes::Bytes;
use metrics::counter;

use crate::calls::{Body, Outcome};
use crate::kit::ids::ConnId;
use crate::kit::metric;
use crate::kit::planted;
use crate::kit::tick::Now;
use crate::net::mailbox::Order;
use crate::wire::envelope::{self, Encoding, Fault, Inbound, Outbound, Payload};
use crate::work::answers::Answers;
use crate::work::dispatch::Dispatch;

use super::refresh;

pub(in crate::work) fn apply(
    dispatch: &Dispatch,
    answers: &mut Answers,
    conn: ConnId,
    encoding: Encoding,
    message: &Bytes,
    now: Now,
) {
    planted::here(planted::Place::Worker);
    let mut refusals: Vec<Outbound<'_>> = Vec::new();
    let batch = envelope::decode(encoding, message, &mut |inbound| {
        if let Some((id, fault)) = apply_one(dispatch, answers, (conn, encoding), message, inbound, now) {
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
    (conn, encoding): (ConnId, Encoding),
    message: &Bytes,
    inbound: Inbound<'a>,
    now: Now,
) -> Option<(&'a [u8], Fault)> {
    let known = match inbound {
        Inbound::Result { call, payload } => dispatch.calls.reply(conn, call, Outcome::Ok(body(message, payload)), now),
        Inbound::Error { call, code, message: words, data } => {
            let data = data.map(|payload| body(message, payload));
            dispatch.calls.reply(conn, call, Outcome::AgentError { code, message: words.into_owned(), data }, now)
        }
        Inbound::Receipt { call } | Inbound::Progress { call, .. } => {
            // Late ones are ordinary: the call has ended, and the agent will be told.
            dispatch.calls.receipt(conn, call);
            true
        }
        Inbound::Stray => false,
        Inbound::Request { id, method, payload } if method == refresh::METHOD => {
            let put_off = refresh::put_off(dispatch, answers, (conn, encoding, id), payload, now);
            return put_off.err().map(|fault| (id, fault));
        }
        Inbound::Request { id, .. } => return Some((id, Fault::Method)),
        Inbound::Notification { .. } => true,
        Inbound::Invalid { id, error } => {
            counter!(metric::BAD_ENVELOPES).increment(1);
            return Some((id, error));
        }
    };
    if !known {
        counter!(metric::REPLIES_DROPPED).increment(1);
    }
    None
}

/// A part of the message, without copying it.
fn body(message: &Bytes, payload: Payload<'_>) -> Body {
    Body { bytes: message.slice_ref(payload.bytes), json: payload.json }
}
