//! The audit log's file and thread, and what the process itself has to say in it.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::audit::{Act, Audit, AuditFile, CallLines, Strictness, Terms, Writer};
use crate::config::Settings;
use crate::kit::tick::Clock;

use super::GatewayError;

/// How long the end of the process waits for the last lines: a disk that hangs must not keep it.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The log, as the main thread holds it.
pub(super) struct Auditor {
    audit: Audit,
    clock: Clock,
    /// Hung up when the writer has ended; none where there is no audit log.
    ended: Option<Receiver<()>>,
}

/// The way into the log, and its writer; neither where no file is set.
pub(super) fn prepare(settings: &Settings, clock: Clock) -> (Audit, Option<Writer>) {
    let audit = &settings.audit;
    if audit.file.is_empty() {
        return (Audit::off(), None);
    }
    let terms = Terms {
        calls: if audit.calls { CallLines::All } else { CallLines::None },
        acts: if audit.required { Strictness::Refuse } else { Strictness::Count },
        queue: audit.queue,
        refusals_a_second: audit.refusals,
    };
    let (audit, writer) = Writer::new(terms, clock);
    (audit, Some(writer))
}

impl Auditor {
    /// Opens the file and starts the writer, where there is to be one.
    pub(super) fn start(
        settings: &Settings,
        audit: Audit,
        writer: Option<Writer>,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let Some(writer) = writer else {
            return Ok(Self { audit, clock, ended: None });
        };
        let path = settings.sources.place(Path::new(&settings.audit.file));
        let file = AuditFile::open(&path).map_err(|error| {
            GatewayError(format!("cannot open the audit log {} (`audit.file`): {error}", path.display()))
        })?;
        let (tell, ended) = bounded::<()>(1);
        let node = settings.server.node.clone();
        let run = move || {
            writer.run(file, node);
            drop(tell);
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(run)
            .map_err(GatewayError::at("cannot start the thread of the audit log"))?;
        Ok(Self { audit, clock, ended: Some(ended) })
    }

    /// The process did something to itself.
    pub(super) fn act(&self, what: &'static str, outcome: &'static str, detail: Option<String>) {
        self.audit.act(self.clock.now(), Act { what, who: None, agent: None, outcome, detail });
    }

    /// The file was moved away.
    pub(super) fn reopen(&self) {
        if !self.audit.reopen() {
            tracing::info!("SIGUSR1: there is no audit log to be opened anew (`audit.file`)");
        }
    }

    /// Writes the last lines.
    pub(super) fn end(self, outcome: &'static str) {
        self.act("stop", outcome, None);
        self.audit.close();
        if let Some(Err(crossbeam_channel::RecvTimeoutError::Timeout)) =
            self.ended.map(|ended| ended.recv_timeout(LAST_LINES))
        {
            tracing::error!("the audit log is not written to its end");
        }
    }
}
