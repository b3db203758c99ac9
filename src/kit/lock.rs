//! Taking a mutex whose earlier owner may have panicked.
//!
//! Owns the one decision about poison: the tables of this process are changed by steps that each leave them whole, so
//! a panic elsewhere on a thread that held one is no reason to stop every other thread. It never holds two locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, poisoned or not.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same of loom's mutex, for tables that a model tries.
#[cfg(holdfast_loom)]
pub fn lock_modelled<T>(mutex: &loom::sync::Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_lock_is_taken_all_the_same() {
        let mutex = Mutex::new(7);
        let died = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _held = lock(&mutex);
                    panic!("on purpose");
                })
                .join()
        });
        assert!(died.is_err() && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 7);
    }
}
