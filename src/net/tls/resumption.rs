//! What makes a ticket serve where it may and nowhere else: rustls' door to [`Tickets`].
//!
//! Owns two rules that rustls leaves to its caller. A ticket counts only where clients' certificates are asked for in the way
//! that they were when it was given: keys may be shared by listeners, and one that asks for none must not open the door to one
//! that does. And it has an age. Certificates within a ticket are checked again when it is used (`handshake`), since they may
//! have been revoked meanwhile.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;

use super::tickets::{CONTEXT_BYTES, Tickets};

/// Tickets of one listener.
#[derive(Debug)]
pub(super) struct Resumption {
    tickets: Arc<Tickets>,
    context: [u8; CONTEXT_BYTES],
    time: Arc<dyn TimeProvider>,
}

impl Resumption {
    /// Tickets that hold for listeners that let these clients in. `time` is rustls' own source of it.
    pub(super) fn new(tickets: Arc<Tickets>, clients: &dyn ClientCertVerifier, time: Arc<dyn TimeProvider>) -> Self {
        Self { tickets, context: context(clients), time }
    }

    /// Seconds since 1970.
    fn now(&self) -> Option<u64> {
        self.time.current_time().map(|time| time.as_secs())
    }
}

/// A hash over how clients' certificates are asked for, and whose.
pub(super) fn context(clients: &dyn ClientCertVerifier) -> [u8; CONTEXT_BYTES] {
    let mut hash = Context::new(&SHA256);
    hash.update(&[u8::from(clients.offer_client_auth()), u8::from(clients.client_auth_mandatory())]);
    if clients.offer_client_auth() {
        for subject in clients.root_hint_subjects() {
            hash.update(&(subject.as_ref().len() as u64).to_be_bytes());
            hash.update(subject.as_ref());
        }
    }
    let mut context = [0; CONTEXT_BYTES];
    context.copy_from_slice(&hash.finish().as_ref()[..CONTEXT_BYTES]);
    context
}

impl ProducesTickets for Resumption {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(self.context, self.now()?, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(self.context, self.now()?, ticket)
    }
}
