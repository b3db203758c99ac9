//! The traffic secrets of one handshake, caught as rustls makes them.
//!
//! `dangerous_extract_secrets` gives keys and IVs, from which no next key follows. The secrets that they come from pass
//! through rustls' key log, so each handshake has one of its own. `rustls::kernel` would answer key updates too, but keeps
//! several hundred bytes a connection for it. It writes no file, and never shows a secret.

use std::sync::Mutex;

use rustls::KeyLog;
use zeroize::Zeroizing;

use crate::kit::lock::lock;

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// Both first application traffic secrets (RFC 8446 section 7.1), once the handshake has come to them.
#[derive(Default)]
pub(super) struct Captured {
    secrets: Mutex<Secrets>,
}

#[derive(Default)]
pub(super) struct Secrets {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

impl Captured {
    /// Takes them out.
    pub(super) fn take(&self) -> Secrets {
        std::mem::take(&mut *lock(&self.secrets))
    }
}

impl KeyLog for Captured {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let secret = Zeroizing::new(secret.to_vec());
        match label {
            CLIENT => lock(&self.secrets).client = secret,
            SERVER => lock(&self.secrets).server = secret,
            _ => {}
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == CLIENT || label == SERVER
    }
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Captured").finish_non_exhaustive()
    }
}
