//! What all agents of a run show, crew by crew, also to the thread that samples.
//!
//! Owns the list only. Each board is its crew's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crew::Board;

/// The boards of a run's crews.
#[derive(Clone, Default)]
pub struct Crews(Arc<Mutex<Vec<Arc<Board>>>>);

impl Crews {
    /// One more crew, which stays until the run ends.
    pub fn add(&self, board: Arc<Board>) {
        self.lock().push(board);
    }

    /// The sum of a value over all crews.
    pub fn sum(&self, value: impl Fn(&Board) -> u64) -> u64 {
        self.lock().iter().map(|board| value(board)).sum()
    }

    /// The same of a counter.
    pub fn count(&self, counter: fn(&Board) -> &AtomicU64) -> u64 {
        self.sum(|board| counter(board).load(Ordering::Relaxed))
    }

    /// Boards are only added, so a list that a panic has left behind is whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Board>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crews_that_come_later_are_in_the_sum() {
        let crews = Crews::default();
        let sampled = crews.clone();
        let taken = |count| {
            let board = Board::default();
            board.taken.store(count, Ordering::Relaxed);
            Arc::new(board)
        };
        assert_eq!(sampled.count(|board| &board.taken), 0);
        crews.add(taken(3));
        assert_eq!(sampled.count(|board| &board.taken), 3);
        crews.add(taken(4));
        assert_eq!(sampled.sum(|board| board.taken.load(Ordering::Relaxed) + 1), 9);
    }
}
