//! A call with an idempotency key: sent once, however often it is asked for.
//!
//! Owns the waiting; [`super::idempotency`] owns the remembering. The lock on it is never held across a call of anything else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::http::HeaderValue;
use tokio::sync::oneshot;

use super::answer::{Answer, REPLAYED};
use super::idempotency::{Again, Begun, BodyDigest, Bounds, Key, Seat};
use super::problem::{Fault, Kind, Problem};
use super::reply;
use super::setup::Shared;
use crate::calls::{End, Outcome};
use crate::kit::ids::CallId;
use crate::kit::lock::lock;
use crate::kit::tick::millis;
use crate::work::dispatch::{CallRequest, Permitted};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Sends the call, or waits for the one that is on its way, or repeats what it was answered with.
///
/// # Errors
/// The key belongs to another body, there is no room for it, or the answer is not kept any more.
pub async fn send(
    shared: &Arc<Shared>,
    bounds: Bounds,
    key: &[u8],
    body: &[u8],
    permitted: &Permitted<'_>,
) -> Result<Answer, Problem> {
    let request = permitted.request();
    let (end, ended) = oneshot::channel();
    let now = shared.clock.now();
    let begun = shared.idempotency().begin(now, bounds, key_of(request, key), digest_of(body), end);
    if let Begun::First(seat) = &begun {
        dispatch(shared, bounds, seat, permitted);
    }
    answer(shared, begun, ended, request.agent).await
}

/// The answer of the call that was sent under this key, where one was: a token that the agent has shown since does not make it unsent.
///
/// # Errors
/// As for [`send`].
pub async fn repeat(
    shared: &Arc<Shared>,
    key: &[u8],
    body: &[u8],
    request: &CallRequest<'_>,
) -> Option<Result<Answer, Problem>> {
    let (end, ended) = oneshot::channel();
    let begun = shared.idempotency().repeat(shared.clock.now(), &key_of(request, key), digest_of(body), end)?;
    Some(answer(shared, begun, ended, request.agent).await)
}

fn key_of(request: &CallRequest<'_>, key: &[u8]) -> Key {
    Key { tenant: request.tenant(), owner: request.by.key, agent: request.agent.to_owned(), key: key.to_vec() }
}

async fn answer(
    shared: &Shared,
    begun: Begun,
    ended: oneshot::Receiver<Answer>,
    agent: &str,
) -> Result<Answer, Problem> {
    let refused = |kind| Err(Problem::new(kind).agent(agent));
    let seat = match begun {
        Begun::First(seat) | Begun::Joined(seat) => seat,
        Begun::Answered(answer) => {
            return Ok(answer.with(Some((REPLAYED, HeaderValue::from_static("true")))));
        }
        Begun::AnswerDropped => return refused(Kind::AnswerDropped),
        Begun::OtherBody => return refused(Kind::KeyReused),
        Begun::Full => return refused(Kind::KeysFull),
    };
    // Kept until the answer is here: leaving a call that has ended changes nothing.
    let _leave = Leave { shared, seat: &seat };
    ended.await.map_err(|_| Problem::new(Kind::Internal).agent(agent))
}

fn dispatch(shared: &Arc<Shared>, bounds: Bounds, seat: &Seat, permitted: &Permitted<'_>) {
    let ending = Arc::new(Ending {
        shared: Arc::clone(shared),
        bounds,
        seat: seat.clone(),
        agent: permitted.request().agent.to_owned(),
        halves: Mutex::new(Halves { call: None, outcome: None }),
    });
    let start = shared.clock.now();
    let on_end = {
        let ending = Arc::clone(&ending);
        Box::new(move |End { outcome, .. }| {
            let took = ending.shared.clock.now().since(start);
            ending.shared.count.call(&outcome, took);
            ending.meet(|halves| halves.outcome = Some((outcome, took)));
        })
    };
    let call = shared.dispatch.call_quietly(start, permitted, on_end);
    if let Some(call) = call {
        shared.idempotency().sent(seat, call);
    }
    ending.meet(|halves| halves.call = Some(call));
}

