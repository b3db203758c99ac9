//! One request from head to answer: find its route, check its key, hand it to its handler, count it.
//!
//! Owns the order of these steps. It never opens a body: a caller without a key costs nothing more than its head.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use hyper::body::Incoming;

use super::admit;
use super::admitted::{Admitted, Arrived};
use super::patience::{Patience, Wait};
use super::problem::{Kind, Problem};
use super::route::{Found, Keyed, OBSERVE, Open, Route, TABLE, find};
use super::setup::{MetricsAccess, Shared};
use super::{agents, answer::Answer, call, foreign, operate, revocations};
use crate::kit::tick::Now;

/// The status under which a request is counted whose caller went away.
const CALLER_WENT_AWAY: u16 = 499;

/// Answers a request; never fails.
pub async fn handle(
    shared: &Arc<Shared>,
    patience: &Patience,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let now = shared.clock.now();
    patience.wait_for(Wait::Us, now);
    let (head, body) = request.into_parts();
    let mut counting = Counting { shared, row: None, status: CALLER_WENT_AWAY };
    let answered = match find(&head.method, head.uri.path()) {
        Found::Route(row, agent) => {
            counting.row = Some(row);
            route(shared, patience, &Arrived { row, agent, peer, now }, &head, body).await
        }
        Found::WrongMethod(allowed) => Err(Problem::new(Kind::MethodNotAllowed).allow(allowed)),
        Found::AgentsPort => Err(Problem::new(Kind::WrongPort)
            .detail(format!("This port serves backends and operators. Agents connect to {}.", shared.agents_listen))),
        Found::Nothing => Err(Problem::new(Kind::NotFound)),
    };
    let answer = answered.unwrap_or_else(Problem::into_answer);
    counting.status = answer.status;
    drop(counting);
    patience.wait_for(Wait::Idle, shared.clock.now());
    Ok(answer.into_response(seed(now, peer)))
}

/// Another one for each request that runs.
pub(super) fn seed(now: Now, peer: SocketAddr) -> u64 {
    now.0 ^ u64::from(peer.port()) << 48
}

async fn route(
    shared: &Arc<Shared>,
    patience: &Patience,
    arrived: &Arrived<'_>,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Problem> {
    let now = arrived.now;
    let live = shared.live();
    foreign::check(&live.access, &head.headers)?;
    let route = match TABLE[arrived.row].route {
        Route::Open(Open::Live) => return Ok(operate::live()),
        Route::Open(Open::Ready) => return operate::ready(shared, now),
        Route::Open(Open::Metrics) => {
            if live.metrics == MetricsAccess::Keyed {
                admit::admit(shared, &live, &head.headers, arrived, OBSERVE)?;
            }
            return Ok(operate::metrics(shared, now));
        }
        Route::Open(Open::Description) => return Ok(operate::openapi()),
        Route::Keyed(route) => route,
    };
    let by = admit::admit(shared, &live, &head.headers, arrived, route.right())?;
    let asked = Admitted {
        by,
        agent: arrived.agent,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        live: &live,
        now,
    };
    match route {
        Keyed::Call => call::post(shared, asked, body, patience).await,
        Keyed::List => agents::list(shared, &asked),
        Keyed::Show => agents::show(shared, asked).await,
        Keyed::Disconnect => agents::disconnect(shared, &asked).await,
        Keyed::Node => Ok(operate::node(shared, now)),
        Keyed::Revoke => revocations::post(shared, asked, body, patience).await,
        Keyed::Revocations => revocations::list(shared, &asked),
        Keyed::Unrevoke => revocations::delete(shared, asked).await,
    }
}

/// Counts a request once, however it ends: a caller that hangs up has the future dropped, and this with it.
struct Counting<'a> {
    shared: &'a Shared,
    row: Option<usize>,
    status: u16,
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.shared.count.request(self.row, self.status);
    }
}
