//! Masking (RFC 6455 section 5.3), in place.

/// XORs `payload` with the key; `offset` is how many bytes of the frame's payload came before.
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: u64) {
    let _ = (payload, key, offset);
    todo!()
}
