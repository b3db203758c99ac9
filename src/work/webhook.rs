//! Asking somebody else who an agent is: for tokens that no key here vouches for.
//!
//! Owns the queue to whoever asks it, and what it said of late. Workers never wait for it, they only ask; the connection waits as it
//! does for a worker, until its deadline.

pub(super) mod answer;
mod cache;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use metrics::counter;

use crate::auth::api_key::Fingerprint;
use crate::auth::token::Login;
use crate::kit::ids::ConnId;
use crate::kit::lock::lock;
use crate::kit::metric;
use crate::kit::secret::Secret;
use crate::kit::tick::Now;
use crate::session::effect::Greeting;

use self::cache::Cache;
use super::put_off::Shown;

/// How somebody else is asked.
#[derive(Clone, Debug)]
pub struct WebhookTerms {
    /// Whom.
    pub url: String,
    /// What proves who we are: `Authorization: Bearer …`; empty for nothing.
    pub secret: Secret,
    /// Longest time for one answer, and longest wait in the queue before it is asked for.
    pub timeout: Duration,
    /// Most bytes of an answer.
    pub bytes_max: usize,
    /// How long an answer that lets somebody in may be used again.
    pub allowed_kept: Duration,
    /// How long a refusal may be.
    pub refused_kept: Duration,
    /// Most answers that are kept.
    pub kept_max: usize,
    /// Questions at once.
    pub threads: usize,
    /// Questions that wait.
    pub waiting_max: usize,
}

/// What the webhook says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is this agent's.
    Allowed(Login),
    /// It lets nobody in.
    Refused,
}

/// Who asked, to be told.
pub enum Asker {
    /// Somebody at the door.
    Knock(ConnId, Box<Greeting>),
    /// An agent that is in, with a newer token.
    Refresh(Shown),
}

/// A question on its way.
pub(super) struct Question {
    pub(super) asker: Asker,
    pub(super) at: Now,
}

/// Where questions come out.
pub struct Questions(pub(super) Receiver<Question>);

/// The door to the webhook.
pub struct Webhook {
    questions: Sender<Question>,
    cache: Mutex<Cache>,
}

impl Webhook {
    /// A webhook that nobody serves yet, and the other end of its queue.
    #[must_use]
    pub fn new(terms: &WebhookTerms) -> (Arc<Self>, Questions) {
        let (give, take) = bounded(terms.waiting_max);
        let cache = Mutex::new(Cache::new(terms.kept_max));
        (Arc::new(Self { questions: give, cache }), Questions(take))
    }

    /// What was said of a token of late.
    pub(super) fn known(&self, token: Fingerprint, now: Now) -> Option<Decision> {
        lock(&self.cache).get(token, now)
    }

    /// Remembers what was said of a token, for so long.
    pub(super) fn remember(&self, token: Fingerprint, decision: Decision, now: Now, kept: Duration) {
        lock(&self.cache).put(token, decision, now, kept);
    }

    /// What was said of a token of late, where that is used again.
    pub fn remembered(&self, token: &str, now: Now) -> Option<Decision> {
        let decision = self.known(Fingerprint::of(token), now)?;
        counter!(metric::WEBHOOK, "answer" => "cached").increment(1);
        Some(decision)
    }

    /// Asks; whoever asks is told by a thread of ours.
    ///
    /// # Errors
    /// Too many are on their way: the asker comes back.
    pub fn ask(&self, asker: Asker, now: Now) -> Result<(), Asker> {
        self.questions.try_send(Question { asker, at: now }).map_err(|error| {
            let (TrySendError::Full(Question { asker, .. }) | TrySendError::Disconnected(Question { asker, .. })) =
                error;
            counter!(metric::WEBHOOK, "answer" => "shed").increment(1);
            asker
        })
    }
}

impl Asker {
    /// The token that it is about.
    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Knock(_, greeting) => greeting.token.as_deref(),
            Self::Refresh(shown) => Some(&shown.token),
        }
    }

    /// Where it was shown, where that is known.
    pub(super) fn peer(&self) -> Option<String> {
        match self {
            Self::Knock(_, greeting) => greeting.peer.map(|peer| peer.to_string()),
            Self::Refresh(_) => None,
        }
    }
}
