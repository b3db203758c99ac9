//! Floor 1: one connection's life. Bytes and time are arguments; there is no I/O here.

pub mod reason;
