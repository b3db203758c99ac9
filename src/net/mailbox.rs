//! The way into an event loop: a bounded queue of orders and a wake that is skipped while the loop is awake.

#[cfg(holdfast_loom)]
mod loom_tests;
#[cfg(holdfast_loom)]
mod modelled_queue;

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
#[cfg(not(holdfast_loom))]
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::kit::delivery::Delivery;
use crate::kit::ids::{AgentSlot, CallId, ConnId};
use crate::kit::tick::Now;
use crate::session::expiry::Expiry;
use crate::session::reason::Reason;
use crate::session::rules::Rules;
use crate::wire::envelope::Encoding;
use crate::wire::upgrade::Refusal;

use super::io::Wake;
use super::limits::Limits;
use super::secured::DoorTerms;
use super::wake::WakeFlag;
#[cfg(holdfast_loom)]
use modelled_queue::{Receiver, Sender, TrySendError, bounded};

/// Lets a peer in.
#[derive(Debug)]
pub struct Admission {
    /// The connection that asked.
    pub conn: ConnId,
    /// Its place in the directory; [`AgentSlot::NONE`] of a link, and of an agent that a newer connection has replaced already.
    pub agent: AgentSlot,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// When its token runs out.
    pub expiry: Expiry,
    /// The 101 response and the first frames.
    pub response: Bytes,
}

/// A newer token that was taken.
pub struct Renewal {
    /// Whose; nothing happens when it is gone.
    pub conn: ConnId,
    /// When the token runs out; the connection may end before.
    pub expiry: Expiry,
    /// How its envelopes are written.
    pub encoding: Encoding,
    /// The id of its request.
    pub id: Vec<u8>,
    /// Dropped when the token counts, before the agent is told: then it may show another.
    pub held: Box<dyn Any + Send>,
}

/// What a loop knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// When it was accepted.
    pub since: Now,
    /// Its place in the directory.
    pub agent: AgentSlot,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// The address that limits hold it to account by; `None` where its balancer does not say whose connection it is.
    pub held_to: Option<IpAddr>,
    /// The last heartbeat's round trip.
    pub round_trip_ms: Option<u32>,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// When a byte last came in.
    pub last_heard: Now,
}

/// Why a loop does not tell of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undescribed {
    /// The connection is gone.
    Gone,
    /// The loop was not asked, because its mailbox was full.
    NotAsked,
}

/// Takes the answer to [`Order::Describe`] on the loop's thread, or on the asker's when the loop cannot be asked. It is answered
/// exactly once: dropped without an answer, as in the mailbox of a loop that ends, it says that the connection is gone.
pub struct OnDescribed(Option<Answer>);

type Answer = Box<dyn FnOnce(Result<Described, Undescribed>) + Send>;

impl OnDescribed {
    /// Has `answer` run, which must not block.
    pub fn new(answer: impl FnOnce(Result<Described, Undescribed>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Answers.
    pub fn answer(mut self, described: Result<Described, Undescribed>) {
        if let Some(answer) = self.0.take() {
            answer(described);
        }
    }
}

impl Drop for OnDescribed {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(Undescribed::Gone));
        }
    }
}

/// An instruction into an event loop.
pub enum Order {
    /// Let an agent or a link in.
    Admit(Box<Admission>),
    /// Answer an upgrade with an HTTP error.
    Refuse {
        /// The connection that asked.
        conn: ConnId,
        /// The answer.
        refusal: Refusal,
    },
    /// Queue a frame.
    Send {
        /// To whom; nothing happens when it is gone.
        conn: ConnId,
        /// A whole frame.
        frame: Bytes,
    },
    /// Queue a frame that carries a call. If it is not written whole, the loop says so to the workers.
    Call {
        /// To whom.
        conn: ConnId,
        /// A whole frame.
        frame: Bytes,
        /// Which call.
        call: CallId,
        /// The mark that its waiter shares.
        delivery: Delivery,
    },
    /// An agent has shown a newer token, and is to be answered.
    Renew(Box<Renewal>),
    /// Close a connection with a close frame.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: Reason,
        /// A frame to send before.
        last_words: Option<Bytes>,
    },
    /// Tell what is known of a connection.
    Describe {
        /// Which.
        conn: ConnId,
        /// Where to.
        on_described: OnDescribed,
    },
    /// Several orders, to be obeyed one after the other.
    Many(Vec<Order>),
    /// New limits.
    Limits(Box<(Rules, Limits)>),
    /// New certificates and what goes with them, by door.
    Tls(DoorTerms),
    /// Accept no more.
    StopAccepting,
    /// End the loop, after one more flush.
    Stop,
}

/// The posting end. Clones are cheap.
#[derive(Clone)]
pub struct Mailbox {
    orders: Sender<Order>,
    flag: Arc<WakeFlag>,
    waker: Arc<dyn Wake>,
}

/// The mailbox is full: the order comes back.
pub struct Full(pub Order);

impl Mailbox {
    /// A mailbox for `orders_max` orders, and the loop's end of it.
    #[must_use]
    pub fn new(orders_max: usize, waker: Arc<dyn Wake>) -> (Self, Letters) {
        let (orders, inbox) = bounded(orders_max);
        let flag = Arc::new(WakeFlag::raised());
        (Self { orders, flag: Arc::clone(&flag), waker }, Letters { orders: inbox, flag })
    }

