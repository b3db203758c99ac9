//! Who may come in: agents by token, backends by API key.
//!
//! Owns keys and checks. It reads no file and no clock: key bytes and `now` are handed in.

pub mod api_key;
pub mod claims;
pub mod key;
pub mod limits;
mod pem;
pub mod permissions;
pub mod refused;
pub mod token;
