//! Finding an agent for somebody who may reach it.
//!
//! Owns the order: whether it is there first, and its labels only where the key is bound to some.

use super::Dispatch;
use crate::auth::permissions::{Act, Ruling};
use crate::directory::{Labels, Located};
use crate::work::caller::Caller;
use crate::work::reached::Reached;

impl Dispatch {
    /// Looks for an agent. Who reaches all agents of its tenant has no look at labels.
    pub(in crate::work) fn reach(&self, by: &Caller, agent: &str) -> Reached {
        if by.permissions().conditions().is_empty() {
            return self.directory.locate(by.tenant, agent).map_or(Reached::Nowhere, Reached::There);
        }
        match self.look_up(by, agent) {
            Ok((located, _)) => Reached::There(located),
            Err(why) => why,
        }
    }

    /// Where an agent is, and its labels.
    ///
    /// # Errors
    /// It is not there, or hidden: never [`Reached::There`].
    pub(super) fn look_up(&self, by: &Caller, agent: &str) -> Result<(Located, Labels), Reached> {
        let (located, labels) = self.directory.look_up(by.tenant, agent).ok_or(Reached::Nowhere)?;
        match by.permissions().may(Act::Reach { labels: &labels }) {
            Ruling::Allowed => Ok((located, labels)),
            Ruling::Forbidden | Ruling::Hidden => Err(Reached::Hidden),
        }
    }
}
