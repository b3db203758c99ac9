//! A named limit that several threads count against.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Counts holders up to a limit that may change while it is in use.
#[derive(Debug)]
pub struct Quota {
    used: AtomicU32,
    max: AtomicU32,
}

impl Quota {
    /// Allows `max` holders at once.
    #[must_use]
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { used: AtomicU32::new(0), max: AtomicU32::new(max) })
    }

    /// One more holder, until the returned hold is dropped; `None` when the limit is reached.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        self.take().then(|| Hold(Arc::clone(self)))
    }

    /// One more holder, who must [`Quota::give_back`]; false when the limit is reached. For those who have no room for a
    /// [`Hold`].
    #[must_use]
    pub fn take(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < max).then_some(used + 1)).is_ok()
    }

    /// Gives back what [`Quota::take`] took.
    pub fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Changes the limit; who holds already keeps holding.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The limit.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Relaxed)
    }

    /// Holders right now.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One unit of a [`Quota`], given back when dropped.
#[derive(Debug)]
pub struct Hold(Arc<Quota>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_given_back() {
        let quota = Quota::new(2);
        let first = quota.hold();
        let second = quota.hold();
        assert!(first.is_some() && second.is_some() && quota.hold().is_none());
        drop(first);
        assert_eq!(quota.used(), 1);
        assert!(quota.hold().is_some());
        quota.set_max(1);
        assert!(quota.hold().is_none(), "the second still holds");
    }
}
