//! The thread that writes the audit log.
//!
//! Owns its order: what was handed in before the file is moved goes into the old one. It ends when the log is closed.

use std::sync::Arc;
use std::time::Duration;

use super::book::Book;
use super::desk::{Audit, Desk, Terms};
use super::event::{Act, Entry, Event, Tally};
use super::file::AuditFile;
use crate::kit::memory;
use crate::kit::tick::{Clock, Now};

/// How soon what is owed is tried again, and how long is waited before memory is given back.
const PATIENCE: Duration = Duration::from_secs(1);

/// The writer, before it runs.
pub struct Writer {
    desk: Arc<Desk>,
    clock: Clock,
}

impl Writer {
    /// A log without a file yet, and its writer.
    #[must_use]
    pub fn new(terms: Terms, clock: Clock) -> (Audit, Self) {
        let (audit, desk) = Audit::new(terms);
        (audit, Self { desk, clock })
    }

    /// The calls that wait to be written, which are taken out: how each came in, and its outcome.
    #[cfg(test)]
    pub fn calls(&self) -> Vec<(&'static str, &'static str)> {
        let call = |entry: Entry| match entry.event {
            Event::Call(call) => Some((call.who.over, call.outcome)),
            _ => None,
        };
        self.desk.entries().into_iter().filter_map(call).collect()
    }

    /// Writes until the log is closed. `node` is named in each line.
    pub fn run(self, file: AuditFile, node: String) {
        let (path, tail) = (file.path().to_owned(), file.tail());
        let mut book = Book::new(file, tail, node, self.clock);
        let mut entries = Vec::new();
        let mut at_rest = false;
        loop {
            let patience = (book.owes() || !at_rest).then_some(PATIENCE);
            let taken = self.desk.take(&mut entries, patience);
            let now = self.clock.now();
            book.enter(&mut entries, taken.missed, taken.more, now);
            if taken.reopen {
                let opened = book.reopen();
                match &opened {
                    Ok(()) => tracing::info!(file = %path.display(), "the audit log is opened anew"),
                    Err(error) => {
                        tracing::error!(%error, file = %path.display(), "the audit log cannot be opened anew; the old file stays");
                    }
                }
                let outcome = opened.map_or("failed", |()| "done");
                book.enter(&mut vec![reopened(now, outcome)], Tally::default(), Tally::default(), now);
            }
            if taken.closed {
                book.end(now);
                return;
            }
            if taken.nothing && !at_rest {
                book.rest();
                self.desk.rest();
                entries = Vec::new();
                memory::quiet();
            }
            at_rest = taken.nothing;
        }
    }
}

/// The first line of a new file; in the old one, it says that there was to be a new one.
fn reopened(now: Now, outcome: &'static str) -> Entry {
    let act = Act { what: "reopened", who: None, agent: None, outcome, detail: None };
    Entry { at: now, event: Event::Act(Box::new(act)), on_written: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::audit::{CallLines, Strictness};

    #[test]
    fn what_was_said_before_a_rotation_is_in_the_old_file() {
        let folder = std::env::temp_dir().join(format!("holdfast-audit-writer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("audit"), folder.join("audit.1"));
        let terms = Terms { calls: CallLines::None, acts: Strictness::Count, queue: 64, refusals_a_second: 9 };
        let (audit, writer) = Writer::new(terms, Clock::start());
        let file = AuditFile::open(&path).unwrap();
        let say = |what| audit.act(Now(0), Act { what, who: None, agent: None, outcome: "done", detail: None });
        say("before");
        fs::rename(&path, &old).unwrap();
        audit.reopen();
        let thread = std::thread::spawn(move || writer.run(file, "n1".to_owned()));
        // It is asked to close at once, and still does everything in order.
        audit.close();
        thread.join().unwrap();
        let events = |path| {
            let text: String = fs::read_to_string(path).unwrap();
            let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string();
            text.lines().map(event).collect::<Vec<_>>()
        };
        assert_eq!((events(&old), events(&path)), (vec!["\"before\"".to_owned()], vec!["\"reopened\"".to_owned()]));
        fs::remove_dir_all(folder).unwrap();
    }
}
