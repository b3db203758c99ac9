//! Reads a request's body: whole, under a limit, within the connection's patience.
//!
//! Owns no rule about what is in it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use super::patience::Patience;
use super::problem::{Kind, Problem};

/// The whole body. One that came in one piece is not copied.
///
/// # Errors
/// 413 over `bytes_max` (at once, where its length was announced), 408 when it is late, 400 when the peer broke off.
pub async fn read(mut body: Incoming, bytes_max: usize, patience: &Patience) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::BodyTooLarge).detail(format!("The body is over {bytes_max} bytes."));
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| poll_frame(&mut body, cx, patience)).await {
        // Trailers are read over.
        let Ok(piece) = frame?.into_data() else {
            continue;
        };
        if first.len() + joined.len() + piece.len() > bytes_max {
            return Err(too_large());
        }
        if first.is_empty() && joined.is_empty() {
            first = piece;
        } else {
            // From the second piece on everything is in `joined`.
            joined.extend_from_slice(&std::mem::take(&mut first));
            joined.extend_from_slice(&piece);
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

type Polled = Option<Result<Frame<Bytes>, Problem>>;

fn poll_frame(body: &mut Incoming, cx: &mut Context<'_>, patience: &Patience) -> Poll<Polled> {
    let polled = Pin::new(body).poll_frame(cx);
    if polled.is_pending() && patience.body_is_late() {
        return Poll::Ready(Some(Err(Problem::new(Kind::SlowBody))));
    }
    Poll::Ready(
        ready!(polled).map(|frame| frame.map_err(|_| Problem::new(Kind::Malformed).detail("The body broke off."))),
    )
}
