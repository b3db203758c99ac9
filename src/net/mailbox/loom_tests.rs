//! Every order in which posters and a loop that goes to sleep can meet: no wake is lost, nobody sleeps over a letter.
//!
//! Run with `scripts/loom mailbox`. The loop of the model sleeps for real: a wake that nobody sends is a deadlock, which loom reports.

#![cfg(test)]

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;
use crate::kit::lock::lock_modelled;

/// An eventfd: a wake before the wait ends that wait.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn wait(&self) {
        let mut rung = lock_modelled(&self.rung);
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *lock_modelled(&self.rung) = true;
        self.changed.notify_one();
    }
}

fn mailbox(room: usize) -> (Mailbox, Sleeper) {
    let bell = Arc::new(Bell::default());
    let (mailbox, letters) = Mailbox::new(room, Arc::<Bell>::clone(&bell));
    (mailbox, Sleeper { letters, bell })
}

/// A loop that does nothing but take its letters and sleep.
struct Sleeper {
    letters: Letters,
    bell: Arc<Bell>,
}

impl Sleeper {
    /// Turns, as `event_loop` does, until it has had so many letters.
    fn take(&self, count: usize) {
        let mut taken = 0;
        loop {
            while self.letters.take().is_some() {
                taken += 1;
            }
            if taken == count {
                return;
            }
            if self.letters.may_sleep() {
                self.bell.wait();
            }
            self.letters.awake();
        }
    }
}

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // More switches than that find nothing new in code of a few steps, and take hours.
    builder.preemption_bound = Some(3);
    builder.check(run);
}

#[test]
fn a_letter_is_never_slept_over() {
    model(|| {
        let (mailbox, sleeper) = mailbox(2);
        let poster = thread::spawn(move || {
            assert!(mailbox.offer(Order::StopAccepting).is_ok());
            assert!(mailbox.offer(Order::Stop).is_ok());
        });
        sleeper.take(2);
        poster.join().unwrap();
    });
}

#[test]
fn nor_one_of_two_posters() {
    model(|| {
        let (mailbox, sleeper) = mailbox(2);
        let posters = [(); 2].map(|()| {
            let mailbox = mailbox.clone();
            thread::spawn(move || assert!(mailbox.offer(Order::Stop).is_ok()))
        });
        sleeper.take(2);
        posters.into_iter().for_each(|poster| poster.join().unwrap());
    });
}

#[test]
fn quiet_letters_are_heard_when_their_poster_rouses() {
    model(|| {
        let (mailbox, sleeper) = mailbox(3);
        let other = mailbox.clone();
        let quiet = thread::spawn(move || {
            assert!(mailbox.offer_quietly(Order::StopAccepting).is_ok());
            assert!(mailbox.offer_quietly(Order::Stop).is_ok());
            mailbox.rouse_if_any();
        });
        let loud = thread::spawn(move || assert!(other.offer(Order::Stop).is_ok()));
        sleeper.take(3);
        quiet.join().unwrap();
        loud.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_gets_it() {
    model(|| {
        let (mailbox, sleeper) = mailbox(1);
        let poster = thread::spawn(move || {
            mailbox.post(Order::StopAccepting);
            mailbox.post(Order::Stop);
        });
        sleeper.take(2);
        poster.join().unwrap();
    });
}
