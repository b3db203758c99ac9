//! Acts that must be written down before they are done.
//!
//! Owns the waiting for the line. Where the audit log is not strict there is none, and what was done is told afterwards alone.

use tokio::sync::oneshot;

use super::problem::{Kind, Problem};
use super::setup::Shared;
use crate::audit::Act;
use crate::kit::tick::Now;

/// Waits until the line that says what is about to be done is in the file.
///
/// # Errors
/// 503 when it cannot be: then it must not be done.
pub async fn confirm(shared: &Shared, now: Now, act: impl FnOnce() -> Act) -> Result<(), Problem> {
    let audit = shared.dispatch.audit();
    if !audit.wants_confirmed_acts() {
        return Ok(());
    }
    let (tell, told) = oneshot::channel();
    let on_written = Box::new(move |is_written| {
        // Who asked may be gone: then nothing is done.
        let _ = tell.send(is_written);
    });
    audit.confirm(now, act(), on_written);
    match told.await {
        Ok(true) => Ok(()),
        // A writer that has ended writes nothing.
        Ok(false) | Err(_) => Err(Problem::new(Kind::NotAudited)),
    }
}
