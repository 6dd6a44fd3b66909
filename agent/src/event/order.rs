//! Puts events of several sources in order of time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Event;
use crate::call::Timestamp;

/// Merges sources that are each nearly in order: what is pushed comes out by
/// time, equal times in order of arrival. It holds at most its limit of events;
/// over it the earliest leave before their time has come, and are counted.
#[derive(Debug)]
pub struct Merger {
    /// Small keys in the heap, events beside it: sifting moves no events.
    heap: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    sequence: u64,
    limit: usize,
    early: u64,
}

impl Merger {
    /// Holds at most `limit` events, one at least.
    pub fn new(limit: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            limit: limit.max(1),
            early: 0,
        }
    }

    /// Takes an event. What has no time, and what must leave for want of room,
    /// goes to `out` at once.
    pub fn push(&mut self, event: Event, out: &mut Vec<Event>) {
        let Some(time) = event.time() else {
            out.push(event);
            return;
        };
        if self.heap.len() >= self.limit {
            self.early += 1;
            self.pop(out);
        }
        let slot = if let Some(slot) = self.free.pop() {
            slot
        } else {
            self.slots.push(None);
            self.slots.len() - 1
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(event);
        }
        self.heap.push(Reverse((time, self.sequence, slot)));
        self.sequence += 1;
    }

    /// Moves events that happened up to `until` to `out`, in order.
    pub fn release(&mut self, until: Timestamp, out: &mut Vec<Event>) {
        while let Some(Reverse((time, ..))) = self.heap.peek()
            && *time <= until
        {
            self.pop(out);
        }
    }

    /// Events held.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Holds none.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Events that left early for want of room; order is not sure around them.
    pub const fn early(&self) -> u64 {
        self.early
    }

    fn pop(&mut self, out: &mut Vec<Event>) {
        let Some(Reverse((_, _, slot))) = self.heap.pop() else { return };
        if let Some(event) = self.slots.get_mut(slot).and_then(Option::take) {
            out.push(event);
        }
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn exits(events: &[Event]) -> Vec<(u64, u32)> {
        let exit = |event: &Event| match event {
            Event::Exit(time, pid) => (time.0, *pid),
            other => panic!("{other:?}"),
        };
        events.iter().map(exit).collect()
    }

    #[test]
    fn only_what_lies_before_the_watermark_comes_out() {
        let (mut merger, mut out) = (Merger::new(10), Vec::new());
        for time in [30, 10, 20] {
            merger.push(Event::Exit(Timestamp(time), 1), &mut out);
        }
        merger.release(Timestamp(20), &mut out);
        assert_eq!(exits(&out), [(10, 1), (20, 1)]);
        assert_eq!(merger.len(), 1);
    }

    #[test]
    fn over_its_limit_the_earliest_leave_and_are_counted() {
        let (mut merger, mut out) = (Merger::new(2), Vec::new());
        for time in [3, 1, 2] {
            merger.push(Event::Exit(Timestamp(time), 1), &mut out);
        }
        assert_eq!(exits(&out), [(1, 1)]);
        assert_eq!((merger.early(), merger.len()), (1, 2));
    }

    #[test]
    fn what_has_no_time_goes_at_once() {
        let (mut merger, mut out) = (Merger::new(2), Vec::new());
        merger.push(Event::Library(1, Arc::from("libssl.so.3")), &mut out);
        assert!(merger.is_empty() && out.len() == 1);
    }

    proptest! {
        #[test]
        fn any_arrival_comes_out_sorted_and_stable(times in prop::collection::vec(0u64..20, 0..60)) {
            let (mut merger, mut out) = (Merger::new(64), Vec::new());
            let mut expected = Vec::new();
            for (number, time) in (0u32..).zip(times) {
                expected.push((time, number));
                merger.push(Event::Exit(Timestamp(time), number), &mut out);
            }
            merger.release(Timestamp(u64::MAX), &mut out);
            expected.sort_unstable();
            prop_assert_eq!(exits(&out), expected);
        }
    }
}
