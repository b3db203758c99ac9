//! What was refused, told to whoever counts and remembers it: metrics, limits on addresses, the audit log.
//!
//! Owns the pace of the log's lines on refusals, which strangers can cause. It refuses nobody, and writes no answer.

use std::net::IpAddr;
use std::sync::Arc;

use metrics::counter;

use super::{CallRequest, Dispatch, Forbidden};
use crate::audit::{Audit, Login, Trespass};
use crate::auth::permissions::{Act, Right, Ruling};
use crate::auth::refused::Refused;
use crate::kit::ids::ConnId;
use crate::kit::lock::lock;
use crate::kit::metric;
use crate::kit::tick::Now;
use crate::net::mailbox::{OnDescribed, Order};
use crate::work::answers::Answers;
use crate::work::caller::Caller;

/// The door of those who are in, in the audit log.
const REFRESH: &str = "refresh";
/// What a key lacks that may call, and not this method; in metrics and logs, beside the words of the rights.
const BY_METHOD: &str = "method";
/// The same, of an agent whose token does not list the method.
const BY_TOKEN: &str = "agent_method";

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

    /// Somebody was refused for a token or a key: counts it, also against the address that it is held to account by, where it is a
    /// failed login.
    pub fn login_refused(&self, now: Now, why: Refused, held_to: Option<IpAddr>, login: Login) {
        counter!(metric::AUTH_FAILURES, "cause" => why.label()).increment(1);
        if let Some(source) = held_to.filter(|_| why.is_failed_login()) {
            self.arrivals().login_failed(now, source);
        }
        self.audit.login_refused(now, login);
    }

    /// A newer token on a live connection was refused: the same. Who is on the connection, and where it comes from, its loop is asked.
    pub(in crate::work) fn refresh_refused(&self, answers: &mut Answers, conn: ConnId, why: Refused, now: Now) {
        counter!(metric::REFRESHES, "result" => why.label()).increment(1);
        counter!(metric::AUTH_FAILURES, "cause" => why.label()).increment(1);
        let (audit, arrivals, directory) =
            (self.audit.clone(), Arc::clone(&self.arrivals), Arc::clone(&self.directory));
        // It runs on the loop's thread, where the locks that it takes are held for no longer than by a worker.
        let on_described = OnDescribed::new(move |described| {
            let described = described.ok();
            let remote = described.and_then(|described| described.peer);
            let held_to = described.and_then(|described| described.held_to).filter(|_| why.is_failed_login());
            if let Some(source) = held_to {
                arrivals.login_failed(now, source);
            }
            let agent = described.and_then(|described| directory.name(described.agent, conn));
            let agent = agent.map(|(tenant, agent)| format!("{}/{agent}", directory.tenant_name(tenant)));
            let login = Login { agent, ..Login::of_a_stranger(REFRESH, why.label(), remote) };
            audit.login_refused(now, login);
        });
        answers.push(conn, Order::Describe { conn, on_described });
    }

    /// A key was used for what it may not do with this right.
    pub fn forbidden(&self, now: Now, by: &Caller, right: Right, agent: Option<&str>) {
        let agent = agent.map(Into::into);
        self.trespassed(
            now,
            by,
            Trespass { who: by.who(), right: right.word(), what: right.word(), agent, method: None },
        );
    }

    /// A call was asked for that may not be made.
    pub fn call_forbidden(&self, now: Now, request: &CallRequest<'_>, forbidden: Forbidden) {
        let (by, right) = (request.by, Right::Call.word());
        let what = match forbidden {
            Forbidden::ByToken => BY_TOKEN,
            Forbidden::ByKey if by.permissions().may(Act::Use(Right::Call)) == Ruling::Allowed => BY_METHOD,
            Forbidden::ByKey => right,
        };
        let (agent, method) = (Some(request.agent.into()), Some(request.method.into()));
        self.trespassed(now, by, Trespass { who: by.who(), right, what, agent, method });
    }

    fn trespassed(&self, now: Now, by: &Caller, trespass: Trespass) {
        let Trespass { right, what, .. } = trespass;
        counter!(metric::FORBIDDEN, "what" => what).increment(1);
        if let Some(left_out) = self.may_log_refusal(now) {
            let (key, tenant): (&str, &str) = (&by.backend.name, &by.backend.tenant);
            tracing::info!(key, tenant, right, what, left_out, "refused: there is no permission for it");
        }
        self.audit.forbidden(now, trespass);
    }
}
