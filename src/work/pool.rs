//! The workers: a few threads that apply what the loops heard.
//!
//! Each has a queue of its own, and everything about one connection goes to one worker: its messages stay in order
//! without a lock. A worker may wait for a loop's mailbox, never for an agent.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::kit::memory;
use crate::kit::tick::Now;
use crate::net::intake::{Batch, Event, Tray, Waited};

use super::answers::Answers;
use super::dispatch::Dispatch;
use super::handlers;

/// Quiet for this long, a worker gives memory back, and once more later: by then the control thread has freed the samples of
/// histograms, which lie in the worker's heap. Then it waits without end.
const QUIET: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// Knocks, and newer tokens of agents, that are answered before the worker looks at what agents say again: about a millisecond of the slowest signatures.
const KNOCKS_AT_ONCE: usize = 16;

/// Starts one worker for each queue. They end when every loop has ended.
///
/// # Errors
/// Of starting a thread.
pub fn start(trays: Vec<Tray>, dispatch: &Arc<Dispatch>) -> io::Result<Vec<JoinHandle<()>>> {
    let worker = |(index, tray): (usize, Tray)| {
        let dispatch = Arc::clone(dispatch);
        thread::Builder::new().name(format!("worker-{index}")).spawn(move || Worker::new(&tray, &dispatch).run())
    };
    trays.into_iter().enumerate().map(worker).collect()
}

/// One worker, between two batches.
struct Worker<'a> {
    tray: &'a Tray,
    dispatch: &'a Dispatch,
    /// Those who knock wait behind what agents say: a signature takes longer to check than a reply, and strangers send them.
    /// How many can wait is bounded by the half-open connections of the loops.
    knocks: VecDeque<Event>,
    answers: Answers,
}

impl<'a> Worker<'a> {
    fn new(tray: &'a Tray, dispatch: &'a Dispatch) -> Self {
        Self { tray, dispatch, knocks: VecDeque::new(), answers: Answers::default() }
    }

    /// Applies batches until every loop has ended.
    fn run(mut self) {
        let clock = self.dispatch.clock();
        while let Some(batch) = self.next() {
            self.apply(batch, clock.now());
        }
    }

    /// Applies what a batch says, and then a few of the knocks that wait.
    fn apply(&mut self, batch: Batch, now: Now) {
        for event in batch {
            match event {
                Event::Knock { .. } => self.knocks.push_back(event),
                other => apply(self.dispatch, &mut self.answers, other, now),
            }
        }
        for knock in self.knocks.drain(..self.knocks.len().min(KNOCKS_AT_ONCE)) {
            apply(self.dispatch, &mut self.answers, knock, now);
        }
        for shown in self.answers.1.take(KNOCKS_AT_ONCE) {
            handlers::refresh::apply(self.dispatch, &mut self.answers, shown, now);
        }
        settle(self.dispatch, &mut self.answers);
    }

    /// The next batch: waits for one when nobody waits for us, else it may be empty. `None` when every loop has ended.
    fn next(&mut self) -> Option<Batch> {
        if !self.knocks.is_empty() || !self.answers.1.is_empty() {
            return Some(self.tray.take().unwrap_or_default());
        }
        for patience in QUIET {
            match self.tray.wait_at_most(patience) {
                Waited::Batch(batch) => return Some(batch),
                Waited::Ended => return None,
                Waited::Nothing => {
                    // A storm of newcomers makes it a megabyte long.
                    self.knocks.shrink_to_fit();
                    self.answers.1.rest();
                    memory::quiet();
                }
            }
        }
        self.tray.wait()
    }
}

/// Posts what a batch left to say: the answers of calls that it ended on links, too. Waits while a mailbox is full.
pub fn settle(dispatch: &Dispatch, answers: &mut Answers) {
    dispatch.settle(answers);
}

