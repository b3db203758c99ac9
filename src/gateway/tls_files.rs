//! Certificates and what goes with them while the gateway runs: files that change are read again, and nobody is dropped.
//!
//! Owns the thread that looks at the files, and what was read last. New terms go to the loops for newcomers; whoever is in stays as it
//! is. Files that are wrong change nothing.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use metrics::{counter, gauge};

use crate::config::Settings;
use crate::config::tls::{self, Stamp};
use crate::config::tls_keys::Secure;
use crate::kit::lock::lock;
use crate::kit::metric;
use crate::net::mailbox::Order;
use crate::work::dispatch::Dispatch;

/// How often the files are looked at. A change counts when two looks have seen the same, since a certificate and its key are two files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files, and what was read of them.
pub(super) struct TlsFiles(Mutex<State>);

struct State {
    settings: Settings,
    secure: Option<Arc<Secure>>,
    /// As they were when they were read, for good or not.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

impl TlsFiles {
    /// Watches the files of these settings from now on.
    pub(super) fn start(settings: &Settings, dispatch: &Arc<Dispatch>) -> io::Result<Arc<Self>> {
        let secure = settings.secure.clone();
        let read = tls::stamps(&tls::files(settings));
        let state = State { settings: settings.clone(), secure, seen: read.clone(), read };
        state.tell();
        let has_tls = state.secure.is_some();
        let files = Arc::new(Self(Mutex::new(state)));
        if has_tls {
            let (files, dispatch) = (Arc::clone(&files), Arc::downgrade(dispatch));
            // It is not waited for: it holds nothing but its sleep.
            let watch = move || {
                while let Some(dispatch) = dispatch.upgrade() {
                    files.look(&dispatch);
                    drop(dispatch);
                    thread::sleep(LOOK_EVERY);
                }
            };
            thread::Builder::new().name("tls-files".to_owned()).spawn(watch)?;
        }
        Ok(files)
    }

    /// The settings were read again: their files are in force from now on.
    pub(super) fn replace(&self, settings: &Settings, dispatch: &Dispatch) -> Result<(), String> {
        let mut state = lock(&self.0);
        if state.secure.is_none() {
            return Ok(());
        }
        let before = (std::mem::replace(&mut state.settings, settings.clone()), state.read.clone());
        let result = state.read(dispatch);
        if result.is_err() {
            // The old ones stay in force, so they are the ones to watch.
            (state.settings, state.read) = before;
        }
        result
    }

    fn look(&self, dispatch: &Dispatch) {
        let mut state = lock(&self.0);
        let now = tls::stamps(&tls::files(&state.settings));
        let (changed, settled) = (now != state.read, now == state.seen);
        state.seen = now;
        if changed && settled {
            match state.read(dispatch) {
                Ok(()) => tracing::info!("files of TLS have changed: newcomers get what they say now"),
                Err(wrong) => tracing::error!("files of TLS have changed and are wrong, the old ones stay: {wrong}"),
            }
        }
        state.tell_end(dispatch.clock().unix_ms(dispatch.clock().now()) / 1000);
    }
}

impl State {
    /// Reads the files and puts in force what they say.
    fn read(&mut self, dispatch: &Dispatch) -> Result<(), String> {
        // What is wrong is read again when it has changed again; what changes while it is read is seen at the next look.
        self.read = tls::stamps(&tls::files(&self.settings));
        let loaded = tls::load(&self.settings, self.secure.as_deref());
        let result = match loaded {
            Ok(Some(secure)) => {
                dispatch.tell_loops(|| Order::Tls(secure.terms.clone()));
                self.secure = Some(secure);
                self.tell();
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(wrong) => Err(wrong.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")),
        };
        let label = if result.is_ok() { "ok" } else { "failed" };
        counter!(metric::TLS_RELOADS, "result" => label).increment(1);
        result
    }

    /// What an operator should know of the files in force.
    fn tell(&self) {
        if let Some(secure) = &self.secure {
            tracing::info!(names = secure.names.join(" "), "TLS certificates are read");
            for warning in &secure.warnings {
                tracing::warn!("{warning}");
            }
        }
    }

    fn tell_end(&self, now_unix: u64) {
        let end = self.secure.as_ref().and_then(|secure| secure.first_end);
        if let Some(end) = end {
            gauge!(metric::TLS_EXPIRES).set(end as f64 - now_unix as f64);
        }
    }
}
