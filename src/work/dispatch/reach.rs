//! Finding an agent for somebody who may reach it.
//!
//! Owns the order: whether it is there first, and its labels only where the key is bound to some.

use super::{CallRequest, Dispatch, Forbidden, Permitted};
use crate::auth::permissions::{Act, Ruling};
use crate::directory::{Callable, Labels, Located};
use crate::work::caller::Caller;
use crate::work::reached::Reached;

impl Dispatch {
    /// The call, where the caller's key and the agent's token allow it.
    ///
    /// # Errors
    /// Which of them does not; nothing is sent.
    pub fn permit<'a>(&self, request: CallRequest<'a>) -> Result<Permitted<'a>, Forbidden> {
        request.permit(|request| self.reach_to_call(request.by, request.agent))
    }

    /// Looks for an agent to call it: also what its token lets it be called with.
    fn reach_to_call(&self, by: &Caller, agent: &str) -> (Reached, Callable) {
        if by.permissions().conditions().is_empty() {
            let found = self.directory.locate_to_call(by.tenant, agent);
            return found.map_or((Reached::Nowhere, None), |(at, callable)| (Reached::There(at), callable));
        }
        match self.look_up(by, agent) {
            Ok((located, _, callable)) => (Reached::There(located), callable),
            Err(why) => (why, None),
        }
    }

    /// Looks for an agent. Who reaches all agents of its tenant has no look at labels.
    pub(in crate::work) fn reach(&self, by: &Caller, agent: &str) -> Reached {
        if by.permissions().conditions().is_empty() {
            return self.directory.locate(by.tenant, agent).map_or(Reached::Nowhere, Reached::There);
        }
        match self.look_up(by, agent) {
            Ok((located, ..)) => Reached::There(located),
            Err(why) => why,
        }
    }

    /// Where an agent is, its labels, and what it may be called with.
    ///
    /// # Errors
    /// It is not there, or hidden: never [`Reached::There`].
    pub(super) fn look_up(&self, by: &Caller, agent: &str) -> Result<(Located, Labels, Callable), Reached> {
        let (located, labels, callable) = self.directory.look_up(by.tenant, agent).ok_or(Reached::Nowhere)?;
        match by.permissions().may(Act::Reach { labels: &labels }) {
            Ruling::Allowed => Ok((located, labels, callable)),
            Ruling::Forbidden | Ruling::Hidden => Err(Reached::Hidden),
        }
    }
}
