//! `POST /v1/revocations`, `GET /v1/revocations`, `DELETE /v1/revocations/{revocation}`.
//!
//! Owns how revocations look in the API. What is answered with 201 or 204 is on the disk and in force.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::body::Incoming;
use serde::Serialize;
use tokio::sync::oneshot;

use super::admitted::Admitted;
use super::answer::{Answer, Media};
use super::body;
use super::confirm;
use super::patience::{Patience, Wait};
use super::problem::{Kind, Problem};
use super::query;
use super::revocation_body;
use super::setup::Shared;
use crate::audit::Act;
use crate::kit::ids::AgentId;
use crate::revocations::{Revocation, Target};
use crate::work::revoking::{Request, Unchanged};

/// A page of revocations.
#[derive(Serialize)]
struct PageJson {
    revocations: Vec<RevocationJson>,
    next: Option<String>,
}

/// One of them.
#[derive(Serialize)]
struct RevocationJson {
    revocation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    issued_before: Option<String>,
    reason: String,
    created_at: String,
    expires_at: Option<String>,
}

impl From<&Revocation> for RevocationJson {
    fn from(revocation: &Revocation) -> Self {
        let ban = &revocation.ban;
        let (mut token_id, mut agent, mut tenant) = (None, None, None);
        match &ban.target {
            Target::TokenId(id) => token_id = Some(id.clone()),
            Target::Agent(id) => agent = Some(id.clone()),
            Target::Tenant => tenant = Some(ban.tenant.clone()),
        }
        Self {
            revocation: query::write_cursor(revocation.id),
            token_id,
            agent,
            tenant,
            issued_before: ban.issued_before.map(time),
            reason: ban.reason.clone(),
            created_at: time(revocation.created_unix),
            expires_at: ban.expires_unix.map(time),
        }
    }
}

/// RFC 3339 in UTC. What lies beyond the year 9999 is told as its end.
fn time(unix_secs: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_secs.min(LAST))).to_string()
}

/// Revokes.
///
/// # Errors
/// 400 when the body is wrong, 503 or 507 when it cannot be written down: nothing is revoked then.
pub async fn post(
    shared: &Arc<Shared>,
    asked: Admitted<'_>,
    body: Incoming,
    patience: &Patience,
) -> Result<Answer, Problem> {
    patience.wait_for(Wait::Body, asked.now);
    let bytes = body::read(body, asked.live.limits.body_bytes_max, patience).await?;
    patience.wait_for(Wait::Us, asked.now);
    let now_unix = shared.clock.unix_ms(asked.now) / 1000;
    let ban = revocation_body::parse(&bytes, &asked.by.backend.tenant, now_unix)?;
    let (agent, detail) = told_of(&ban.target);
    let act = |outcome| act("revoke", &asked, (agent.clone(), detail.clone()), outcome);
    confirm::confirm(shared, asked.now, || act("asked")).await?;
    let (tell, told) = oneshot::channel();
    let (node, line) = (Arc::clone(shared), act("done"));
    shared.dispatch.revocations().ask(Request::Add(ban, Box::new(move |done| settle(&node, line, done, tell))));
    let revocation = told.await.map_err(|_| Problem::new(Kind::Internal))?.map_err(problem)?;
    Ok(Answer::json(201, Media::Json, &RevocationJson::from(&revocation)))
}

/// Lists those of the tenant.
///
/// # Errors
/// 400 when the query is wrong.
pub fn list(shared: &Shared, asked: &Admitted<'_>) -> Result<Answer, Problem> {
    let page = query::page(asked.query)?;
    let tenant = &asked.by.backend.tenant;
    let set = shared.dispatch.revocations().read();
    let mut found = set.page(tenant, page.cursor);
    let some: Vec<&Revocation> = found.by_ref().take(page.limit).collect();
    let next = found.next().and(some.last()).map(|last| query::write_cursor(last.id));
    let revocations = some.into_iter().map(RevocationJson::from).collect();
    Ok(Answer::json(200, Media::Json, &PageJson { revocations, next }))
}

/// Takes one back.
///
/// # Errors
/// 404 when the tenant has none of this number, 503 or 507 when that cannot be written down.
pub async fn delete(shared: &Arc<Shared>, asked: Admitted<'_>) -> Result<Answer, Problem> {
    let id = query::read_cursor(asked.agent).ok_or_else(|| Problem::new(Kind::NoSuchRevocation))?;
    let tenant = asked.by.backend.tenant.to_string();
    let act = |outcome| act("unrevoke", &asked, (None, query::write_cursor(id)), outcome);
    confirm::confirm(shared, asked.now, || act("asked")).await?;
    let (tell, told) = oneshot::channel();
    let (node, line) = (Arc::clone(shared), act("done"));
    shared.dispatch.revocations().ask(Request::Drop(tenant, id, Box::new(move |done| settle(&node, line, done, tell))));
    told.await.map_err(|_| Problem::new(Kind::Internal))?.map_err(problem)?;
    Ok(Answer::new(204, Media::Nothing, ""))
}

/// What the audit log tells of a target: the agent, or what else it is. The id of a token is in the file of revocations alone.
fn told_of(target: &Target) -> (Option<AgentId>, String) {
    match target {
        Target::TokenId(_) => (None, "token".to_owned()),
        Target::Agent(agent) => (Some(agent.as_str().into()), "agent".to_owned()),
        Target::Tenant => (None, "tenant".to_owned()),
    }
}

fn act(
    what: &'static str,
    asked: &Admitted<'_>,
    (agent, detail): (Option<AgentId>, String),
    outcome: &'static str,
) -> Act {
    Act { what, who: Some(asked.by.who()), agent, outcome, detail: Some(detail) }
}

/// It is decided, on the keeper's thread: it is in the audit log also when who asked is gone.
fn settle<T>(node: &Shared, line: Act, done: Result<T, Unchanged>, tell: oneshot::Sender<Result<T, Unchanged>>) {
    let outcome = if done.is_ok() { "done" } else { "refused" };
    node.dispatch.audit().act(node.clock.now(), Act { outcome, ..line });
    drop(tell.send(done));
}

fn problem(why: Unchanged) -> Problem {
    match why {
        Unchanged::Full => Problem::new(Kind::RevocationsFull),
        Unchanged::Off => Problem::new(Kind::RevocationsOff),
        Unchanged::Busy => Problem::new(Kind::RevocationsBusy),
        Unchanged::Unknown => Problem::new(Kind::NoSuchRevocation),
        Unchanged::NotStored(why) => Problem::new(Kind::NotStored).detail(format!(
            "It could not be written down ({why}), so nothing was changed. Make room on the disk, and repeat."
        )),
    }
}
