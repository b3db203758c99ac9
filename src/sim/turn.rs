//! One turn of a loop, of a worker, of the alarm, each followed by what must be true after it.

use crate::kit::tick::{Now, millis};
use crate::net::event_loop::Turned;
use crate::net::io::Watch;
use crate::work::answers::Answers;
use crate::work::{alarm, pool};

use super::world::World;

/// Turns in a row without a wait and without any effect that are a loop that spins.
const VAIN_TURNS_MAX: u32 = 40;
/// As [`VAIN_TURNS_MAX`], where it waits for a worker a millisecond at a time.
const HELD_UP_TURNS_MAX: u32 = 6_000;

impl World {
    pub(super) fn turn(&mut self, index: usize) {
        let before = (self.kernel.borrow().progress, self.mailboxes[index].room());
        let timeout = self.loops[index].timeout;
        let held_up = self.loops[index].body.is_held_up();
        let turned = self.loops[index].body.turn_after(timeout);
        let after = (self.kernel.borrow().progress, self.mailboxes[index].room());
        self.loops[index].body.check();
        self.look(index);
        self.check_promises();
        let now = self.now();
        let sleeping = &mut self.loops[index];
        let vain = before == after && timeout.is_some_and(|timeout| millis(timeout) <= 1);
        sleeping.vain_turns = if vain { sleeping.vain_turns + 1 } else { 0 };
        let most = if held_up { HELD_UP_TURNS_MAX } else { VAIN_TURNS_MAX };
        assert!(sleeping.vain_turns <= most, "loop {index} spins: {most} turns without effect");
        if held_up && !sleeping.body.is_held_up() {
            sleeping.vain_turns = 0;
        }
        sleeping.timeout = sleeping.body.lie_down();
        sleeping.wakes_at = sleeping.timeout.map(|timeout| now + millis(timeout));
        if turned == Turned::Stopped {
            self.kernel.borrow_mut().note(format_args!("loop {index} has stopped"));
            self.loops[index].stopped = true;
        }
    }

    /// What the kernel knows against what the loop remembers.
    fn look(&mut self, index: usize) {
        let kernel = self.kernel.borrow();
        for seen in self.loops[index].body.seen() {
            let token = seen.token;
            let id = kernel.socket_of(index, token.slot, token.generation).expect("it is watched");
            let socket = &kernel.sockets[id];
            self.last_seen.insert(id, (seen.phase.is_open(), socket.read_bytes));
            assert!(!socket.dropped, "{seen:?} has no socket any more");
            let unread = socket.is_readable() && !socket.noted || seen.keeps_bytes;
            let forgotten = unread && !seen.again;
            assert!(
                !forgotten || !seen.phase.reads() || seen.held_back,
                "socket {id} has something to read, and nobody will: {seen:?}"
            );
            assert!(!seen.armed || socket.watch == Watch::ReadWrite, "socket {id} is armed and not watched");
            assert!(
                !seen.armed || !socket.is_writable() || socket.noted,
                "socket {id} takes bytes, and nobody will write: {seen:?}"
            );
        }
    }

    pub(super) fn work(&mut self, index: usize) {
        let now = self.now();
        let pause = self.kernel.borrow().odds.worker_pause;
        if self.chance(pause) {
            self.workers[index].resumes_at = now + self.rng.u64(1..80);
            return;
        }
        let worker = &mut self.workers[index];
        if worker.batch.is_empty() {
            worker.batch.extend(worker.tray.take().into_iter().flatten());
        }
        if let Some(event) = worker.batch.pop_front() {
            self.kernel.borrow_mut().note(format_args!("worker {index} applies an event"));
            self.note_link_calls(&event);
            let mut answers = Answers::default();
            pool::apply(&self.dispatch, &mut answers, event, Now(now));
            pool::settle(&self.dispatch, &mut answers);
        }
    }

    /// The alarm's thread wakes.
    pub(super) fn ring(&mut self) {
        let now = self.now();
        let next = alarm::ring(&*self.dispatch, Now(now));
        self.alarm_at = next.map(|at| at.0.max(now + 1));
    }
}
