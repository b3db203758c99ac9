//! UTF-8 that arrives in pieces, failed at the first byte that cannot be right (RFC 6455 section 8.1).

/// What a validator must remember across a cut: nothing but the unfinished character.
///
/// Its bytes lie in `pending` from the top byte down, their count (0 to 3) in the lowest byte.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    pending: u32,
}

/// The bytes are not UTF-8, and no continuation can mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// The longest part of `text` from its start that is at most `bytes_max` bytes and ends at a character's end.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=text.len().min(bytes_max)).rev();
    let mut parts = end.filter_map(|end| text.get(..end));
    parts.next().unwrap_or_default()
}

impl Utf8 {
    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// At the first byte that no valid text could have there.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        // Nearly all text is whole and right, and this check is the fastest one that says only yes or no.
        if self.pending == 0 && simdutf8::basic::from_utf8(bytes).is_ok() {
            return Ok(());
        }
        self.feed_cut(bytes)
    }

    /// Whether the text may end here.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.pending == 0
    }

    #[cold]
    fn feed_cut(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = bytes;
        while self.pending != 0 {
            let Some((&byte, behind)) = rest.split_first() else {
                return Ok(());
            };
            rest = behind;
            let (mut character, held) = self.pending_bytes();
            character[held] = byte;
            self.take(&character[..=held])?;
        }
        self.take(rest)
    }

    /// Checks bytes that begin at a character, and remembers the unfinished one at their end.
    fn take(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        self.pending = match simdutf8::compat::from_utf8(bytes) {
            Ok(_) => 0,
            Err(wrong) if wrong.error_len().is_some() => return Err(NotUtf8),
            Err(cut) => {
                let tail = &bytes[cut.valid_up_to()..];
                let mut packed = [0; 4];
                packed[..tail.len()].copy_from_slice(tail);
                packed[3] = tail.len() as u8;
                u32::from_be_bytes(packed)
            }
        };
        Ok(())
    }

    /// The unfinished character with room for one more byte, and how many bytes of it are there (at most 3).
    fn pending_bytes(self) -> ([u8; 4], usize) {
        let bytes = self.pending.to_be_bytes();
        (bytes, usize::from(bytes[3]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many bytes are taken one at a time before the failure; `None` when all are.
    fn first_bad(bytes: &[u8]) -> Option<usize> {
        let mut utf8 = Utf8::default();
        bytes.iter().position(|byte| utf8.feed(std::slice::from_ref(byte)).is_err())
    }

    #[test]
    fn fails_at_the_first_bad_byte() {
        let table: &[(&[u8], Option<usize>)] = &[
            (b"", None),
            ("κόσμε 🎉".as_bytes(), None),
            (b"\xf4\x8f\xbf\xbf", None),
            (b"\xf4\x90", Some(1)),
            (b"\xed\xa0", Some(1)),
            (b"\xe0\x80", Some(1)),
            (b"\xf0\x80", Some(1)),
            (b"\xc0", Some(0)),
            (b"\xc1", Some(0)),
            (b"\xf5", Some(0)),
            (b"\xff", Some(0)),
            (b"a\x80", Some(1)),
            (b"\xe2\x82x", Some(2)),
            (b"\xf0\x9f\x8ex", Some(3)),
        ];
        for (bytes, expected) in table {
            assert_eq!(first_bad(bytes), *expected, "{bytes:x?}");
            assert_eq!(Utf8::default().feed(bytes).is_err(), expected.is_some(), "{bytes:x?}");
        }
    }

    #[test]
    fn an_unfinished_character_is_no_end() {
        for cut in 1..4 {
            let mut utf8 = Utf8::default();
            assert_eq!(utf8.feed(&"🎉".as_bytes()[..cut]), Ok(()));
            assert!(!utf8.is_complete(), "{cut}");
            assert_eq!(utf8.feed(&"🎉".as_bytes()[cut..]), Ok(()));
            assert!(utf8.is_complete(), "{cut}");
        }
    }

    #[test]
    fn cuts() {
        for (bytes_max, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aü"), (4, "aü"), (9, "aü🎉")] {
            assert_eq!(cut("aü🎉", bytes_max), expected, "{bytes_max}");
        }
    }

    /// Bytes that are often nearly UTF-8.
    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        ("\\PC{0,30}", proptest::option::of((any::<prop::sample::Index>(), any::<u8>()))).prop_map(|(text, change)| {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = change
                && !bytes.is_empty()
            {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn any_cut_agrees_with_std(bytes in nearly_text(), step in 1usize..7) {
            let mut utf8 = Utf8::default();
            let fed = bytes.chunks(step).try_for_each(|chunk| utf8.feed(chunk));
            match std::str::from_utf8(&bytes) {
                Ok(_) => prop_assert!(fed.is_ok() && utf8.is_complete()),
                Err(e) if e.error_len().is_none() => prop_assert!(fed.is_ok() && !utf8.is_complete()),
                Err(_) => prop_assert!(fed.is_err()),
            }
        }
    }
}
