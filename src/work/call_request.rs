//! A call as a backend asks for it, and the same call when it is permitted.
//!
//! Owns the order of the two: only a [`Permitted`] call can be sent, and only a request whose caller may make it becomes one, whichever
//! way it came in. It looks for no agent: whether the caller reaches this one is asked when the agent is found.

use std::time::Duration;

use crate::auth::permissions::{Act, Ruling};
use crate::kit::ids::TenantId;
use crate::wire::envelope::Payload;

use super::caller::Caller;

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

/// The caller may not call this method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden;

/// A call that its caller may make, if it reaches the agent.
pub struct Permitted<'a>(CallRequest<'a>);

impl<'a> CallRequest<'a> {
    /// Whose agent.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.by.tenant
    }

    /// The call, where its caller may make it.
    ///
    /// # Errors
    /// It may not; nothing was looked for.
    pub fn permit(self) -> Result<Permitted<'a>, Forbidden> {
        match self.by.permissions().may(Act::Call { method: self.method }) {
            Ruling::Allowed => Ok(Permitted(self)),
            Ruling::Forbidden | Ruling::Hidden => Err(Forbidden),
        }
    }
}

impl<'a> Permitted<'a> {
    /// What is asked for.
    #[must_use]
    pub fn request(&self) -> &CallRequest<'a> {
        &self.0
    }
}
