//! What all requests share: the door to agents, the clock, keys, limits, counters, idempotency keys.
//!
//! Owns nothing of a single request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::oneshot;

use super::answer::Answer;
use super::call_body::Timeouts;
use super::count::Count;
use super::exchange::Exchange;
use super::idempotency::{Bounds, Idempotency};
use super::problem::Closed;
use crate::auth::api_key::{ApiKeys, Backend, Fingerprint};
use crate::auth::refused::Refused;
use crate::directory::LastClose;
use crate::kit::lock::lock;
use crate::kit::tick::{Clock, Now};
use crate::work::call_count::Way;
use crate::work::caller::Caller;
use crate::work::dispatch::Dispatch;
use crate::work::gate;

/// Who may use the API.
pub enum Access {
    /// `serve --dev`: everybody, as the tenant `default`; keys are not looked at.
    Dev,
    /// Holders of these keys.
    Keys(ApiKeys),
}

/// Limits of this port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub body_bytes_max: usize,
    /// How long a call waits when its caller does not say.
    pub timeout: Duration,
    /// The most that a caller may say.
    pub timeout_max: Duration,
    /// What is remembered of idempotency keys.
    pub idempotency: Bounds,
    /// Most connections at once. Read at the start only.
    pub connections_max: usize,
    /// Most bytes of a request's head, at least 8192. For new connections.
    pub head_bytes_max: usize,
    /// Most fields of a request's head. For new connections.
    pub head_fields_max: usize,
    /// How long the first head, and each body, may take.
    pub head_timeout: Duration,
    /// How long a connection may rest between requests, and a peer may take for an answer.
    pub idle_timeout: Duration,
}

impl Limits {
    pub(super) fn timeouts(&self) -> Timeouts {
        Timeouts { default: self.timeout, max: self.timeout_max }
    }
}

/// Who may read the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Everybody who reaches the port.
    Open,
    /// Holders of a key that may observe.
    Keyed,
}

/// What may change while the server runs.
pub struct Live {
    /// Who may use the API.
    pub access: Access,
    /// Its limits.
    pub limits: Limits,
    /// Who may read the metrics.
    pub metrics: MetricsAccess,
}

/// What the server needs.
pub struct Setup {
    /// The door to agents.
    pub dispatch: Arc<Dispatch>,
    /// The process' clock.
    pub clock: Clock,
    /// Keys and limits.
    pub live: Live,
    /// Renders the metrics. Its recorder must be installed already.
    pub metrics: PrometheusHandle,
    /// Where agents connect, to be told to those who come to the wrong port.
    pub agents_listen: String,
}

/// Who waits for a call with an idempotency key.
pub(super) type Waiter = oneshot::Sender<Answer>;

/// What all requests share.
pub struct Shared {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) clock: Clock,
    pub(super) count: Count,
    pub(super) exchange: Exchange,
    pub(super) metrics: PrometheusHandle,
    pub(super) agents_listen: String,
    /// Who comes without a key, where nobody needs one.
    anybody: Arc<Backend>,
    live: RwLock<Arc<Live>>,
    idempotency: Mutex<Idempotency<Waiter>>,
}

impl Shared {
    /// Makes it.
    #[must_use]
    pub fn new(setup: Setup) -> Arc<Self> {
        Arc::new(Self {
            exchange: Exchange::new(&setup.dispatch),
            dispatch: setup.dispatch,
            clock: setup.clock,
            count: Count::new(),
            metrics: setup.metrics,
            agents_listen: setup.agents_listen,
            anybody: gate::anybody(),
            live: RwLock::new(Arc::new(setup.live)),
            idempotency: Mutex::new(Idempotency::new()),
        })
    }

    /// Puts other keys and limits in place; requests that run keep what they began with. From any thread.
    pub fn swap(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
    }

    /// Keys and limits as they are now.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The idempotency keys. Nothing may be called out of while this is held.
    pub(super) fn idempotency(&self) -> MutexGuard<'_, Idempotency<Waiter>> {
        lock(&self.idempotency)
    }

    /// Whoever sends a request with this `Authorization` header.
    ///
    /// # Errors
    /// Why it may not come in.
    pub(super) fn caller(
        &self,
        live: &Live,
        authorization: Option<&[u8]>,
        peer: SocketAddr,
    ) -> Result<Caller, Refused> {
        let (key, backend) = match &live.access {
            Access::Dev => (None, &self.anybody),
            Access::Keys(keys) => {
                let key = Fingerprint::of(authorization.and_then(bearer).ok_or(Refused::Missing)?);
                (Some(key), keys.find(key).ok_or(Refused::Unverified)?)
            }
        };
        let tenant = self.dispatch.tenant(&backend.tenant);
        Ok(Caller { tenant, key, backend: Arc::clone(backend), way: Way::Http, peer: Some(peer) })
    }

    /// A moment as RFC 3339 in UTC, to the millisecond.
    pub(super) fn time(&self, moment: Now) -> String {
        let wall = UNIX_EPOCH.checked_add(Duration::from_millis(self.clock.unix_ms(moment)));
        humantime::format_rfc3339_millis(wall.unwrap_or(UNIX_EPOCH)).to_string()
    }

    /// The end of a connection as the API writes it.
    pub(super) fn closed(&self, close: LastClose) -> Closed {
        Closed { reason: close.reason.row().label, at: self.time(close.at) }
    }
}

/// The key of `Bearer <key>` (RFC 6750, section 2.1); the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(authorization: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authorization).ok()?;
    let (scheme, key) = text.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_bearer() {
        for (header, key) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("BEARER a b", Some("a b")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(bearer(header.as_bytes()), key, "{header}");
        }
        assert_eq!(bearer(b"Bearer \xff"), None);
    }
}
