//! How a run ends: faults stop, everything that is pending finishes, and nothing is left behind.

use std::time::Duration;

use crate::kit::tick::Now;
use crate::net::mailbox::Order;
use crate::work::drain::Drain;

use super::client::Act;
use super::faults::Odds;
use super::world::World;

/// Virtual milliseconds, and steps, in which each part of the end must be done.
const PART_MS: u64 = 20_000;
const PART_STEPS: u32 = 60_000;
/// The window of a drain, in milliseconds, and its step.
const WINDOW_MS: u64 = 500;
const DRAIN_STEP_MS: u64 = 20;

impl World {
    pub(super) fn end(&mut self) {
        self.kernel.borrow_mut().note(format_args!("faults stop"));
        let odds = if self.rng.bool() { Odds::calm() } else { self.kernel.borrow().odds.of_kernel() };
        self.kernel.borrow_mut().odds = odds;
        (self.calls_at, self.connects_at) = (None, None);
        self.clients.iter_mut().for_each(|client| client.calm());
        match self.rng.u8(..10) {
            0..5 => self.part(),
            5..9 => self.drain(),
            _ => return self.stop(),
        }
        self.check_empty();
        self.stop();
    }

    /// Goes on until `done`, which must come.
    fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let begun = self.now();
        for _ in 0..PART_STEPS {
            if done(self) {
                return;
            }
            let alive = self.step();
            assert!(alive, "nothing will ever happen again, and yet {what}: {}", self.left());
            let now = self.now();
            assert!(now <= begun + PART_MS, "after {} ms still {what}: {}", now - begun, self.left());
        }
        panic!("after {PART_STEPS} steps still {what}: {}", self.left());
    }

    fn left(&self) -> String {
        let seen: Vec<_> = self.loops.iter().flat_map(|sleeping| sleeping.body.seen()).collect();
        let open: Vec<_> = self.ledger.open_calls().collect();
        format!("connections {seen:?}, calls {open:?}")
    }

    fn part(&mut self) {
        self.until("calls are open", |world| world.ledger.open_calls().next().is_none());
        let now = self.now();
        for client in &mut self.clients {
            client.plan(now, Act::Close);
        }
        self.until("connections are left", World::is_empty);
    }

    fn drain(&mut self) {
        // Only workers wait for room in a mailbox; here nobody would make it.
        self.until("mailboxes are full", |world| world.mailboxes.iter().all(|mailbox| mailbox.room() >= 3));
        self.kernel.borrow_mut().note(format_args!("drain"));
        self.dispatch.begin_drain();
        self.dispatch.tell_loops(|| Order::StopAccepting);
        let now = self.now();
        let mut drain = Drain::begin(&self.dispatch, Now(now), Duration::from_millis(WINDOW_MS));
        drain.sort();
        self.drain = Some((drain, now));
        self.calls_at = Some(now);
        self.until("agents are left", |world| world.drained);
        self.kernel.borrow_mut().mislead_listeners();
        self.calls_at = None;
        let now = self.now();
        for client in &mut self.clients {
            client.plan(now, Act::Close);
        }
        self.until("connections are left", World::is_empty);
        self.until("calls are open", |world| world.ledger.open_calls().next().is_none());
    }

    pub(super) fn drain_step(&mut self) {
        let now = self.now();
        let Some((mut drain, _)) = self.drain.take() else {
            return;
        };
        let rng = &mut self.rng;
        let left = drain.step(&self.dispatch, Now(now), |below| rng.u32(0..below.max(1)));
        if left == 0 {
            let agents = self.dispatch.node(Now(now)).agents;
            assert_eq!(agents, 0, "the drain is over, and agents have not had the time to hear of it");
            self.drained = true;
        } else {
            self.drain = Some((drain, now + DRAIN_STEP_MS));
        }
    }

    fn is_empty(&self) -> bool {
        self.loops.iter().all(|sleeping| sleeping.body.seen().is_empty())
            && self.workers.iter().all(|worker| worker.batch.is_empty() && worker.tray.is_empty())
            && self.dispatch.node(Now(0)).agents == 0
    }

    fn check_empty(&self) {
        for (index, sleeping) in self.loops.iter().enumerate() {
            assert!(sleeping.body.is_idle(), "loop {index} keeps something of nobody");
        }
        let node = self.dispatch.node(Now(0));
        assert_eq!((node.agents, node.calls_in_flight), (0, 0), "directory and calls are empty");
        assert_eq!(node.connections.iter().sum::<u32>() + node.links, 0, "no connection is counted");
        assert_eq!(self.room.used(), 0, "no connection takes room");
    }

    /// The end without a drain, as the process ends.
    fn stop(&mut self) {
        self.until("mailboxes are full", |world| world.mailboxes.iter().all(|mailbox| mailbox.room() >= 3));
        self.kernel.borrow_mut().note(format_args!("stop"));
        self.dispatch.tell_loops(|| Order::Stop);
        self.until("loops run", |world| world.loops.iter().all(|sleeping| sleeping.stopped));
        self.loops.clear();
        self.until("workers have work", |world| {
            world.workers.iter().all(|worker| worker.batch.is_empty() && worker.tray.is_empty())
        });
        self.dispatch.end_all_calls();
        self.ledger.give_up_links(|_| true);
        self.check_calls();
        assert_eq!(self.ledger.open_calls().count(), 0, "every call has its outcome");
        self.check_audit();
        let left =
            self.kernel.borrow().sockets.iter().filter(|socket| socket.token.is_some() && !socket.dropped).count();
        assert_eq!(left, 0, "sockets are left open");
    }
}
