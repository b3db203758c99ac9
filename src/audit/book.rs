//! What a batch of events becomes: lines in a few writes, and the count of those that could not be written.
//!
//! Owns what is lost while the file takes nothing: its number is written, as a line, as soon as one can be. It never waits and reads
//! no clock.

use std::io;

use metrics::{Counter, Gauge, counter, gauge};

use super::event::{Entry, Kind, OnWritten, Tally};
use super::file::{Sink, Tail};
use super::line;
use crate::kit::metric;
use crate::kit::tick::{Clock, Now};

/// A batch is written in pieces of about this size, so that a burst takes no more memory than that.
const PIECE_BYTES: usize = 256 * 1024;
/// Refusals that have no line of their own are told once in this time.
const MORE_EVERY_MS: u64 = 1000;

/// The log, as it is written.
pub(super) struct Book<S> {
    sink: S,
    node: String,
    clock: Clock,
    tail: Tail,
    missed: Tally,
    more: Tally,
    more_told: Option<Now>,
    state: State,
    text: Vec<u8>,
    lines: Vec<Line>,
    counts: Counts,
}

/// Whether the file takes lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    Failing,
}

/// A line of the piece that is being put together: what is lost with it.
enum Line {
    Event(Kind, Option<OnWritten>),
    Missed(Tally),
    More(Tally),
}

/// Handles of the metrics.
struct Counts {
    written: Counter,
    missed: [Counter; Kind::ALL.len()],
    failing: Gauge,
}

impl<S: Sink> Book<S> {
    /// A log that ends so. `node` is named in each line.
    pub(super) fn new(sink: S, tail: Tail, node: String, clock: Clock) -> Self {
        let counts = Counts {
            written: counter!(metric::AUDIT_LINES),
            missed: Kind::ALL.map(|kind| counter!(metric::AUDIT_MISSED, "kind" => kind.word())),
            failing: gauge!(metric::AUDIT_FAILING),
        };
        counts.failing.set(0.0);
        Self {
            sink,
            node,
            clock,
            tail,
            missed: Tally::default(),
            more: Tally::default(),
            more_told: None,
            state: State::Fine,
            text: Vec::new(),
            lines: Vec::new(),
            counts,
        }
    }

    /// Writes what there is: events in their order, what was `missed` on the way here, and how many `more` refusals there were than have
    /// lines.
    pub(super) fn enter(&mut self, entries: &mut Vec<Entry>, missed: Tally, more: Tally, now: Now) {
        self.missed.add(missed);
        self.count_missed(missed);
        self.more.add(more);
        if self.missed.any() {
            let missed = std::mem::take(&mut self.missed);
            self.put(now, Line::Missed(missed), |out, unix_ms, node| line::write_missed(out, unix_ms, node, missed));
        }
        for Entry { at, event, on_written } in entries.drain(..) {
            let kind = event.kind();
            self.put(at, Line::Event(kind, on_written), |out, unix_ms, node| line::write(out, unix_ms, node, &event));
            if self.text.len() >= PIECE_BYTES {
                self.write();
            }
        }
        if self.more_told.is_none_or(|told| now.0 >= told.0 + MORE_EVERY_MS) {
            self.tell_more(now);
        }
        self.write();
    }

    /// Writes how many refusals there were that have no lines, also before that is due: nothing else will be written.
    pub(super) fn end(&mut self, now: Now) {
        self.tell_more(now);
        self.write();
    }

    fn tell_more(&mut self, now: Now) {
        if self.more.any() {
            let more = std::mem::take(&mut self.more);
            self.more_told = Some(now);
            self.put(now, Line::More(more), |out, unix_ms, node| line::write_more(out, unix_ms, node, more));
        }
    }

    /// Whether something is still to be said that no event will bring: ask again in a while.
    pub(super) fn owes(&self) -> bool {
        self.missed.any() || self.more.any()
    }

