//! What a worker has to say to the loops, kept until the end of a batch and then posted at once.
//!
//! Owns orders by loop for a moment. One post for many keeps a loop that shares a core with the worker from being woken
//! for each, and from waiting for a post that the worker was interrupted in.

use crate::kit::ids::ConnId;
use crate::net::mailbox::Order;

use super::put_off::PutOff;

/// Orders of one post. A loop obeys one post in one turn, however many orders it has, so this bounds the turn; and it bounds what
/// waits in a mailbox, which counts posts. The alarm has as many orders as calls end at one deadline.
const MANY_MAX: usize = 256;

/// Orders that wait to be posted, by the index of their loop; and what is to be looked at once everybody else was heard.
#[derive(Default)]
pub struct Answers(Vec<Vec<Order>>, pub(super) PutOff);

impl Answers {
    /// Keeps an order for the loop of a connection; orders for one loop stay in order.
    pub fn push(&mut self, conn: ConnId, order: Order) {
        let index = conn.loop_index();
        if self.0.len() <= index {
            self.0.resize_with(index + 1, Vec::new);
        }
        self.0[index].push(order);
    }

    /// Hands everything to `post`, with the index of its loop.
    pub fn post(&mut self, mut post: impl FnMut(usize, Order)) {
        for (index, orders) in self.0.iter_mut().enumerate() {
            match orders.len() {
                0 => {}
                1 => orders.drain(..).for_each(|order| post(index, order)),
                2..=MANY_MAX => post(index, Order::Many(std::mem::take(orders))),
                _ => {
                    let mut rest = std::mem::take(orders).into_iter();
                    while rest.len() > 0 {
                        post(index, Order::Many(rest.by_ref().take(MANY_MAX).collect()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_stay_with_their_loop_and_in_order() {
        let mut answers = Answers::default();
        for (loop_index, slot) in [(1, 7), (0, 8), (1, 9)] {
            let conn = ConnId::new(loop_index, slot, 1);
            answers.push(conn, Order::Send { conn, frame: bytes::Bytes::new() });
        }
        let slots = |orders: &Vec<Order>| -> Vec<u32> {
            let slot = |order: &Order| if let Order::Send { conn, .. } = order { conn.slot() } else { u32::MAX };
            orders.iter().map(slot).collect()
        };
        assert_eq!(answers.0.iter().map(slots).collect::<Vec<_>>(), [vec![8], vec![7, 9]]);
    }

    #[test]
    fn no_post_is_more_than_a_turn() {
        for count in [0, 1, 2, MANY_MAX, MANY_MAX + 1, 3 * MANY_MAX + 7] {
            let mut answers = Answers::default();
            for slot in 0..count as u32 {
                let conn = ConnId::new(0, slot, 1);
                answers.push(conn, Order::Send { conn, frame: bytes::Bytes::new() });
            }
            let mut slots = Vec::new();
            answers.post(|index, order| {
                let orders = if let Order::Many(orders) = order { orders } else { vec![order] };
                assert!(index == 0 && (1..=MANY_MAX).contains(&orders.len()));
                slots.extend(
                    orders.iter().map(|o| if let Order::Send { conn, .. } = o { conn.slot() } else { u32::MAX }),
                );
            });
            assert_eq!(slots, (0..count as u32).collect::<Vec<_>>());
            answers.post(|_, _| panic!("posted twice"));
        }
    }
}
