//! What holds the memory of this node, part by part.
//!
//! Owns the list of parts and their sum. Each part tells its own bytes out of counts that it keeps; nothing here walks over
//! agents. Two parts are differences: what is live on the heap and in no named part, and what is resident and not live.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::memory::{self, Resident};
use crate::net::event_loop::LoopMemory;

use super::dispatch::Dispatch;

/// The parts, in the order in which they are shown.
pub const PARTS: [&str; 16] = [
    "slots",
    "tls",
    "ids",
    "directory",
    "labels",
    "closes",
    "leases",
    "outboxes",
    "calls",
    "links",
    "control",
    "queues",
    "loops",
    "other",
    "allocator",
    "program",
];

/// How many of [`PARTS`] are named parts of the live heap; then come the differences and the program's file.
const NAMED: usize = 13;

/// The memory of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of each of [`PARTS`].
    pub bytes: [usize; PARTS.len()],
    /// What counts against the budget.
    pub used: u64,
    /// The budget; `None` where there is none.
    pub budget: Option<u64>,
}

impl Holdings {
    /// All parts: what the process has in RAM.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Each part's name and bytes.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        PARTS.into_iter().zip(self.bytes)
    }
}

impl Dispatch {
    /// What holds the memory. `control` is what the control floor holds. Asks the system, about a millisecond with a million
    /// agents; loops tell of theirs about once a second.
    #[must_use]
    pub fn holdings(&self, control: usize) -> Holdings {
        let of_loops = |part: fn(&LoopMemory) -> &AtomicUsize| -> usize {
            self.loops().iter().map(|door| part(&door.status.memory).load(Ordering::Relaxed)).sum()
        };
        let directory = self.directory.bytes();
        let mailboxes: usize = self.loops().iter().map(|door| door.mailbox.bytes()).sum();
        let named = [
            of_loops(|memory| &memory.slots),
            of_loops(|memory| &memory.tls),
            directory.ids,
            directory.tables,
            directory.labels,
            directory.closes,
            of_loops(|memory| &memory.leases),
            of_loops(|memory| &memory.outboxes),
            self.calls.bytes(),
            self.links.bytes(),
            control,
            mailboxes + self.worker_queue_bytes(),
            of_loops(|memory| &memory.turn) + self.arrivals().bytes(),
        ];
        let resident = memory::look();
        let live = memory::live_bytes().saturating_sub(of_loops(|memory| &memory.promised));
        Holdings {
            bytes: add_up(named, live, resident),
            used: self.budget().used(memory::process_bytes()),
            budget: self.budget().bytes_max(),
        }
    }
}

/// The named parts, then what they leave.
fn add_up(named: [usize; NAMED], live: usize, resident: Resident) -> [usize; PARTS.len()] {
    let known: usize = named.iter().sum();
    let mut bytes = [0; PARTS.len()];
    bytes[..NAMED].copy_from_slice(&named);
    let other = live.saturating_sub(known);
    bytes[NAMED] = other;
    bytes[NAMED + 1] = resident.anonymous.saturating_sub(known + other);
    bytes[NAMED + 2] = resident.file;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_what_is_resident() {
        let named: [usize; NAMED] = std::array::from_fn(|n| n * 10);
        let known: usize = named.iter().sum();
        let resident = Resident { anonymous: known + 1000, file: 77 };
        let holdings = Holdings { bytes: add_up(named, known + 400, resident), used: 0, budget: None };
        assert_eq!(holdings.sum(), known + 1077);
        let last: Vec<_> = holdings.parts().skip(NAMED - 1).collect();
        assert_eq!(last, [("loops", 120), ("other", 400), ("allocator", 600), ("program", 77)]);
        // An allocator that does not count leaves all of the rest to the allocator; places that were never touched are no debt.
        assert_eq!(add_up(named, 0, resident)[NAMED..], [0, 1000, 77]);
        assert_eq!(add_up(named, known, Resident { anonymous: 5, file: 0 })[NAMED..], [0, 0, 0]);
    }
}
