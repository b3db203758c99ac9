//! The token that an agent shows, and a newer one before it runs out.
//!
//! Owns when a newer token is looked for. Where tokens come from is a function of whoever made the agent.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::kit::tick::Now;

/// From one look for a newer token to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// Where tokens come from: asked before each connection, and again when the gateway says that the token runs out. It is called on the
/// agent's own thread, which does nothing else meanwhile.
#[derive(Clone)]
pub struct TokenSource(Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl TokenSource {
    /// `token` gives the newest token, or says why it cannot.
    #[must_use]
    pub fn new(token: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(token))
    }

    /// The newest token.
    ///
    /// # Errors
    /// Why there is none.
    pub fn newest(&self) -> Result<String, String> {
        (self.0)()
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenSource(…)")
    }
}

/// How far a connection's token is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// What was shown last.
    shown: String,
    /// When to look for a newer one; `None` while nobody needs it.
    look_at: Option<Now>,
}

impl Renewal {
    /// Of a connection that was opened with this token.
    pub fn of(shown: String) -> Self {
        Self { shown, look_at: None }
    }

    /// The gateway says that the token runs out, or refused the one that was sent.
    pub fn wanted(&mut self, at: Now) {
        self.look_at = Some(at);
    }

    /// The gateway could not check the one that was sent: it may be sent again.
    pub fn unchecked(&mut self, now: Now) {
        self.shown.clear();
        self.look_at = Some(now.after(PAUSE));
    }

    /// The newer token to send now, where one is wanted and there is one. Without one it looks again a little later.
    pub fn due(&mut self, now: Now, source: &TokenSource) -> Option<String> {
        self.look_at.filter(|at| *at <= now)?;
        match source.newest() {
            Ok(token) if token != self.shown => {
                self.shown.clone_from(&token);
                self.look_at = None;
                Some(token)
            }
            _ => {
                self.look_at = Some(now.after(PAUSE));
                None
            }
        }
    }

    /// What was shown last.
    pub fn into_shown(self) -> String {
        self.shown
    }

    /// When to look again.
    pub fn wake_at(&self) -> Option<Now> {
        self.look_at
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_newer_token_is_looked_for_until_there_is_one() {
        let newest = Arc::new(Mutex::new(Ok("one".to_owned())));
        let shared = Arc::clone(&newest);
        let source = TokenSource::new(move || shared.lock().expect("no panic").clone());
        let set = |token: Result<&str, &str>| {
            *newest.lock().expect("no panic") = token.map(str::to_owned).map_err(str::to_owned);
        };
        let mut renewal = Renewal::of("one".to_owned());
        assert_eq!((renewal.due(Now(0), &source), renewal.wake_at()), (None, None));
        renewal.wanted(Now(10));
        assert_eq!((renewal.due(Now(10), &source), renewal.wake_at()), (None, Some(Now(2010))));
        set(Err("no file"));
        assert_eq!((renewal.due(Now(2010), &source), renewal.wake_at()), (None, Some(Now(4010))));
        set(Ok("two"));
        assert_eq!(renewal.due(Now(3000), &source), None, "not before its time");
        assert_eq!(renewal.due(Now(4010), &source).as_deref(), Some("two"));
        assert_eq!((renewal.due(Now(9000), &source), renewal.wake_at()), (None, None));
        // It could not be checked: the same goes again.
        renewal.unchecked(Now(9000));
        assert_eq!(renewal.due(Now(11_000), &source).as_deref(), Some("two"));
        // It was refused: only another one goes.
        renewal.wanted(Now(11_000));
        assert_eq!(renewal.due(Now(11_000), &source), None);
    }
}
