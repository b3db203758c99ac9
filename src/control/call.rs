//! `POST /v1/agents/{agent}/calls`: parse, send, wait, answer.
//!
//! Owns the caller's side of a call. The outcome always comes from [`Dispatch`], the deadline's too: nothing here decides it.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};

use super::admitted::Admitted;
use super::answer::Answer;
use super::body;
use super::call_body::{self, CallBody};
use super::keyed_call;
use super::patience::{Patience, Wait};
use super::problem::{Kind, Problem};
use super::query;
use super::reply;
use super::setup::Shared;
use crate::calls::End;
use crate::kit::ids::CallId;
use crate::kit::planted;
use crate::wire::envelope::Payload;
use crate::work::dispatch::{CallRequest, Dispatch, Forbidden, Permitted};

/// Marks repeats of one call.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Answers the route.
///
/// # Errors
/// What is wrong with the request. How the call ended is never an error here.
pub async fn post(
    shared: &Arc<Shared>,
    asked: Admitted<'_>,
    body: hyper::body::Incoming,
    patience: &Patience,
) -> Result<Answer, Problem> {
    planted::here(planted::Place::Control);
    let agent = query::agent(asked.agent)?;
    if let Err(wait) = shared.dispatch.may_call(asked.by.key, asked.now) {
        return Err(Problem::new(Kind::RateLimited).again_in(wait));
    }
    let key = idempotency_key(asked.headers)?;
    let limits = &asked.live.limits;
    patience.wait_for(Wait::Body, asked.now);
    let bytes = body::read(body, limits.body_bytes_max, patience).await?;
    patience.wait_for(Wait::Us, asked.now);
    let call = call_body::parse(&bytes, limits.timeouts())?;
    let request = request(&asked, &agent, &call);
    let permitted = match (shared.dispatch.permit(request), key) {
        (Ok(permitted), Some(key)) => {
            return keyed_call::send(shared, limits.idempotency, key, &bytes, &permitted).await;
        }
        (Ok(permitted), None) => permitted,
        (Err(Forbidden::ByToken), Some(key)) => {
            let repeated = keyed_call::repeat(shared, key, &bytes, &request).await;
            return repeated.unwrap_or_else(|| Err(forbidden(shared, &asked, &request, Forbidden::ByToken)));
        }
        (Err(why), _) => return Err(forbidden(shared, &asked, &request, why)),
    };
    Ok(send(shared, &permitted).await)
}

/// Sends a call and waits for its outcome. Dropped before, it takes the call back.
async fn send(shared: &Arc<Shared>, permitted: &Permitted<'_>) -> Answer {
    let agent = permitted.request().agent;
    let start = shared.clock.now();
    let (end, ended) = shared.exchange.wait_for_one();
    let counting = Arc::clone(shared);
    let on_end = Box::new(move |End { outcome, .. }| {
        let took = counting.clock.now().since(start);
        counting.count.call(&outcome, took);
        end.put((outcome, took));
    });
    let call = shared.dispatch.call_quietly(start, permitted, on_end);
    let mut hang_up = HangUp { dispatch: &shared.dispatch, call };
    let ended = ended.await;
    hang_up.call = None;
    match ended {
        Ok((outcome, took)) => {
            let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            reply::of_outcome(&outcome, call, agent, took)
        }
        // The contract is one outcome for each call, so this is a defect of ours, and is said as one.
        Err(_) => Problem::new(Kind::Internal).agent(agent).call(call).into_answer(),
    }
}

fn forbidden(shared: &Shared, asked: &Admitted<'_>, request: &CallRequest<'_>, why: Forbidden) -> Problem {
    shared.dispatch.call_forbidden(asked.now, request, why);
    Problem::new(Kind::Forbidden).detail(match why {
        Forbidden::ByKey => "This API key may not call this method.",
        Forbidden::ByToken => "This agent's token does not allow calls of this method.",
    })
}

fn request<'a>(asked: &'a Admitted<'_>, agent: &'a str, call: &'a CallBody<'_>) -> CallRequest<'a> {
    CallRequest {
        by: &asked.by,
        agent,
        method: &call.method,
        params: Payload { bytes: call.params.unwrap_or_default().as_bytes(), json: call.params.is_some() },
        timeout: call.timeout,
    }
}

/// Takes a call back when its caller hangs up: hyper drops the handler's future then.
struct HangUp<'a> {
    dispatch: &'a Dispatch,
    call: Option<CallId>,
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.dispatch.cancel(call);
        }
    }
}

/// The idempotency key, where there is one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = values.next().map(|value| value.as_bytes());
    if values.next().is_some() {
        return Err(keyed_call::bad_key("may come once"));
    }
    key.map(keyed_call::check_key).transpose()
}
