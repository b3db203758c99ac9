//! Envelopes behind a fixed little-endian head.
use super::Inbound;

pub(super) fn decode(message: &[u8]) -> Inbound<'_> {
    let _ = message;
    todo!()
}
