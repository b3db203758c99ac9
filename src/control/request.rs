//! One request from head to answer: find its route, check its key, hand it to its handler, count it.
//!
//! Owns the order of these steps. It never opens a body: a caller without a key costs nothing more than its head.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Request, Response, header};
use hyper::body::Incoming;

use super::asked::Asked;
use super::patience::{Patience, Wait};
use super::problem::{Kind, Problem};
use super::route::{Found, Keyed, Open, Route, TABLE, find};
use super::setup::Shared;
use super::{agents, answer::Answer, call, foreign, operate, revocations};
use crate::kit::tick::Now;

/// The status under which a request is counted whose caller went away.
const CALLER_WENT_AWAY: u16 = 499;

/// Answers a request; never fails.
pub async fn handle(
    shared: &Arc<Shared>,
    patience: &Patience,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let now = shared.clock.now();
    patience.wait_for(Wait::Us, now);
    let (head, body) = request.into_parts();
    let mut counting = Counting { shared, row: None, status: CALLER_WENT_AWAY };
    let answered = match find(&head.method, head.uri.path()) {
        Found::Route(row, agent) => {
            counting.row = Some(row);
            route(shared, patience, row, agent, &head, body, now).await
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
    Ok(answer.into_response())
}

async fn route(
    shared: &Arc<Shared>,
    patience: &Patience,
    row: usize,
    agent: &str,
    head: &Parts,
    body: Incoming,
    now: Now,
) -> Result<Answer, Problem> {
    let live = shared.live();
    foreign::check(&live.access, &head.headers)?;
    let route = match TABLE[row].route {
        Route::Open(Open::Live) => return Ok(operate::live()),
        Route::Open(Open::Ready) => return operate::ready(shared, now),
        Route::Open(Open::Metrics) => return Ok(operate::metrics(shared, now)),
        Route::Open(Open::Description) => return Ok(operate::openapi()),
        Route::Keyed(route) => route,
    };
    let authorization = head.headers.get(header::AUTHORIZATION);
    let (tenant, key) = shared
        .caller(&live, authorization.map(|value| value.as_bytes()))
        .ok_or_else(|| Problem::new(Kind::Unauthorized))?;
    let asked = Asked {
        tenant,
        key,
        agent,
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        live: &live,
        now,
    };
    match route {
        Keyed::Call => call::post(shared, asked, body, patience).await,
        Keyed::List => agents::list(shared, &asked),
        Keyed::Show => agents::show(shared, asked).await,
        Keyed::Disconnect => agents::disconnect(shared, &asked),
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
