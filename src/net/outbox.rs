//! What is queued to one peer. It exists only while something is.
//!
//! Owns the frames, in order, and the marks of the calls among them. The loop decides when to write; this says what,
//! and keeps each call's mark true while the kernel takes a part of it. Under TLS frames are sealed first, and what is sealed
//! waits in `sealed`.

mod sealed;

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::kit::delivery::Delivery;
use crate::kit::ids::CallId;
use crate::kit::tick::Tick;

use sealed::Sealed;

/// Most frames in one vectored write.
pub const SLICES_MAX: usize = 64;
/// An idle outbox keeps room for so many frames.
const ROOM_KEPT: usize = 8;

/// A whole frame, and the call that it carries.
#[derive(Debug)]
pub struct Segment {
    /// The frame.
    pub bytes: Bytes,
    /// The call and the mark that its waiter shares.
    pub call: Option<(CallId, Delivery)>,
}

/// The queue to one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that the kernel has: under TLS, those in records that it has whole.
    taken: usize,
    /// What TLS has made of the bytes that follow those, and has to say beside them.
    sealed: Sealed,
    /// Bytes that the kernel does not have.
    queued_bytes: usize,
    /// Since when it is above the soft mark.
    above_since: Option<Tick>,
    /// Whether it is in the loop's list of those to flush.
    pub dirty: bool,
    /// Whether the kernel refused, and was asked to say when it takes bytes again.
    pub armed: bool,
}

