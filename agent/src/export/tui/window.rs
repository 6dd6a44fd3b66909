//! Calls per second over the last seconds.

use crate::call::Timestamp;

/// Seconds that a rate is taken over.
const WINDOW: u64 = 10;

/// More than [`WINDOW`], so that the second that has not ended yet and clocks
/// that disagree a little do not overwrite what is still needed.
const SLOTS: usize = 16;

/// Counts by second of the last seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// Calls of second `s` are in slot `s % SLOTS`.
    slots: [u32; SLOTS],
    /// Latest second counted.
    latest: u64,
}

impl Window {
    /// Counts one event. One that is older than the window is left out.
    pub(super) fn add(&mut self, time: Timestamp) {
        let second = time.0 / 1_000_000_000;
        if second > self.latest {
            let passed = second - self.latest;
            if passed >= SLOTS as u64 {
                self.slots = [0; SLOTS];
            } else {
                for gone in self.latest + 1..=second {
                    if let Some(slot) = self.slot(gone) {
                        *slot = 0;
                    }
                }
            }
            self.latest = second;
        } else if self.latest - second >= SLOTS as u64 {
            return;
        }
        if let Some(slot) = self.slot(second) {
            *slot = slot.saturating_add(1);
        }
    }

    /// Events per second over the last ten whole seconds before `now`, or over
    /// those since `start` when they are fewer.
    pub(super) fn rate(&self, start: Timestamp, now: Timestamp) -> f64 {
        let end = now.0 / 1_000_000_000;
        let length = (end.saturating_sub(start.0 / 1_000_000_000)).clamp(1, WINDOW);
        let first = end.saturating_sub(length);
        let events = (first..end).fold(0_u64, |sum, second| sum + u64::from(self.count(second)));
        events as f64 / length as f64
    }

    /// No event counts towards a rate any more.
    pub(super) const fn idle(&self, now: Timestamp) -> bool {
        self.latest + WINDOW < now.0 / 1_000_000_000
    }

    fn count(&self, second: u64) -> u32 {
        if second > self.latest || self.latest - second >= SLOTS as u64 {
            return 0;
        }
        usize::try_from(second % SLOTS as u64)
            .ok()
            .and_then(|slot| self.slots.get(slot))
            .copied()
            .unwrap_or(0)
    }

    fn slot(&mut self, second: u64) -> Option<&mut u32> {
        self.slots.get_mut(usize::try_from(second % SLOTS as u64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small positive numbers"
        )]
        Timestamp((seconds * 1e9) as u64)
    }

    #[test]
    fn the_rate_is_of_the_last_ten_whole_seconds() {
        let mut window = Window::default();
        for tenth in 0..300 {
            window.add(at(100.0 + f64::from(tenth) / 10.0));
        }
        assert!((window.rate(at(0.0), at(130.0)) - 10.0).abs() < 1e-9);
        assert!((window.rate(at(0.0), at(135.2)) - 5.0).abs() < 1e-9);
        assert!(window.rate(at(0.0), at(140.0)) < 1e-9);
        assert!(!window.idle(at(139.0)));
        assert!(window.idle(at(140.0)));
    }

    #[test]
    fn a_young_run_has_the_rate_of_its_own_seconds() {
        let mut window = Window::default();
        for _ in 0..6 {
            window.add(at(100.5));
        }
        assert!((window.rate(at(100.0), at(102.0)) - 3.0).abs() < 1e-9);
        assert!(window.rate(at(100.0), at(100.9)) < 1e-9);
    }

    #[test]
    fn late_and_early_events_do_no_harm() {
        let mut window = Window::default();
        window.add(at(100.0));
        window.add(at(50.0));
        window.add(at(95.0));
        assert!((window.rate(at(0.0), at(101.0)) - 0.2).abs() < 1e-9);
        window.add(Timestamp(u64::MAX));
        assert!(window.rate(at(0.0), at(101.0)) < 1e-9);
        window.add(Timestamp(0));
        assert!(window.rate(Timestamp(u64::MAX), Timestamp(0)) < 1e-9);
    }
}
