//! The threads that ask the webhook and wait for it.
//!
//! Owns what happens without an answer: nobody gets in. What an answer means for who asked is the handlers' business.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;

use metrics::counter;
use serde::Serialize;

use crate::auth::api_key::Fingerprint;
use crate::kit::metric;
use crate::kit::tick::{Clock, Now};
use crate::session::websocket::AGENT_PATH;

use super::answers::Answers;
use super::dispatch::Dispatch;
use super::handlers::{knock, refresh};
use super::outside::Outside;
use super::webhook::{Asker, Decision, Question, Questions, Webhook, WebhookTerms, answer};

/// The end where questions are answered.
pub struct Office {
    webhook: Arc<Webhook>,
    questions: Questions,
    terms: WebhookTerms,
    outside: Outside,
}

impl Office {
    /// Nobody is asked before it is started.
    #[must_use]
    pub fn new(webhook: Arc<Webhook>, questions: Questions, terms: WebhookTerms) -> Self {
        let outside = Outside::new(terms.timeout, terms.bytes_max, &[&terms.url]);
        Self { webhook, questions, terms, outside }
    }

    /// Starts its threads. They hold nothing but their wait, and are not waited for.
    ///
    /// # Errors
    /// Of starting a thread.
    pub fn start(self, dispatch: &Arc<Dispatch>) -> io::Result<()> {
        let office = Arc::new(self);
        for index in 0..office.terms.threads {
            let (office, dispatch) = (Arc::clone(&office), Arc::downgrade(dispatch));
            thread::Builder::new().name(format!("webhook-{index}")).spawn(move || office.serve(&dispatch))?;
        }
        Ok(())
    }

    fn serve(&self, dispatch: &Weak<Dispatch>) {
        while let Ok(question) = self.questions.0.recv() {
            let Some(dispatch) = dispatch.upgrade() else {
                return;
            };
            let clock = dispatch.clock();
            let decision = self.decision(&dispatch, &question, clock);
            let mut answers = Answers::default();
            tell(&dispatch, &mut answers, question.asker, decision, clock.now());
            dispatch.settle(&mut answers);
        }
    }

    /// What is said of a token; `None` when nobody could say.
    fn decision(&self, dispatch: &Dispatch, question: &Question, clock: Clock) -> Option<Decision> {
        let token = question.asker.token()?;
        let key = Fingerprint::of(token);
        let now = clock.now();
        // Another that asked the same may have been told meanwhile.
        if let Some(decision) = self.webhook.known(key, now) {
            return Some(decision);
        }
        if now.since(question.at) > self.terms.timeout {
            // Whoever waits behind it should not wait for a source that is down.
            counter!(metric::WEBHOOK, "answer" => "late").increment(1);
            return None;
        }
        let told = self.fetch(dispatch, question, token);
        let now_unix = clock.unix_ms(clock.now()) / 1000;
        let read = told.and_then(|(status, body)| answer::read(status, &body, now_unix));
        match read {
            Ok(decision) => {
                let (word, kept) = match decision {
                    Decision::Allowed(_) => ("allowed", self.terms.allowed_kept),
                    Decision::Refused => ("refused", self.terms.refused_kept),
                };
                counter!(metric::WEBHOOK, "answer" => word).increment(1);
                self.webhook.remember(key, decision.clone(), clock.now(), kept);
                Some(decision)
            }
            Err(why) => {
                counter!(metric::WEBHOOK, "answer" => "failed").increment(1);
                if let Some(left_out) = dispatch.may_log_refusal(clock.now()) {
                    tracing::warn!(%why, left_out, "the webhook cannot be asked: who needs it is not let in");
                }
                None
            }
        }
    }

    fn fetch(&self, dispatch: &Dispatch, question: &Question, token: &str) -> Result<(u16, Vec<u8>), String> {
        let asked = Json { token, peer: question.asker.peer(), path: AGENT_PATH, node: dispatch.node_name() };
        let body = serde_json::to_vec(&asked).map_err(|error| error.to_string())?;
        let secret = self.terms.secret.reveal();
        let authorization = (!secret.is_empty()).then(|| format!("Bearer {secret}"));
        let told = self.outside.post(&self.terms.url, authorization.as_deref(), &body)?;
        Ok((told.status, told.body))
    }
}

/// What is asked.
#[derive(Serialize)]
struct Json<'a> {
    token: &'a str,
    peer: Option<String>,
    path: &'static str,
    node: &'a str,
}

fn tell(dispatch: &Dispatch, answers: &mut Answers, asker: Asker, decision: Option<Decision>, now: Now) {
    match asker {
        Asker::Knock(conn, greeting) => knock::decided(dispatch, answers, (conn, &greeting), decision, now),
        Asker::Refresh(shown) => refresh::decided(dispatch, answers, shown, decision, now),
    }
}
