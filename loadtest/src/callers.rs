//! What makes calls, seen from a campaign: HTTP connections, or whatever else carries calls and answers.
//!
//! Owns the seam only. A campaign counts and judges; callers frame, send and receive.

use std::io;
use std::time::Duration;

use clap::ValueEnum;

use crate::http::HttpCallers;
use crate::link_caller::LinkCaller;
use crate::question::{Question, Worth};
use crate::target::Target;

/// What carries the calls of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Over {
    /// HTTP connections, one call in flight on each.
    Http,
    /// One control link with the binary envelopes, all calls in flight on it.
    Link,
}

impl Over {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Link => "link",
        }
    }

    /// Connects, for so many calls in flight.
    ///
    /// # Errors
    /// Nobody is there, or it does not let us in.
    pub fn connect(self, target: &Target, in_flight: usize) -> Result<Box<dyn Callers + Send>, String> {
        match self {
            Self::Http => match HttpCallers::connect(target, in_flight) {
                Ok(callers) => Ok(Box::new(callers)),
                Err(error) => Err(format!("control port: {error}")),
            },
            Self::Link => Ok(Box::new(LinkCaller::connect(target, in_flight)?)),
        }
    }
}

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
    fn judge(&self, question: &Question, response: &Response) -> Worth;

    /// How many responses came since the last look that no call waited for.
    fn take_strays(&mut self) -> u64;
}
