//! Brings records of several buffers into one order.
//!
//! Each buffer is nearly ordered by itself; between buffers only the time tells.
//! A record is released once no buffer can give an earlier one any more.

use std::collections::VecDeque;

/// Merges buffers by time, bounded.
#[derive(Debug)]
pub struct Merger<T> {
    queues: Vec<VecDeque<(u64, T)>>,
    /// Items over all queues.
    len: usize,
    bound: usize,
    early: u64,
}

impl<T> Merger<T> {
    /// Merges `sources` buffers and holds at most `bound` items.
    pub fn new(sources: usize, bound: usize) -> Self {
        Self { queues: (0..sources).map(|_| VecDeque::new()).collect(), len: 0, bound, early: 0 }
    }

    /// Takes an item of a buffer; items of unknown buffers are dropped.
    pub fn push(&mut self, source: usize, time: u64, item: T) {
        let Some(queue) = self.queues.get_mut(source) else { return };
        // Programs take the time before they reserve, so neighbours may be swapped.
        let mut at = queue.len();
        while at > 0 && queue.get(at - 1).is_some_and(|&(before, _)| before > time) {
            at -= 1;
        }
        queue.insert(at, (time, item));
        self.len += 1;
    }

    /// Gives items up to a time, in order; all that is over the bound comes too.
    pub fn release(&mut self, until: u64, mut give: impl FnMut(T)) {
        while let Some((source, time)) = self.earliest() {
            if time > until {
                if self.len <= self.bound {
                    return;
                }
                self.early += 1;
            }
            if let Some((_, item)) = self.queues.get_mut(source).and_then(VecDeque::pop_front) {
                self.len -= 1;
                give(item);
            }
        }
    }

    /// Items that were released before their time because the bound was reached.
    pub const fn released_early(&self) -> u64 {
        self.early
    }

    /// Items held.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The queue with the earliest item. There are few queues: one look at each.
    fn earliest(&self) -> Option<(usize, u64)> {
        self.queues
            .iter()
            .enumerate()
            .filter_map(|(source, queue)| queue.front().map(|&(time, _)| (source, time)))
            .min_by_key(|&(source, time)| (time, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(merger: &mut Merger<&'static str>, until: u64) -> Vec<&'static str> {
        let mut out = Vec::new();
        merger.release(until, |item| out.push(item));
        out
    }

    #[test]
    fn items_come_in_order_of_time_over_all_buffers() {
        let mut merger = Merger::new(2, 100);
        merger.push(0, 10, "a");
        merger.push(0, 30, "c");
        merger.push(1, 20, "b");
        merger.push(1, 40, "d");
        assert_eq!(drain(&mut merger, 30), ["a", "b", "c"]);
        assert_eq!(drain(&mut merger, u64::MAX), ["d"]);
        assert!(merger.is_empty());
    }

    #[test]
    fn neighbours_in_the_wrong_order_are_swapped() {
        let mut merger = Merger::new(1, 100);
        merger.push(0, 20, "b");
        merger.push(0, 10, "a");
        assert_eq!(drain(&mut merger, 20), ["a", "b"]);
    }

    #[test]
    fn equal_times_keep_the_order_of_the_buffer() {
        let mut merger = Merger::new(1, 100);
        merger.push(0, 10, "a");
        merger.push(0, 10, "b");
        assert_eq!(drain(&mut merger, 10), ["a", "b"]);
    }

    #[test]
    fn more_than_the_bound_is_released_and_counted() {
        let mut merger = Merger::new(1, 1);
        merger.push(0, 10, "a");
        merger.push(0, 20, "b");
        assert_eq!(drain(&mut merger, 5), ["a"]);
        assert_eq!(merger.released_early(), 1);
        merger.push(7, 1, "nowhere");
        assert_eq!(merger.len(), 1);
    }
}
