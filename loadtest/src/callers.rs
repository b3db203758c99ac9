//! What makes calls, seen from a campaign: HTTP connections, or whatever else carries calls and answers.
//!
//! Owns the seam only. A campaign counts and judges; callers frame, send and receive.

use std::io;
use std::time::Duration;

use crate::question::{Question, Verdict};

/// What came back for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status, in the words of what carried it (HTTP's for HTTP).
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// A response, or its absence.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Number of the call.
    pub number: u64,
    /// `None` when what carried the call ended without a response.
    pub response: Option<Response>,
    /// From the sending of the call.
    pub took: Duration,
}

/// Backends that make calls, a bounded number of them in flight.
pub trait Callers {
    /// Sends a call whose deadline is `timeout_ms` from now; returns false when there is no room.
    fn ask(&mut self, question: &Question, timeout_ms: u64) -> bool;

    /// Whether one more call can be in flight.
    fn has_room(&self) -> bool;

    /// Waits for at most `patience` and appends what came to `answers`.
    ///
    /// # Errors
    /// The poll failed, or what ended could not be opened again.
    fn turn(&mut self, answers: &mut Vec<Answer>, patience: Duration) -> io::Result<()>;

    /// What a response to this question is worth.
    fn judge(&self, question: &Question, response: &Response) -> Verdict;

    /// How many responses came since the last look that no call waited for.
    fn take_strays(&mut self) -> u64;
}
