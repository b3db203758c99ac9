//! What TLS makes of queued frames: records that wait for the kernel, and what goes out beside frames (a handshake, an alert).
//!
//! Owns the bytes as they go on the wire, and which of the queued bytes lie in which record. What is sealed has used up its record's
//! number: it cannot be taken back, and goes before everything else. It never seals: the loop does.

use std::collections::VecDeque;

use crate::kit::ids::CallId;

use super::{Outbox, SLICES_MAX};

/// Bytes on their way, as the peer will see them.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    /// Bytes of them that the kernel has.
    taken: usize,
    /// Of each record with frames in it that the kernel has not whole: where it ends in `bytes`, and how many queued bytes it holds.
    records: VecDeque<(usize, usize)>,
}

impl Sealed {
    /// Queued bytes that are sealed, and not in records that the kernel has whole.
    pub(super) fn plain_bytes(&self) -> usize {
        self.records.iter().map(|(_, plain)| plain).sum()
    }

    /// Bytes of memory beside its own.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.records.capacity() * size_of::<(usize, usize)>()
    }

    /// Takes so many queued bytes out of the last records: the rest of their frame will never be sealed.
    fn disown(&mut self, mut plain: usize) {
        while plain > 0
            && let Some((end, held)) = self.records.pop_back()
        {
            if held > plain {
                self.records.push_back((end, held - plain));
                return;
            }
            plain -= held;
        }
    }
}

