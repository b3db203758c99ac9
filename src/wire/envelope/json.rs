//! Envelopes as JSON-RPC 2.0.
use super::Inbound;

pub(super) fn decode<'a>(message: &'a [u8], each: &mut dyn FnMut(Inbound<'a>)) -> bool {
    let _ = (message, each);
    todo!()
}
