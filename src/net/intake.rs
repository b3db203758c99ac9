//! The way out of an event loop: what it heard, handed to the workers in batches, once a turn.
//!
//! A loop never waits for a worker. What does not fit is kept here, and the loop stops reading the connections of that
//! worker, so that TCP pushes back. What ends a connection or a call is never dropped.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::kit::ids::{AgentSlot, CallId, ConnId};
use crate::session::effect::Greeting;
use crate::session::reason::Reason;
use crate::wire::envelope::Encoding;

/// What a loop tells the workers. Everything about one connection goes to one worker, in order.
#[derive(Debug)]
pub enum Event {
    /// Somebody wants to come in.
    Knock {
        /// The connection.
        conn: ConnId,
        /// Who.
        greeting: Box<Greeting>,
    },
    /// A whole message of an agent.
    Message {
        /// The connection.
        conn: ConnId,
        /// How its envelopes are written.
        encoding: Encoding,
        /// The message, copied out once.
        body: Bytes,
    },
    /// A whole message of a backend on its link.
    LinkMessage {
        /// The link's connection.
        conn: ConnId,
        /// How its envelopes are written.
        encoding: Encoding,
        /// The message, copied out once.
        body: Bytes,
    },
    /// A link has ended.
    LinkEnded {
        /// Its connection.
        conn: ConnId,
        /// Why.
        reason: Reason,
    },
    /// A call was not, and will not be, written whole.
    NotWritten {
        /// Which.
        call: CallId,
    },
    /// A call was not queued: it does not fit behind what the peer has not taken yet.
    NoRoom {
        /// Which.
        call: CallId,
    },
    /// A connection has ended.
    Ended {
        /// The connection.
        conn: ConnId,
        /// The agent's place in the directory; [`AgentSlot::NONE`] when it was not let in.
        agent: AgentSlot,
        /// Why.
        reason: Reason,
    },
}

impl Event {
    fn weight(&self) -> usize {
        let held = match self {
            Self::Message { body, .. } | Self::LinkMessage { body, .. } => body.len(),
            Self::Knock { greeting, .. } => greeting.weight(),
            Self::NotWritten { .. } | Self::NoRoom { .. } | Self::Ended { .. } | Self::LinkEnded { .. } => 0,
        };
        size_of::<Self>() + held
    }

    /// Whether a call may be waiting for it. Newcomers and those who have gone can wait for a few turns.
    fn is_pressing(&self) -> bool {
        !matches!(self, Self::Knock { .. } | Self::Ended { .. })
    }
}

/// Events of one turn for one worker.
pub type Batch = Vec<Event>;

/// The bounds of one worker's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Batches.
    pub batches_max: usize,
    /// Bytes of all events in it.
    pub bytes_max: usize,
}

/// The loops' end of one worker's queue.
#[derive(Clone)]
pub struct Hatch {
    batches: Sender<Batch>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
    /// Batches that were offered and are not done with.
    unfinished: Arc<AtomicUsize>,
}

/// Tells how many bytes wait in one worker's queue, without keeping it open.
#[derive(Clone, Debug)]
pub struct QueueBytes {
    bytes: Arc<AtomicUsize>,
    places: usize,
}

impl QueueBytes {
    /// Bytes of the queue and of what waits in it.
    #[must_use]
    pub fn get(&self) -> usize {
        self.places + self.bytes.load(Ordering::Relaxed)
    }
}

impl Hatch {
    /// To be asked how many bytes wait.
    #[must_use]
    pub fn queue_bytes(&self) -> QueueBytes {
        // Beside each place there is its stamp.
        let places = self.batches.capacity().unwrap_or(0) * (size_of::<Batch>() + size_of::<usize>());
        QueueBytes { bytes: Arc::clone(&self.bytes), places }
    }
}

/// The worker's end.
pub struct Tray {
    batches: Receiver<Batch>,
    bytes: Arc<AtomicUsize>,
    unfinished: Arc<AtomicUsize>,
    /// Whether the worker has a batch; it is done with it when it asks for the next one.
    has_one: Cell<bool>,
}

/// One worker's queue.
#[must_use]
pub fn queue(limits: QueueLimits) -> (Hatch, Tray) {
    let (sender, receiver) = bounded(limits.batches_max);
    let bytes = Arc::new(AtomicUsize::new(0));
    let unfinished = Arc::new(AtomicUsize::new(0));
    let hatch = Hatch {
        batches: sender,
        bytes: Arc::clone(&bytes),
        bytes_max: limits.bytes_max,
        unfinished: Arc::clone(&unfinished),
    };
    (hatch, Tray { batches: receiver, bytes, unfinished, has_one: Cell::new(false) })
}

