//! cli

pub mod agent;
pub mod call;