    /// Posts without waiting.
    ///
    /// # Errors
    /// The order, when the mailbox is full or the loop has ended.
    pub fn offer(&self, order: Order) -> Result<(), Full> {
        self.offer_quietly(order)?;
        self.rouse();
        Ok(())
    }

    /// As [`Mailbox::offer`], but does not wake the loop: the caller owes it a [`Mailbox::rouse_if_any`] before it sleeps.
    ///
    /// # Errors
    /// The order, when the mailbox is full or the loop has ended.
    pub fn offer_quietly(&self, order: Order) -> Result<(), Full> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => Full(order),
        })
    }

    /// Wakes the loop if it sleeps and orders wait for it.
    pub fn rouse_if_any(&self) {
        if !self.orders.is_empty() {
            self.rouse();
        }
    }

    /// Posts, and waits while the mailbox is full: for workers, which may wait for a loop. Nothing happens when the loop has ended.
    pub fn post(&self, order: Order) {
        if let Err(Full(order)) = self.offer(order) {
            // The loop was woken for what fills its mailbox, so it makes room.
            self.rouse();
            if self.orders.send(order).is_ok() {
                self.rouse();
            }
        }
    }

    /// Bytes of its places, which it has from the start; beside each there is its stamp. What orders point to is not in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.orders.capacity().unwrap_or(0) * (size_of::<Order>() + size_of::<usize>())
    }

    /// How many orders it takes before it is full.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        let orders_max = self.orders.capacity().unwrap_or(usize::MAX);
        orders_max - self.orders.len()
    }

    fn rouse(&self) {
        if self.flag.raise() {
            self.waker.wake();
        }
    }
}

/// The loop's end of a mailbox.
pub struct Letters {
    orders: Receiver<Order>,
    flag: Arc<WakeFlag>,
}

impl Letters {
    /// The next order.
    pub fn take(&self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// Before the loop waits: from here on posters wake it. False when an order is there already, and it must not sleep.
    #[must_use]
    pub fn may_sleep(&self) -> bool {
        self.flag.lower_and_look(|| self.orders.is_empty())
    }

    /// Whether no order waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// After the wait: posters need not wake it.
    pub fn awake(&self) {
        self.flag.keep_raised();
    }
}

impl Drop for Letters {
    /// The loop has ended: what waits for it is dropped now, and whoever asked something is answered. The queue itself would keep it
    /// until the last poster is gone. What is posted in the very moment between is kept so: the process ends then.
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}

#[cfg(all(test, not(holdfast_loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counted(AtomicUsize);
    impl Wake for Counted {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleeping_loop_is_woken_once_and_an_awake_one_never() {
        let waker = Arc::new(Counted::default());
        let (mailbox, letters) = Mailbox::new(2, Arc::<Counted>::clone(&waker));
        assert!(mailbox.offer(Order::StopAccepting).is_ok());
        assert_eq!(waker.0.load(Ordering::Relaxed), 0, "it has not slept yet");
        assert!(!letters.may_sleep(), "an order is there");
        letters.awake();
        assert!(letters.take().is_some() && letters.take().is_none());
        assert!(letters.may_sleep());
        assert!(mailbox.offer(Order::Stop).is_ok() && mailbox.offer(Order::Stop).is_ok());
        assert_eq!(waker.0.load(Ordering::Relaxed), 1);
        assert!(matches!(mailbox.offer(Order::Stop), Err(Full(Order::Stop))));
    }

    #[test]
    fn whoever_asks_is_answered_once_whatever_becomes_of_the_loop() {
        let (mailbox, letters) = Mailbox::new(2, Arc::new(Counted::default()));
        let answers = Arc::new(std::sync::Mutex::new(Vec::new()));
        let ask = || {
            let answers = Arc::clone(&answers);
            let tell = move |described| crate::kit::lock::lock(&answers).push(described);
            Order::Describe { conn: ConnId::new(0, 1, 1), on_described: OnDescribed::new(tell) }
        };
        let refused = [(); 3].map(|()| mailbox.offer(ask()).err());
        let [None, None, Some(Full(Order::Describe { on_described, .. }))] = refused else {
            panic!("the third does not fit");
        };
        on_described.answer(Err(Undescribed::NotAsked));
        assert_eq!(*crate::kit::lock::lock(&answers), [Err(Undescribed::NotAsked)]);
        // The loop ends with two in its mailbox, and a late one finds it gone.
        drop(letters);
        assert_eq!(crate::kit::lock::lock(&answers)[1..], [Err(Undescribed::Gone); 2]);
        assert!(mailbox.offer(ask()).is_err());
        assert_eq!(crate::kit::lock::lock(&answers).len(), 4);
    }

    #[test]
    fn many_quiet_orders_take_one_wake() {
        let waker = Arc::new(Counted::default());
        let (mailbox, letters) = Mailbox::new(3, Arc::<Counted>::clone(&waker));
        assert!(letters.may_sleep());
        mailbox.rouse_if_any();
        assert_eq!(waker.0.load(Ordering::Relaxed), 0, "there is nothing to wake it for");
        assert!((0..3).all(|_| mailbox.offer_quietly(Order::StopAccepting).is_ok()));
        assert_eq!(waker.0.load(Ordering::Relaxed), 0);
        mailbox.rouse_if_any();
        mailbox.rouse_if_any();
        assert_eq!(waker.0.load(Ordering::Relaxed), 1);
        assert!(matches!(mailbox.offer_quietly(Order::Stop), Err(Full(Order::Stop))));
    }
}