impl Outbox {
    /// Bytes on their way: they go before any other.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        self.sealed.bytes.get(self.sealed.taken..).unwrap_or_default()
    }

    /// Appends bytes that go out as they are: of a handshake, or an alert.
    pub fn push_wire(&mut self, bytes: &[u8]) {
        self.sealed.bytes.extend_from_slice(bytes);
    }

    /// Takes out the buffer of bytes on their way, when there are none, to be filled and put in again.
    pub fn take_wire(&mut self) -> Vec<u8> {
        self.sealed.taken = 0;
        let mut bytes = std::mem::take(&mut self.sealed.bytes);
        bytes.clear();
        bytes
    }

    /// Puts bytes on their way where there are none.
    pub fn put_wire(&mut self, bytes: Vec<u8>) {
        self.sealed.bytes = bytes;
    }

    /// Gives the buffer of bytes on their way out of hand: what is left of them gets one of its own size.
    pub fn spare_wire(&mut self) -> Vec<u8> {
        let left = self.wire().to_vec();
        let taken = std::mem::take(&mut self.sealed.taken);
        for (end, _) in &mut self.sealed.records {
            *end -= taken;
        }
        let mut buffer = std::mem::replace(&mut self.sealed.bytes, left);
        buffer.clear();
        buffer
    }

    /// Drops calls that were withdrawn, claims the others, and lends what may be sealed into one record: at most `bytes_max` bytes.
    /// How many slices and how many bytes that is. Follow it with [`Outbox::sealed`].
    pub fn gather_open<'a>(&'a mut self, slices: &mut [&'a [u8]; SLICES_MAX], bytes_max: usize) -> (usize, usize) {
        let (whole, part) = self.fixed();
        let (mut end, mut skip, mut bytes) = (whole, part, 0);
        while end < self.segments.len() && end - whole < SLICES_MAX && bytes < bytes_max {
            // Of a frame that was begun the rest must follow.
            if skip == 0 && self.dropped(end) {
                continue;
            }
            bytes += (self.segments[end].bytes.len() - skip).min(bytes_max - bytes);
            skip = 0;
            end += 1;
        }
        let (mut skip, mut left) = (part, bytes);
        for (slice, segment) in slices.iter_mut().zip(self.segments.range(whole..end)) {
            let open = &segment.bytes[skip..];
            *slice = &open[..open.len().min(left)];
            left -= slice.len();
            skip = 0;
        }
        (end - whole, bytes)
    }

    /// The next `plain` queued bytes, as they were gathered, are in a record that ends at `end` of the bytes on their way.
    pub fn sealed(&mut self, plain: usize, end: usize) {
        self.sealed.records.push_back((end, plain));
    }

    /// The kernel took `count` of the bytes on their way. Calls are written when it has the last byte of their last record: no peer
    /// can read a part of one.
    pub fn wire_took(&mut self, count: usize) {
        self.sealed.taken += count;
        let mut plain = 0;
        while let Some(&(end, held)) = self.sealed.records.front()
            && end <= self.sealed.taken
        {
            self.sealed.records.pop_front();
            plain += held;
        }
        self.advance(plain);
    }

    /// Drops every frame that is not sealed whole: nothing can be sealed any more. What is on its way still goes out, and its calls may
    /// still be written.
    pub fn cut_unsealed(&mut self, mut not_written: impl FnMut(CallId)) {
        let (whole, part) = self.fixed();
        if whole == 0 {
            // The rest of the first frame is out of the count with it.
            self.sealed.disown(part - self.taken.min(part));
            self.queued_bytes += self.taken;
            self.taken = 0;
        } else {
            self.sealed.disown(part);
        }
        for segment in self.segments.drain(whole..) {
            self.queued_bytes -= segment.bytes.len();
            if let Some((call, delivery)) = segment.call {
                delivery.give_up();
                not_written(call);
            }
        }
    }

    /// How many frames are fixed whole, and how many bytes of the one after them: what the kernel has, and what is sealed.
    pub(super) fn fixed(&self) -> (usize, usize) {
        let mut left = self.taken + self.sealed.plain_bytes();
        let mut whole = 0;
        for segment in &self.segments {
            if left < segment.bytes.len() {
                break;
            }
            left -= segment.bytes.len();
            whole += 1;
        }
        (whole, left)
    }

    /// Whether the frame was a call that was withdrawn; it is dropped then, and claimed else.
    fn dropped(&mut self, index: usize) -> bool {
        let withdrawn = self.segments[index].call.as_ref().is_some_and(|(_, delivery)| !delivery.claim());
        if withdrawn && let Some(segment) = self.segments.remove(index) {
            self.queued_bytes -= segment.bytes.len();
        }
        withdrawn
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::kit::delivery::{Delivery, Stage};
    use crate::net::outbox::Segment;

    /// What a record adds to what it holds.
    const OVERHEAD: usize = 22;

    fn call(id: u64, length: usize) -> (Segment, Delivery) {
        let delivery = Delivery::waiting();
        let bytes = Bytes::from(vec![id as u8; length]);
        (Segment { bytes, call: Some((CallId(id), delivery.clone())) }, delivery)
    }

    /// Seals one record, by writing its bytes with [`OVERHEAD`] zeros before them; how many bytes of frames it holds.
    fn seal(outbox: &mut Outbox, bytes_max: usize) -> usize {
        let mut slices = [&[][..]; SLICES_MAX];
        let (count, plain) = outbox.gather_open(&mut slices, bytes_max);
        let record = [vec![0; OVERHEAD], slices[..count].concat()].concat();
        assert_eq!(record.len(), OVERHEAD + plain);
        if plain > 0 {
            outbox.push_wire(&record);
            let end = outbox.sealed.bytes.len();
            outbox.sealed(plain, end);
        }
        plain
    }

    fn take(outbox: &mut Outbox, room: usize) -> Vec<u8> {
        let taken = outbox.wire()[..room.min(outbox.wire().len())].to_vec();
        outbox.wire_took(taken.len());
        taken
    }

    fn three() -> (Outbox, [Delivery; 3]) {
        let mut outbox = Outbox::default();
        let calls = [call(1, 10), call(2, 10), call(3, 10)];
        let marks = calls.each_ref().map(|(_, mark)| mark.clone());
        calls.into_iter().for_each(|(segment, _)| outbox.push(segment));
        (outbox, marks)
    }

    fn stages(marks: &[Delivery; 3]) -> [Stage; 3] {
        marks.each_ref().map(Delivery::stage)
    }

    #[test]
    fn a_call_is_written_with_the_last_byte_of_its_record() {
        let (mut outbox, marks) = three();
        assert_eq!(seal(&mut outbox, 20), 20);
        assert!(!marks[1].withdraw(), "its record has its number");
        assert_eq!(take(&mut outbox, OVERHEAD + 19).len(), OVERHEAD + 19);
        assert_eq!(stages(&marks), [Stage::Claimed, Stage::Claimed, Stage::Waiting]);
        assert_eq!((outbox.queued_bytes(), outbox.wire().len()), (30, 1));
        take(&mut outbox, 1);
        assert_eq!(stages(&marks), [Stage::Written, Stage::Written, Stage::Waiting]);
        assert!(marks[2].withdraw() && seal(&mut outbox, 20) == 0);
        assert!(outbox.is_empty() && outbox.queued_bytes() == 0);
    }

    #[test]
    fn a_cut_keeps_what_is_sealed_and_the_frame_that_was_begun() {
        let (mut outbox, marks) = three();
        assert_eq!(seal(&mut outbox, 15), 15);
        let mut dropped = Vec::new();
        outbox.cut(|id| dropped.push(id));
        assert_eq!((dropped, outbox.queued_bytes()), (vec![CallId(3)], 20));
        assert_eq!(seal(&mut outbox, 100), 5, "the rest of the second frame");
        take(&mut outbox, usize::MAX);
        assert_eq!(stages(&marks)[..2], [Stage::Written; 2]);
    }

    #[test]
    fn what_is_shed_is_not_sealed() {
        for (first, shed, left) in [(5, vec![CallId(2), CallId(3)], 10), (15, vec![CallId(3)], 20), (30, vec![], 30)] {
            let (mut outbox, marks) = three();
            assert_eq!(seal(&mut outbox, first), first);
            let mut dropped = Vec::new();
            outbox.shed(|id| dropped.push(id));
            outbox.check(usize::MAX);
            assert_eq!((&dropped, outbox.queued_bytes()), (&shed, left), "{first}");
            while seal(&mut outbox, 100) > 0 {}
            take(&mut outbox, usize::MAX);
            assert!(outbox.is_empty() && outbox.queued_bytes() == 0, "{first}");
            let written = stages(&marks).iter().filter(|stage| **stage == Stage::Written).count();
            assert_eq!(written, 3 - shed.len(), "{first}");
        }
    }

    #[test]
    fn where_nothing_can_be_sealed_any_more_what_is_sealed_whole_may_still_be_written() {
        for (first, expected) in [(15, [Stage::Written, Stage::Withdrawn]), (5, [Stage::Withdrawn; 2])] {
            let (mut outbox, marks) = three();
            seal(&mut outbox, first);
            let mut dropped = 0;
            outbox.cut_unsealed(|_| dropped += 1);
            outbox.push_wire(b"alert");
            assert_eq!(take(&mut outbox, usize::MAX).len(), OVERHEAD + first + 5);
            assert!(outbox.is_empty() && outbox.queued_bytes() == 0, "{first}");
            let given_up = stages(&marks)[..2].iter().filter(|stage| **stage != Stage::Written).count();
            assert_eq!(
                (dropped, given_up),
                (if first == 15 { 2 } else { 3 }, expected.iter().filter(|s| **s != Stage::Written).count())
            );
        }
    }

    #[test]
    fn a_frame_that_the_peer_has_records_of_can_be_cut_where_nothing_can_be_sealed() {
        let mut outbox = Outbox::default();
        let (segment, mark) = call(1, 100);
        outbox.push(segment);
        seal(&mut outbox, 30);
        take(&mut outbox, usize::MAX);
        seal(&mut outbox, 30);
        outbox.cut_unsealed(|_| {});
        assert_eq!((outbox.queued_bytes(), outbox.wire().len()), (0, OVERHEAD + 30));
        assert_ne!(mark.stage(), Stage::Written);
        take(&mut outbox, usize::MAX);
        assert!(outbox.is_empty());
        assert_ne!(mark.stage(), Stage::Written);
    }

    proptest! {
        /// Whatever is sealed at once and whatever the kernel takes, the bytes come in order and each call is written exactly once.
        #[test]
        fn any_records_and_writes_give_the_same_stream(
            lengths in prop::collection::vec(1usize..200, 1..150),
            steps in prop::collection::vec((1usize..400, 0usize..600, any::<bool>()), 1..60),
        ) {
            let mut outbox = Outbox::default();
            let (mut expected, mut marks) = (Vec::new(), Vec::new());
            for (id, &length) in lengths.iter().enumerate() {
                let (segment, mark) = call(id as u64, length);
                expected.extend_from_slice(&segment.bytes);
                outbox.push(segment);
                marks.push(mark);
            }
            let (mut got, mut overhead) = (0, 0);
            for (most, room, spare) in steps.into_iter().chain(std::iter::repeat((400, usize::MAX, true))) {
                overhead += if seal(&mut outbox, most) > 0 { OVERHEAD } else { 0 };
                got += take(&mut outbox, room).len();
                if spare {
                    outbox.spare_wire();
                }
                outbox.check(usize::MAX);
                prop_assert_eq!(outbox.wire().is_empty(), outbox.sealed.records.is_empty());
                if outbox.is_empty() { break }
            }
            prop_assert_eq!(got, expected.len() + overhead);
            prop_assert!(marks.iter().all(|mark| mark.stage() == Stage::Written));
        }
    }
}
