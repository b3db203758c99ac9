//! What is revoked on this node, and the way to whoever changes it.
//!
//! Owns the revocations that are in force. Whoever lets agents in asks here, and asks again once they are in the directory: a
//! revocation that comes between the two is seen by one side or the other. It changes nothing by itself.

use std::hash::{BuildHasher, RandomState};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use metrics::gauge;

use crate::auth::token::Claims;
use crate::directory::TokenMark;
use crate::kit::metric;
use crate::revocations::set::Set;
use crate::revocations::{Ban, Moment, Revocation, Shown};

/// Requests that wait for the disk.
const WAITING_MAX: usize = 256;

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// There are as many revocations as there may be.
    Full,
    /// It could not be written down; the system's words.
    NotStored(String),
    /// This node keeps no revocations.
    Off,
    /// Too many wait already.
    Busy,
    /// This tenant has no such revocation.
    Unknown,
}

/// Told once, on the thread that writes revocations down; it must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, Unchanged>) + Send>;

/// A change that somebody asks for. What is told at its end is told once it is on the disk and in force.
pub enum Request {
    /// Revoke.
    Add(Ban, Done<Revocation>),
    /// Take the revocation with this number of this tenant back.
    Drop(String, u64, Done<()>),
}

impl Request {
    fn fail(self, why: Unchanged) {
        match self {
            Self::Add(_, done) => done(Err(why)),
            Self::Drop(_, _, done) => done(Err(why)),
        }
    }
}

/// The revocations of a node.
pub struct Revocations {
    set: RwLock<Set>,
    requests: OnceLock<Sender<Request>>,
    /// Tells ids of tokens apart without keeping them; the key is this process' own.
    hashing: RandomState,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { set: RwLock::default(), requests: OnceLock::new(), hashing: RandomState::new() }
    }
}

impl Revocations {
    /// Whether a token is revoked.
    #[must_use]
    pub fn means(&self, claims: &Claims, now: Moment) -> bool {
        let shown = Shown {
            tenant: &claims.tenant,
            agent: &claims.agent,
            token_id: claims.token_id.as_deref(),
            issued_unix: claims.issued_unix,
        };
        self.read().means(&shown, now)
    }

    /// What the directory keeps of a token.
    #[must_use]
    pub fn mark(&self, claims: &Claims) -> TokenMark {
        let id = claims.token_id.as_deref().map(|id| self.hash(&claims.tenant, id));
        TokenMark::new(id, claims.issued_unix)
    }

    /// Asks for a change; who asks is told even when it cannot be.
    pub fn ask(&self, request: Request) {
        match self.requests.get() {
            None => request.fail(Unchanged::Off),
            Some(requests) => match requests.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => request.fail(Unchanged::Busy),
            },
        }
    }

    /// Opens the way to the thread that changes them: what is asked comes out of what this returns.
    pub(super) fn open(&self) -> Receiver<Request> {
        let (give, take) = bounded(WAITING_MAX);
        // It is opened once.
        let _ = self.requests.set(give);
        take
    }

    /// Whether this node keeps revocations.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.requests.get().is_some()
    }

    /// Looks at all of them. Logins wait meanwhile only for who writes.
    pub fn read(&self) -> RwLockReadGuard<'_, Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes them. What is put in was written down before.
    pub(super) fn change(&self, change: impl FnOnce(&mut Set)) {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut set);
        gauge!(metric::REVOCATIONS).set(set.len() as f64);
    }

    /// What tells a tenant's token of this id from others.
    pub(super) fn hash(&self, tenant: &str, id: &str) -> u64 {
        self.hashing.hash_one((tenant, id))
    }
}
