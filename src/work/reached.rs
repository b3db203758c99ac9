//! What came of looking for an agent on somebody's behalf.
//!
//! Owns the difference between an agent that is not there and one that is hidden, which nobody but the audit log is told of.

use crate::directory::Located;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// It is here.
    There(Located),
    /// It is not connected.
    Nowhere,
    /// It is connected, and whoever asked must not know.
    Hidden,
}
