//! Floor 0: bytes to values and back. No I/O, no clock, no state but what a decoder needs across a cut.

pub mod client_tls;
pub mod close;
pub mod decoder;
pub mod deflate;
pub mod encode;
pub mod envelope;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod head;
pub mod mask;
pub mod origin;
pub mod origins;
pub mod proxy;
pub mod rules;
pub mod upgrade;
pub mod url;
pub mod utf8;