/// Applies one event; what it has to say to the loops goes into `answers`, to be posted by the caller with [`settle`].
pub fn apply(dispatch: &Dispatch, answers: &mut Answers, event: Event, now: Now) {
    match event {
        Event::Knock { conn, greeting } => handlers::knock::apply(dispatch, answers, conn, &greeting, now),
        Event::Message { conn, encoding, body } => {
            handlers::message::apply(dispatch, answers, conn, encoding, &body, now)
        }
        Event::LinkMessage { conn, encoding, body } => {
            handlers::link::apply(dispatch, answers, conn, encoding, &body, now);
        }
        Event::LinkEnded { conn, reason } => handlers::link::ended(dispatch, answers, conn, reason, now),
        Event::NotWritten { call } => dispatch.calls.not_written(call, now),
        Event::NoRoom { call } => dispatch.calls.refused(call, now),
        Event::Ended { conn, agent, reason } => handlers::ended::apply(dispatch, conn, agent, reason, now),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::kit::ids::ConnId;
    use crate::net::intake::{self, Intake, QueueLimits};
    use crate::net::mailbox::{Letters, Order};
    use crate::session::effect::Greeting;
    use crate::session::rules::Door;
    use crate::wire::envelope::Encoding;
    use crate::wire::upgrade::Offer;
    use crate::work::tests::node;

    fn knock(number: u32) -> Event {
        let greeting = Greeting {
            door: Door::Agents,
            peer: None,
            held_to: None,
            token: None,
            agent: Some(format!("web-{number}")),
            certified: None,
            origin: None,
            accept: [b'a'; 28],
            offer: Offer::Nothing,
            deflate: None,
        };
        Event::Knock { conn: ConnId::new(0, number, 1), greeting: Box::new(greeting) }
    }

    /// What the loop was told since it was asked last, a letter for each order.
    fn told(letters: &Letters) -> String {
        let orders = std::iter::from_fn(|| letters.take()).flat_map(|order| match order {
            Order::Many(orders) => orders,
            one => vec![one],
        });
        orders
            .map(|order| match order {
                Order::Admit(_) => 'k',
                Order::Send { .. } => 'm',
                _ => '?',
            })
            .collect()
    }

    #[test]
    fn what_agents_say_waits_for_a_few_knocks_and_not_for_all() {
        let (dispatch, letters) = node();
        let (hatch, tray) = intake::queue(QueueLimits { batches_max: 4, bytes_max: 1 << 20 });
        let mut worker = Worker::new(&tray, &dispatch);
        let count = KNOCKS_AT_ONCE as u32 * 2 + 3;
        let mut from_loop = Intake::new(vec![hatch]);
        for number in 0..count {
            from_loop.push(ConnId::new(0, 0, 1), knock(number));
        }
        from_loop.offer();
        let few = "k".repeat(KNOCKS_AT_ONCE);
        worker.apply(tray.take().unwrap(), Now(0));
        assert_eq!(told(&letters), few);
        // No envelope: it is answered with an error. It comes with one more knock, and is heard before those that wait.
        let conn = ConnId::new(0, 999, 1);
        from_loop.push(conn, knock(count));
        from_loop.push(conn, Event::Message { conn, encoding: Encoding::Json, body: Bytes::from_static(b"?") });
        from_loop.offer();
        worker.apply(tray.take().unwrap(), Now(0));
        assert_eq!(told(&letters), format!("m{few}"));
        // Who waits is not forgotten when nothing else comes.
        let batch = worker.next().unwrap();
        worker.apply(batch, Now(0));
        assert_eq!(told(&letters), "kkkk");
        assert!(worker.knocks.is_empty());
    }

    #[test]
    fn newer_tokens_wait_behind_what_agents_say_and_have_no_end_of_room() {
        let (dispatch, letters) = node();
        let (hatch, tray) = intake::queue(QueueLimits { batches_max: 4, bytes_max: 1 << 24 });
        let mut worker = Worker::new(&tray, &dispatch);
        let mut from_loop = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 7, 1);
        let refresh = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"refresh","params":{"token":"x"}}"#);
        for slot in 0..300 {
            let (conn, body) = (ConnId::new(0, slot, 1), refresh.clone());
            from_loop.push(conn, Event::Message { conn, encoding: Encoding::Json, body });
        }
        from_loop.offer();
        worker.apply(tray.take().unwrap(), Now(0));
        // 44 were told to try again, and the first few were checked behind them; of each that is refused its loop is asked who it is.
        assert_eq!(answered(&told(&letters)), 300 - 256 + KNOCKS_AT_ONCE);
        // No envelope: it is answered with an error, before the others that wait.
        from_loop.push(conn, Event::Message { conn, encoding: Encoding::Json, body: Bytes::from_static(b"?") });
        from_loop.offer();
        let mut rest = 0;
        while !worker.answers.1.is_empty() {
            let batch = worker.next().unwrap();
            worker.apply(batch, Now(0));
            rest += answered(&told(&letters));
        }
        assert_eq!(rest, 256 - KNOCKS_AT_ONCE + 1);
    }

    fn answered(told: &str) -> usize {
        told.matches('m').count()
    }

    #[test]
    fn a_second_newer_token_is_refused_while_the_first_waits() {
        let (dispatch, letters) = node();
        let (hatch, tray) = intake::queue(QueueLimits { batches_max: 4, bytes_max: 1 << 24 });
        let mut worker = Worker::new(&tray, &dispatch);
        let mut from_loop = Intake::new(vec![hatch]);
        let conn = ConnId::new(0, 7, 1);
        let refresh = |id: u32| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"refresh","params":{{"token":"{}"}}}}"#,
                "x".repeat(4000)
            );
            Event::Message { conn, encoding: Encoding::Json, body: Bytes::from(text) }
        };
        let mut batch = |ids: std::ops::Range<u32>| {
            ids.for_each(|id| from_loop.push(conn, refresh(id)));
            from_loop.offer();
            worker.apply(tray.take().unwrap(), Now(0));
            let told = std::iter::from_fn(|| letters.take()).flat_map(|order| match order {
                Order::Many(orders) => orders,
                one => vec![one],
            });
            let codes = told.filter_map(|order| match order {
                Order::Send { frame, .. } => {
                    let text = String::from_utf8_lossy(&frame).into_owned();
                    Some(text.split(r#""code":"#).nth(1).unwrap()[..6].to_owned())
                }
                _ => None,
            });
            codes.collect::<Vec<_>>()
        };
        // The first is put off and then checked; the others find it there.
        let told = batch(1..100);
        assert_eq!((told.len(), told[0].as_str(), told[98].as_str()), (99, "-32022", "-32020"));
        assert_eq!(told.iter().filter(|code| *code == "-32022").count(), 98);
        // Once that is answered there is room for another.
        assert_eq!(batch(100..101), ["-32020"]);
    }
}
