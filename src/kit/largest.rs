//! The largest few of many, seen one after the other.
//!
//! Owns room for so many and no more; each that is offered costs the logarithm of that at most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The largest that were offered.
#[derive(Debug)]
pub struct Largest<T> {
    kept: BinaryHeap<Reverse<(usize, T)>>,
    room: usize,
}

impl<T: Ord> Largest<T> {
    /// Room for so many.
    #[must_use]
    pub fn new(room: usize) -> Self {
        Self { kept: BinaryHeap::new(), room }
    }

    /// Keeps it where it is among the largest so far.
    pub fn offer(&mut self, size: usize, what: T) {
        if self.kept.len() < self.room {
            self.kept.push(Reverse((size, what)));
        } else if let Some(mut least) = self.kept.peek_mut()
            && least.0.0 < size
        {
            *least = Reverse((size, what));
        }
    }

    /// Takes them out, the largest first, and gives the room back.
    pub fn take(&mut self) -> Vec<(usize, T)> {
        let ascending = std::mem::take(&mut self.kept).into_sorted_vec();
        ascending.into_iter().map(|Reverse(kept)| kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_sorting_all_would_give(sizes in prop::collection::vec(0usize..50, 0..80), room in 0usize..9) {
            let mut largest = Largest::new(room);
            sizes.iter().enumerate().for_each(|(place, size)| largest.offer(*size, place));
            let taken: Vec<usize> = largest.take().into_iter().map(|(size, place)| {
                assert_eq!(sizes[place], size);
                size
            }).collect();
            let mut sorted = sizes.clone();
            sorted.sort_unstable_by(|one, other| other.cmp(one));
            sorted.truncate(room);
            prop_assert_eq!(taken, sorted);
            prop_assert!(largest.take().is_empty());
        }
    }
}
