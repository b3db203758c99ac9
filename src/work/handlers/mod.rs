//! One file for each kind of event: parse, apply, answer.

pub(super) mod ended;
pub(super) mod knock;
pub(super) mod link;
pub(super) mod message;
pub(super) mod refresh;
