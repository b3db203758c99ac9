//! Frames that share records: several fragments as one run of bytes. It copies, and never allocates but in what it appends to.

/// Fragments that are read as one run of bytes.
pub(super) struct Pieces<'a> {
    fragments: &'a [&'a [u8]],
    /// Bytes of the first fragment that are taken already.
    taken: usize,
    left: usize,
}

impl<'a> Pieces<'a> {
    /// All of them, nothing taken.
    pub(super) fn new(fragments: &'a [&'a [u8]]) -> Self {
        Self { fragments, taken: 0, left: fragments.iter().map(|fragment| fragment.len()).sum() }
    }

    /// Bytes that are not taken yet.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Appends the next `bytes` of the run; there are so many.
    pub(super) fn copy(&mut self, bytes: usize, out: &mut Vec<u8>) {
        self.left -= bytes;
        let mut wanted = bytes;
        while wanted > 0
            && let Some((first, rest)) = self.fragments.split_first()
        {
            let part = &first[self.taken..];
            if part.len() > wanted {
                out.extend_from_slice(&part[..wanted]);
                self.taken += wanted;
                return;
            }
            out.extend_from_slice(part);
            wanted -= part.len();
            (self.fragments, self.taken) = (rest, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_steps_over_any_fragments_give_the_run(
            fragments in vec(vec(any::<u8>(), 0..6), 0..6),
            steps in vec(0..8_usize, 0..20),
        ) {
            let slices: Vec<&[u8]> = fragments.iter().map(Vec::as_slice).collect();
            let mut pieces = Pieces::new(&slices);
            let mut out = Vec::new();
            for step in steps {
                pieces.copy(step.min(pieces.left()), &mut out);
                prop_assert_eq!(out.len() + pieces.left(), fragments.concat().len());
            }
            pieces.copy(pieces.left(), &mut out);
            prop_assert_eq!(out, fragments.concat());
        }
    }
}
