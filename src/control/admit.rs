//! Who may come in with a request, and do what it asks for.
//!
//! Owns the order: networks that failed too often, then the key, then the right. It knows no agent, and opens no body.

use axum::http::{HeaderMap, header};
use metrics::counter;

use super::admitted::Arrived;
use super::problem::{Kind, Problem};
use super::query;
use super::setup::{Access, Live, Shared};
use crate::audit::Login;
use crate::auth::permissions::{Act, Right, Ruling};
use crate::auth::refused::Refused;
use crate::kit::metric;
use crate::net::arrivals::Shed;
use crate::work::caller::Caller;

/// This port, in the audit log.
const DOOR: &str = "control";

/// Lets in who has a key, and may do with it what takes this right.
///
/// # Errors
/// 429, 401 or 403. None of them tells anything of an agent.
pub fn admit(
    shared: &Shared,
    live: &Live,
    headers: &HeaderMap,
    arrived: &Arrived<'_>,
    right: Right,
) -> Result<Caller, Problem> {
    if let Access::Keys(_) = live.access {
        check_network(shared, arrived)?;
    }
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let by = shared.caller(live, authorization, arrived.peer).map_err(|refused| refuse(shared, arrived, refused))?;
    match by.permissions().may(Act::Use(right)) {
        Ruling::Allowed => Ok(by),
        Ruling::Forbidden | Ruling::Hidden => {
            // What stands in the path is written down where it can be a name.
            // No route that is for administrators has an agent in it.
            let agent = query::agent(arrived.agent).ok().filter(|_| right != Right::Administer);
            shared.dispatch.forbidden(arrived.now, &by, right, agent.as_deref());
            let detail = format!("This API key has no permission `{}`.", right.word());
            Err(Problem::new(Kind::Forbidden).detail(detail))
        }
    }
}

/// Before a key is looked at: too many of this network's have failed, and so this one is not tried.
fn check_network(shared: &Shared, arrived: &Arrived<'_>) -> Result<(), Problem> {
    let (now, peer) = (arrived.now, arrived.peer);
    let Some(wait) = shared.dispatch.arrivals().login_wait(now, peer.ip()) else {
        return Ok(());
    };
    let limit = Shed::FailedLogins.label();
    counter!(metric::SHED, "limit" => limit).increment(1);
    if let Some(left_out) = shared.dispatch.may_log_refusal(now) {
        tracing::info!(%peer, limit, left_out, "request refused by a limit");
    }
    Err(Problem::new(Kind::FailedLogins).again_in(wait))
}

fn refuse(shared: &Shared, arrived: &Arrived<'_>, refused: Refused) -> Problem {
    let (now, peer) = (arrived.now, arrived.peer);
    if let Some(left_out) = shared.dispatch.may_log_refusal(now) {
        tracing::info!(%peer, cause = ?refused, left_out, "request refused");
    }
    let login = Login::of_a_stranger(DOOR, refused.label(), Some(peer));
    shared.dispatch.login_refused(now, refused, Some(peer.ip()), login);
    Problem::new(Kind::Unauthorized)
}