/// How a wait for a batch ended.
#[derive(Debug)]
pub enum Waited {
    /// With a batch.
    Batch(Batch),
    /// None came in time.
    Nothing,
    /// Every loop has ended.
    Ended,
}

impl Tray {
    /// Waits for the next batch; `None` when every loop has ended.
    #[must_use]
    pub fn wait(&self) -> Option<Batch> {
        self.done();
        self.batches.recv().ok().inspect(|batch| self.took(batch))
    }

    /// Waits for the next batch, at most `patience`.
    #[must_use]
    pub fn wait_at_most(&self, patience: Duration) -> Waited {
        self.done();
        match self.batches.recv_timeout(patience) {
            Ok(batch) => {
                self.took(&batch);
                Waited::Batch(batch)
            }
            Err(RecvTimeoutError::Timeout) => Waited::Nothing,
            Err(RecvTimeoutError::Disconnected) => Waited::Ended,
        }
    }

    /// The next batch, if one is there.
    #[must_use]
    pub fn take(&self) -> Option<Batch> {
        self.done();
        self.batches.try_recv().ok().inspect(|batch| self.took(batch))
    }

    /// Whether no batch is there.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The batch that was taken last has been applied.
    fn done(&self) {
        if self.has_one.replace(false) {
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn took(&self, batch: &Batch) {
        self.has_one.set(true);
        self.bytes.fetch_sub(batch.iter().map(Event::weight).sum(), Ordering::Relaxed);
    }
}

/// One loop's way to all workers.
pub struct Intake {
    hatches: Vec<Hatch>,
    waiting: Vec<Waiting>,
    is_pressed: bool,
}

/// What one worker has not been offered yet, or did not take.
#[derive(Default)]
struct Waiting {
    batch: Batch,
    bytes: usize,
}

impl Intake {
    /// To these workers; the order is the same for every loop.
    #[must_use]
    pub fn new(hatches: Vec<Hatch>) -> Self {
        let waiting = hatches.iter().map(|_| Waiting::default()).collect();
        Self { hatches, waiting, is_pressed: false }
    }

    /// Puts an event about `conn` into the batch of its worker.
    pub fn push(&mut self, conn: ConnId, event: Event) {
        let worker = self.worker(conn);
        self.is_pressed |= event.is_pressing();
        self.waiting[worker].bytes += event.weight();
        self.waiting[worker].batch.push(event);
    }

    /// Whether the worker of this connection takes no more for now: do not read it.
    #[must_use]
    pub fn is_full(&self, conn: ConnId) -> bool {
        let worker = self.worker(conn);
        let hatch = &self.hatches[worker];
        // What this turn has heard counts already: a turn may read thousands of connections before it offers anything.
        let bytes = hatch.bytes.load(Ordering::Relaxed).saturating_add(self.waiting[worker].bytes);
        hatch.batches.is_full() || bytes > hatch.bytes_max
    }

    /// Whether a worker has yet to finish what it was offered in an earlier turn.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.hatches.iter().any(|hatch| hatch.unfinished.load(Ordering::Relaxed) > 0)
    }

    /// Whether something was pushed since the last offer that a call may be waiting for.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Offers every batch to its worker; false when some had to be kept.
    pub fn offer(&mut self) -> bool {
        self.is_pressed = false;
        let mut all = true;
        for (hatch, waiting) in self.hatches.iter().zip(&mut self.waiting) {
            if waiting.batch.is_empty() {
                continue;
            }
            let Waiting { batch, bytes } = std::mem::take(waiting);
            hatch.bytes.fetch_add(bytes, Ordering::Relaxed);
            hatch.unfinished.fetch_add(1, Ordering::Relaxed);
            let Err(error) = hatch.batches.try_send(batch) else {
                continue;
            };
            hatch.bytes.fetch_sub(bytes, Ordering::Relaxed);
            hatch.unfinished.fetch_sub(1, Ordering::Relaxed);
            // A worker that is gone takes nothing ever again, and a loop that ends must not wait for it.
            if let TrySendError::Full(batch) = error {
                *waiting = Waiting { batch, bytes };
                all = false;
            }
        }
        all
    }

    fn worker(&self, conn: ConnId) -> usize {
        conn.slot() as usize % self.hatches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::rules::Door;
    use crate::wire::upgrade::Offer;

    fn ended(slot: u32) -> Event {
        Event::Ended { conn: ConnId::new(0, slot, 1), agent: AgentSlot::NONE, reason: Reason::PeerClosed }
    }

    #[test]
    fn what_a_call_may_wait_for_is_pressing_until_it_is_offered() {
        let (hatch, _tray) = queue(QueueLimits { batches_max: 8, bytes_max: 1 << 20 });
        let mut intake = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 0, 1);
        intake.push(conn, ended(0));
        assert!(!intake.is_pressed());
        for event in [
            Event::NoRoom { call: CallId(1) },
            Event::NotWritten { call: CallId(1) },
            Event::Message { conn, encoding: Encoding::Json, body: Bytes::new() },
            Event::LinkMessage { conn, encoding: Encoding::Json, body: Bytes::new() },
            Event::LinkEnded { conn, reason: Reason::PeerClosed },
        ] {
            intake.push(conn, event);
            intake.push(conn, ended(0));
            assert!(intake.is_pressed());
            assert!(intake.offer() && !intake.is_pressed());
        }
    }

    #[test]
    fn what_does_not_fit_is_kept_in_order() {
        let (hatch, tray) = queue(QueueLimits { batches_max: 1, bytes_max: 1 << 20 });
        let mut intake = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 0, 1);
        intake.push(conn, ended(0));
        assert!(intake.offer() && intake.is_full(conn));
        intake.push(conn, ended(1));
        assert!(!intake.offer());
        intake.push(conn, ended(2));
        assert_eq!(tray.take().map(|batch| batch.len()), Some(1));
        assert!(intake.offer());
        let slots = tray.take().into_iter().flatten().map(|event| match event {
            Event::Ended { conn, .. } => conn.slot(),
            other => panic!("{other:?}"),
        });
        assert_eq!(slots.collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_worker_is_behind_until_it_asks_for_more() {
        let (hatch, tray) = queue(QueueLimits { batches_max: 2, bytes_max: 1 << 20 });
        let mut intake = Intake::new(vec![hatch]);
        assert!(!intake.is_behind());
        for slot in 0..2 {
            intake.push(ConnId::new(0, 0, 1), ended(slot));
            assert!(intake.offer() && intake.is_behind());
        }
        for _ in 0..2 {
            assert!(tray.take().is_some() && intake.is_behind(), "it has one that it is not done with");
        }
        assert!(tray.take().is_none() && !intake.is_behind());
    }

    #[test]
    fn bytes_count_before_they_are_offered() {
        let (hatch, tray) = queue(QueueLimits { batches_max: 10, bytes_max: 1000 });
        let mut intake = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 0, 1);
        for round in 0..3 {
            assert!(!intake.is_full(conn), "round {round}: what was taken counts no more");
            intake.push(conn, Event::Message { conn, encoding: Encoding::Json, body: Bytes::from(vec![0; 2000]) });
            assert!(intake.is_full(conn), "one turn must not take in more than the queue may hold");
            assert!(intake.offer() && tray.take().is_some());
        }
    }

    #[test]
    fn a_knock_weighs_what_it_holds() {
        let greeting = |token: String| {
            let accept = [0; 28];
            let door = Door::Agents;
            let peer = None;
            Box::new(Greeting {
                door,
                peer,
                held_to: None,
                token: Some(token.into()),
                agent: None,
                certified: None,
                origin: None,
                accept,
                offer: Offer::Nothing,
                deflate: None,
            })
        };
        let weight =
            |token: &str| Event::Knock { conn: ConnId::new(0, 0, 1), greeting: greeting(token.into()) }.weight();
        assert_eq!(weight(&"x".repeat(8000)), weight("") + 8000);
    }

    #[test]
    fn bytes_count_too() {
        let (hatch, tray) = queue(QueueLimits { batches_max: 10, bytes_max: 1000 });
        let mut intake = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 0, 1);
        intake.push(conn, Event::Message { conn, encoding: Encoding::Json, body: Bytes::from(vec![0; 2000]) });
        assert!(intake.offer() && intake.is_full(conn));
        assert!(tray.take().is_some() && !intake.is_full(conn));
    }
}
