//! Masking (RFC 6455 section 5.3), in place.

/// XORs `payload` with the key; `offset` is how many bytes of the frame's payload came before.
pub fn apply(payload: &mut [u8], key: [u8; 4], offset: u64) {
    // As a number the key turns in one instruction; as an array, in a call.
    let key = u32::from_le_bytes(key).rotate_right((offset % 4) as u32 * 8);
    let wide = u64::from(key) << 32 | u64::from(key);
    // Whole words first: the compiler turns this loop into vector instructions.
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_le_bytes(*word) ^ wide).to_le_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide.to_le_bytes()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_section_5_7() {
        let mut hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply(&mut hello, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&hello, b"Hello");
    }

    proptest! {
        #[test]
        fn equals_the_definition_at_any_offset(
            payload in proptest::collection::vec(any::<u8>(), 0..70),
            key: [u8; 4],
            offset: u64,
        ) {
            let expected: Vec<u8> = payload
                .iter()
                .enumerate()
                .map(|(i, byte)| byte ^ key[((offset % 4) as usize + i) % 4])
                .collect();
            let mut masked = payload;
            apply(&mut masked, key, offset);
            prop_assert_eq!(masked, expected);
        }
    }
}
