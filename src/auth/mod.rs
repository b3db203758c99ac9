//! Who may come in: agents by token, backends by API key.
//!
//! Owns keys and checks. It reads no file and no clock: key bytes and `now` are handed in.

pub mod algorithm;
pub mod api_key;
pub mod claims;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod issuer;
pub mod jwks;
mod jws;
pub mod key;
pub mod limits;
mod pem;
pub mod permissions;
pub mod refused;
pub mod ring;
pub mod schedule;
pub mod token;