/// The end of a call needs its id and its outcome, and either may come first: the outcome comes on another thread, maybe before
/// [`crate::work::dispatch::Dispatch::call`] has returned the id.
struct Halves {
    call: Option<Option<CallId>>,
    outcome: Option<(Outcome, Duration)>,
}

struct Ending {
    shared: Arc<Shared>,
    bounds: Bounds,
    seat: Seat,
    agent: String,
    halves: Mutex<Halves>,
}

impl Ending {
    /// Puts one half in; with the second one, answers everybody who waits.
    fn meet(&self, put: impl FnOnce(&mut Halves)) {
        let (call, outcome, took) = {
            let mut halves = lock(&self.halves);
            put(&mut halves);
            let Some(call) = halves.call else { return };
            let Some((outcome, took)) = halves.outcome.take() else {
                return;
            };
            (call, outcome, took)
        };
        let answer = reply::of_outcome(&outcome, call, &self.agent, millis(took));
        let now = self.shared.clock.now();
        let waiters = self.shared.idempotency().finish(now, self.bounds, &self.seat, &answer, again(&outcome));
        for waiter in waiters {
            // Who waited may be gone by now.
            let _ = waiter.send(answer.clone());
        }
    }
}

/// Leaves the call when the caller hangs up; the last one to leave cancels it.
struct Leave<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let last = self.shared.idempotency().leave(self.seat);
        if let Some(call) = last {
            self.shared.dispatch.cancel(call);
        }
    }
}

fn digest_of(body: &[u8]) -> BodyDigest {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    sha256
}

/// An idempotency key that may be one.
///
/// # Errors
/// 400 when it is empty or too long.
pub fn check_key(key: &[u8]) -> Result<&[u8], Problem> {
    if (1..=KEY_BYTES_MAX).contains(&key.len()) { Ok(key) } else { Err(bad_key("must be 1 to 255 bytes")) }
}

/// The refusal of an idempotency key.
#[must_use]
pub fn bad_key(detail: &str) -> Problem {
    Problem::new(Kind::Invalid)
        .detail("The idempotency key is not valid.")
        .errors(vec![Fault::parameter("Idempotency-Key", detail)])
}

/// Whether a repeat under the same key may run: only where the outcome says that nothing was delivered.
fn again(outcome: &Outcome) -> Again {
    match outcome {
        Outcome::Offline | Outcome::NotDelivered | Outcome::Busy | Outcome::Draining => Again::Safe,
        Outcome::Ok(_)
        | Outcome::AgentError { .. }
        | Outcome::NoReceipt
        | Outcome::NoReply
        | Outcome::Lost
        | Outcome::Cancelled => Again::Answered,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::calls::Body;

    #[test]
    fn only_what_was_not_delivered_may_run_again() {
        let body = Body { bytes: bytes::Bytes::new(), json: false };
        let error = Outcome::AgentError { code: 0, message: String::new(), data: None };
        for (outcome, expected) in [
            (Outcome::Ok(body), Again::Answered),
            (error, Again::Answered),
            (Outcome::Offline, Again::Safe),
            (Outcome::NotDelivered, Again::Safe),
            (Outcome::NoReceipt, Again::Answered),
            (Outcome::NoReply, Again::Answered),
            (Outcome::Lost, Again::Answered),
            (Outcome::Busy, Again::Safe),
            (Outcome::Cancelled, Again::Answered),
            (Outcome::Draining, Again::Safe),
        ] {
            assert_eq!(again(&outcome), expected, "{}", outcome.label());
        }
    }

    #[test]
    fn keys_have_a_length() {
        for (bytes, fine) in [(0, false), (1, true), (255, true), (256, false)] {
            assert_eq!(check_key(&vec![b'k'; bytes]).is_ok(), fine, "{bytes}");
        }
    }

    #[test]
    fn a_digest_is_of_every_byte() {
        assert_eq!(digest_of(b"a"), digest_of(b"a"));
        assert_ne!(digest_of(b"a"), digest_of(b"a "));
    }
}
