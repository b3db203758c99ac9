//! UTF-8 that arrives in pieces, failed at the first byte that cannot be right (RFC 6455 section 8.1).

/// What a validator must remember across a cut: nothing but the unfinished character.
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8 {
    pending: u32,
}

/// The bytes are not UTF-8, and no continuation can mend them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl Utf8 {
    /// Takes the next bytes of the text.
    ///
    /// # Errors
    /// At the first byte that no valid text could have there.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let _ = (bytes, self.pending);
        todo!()
    }

    /// Whether the text may end here.
    #[must_use]
    pub fn is_complete(self) -> bool {
        todo!()
    }
}