impl Outbox {
    /// Bytes that wait for the kernel.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Bytes of memory: its own, and of its frames, also of those that are queued to others too.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let frames = self.segments.capacity() * size_of::<Segment>() + self.taken + self.queued_bytes;
        size_of::<Self>() + frames + self.sealed.heap_bytes()
    }

    /// Bytes that wait behind the first frame.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        let front = self.segments.front().map_or(0, |front| front.bytes.len() - self.taken);
        self.queued_bytes - front
    }

    /// Bytes that wait behind the first frame, and of which nothing is sealed: what may still be dropped, if it is a call.
    #[must_use]
    pub fn loose_bytes(&self) -> usize {
        let fixed = self.segments.iter().take(self.fixed_frames().max(1));
        self.queued_bytes + self.taken - fixed.map(|segment| segment.bytes.len()).sum::<usize>()
    }

    /// Frames that must go out whole: the kernel has a part of them, or some of them is sealed.
    fn fixed_frames(&self) -> usize {
        let (whole, part) = self.fixed();
        whole + usize::from(part > 0)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.wire().is_empty()
    }

    /// Since when it is above the soft mark.
    #[must_use]
    pub fn above_since(&self) -> Option<Tick> {
        self.above_since
    }

    /// Asserts that its count of bytes is that of its frames, and that one above the soft mark is timed.
    #[cfg(test)]
    pub(crate) fn check(&self, queue_soft: usize) {
        let bytes: usize = self.segments.iter().map(|segment| segment.bytes.len()).sum();
        assert_eq!(bytes - self.taken, self.queued_bytes, "queued bytes are those of the frames");
        assert!(self.sealed.plain_bytes() <= self.queued_bytes, "what is sealed was queued");
        assert!(
            self.queued_bytes <= queue_soft || self.above_since.is_some(),
            "a queue above the soft mark has a deadline"
        );
    }

    /// Queues a frame.
    pub fn push(&mut self, segment: Segment) {
        self.queued_bytes += segment.bytes.len();
        self.segments.push_back(segment);
    }

    /// Notes which side of the soft mark it is on.
    pub fn measure(&mut self, queue_soft: usize, now: Tick) {
        if self.queued_bytes <= queue_soft {
            self.above_since = None;
        } else {
            self.above_since.get_or_insert(now);
        }
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Drops calls that were withdrawn, claims the others, and lends the bytes for one vectored write: at most as many
    /// slices as there are, and [`SLICES_MAX`]. Follow it with [`Outbox::took`].
    pub fn gather<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.drop_withdrawn();
        let mut skip = self.taken;
        let mut count = 0;
        for (slice, segment) in slices.iter_mut().take(SLICES_MAX).zip(&self.segments) {
            *slice = IoSlice::new(&segment.bytes[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    fn drop_withdrawn(&mut self) {
        let mut index = 0;
        while index < self.segments.len().min(SLICES_MAX) {
            let withdrawn = self.segments[index].call.as_ref().is_some_and(|(_, delivery)| !delivery.claim());
            if withdrawn && let Some(segment) = self.segments.remove(index) {
                self.queued_bytes -= segment.bytes.len();
            } else {
                index += 1;
            }
        }
    }

    /// The kernel took `count` bytes of what was gathered; zero when it refused. Marks the calls that it took whole as
    /// written and gives back the claim on those that it took nothing of.
    pub fn took(&mut self, mut count: usize) {
        self.queued_bytes -= count;
        let mut gathered = self.segments.len().min(SLICES_MAX);
        while let Some(front) = self.segments.front() {
            let left = front.bytes.len() - self.taken;
            if gathered == 0 || count < left {
                break;
            }
            count -= left;
            gathered -= 1;
            self.taken = 0;
            if let Some(Segment { call: Some((_, delivery)), .. }) = self.segments.pop_front() {
                delivery.written();
            }
        }
        self.taken += count;
        let untouched = usize::from(self.taken > 0);
        for segment in self.segments.iter().take(gathered).skip(untouched) {
            if let Some((_, delivery)) = &segment.call {
                delivery.unclaim();
            }
        }
    }

    /// The kernel has `count` more of the queued bytes, all of which are claimed: marks calls that it has whole as written.
    fn advance(&mut self, mut count: usize) {
        self.queued_bytes -= count;
        while let Some(front) = self.segments.front() {
            let left = front.bytes.len() - self.taken;
            if count < left {
                break;
            }
            count -= left;
            self.taken = 0;
            if let Some(Segment { call: Some((_, delivery)), .. }) = self.segments.pop_front() {
                delivery.written();
            }
        }
        self.taken += count;
    }

    /// Drops every frame that the kernel has no byte of, and of which nothing is sealed: to make room for a last word.
    pub fn cut(&mut self, mut not_written: impl FnMut(CallId)) {
        let keep = self.fixed_frames();
        for segment in self.segments.drain(keep.min(self.segments.len())..) {
            self.queued_bytes -= segment.bytes.len();
            if let Some((call, delivery)) = segment.call {
                delivery.give_up();
                not_written(call);
            }
        }
    }

    /// Drops the calls behind the first frame of which the kernel has no byte and nothing is sealed: nothing was said of them yet. All else
    /// stays, in its order.
    pub fn shed(&mut self, mut not_written: impl FnMut(CallId)) {
        let kept = self.fixed_frames().max(1);
        let mut place = 0;
        let mut freed = 0;
        self.segments.retain(|segment| {
            place += 1;
            let Some((call, delivery)) = segment.call.as_ref().filter(|_| place > kept) else {
                return true;
            };
            freed += segment.bytes.len();
            delivery.give_up();
            not_written(*call);
            false
        });
        self.queued_bytes -= freed;
        self.segments.shrink_to(ROOM_KEPT);
    }

    /// Empties it for another connection. Calls in it were not written whole.
    pub fn clear(&mut self, mut not_written: impl FnMut(CallId)) {
        for segment in self.segments.drain(..) {
            if let Some((call, delivery)) = segment.call {
                delivery.give_up();
                not_written(call);
            }
        }
        self.segments.shrink_to(ROOM_KEPT);
        let segments = std::mem::take(&mut self.segments);
        *self = Self { segments, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::delivery::Stage;
    use proptest::prelude::*;

    fn call(id: u64, length: usize) -> (Segment, Delivery) {
        let delivery = Delivery::waiting();
        let bytes = Bytes::from(vec![id as u8; length]);
        (Segment { bytes, call: Some((CallId(id), delivery.clone())) }, delivery)
    }

    fn write(outbox: &mut Outbox, room: usize) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.gather(&mut slices);
        let mut all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        all.truncate(room);
        outbox.took(all.len());
        all
    }

    #[test]
    fn marks_follow_the_kernel() {
        let mut outbox = Outbox::default();
        let (first, first_mark) = call(1, 10);
        let (second, second_mark) = call(2, 10);
        let (third, third_mark) = call(3, 10);
        [first, second, third].into_iter().for_each(|segment| outbox.push(segment));
        assert_eq!((outbox.queued_bytes(), outbox.backlog_bytes()), (30, 20));
        assert_eq!(write(&mut outbox, 15).len(), 15);
        assert_eq!((outbox.queued_bytes(), outbox.backlog_bytes(), outbox.loose_bytes()), (15, 10, 10));
        assert_eq!(
            [first_mark.stage(), second_mark.stage(), third_mark.stage()],
            [Stage::Written, Stage::Claimed, Stage::Waiting]
        );
        assert!(!second_mark.withdraw() && third_mark.withdraw());
        assert_eq!(write(&mut outbox, 100), [2; 5]);
        assert!(outbox.is_empty() && outbox.queued_bytes() == 0);
        assert_eq!((second_mark.stage(), third_mark.stage()), (Stage::Written, Stage::Withdrawn));
    }

    #[test]
    fn a_cut_keeps_the_frame_that_the_peer_has_a_part_of() {
        let mut outbox = Outbox::default();
        let (first, mark) = call(1, 10);
        outbox.push(first);
        outbox.push(call(2, 10).0);
        write(&mut outbox, 3);
        let mut dropped = Vec::new();
        outbox.cut(|id| dropped.push(id));
        assert_eq!((dropped, outbox.queued_bytes()), (vec![CallId(2)], 7));
        write(&mut outbox, 100);
        assert_eq!(mark.stage(), Stage::Written);
    }

    #[test]
    fn what_is_shed_are_calls_behind_the_first_frame() {
        let mut outbox = Outbox::default();
        let (first, first_mark) = call(1, 10);
        let (second, second_mark) = call(2, 20);
        outbox.push(first);
        outbox.push(second);
        outbox.push(Segment { bytes: Bytes::from(vec![9; 30]), call: None });
        outbox.push(call(3, 40).0);
        write(&mut outbox, 3);
        let mut dropped = Vec::new();
        outbox.shed(|id| dropped.push(id));
        assert_eq!((dropped, outbox.queued_bytes(), outbox.len()), (vec![CallId(2), CallId(3)], 37, 2));
        assert_eq!(second_mark.stage(), Stage::Withdrawn);
        assert_eq!(write(&mut outbox, 100), [&[1; 7][..], &[9; 30]].concat());
        assert_eq!(first_mark.stage(), Stage::Written);
    }

    #[test]
    fn the_soft_mark_is_timed_from_its_crossing() {
        let mut outbox = Outbox::default();
        outbox.push(call(1, 100).0);
        outbox.measure(50, Tick(7));
        outbox.measure(50, Tick(9));
        assert_eq!(outbox.above_since(), Some(Tick(7)));
        write(&mut outbox, 60);
        outbox.measure(50, Tick(11));
        assert_eq!(outbox.above_since(), None);
    }

    proptest! {
        /// Whatever the kernel takes each time, the bytes come in order and each call is written exactly once.
        #[test]
        fn any_partial_writes_give_the_same_stream(lengths in prop::collection::vec(1usize..200, 1..150), rooms in prop::collection::vec(0usize..3000, 1..50)) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut marks = Vec::new();
            for (id, &length) in lengths.iter().enumerate() {
                let (segment, mark) = call(id as u64, length);
                expected.extend_from_slice(&segment.bytes);
                outbox.push(segment);
                marks.push(mark);
            }
            let mut got = Vec::new();
            for room in rooms.iter().copied().chain(std::iter::repeat(usize::MAX)) {
                got.extend(write(&mut outbox, room));
                prop_assert_eq!(outbox.queued_bytes(), expected.len() - got.len());
                if outbox.is_empty() { break }
            }
            prop_assert_eq!(got, expected);
            prop_assert!(marks.iter().all(|mark| mark.stage() == Stage::Written));
        }
    }
}