    /// Opens the file again by its name.
    ///
    /// # Errors
    /// It cannot be; the old one stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.tail = self.sink.reopen()?;
        Ok(())
    }

    /// Gives back the memory of the last burst.
    pub(super) fn rest(&mut self) {
        (self.text, self.lines) = (Vec::new(), Vec::new());
    }

    fn put(&mut self, at: Now, line: Line, write: impl FnOnce(&mut Vec<u8>, u64, &str)) {
        if self.lines.is_empty() && self.tail == Tail::Cut {
            // A line that was cut ends here, so that the next one is whole.
            self.text.push(b'\n');
        }
        write(&mut self.text, self.clock.unix_ms(at), &self.node);
        self.lines.push(line);
    }

    /// Writes the piece, and settles what became of each of its lines.
    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let led = usize::from(self.tail == Tail::Cut);
        let (written, failure) = append_all(&mut self.sink, &self.text);
        // A line that lacks nothing but its line feed is whole: the next write begins with one.
        let ends = self.text[..written].iter().chain(self.text.get(written)).filter(|byte| **byte == b'\n').count();
        let whole = ends.saturating_sub(led);
        if let Some(last) = self.text[..written].last() {
            self.tail = if *last == b'\n' { Tail::Whole } else { Tail::Cut };
        }
        self.text.clear();
        let mut lost = Tally::default();
        for (place, line) in self.lines.drain(..).enumerate() {
            let is_written = place < whole;
            match line {
                Line::Event(kind, on_written) => {
                    on_written.into_iter().for_each(|tell| tell(is_written));
                    if !is_written {
                        lost.count(kind);
                    }
                }
                Line::Missed(missed) if !is_written => self.missed.add(missed),
                Line::More(more) if !is_written => self.more.add(more),
                Line::Missed(_) | Line::More(_) => {}
            }
        }
        self.counts.written.increment(whole as u64);
        self.missed.add(lost);
        self.count_missed(lost);
        self.turn(failure);
    }

    /// Says once that the file takes nothing, and once that it does again.
    fn turn(&mut self, failure: Option<io::Error>) {
        match (self.state, failure) {
            (State::Fine, Some(error)) => {
                tracing::error!(%error, "the audit log cannot be written; what is missing is counted");
                self.state = State::Failing;
            }
            (State::Failing, None) => {
                tracing::warn!("the audit log is written again");
                self.state = State::Fine;
            }
            (State::Fine, None) | (State::Failing, Some(_)) => return,
        }
        self.counts.failing.set(f64::from(u8::from(self.state == State::Failing)));
    }

    fn count_missed(&self, missed: Tally) {
        self.counts
            .missed
            .iter()
            .zip(missed.0)
            .filter(|(_, more)| *more > 0)
            .for_each(|(count, more)| count.increment(more));
    }
}

