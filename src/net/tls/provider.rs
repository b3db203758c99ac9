//! What our own HTTPS clients do their cryptography with.
//!
//! Owns that it is the one backend. It makes no connection.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;

/// The one crypto backend, for a client.
#[must_use]
pub fn client_provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}
