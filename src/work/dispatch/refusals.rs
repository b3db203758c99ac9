//! What was refused, told to whoever counts and remembers it: metrics, limits on addresses, the audit log.
//!
//! Owns the pace of the log's lines on refusals, which strangers can cause. It refuses nobody, and writes no answer.

use metrics::counter;

use super::Dispatch;
use crate::audit::{Audit, Login, Trespass};
use crate::auth::permissions::{Act, Right, Ruling};
use crate::kit::lock::lock;
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::work::caller::Caller;

impl Dispatch {
    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Whether one more refusal is logged: then how many were not since the last one that was.
    #[must_use]
    pub fn may_log_refusal(&self, now: Now) -> Option<u64> {
        lock(&self.refusals_logged).step(now)
    }

    /// Somebody was refused for a token or a key: counts it, also against its address.
    pub fn login_refused(&self, now: Now, login: Login) {
        counter!(metric::AUTH_FAILURES, "cause" => login.cause).increment(1);
        if let Some(peer) = login.remote {
            self.arrivals().login_failed(now, peer.ip());
        }
        self.audit.login_refused(now, login);
    }

    /// A key was used for what it may not do with this right, or with this method.
    pub fn forbidden(&self, now: Now, by: &Caller, right: Right, agent: Option<&str>, method: Option<&str>) {
        let lacks_right = by.permissions().may(Act::Use(right)) != Ruling::Allowed;
        let what = if lacks_right { right.word() } else { "method" };
        counter!(metric::FORBIDDEN, "what" => what).increment(1);
        if let Some(left_out) = self.may_log_refusal(now) {
            let (key, tenant): (&str, &str) = (&by.backend.name, &by.backend.tenant);
            tracing::info!(key, tenant, right = right.word(), what, left_out, "refused: the key has no permission");
        }
        let (agent, method) = (agent.map(Into::into), method.map(Into::into));
        self.audit.forbidden(now, Trespass { who: by.who(), right: right.word(), agent, method });
    }
}