/// How many bytes the sink took, and why no more.
fn append_all(sink: &mut impl Sink, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match sink.append(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::audit::event::{Act, Event, Login};
    use crate::kit::lock::lock;

    /// A disk with so much room left.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            let disk = Self::default();
            disk.make_room(room);
            disk
        }

        fn make_room(&self, room: usize) {
            lock(&self.0).1 = room;
        }

        fn lines(&self) -> Vec<Result<Value, String>> {
            let text = String::from_utf8(lock(&self.0).0.clone()).unwrap();
            text.lines().map(|line| serde_json::from_str(line).map_err(|_| line.to_owned())).collect()
        }
    }

    impl Sink for Disk {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (text, room) = &mut *lock(&self.0);
            let taken = bytes.len().min(*room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            text.extend_from_slice(&bytes[..taken]);
            *room -= taken;
            Ok(taken)
        }

        fn reopen(&mut self) -> io::Result<Tail> {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn book(disk: &Disk, tail: Tail) -> Book<Disk> {
        Book::new(disk.clone(), tail, "n1".to_owned(), Clock::start())
    }

    fn act(what: &'static str) -> Entry {
        let act = Act { what, who: None, agent: None, outcome: "done", detail: None };
        Entry { at: Now(5), event: Event::Act(Box::new(act)), on_written: None }
    }

    fn login() -> Entry {
        let login = Login::of_a_stranger("agents", "missing", None);
        Entry { at: Now(5), event: Event::Login(Box::new(login)), on_written: None }
    }

    fn enter(book: &mut Book<Disk>, entries: Vec<Entry>) {
        let mut entries = entries;
        book.enter(&mut entries, Tally::default(), Tally::default(), Now(10));
        assert!(entries.is_empty());
    }

    fn events(disk: &Disk) -> Vec<String> {
        let event = |line: Result<Value, String>| {
            line.map_or_else(|text| text, |line| line["event"].as_str().unwrap().to_owned())
        };
        disk.lines().into_iter().map(event).collect()
    }

    #[test]
    fn a_full_disk_is_counted_and_told_when_there_is_room() {
        let disk = Disk::with_room(0);
        let mut book = book(&disk, Tail::Whole);
        enter(&mut book, vec![act("reload"), login(), login()]);
        assert!(book.owes() && disk.lines().is_empty());
        // Asked again without news, it still has nothing to write to, and forgets nothing.
        enter(&mut book, Vec::new());
        assert!(book.owes());
        disk.make_room(usize::MAX);
        enter(&mut book, vec![act("stop")]);
        assert_eq!(events(&disk), ["missed", "stop"]);
        let missed = disk.lines()[0].clone().unwrap();
        assert_eq!(
            (missed["calls"].as_u64(), missed["logins"].as_u64(), missed["acts"].as_u64()),
            (Some(0), Some(2), Some(1))
        );
        assert!(!book.owes());
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        let disk = Disk::with_room(40);
        let mut first = book(&disk, Tail::Whole);
        enter(&mut first, vec![act("reload"), act("stop")]);
        disk.make_room(usize::MAX);
        enter(&mut first, vec![act("start")]);
        let lines = disk.lines();
        assert_eq!((lines.len(), lines[0].is_err()), (3, true), "{lines:?}");
        assert_eq!(lines[1].as_ref().unwrap()["acts"], 2);
        assert_eq!(lines[2].as_ref().unwrap()["event"], "start");
        // The same where another process had been killed in the middle.
        lock(&disk.0).0.extend_from_slice(b"{\"cut");
        enter(&mut book(&disk, Tail::Cut), vec![act("start")]);
        assert_eq!(disk.lines().len(), 5);
        assert_eq!(disk.lines()[4].as_ref().unwrap()["event"], "start");
    }

    #[test]
    fn who_waits_for_a_line_hears_whether_it_is_there() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let asking = || {
            let heard = Arc::clone(&heard);
            Entry { on_written: Some(Box::new(move |is_written| lock(&heard).push(is_written))), ..act("disconnect") }
        };
        let disk = Disk::with_room(0);
        let mut book = book(&disk, Tail::Whole);
        enter(&mut book, vec![asking()]);
        disk.make_room(usize::MAX);
        enter(&mut book, vec![asking()]);
        assert_eq!(*lock(&heard), [false, true]);
    }

    #[test]
    fn further_refusals_are_one_line_a_second() {
        let disk = Disk::with_room(usize::MAX);
        let mut book = book(&disk, Tail::Whole);
        for (now, more) in [(0, 3), (100, 4), (900, 5), (1000, 6), (1500, 2)] {
            book.enter(&mut Vec::new(), Tally::default(), Tally([0, more, 1, 0]), Now(now));
            assert_eq!(book.owes(), now % 1000 != 0, "{now}");
        }
        let counts: Vec<_> = disk.lines().into_iter().map(|line| line.unwrap()["logins"].as_u64()).collect();
        assert_eq!(counts, [Some(3), Some(15)]);
    }

    proptest! {
        /// However little the disk takes at a time: each event has its line or is counted, once.
        #[test]
        fn nothing_is_lost_without_being_counted(steps in prop::collection::vec((0usize..4, 0usize..400), 1..40)) {
            let disk = Disk::with_room(0);
            let mut book = book(&disk, Tail::Whole);
            let mut entered = 0;
            for (events, room) in steps {
                disk.make_room(room);
                entered += events;
                enter(&mut book, (0..events).map(|_| act("reload")).collect());
            }
            disk.make_room(usize::MAX);
            enter(&mut book, Vec::new());
            prop_assert!(!book.owes());
            let told: u64 = disk.lines().iter().filter_map(|line| line.as_ref().ok()).map(|line| {
                if line["event"] == "missed" { line["acts"].as_u64().unwrap() } else { 1 }
            }).sum();
            prop_assert_eq!(told, entered as u64);
        }
    }
}
