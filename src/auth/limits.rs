//! How large a token and what it says may be.

/// Longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Most labels of an agent.
pub const LABELS_MAX: usize = 32;
/// Longest key and longest value of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 128;
/// Most methods that an agent's token names.
pub const METHODS_MAX: usize = 32;
