//! A call as a backend asks for it, and the same call when it is permitted.
//!
//! Owns the order of the two: only a [`Permitted`] call can be sent, and only a request that both the caller's key and the agent's
//! token allow becomes one, whichever way it came in. The agent is looked for once, in between: what its token allows is asked of the
//! very connection that the call then goes to.

use std::time::Duration;

use crate::auth::permissions::{self, Act, Ruling};
use crate::directory::Callable;
use crate::kit::ids::TenantId;
use crate::wire::envelope::Payload;

use super::caller::Caller;
use super::reached::Reached;

/// A call as a backend asks for it.
#[derive(Clone, Copy)]
pub struct CallRequest<'a> {
    /// Who asks.
    pub by: &'a Caller,
    /// Which agent.
    pub agent: &'a str,
    /// What to run.
    pub method: &'a str,
    /// Its parameters.
    pub params: Payload<'a>,
    /// How long to wait, already within the limits.
    pub timeout: Duration,
}

/// Why a call may not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The caller's key does not allow this method; no agent was looked for.
    ByKey,
    /// The token of the agent, which the caller reaches, does not.
    ByToken,
}

/// A call that may be made: to an agent that was found, or to nobody.
pub struct Permitted<'a> {
    request: CallRequest<'a>,
    reached: Reached,
}

impl<'a> CallRequest<'a> {
    /// Whose agent.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.by.tenant
    }

    /// The call, where it may be made. `find` looks for the agent on the caller's behalf, and says what may be called there.
    ///
    /// # Errors
    /// It may not; nothing is sent.
    pub(super) fn permit(self, find: impl FnOnce(&Self) -> (Reached, Callable)) -> Result<Permitted<'a>, Forbidden> {
        if self.by.permissions().may(Act::Call { method: self.method }) != Ruling::Allowed {
            return Err(Forbidden::ByKey);
        }
        let (reached, callable) = find(&self);
        let is_there = matches!(reached, Reached::There(_));
        if is_there && permissions::by_token(callable.as_deref(), self.method) != Ruling::Allowed {
            return Err(Forbidden::ByToken);
        }
        Ok(Permitted { request: self, reached })
    }
}

impl<'a> Permitted<'a> {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &CallRequest<'a> {
        &self.request
    }

    /// What came of looking for the agent.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }
}
