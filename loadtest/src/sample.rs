//! What a server and the kernel under it use, read from `/proc` while a run goes on.
//!
//! Owns the reading and the arithmetic of it. It must never change anything.

pub mod host;
