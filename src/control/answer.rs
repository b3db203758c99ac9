//! Answers: status, media type and body, before they become HTTP.
//!
//! Owns the step to HTTP. It never knows who asked, nor what the answer says.

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;

use crate::kit::retry_after::retry_after_secs;

/// The media type of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// No body.
    Nothing,
    /// `application/json`.
    Json,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// Prometheus' text format.
    Metrics,
}

/// An answer to a request. Cheap to clone: the body is shared.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What the body is.
    pub media: Media,
    /// The body.
    pub body: Bytes,
    /// One header more.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// Whether and when to ask again: a `Retry-After` when it becomes HTTP, so that of those who get copies of one answer each is told
    /// another time.
    pub again_in: Option<Duration>,
}

/// Says that an answer was stored and not made for this request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl Answer {
    /// An answer of ready bytes.
    #[must_use]
    pub fn new(status: u16, media: Media, body: impl Into<Bytes>) -> Self {
        Self { status, media, body: body.into(), header: None, again_in: None }
    }

    /// An answer that is written as JSON.
    #[must_use]
    pub fn json(status: u16, media: Media, value: &impl Serialize) -> Self {
        // Writing our own types into memory does not fail; were it ever to, an empty body with the right status is what is left.
        Self::new(status, media, serde_json::to_vec(value).unwrap_or_default())
    }

    /// With one header more.
    #[must_use]
    pub fn with(mut self, header: Option<(HeaderName, HeaderValue)>) -> Self {
        self.header = header;
        self
    }

    /// To be asked again after this time.
    #[must_use]
    pub fn again_in(mut self, wait: Option<Duration>) -> Self {
        self.again_in = wait;
        self
    }

    /// As an HTTP response. `seed` is another one for each request: see [`retry_after_secs`].
    #[must_use]
    pub fn into_response(self, seed: u64) -> Response<HttpBody> {
        let mut response = Response::new(HttpBody::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media = match self.media {
            Media::Nothing => None,
            Media::Json => Some("application/json"),
            Media::Problem => Some("application/problem+json"),
            Media::Metrics => Some("text/plain; version=0.0.4; charset=utf-8"),
        };
        let headers = response.headers_mut();
        if let Some(media) = media {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if let Some(wait) = self.again_in {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_secs(wait, seed)));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_response_carries_status_type_and_header() {
        let header = (REPLAYED, HeaderValue::from_static("true"));
        let response = Answer::new(499, Media::Problem, "{}").with(Some(header)).into_response(1);
        assert_eq!(response.status().as_u16(), 499);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["idempotency-replayed"], "true");
        let empty = Answer::new(204, Media::Nothing, "").into_response(1);
        assert!(empty.headers().is_empty());
    }

    #[test]
    fn copies_of_one_answer_are_told_different_times() {
        let answer = Answer::new(503, Media::Problem, "{}").again_in(Some(Duration::from_secs(20)));
        let told = |seed| {
            let response = answer.clone().into_response(seed);
            response.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap()
        };
        let found: BTreeSet<u32> = (0..500).map(told).collect();
        assert_eq!(found, (20..=30).collect());
    }
}
