//! Sudden rises of an endpoint's share of server errors.

use super::{
    Severity,
    rule::ERROR_RATE_SPIKE,
    table::{Place, Report, Table},
};
use crate::call::Timestamp;

/// Length of a window of event time.
const WINDOW_NS: u64 = 60_000_000_000;
/// Calls that a window must have before it says anything.
const CALLS_MIN: u32 = 20;
/// Errors among them.
const ERRORS_MIN: u32 = 10;
/// Least share of errors.
const SHARE_MIN: f32 = 0.25;
/// Least share of an endpoint whose usual share is not known.
const SHARE_MIN_ALONE: f32 = 0.5;
/// Share from which a spike is high: hardly anything works.
const SHARE_HIGH: f32 = 0.75;
/// How many times the usual share it must be.
const FACTOR: f32 = 4.0;
/// Calls from which a window counts into what is usual.
const BASELINE_CALLS_MIN: u32 = 5;
/// Weight of the newest window in what is usual.
const WEIGHT: f32 = 0.2;
/// Error bodies that are read in one window, whatever the sampling says.
const BODIES_MAX: u8 = 16;

/// Calls and errors of the window at hand, and the usual share of errors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    start: Timestamp,
    calls: u32,
    errors: u32,
    /// Exponentially weighted over earlier windows; `None` before the first.
    baseline: Option<f32>,
    /// Facts of this window were taken.
    told: bool,
    bodies: u8,
}

impl Rate {
    /// Counts one answered call and reports a spike that it is part of.
    pub(super) fn observe(
        &mut self,
        place: Place<'_>,
        status: u16,
        at: Timestamp,
        findings: &mut Table,
    ) {
        self.roll(at);
        self.calls = self.calls.saturating_add(1);
        if !(500..600).contains(&status) {
            return;
        }
        self.errors = self.errors.saturating_add(1);
        let share = self.errors as f32 / self.calls as f32;
        let least = self.baseline.map_or(SHARE_MIN_ALONE, |usual| SHARE_MIN.max(FACTOR * usual));
        let beyond = match self.baseline {
            Some(usual) => share >= least && share > FACTOR * usual,
            None => share >= least,
        };
        if self.calls < CALLS_MIN || self.errors < ERRORS_MIN || !beyond {
            return;
        }
        let high = share >= SHARE_HIGH;
        let report = Report {
            rule: &ERROR_RATE_SPIKE,
            place,
            severity: if high { Severity::High } else { Severity::Medium },
            confidence: if self.baseline.is_some() { 0.9 } else { 0.6 },
            at,
            repetitive: false,
        };
        let told = std::mem::replace(&mut self.told, true);
        findings.report(&report, || if told { Vec::new() } else { vec![self.fact(share)] });
    }

    /// Whether one more error body may be read in this window.
    pub(super) fn take_body(&mut self) -> bool {
        let room = self.bodies < BODIES_MAX;
        self.bodies += u8::from(room);
        room
    }

    fn fact(&self, share: f32) -> String {
        let (errors, calls, percent) = (self.errors, self.calls, share * 100.0);
        match self.baseline {
            Some(usual) => format!(
                "{errors} of {calls} calls within 60 s answered 5xx ({percent:.0} %), {:.1} % before",
                usual * 100.0
            ),
            None => format!("{errors} of {calls} calls within 60 s answered 5xx ({percent:.0} %)"),
        }
    }

    /// Begins a new window when the one at hand is over.
    fn roll(&mut self, at: Timestamp) {
        if self.start != Timestamp::default() && at.nanos_since(self.start) < WINDOW_NS {
            return;
        }
        if self.calls >= BASELINE_CALLS_MIN {
            let share = self.errors as f32 / self.calls as f32;
            self.baseline =
                Some(self.baseline.map_or(share, |usual| usual + WEIGHT * (share - usual)));
        }
        *self = Self { start: at, baseline: self.baseline, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> = Place { service: "shop", method: "GET", route: "/x" };

    /// Calls one second apart within windows; `errors` of each `calls` fail.
    fn run(windows: &[(u32, u32)]) -> Table {
        let (mut rate, mut findings) = (Rate::default(), Table::default());
        for (window, (calls, errors)) in windows.iter().enumerate() {
            let start = (1000 + 60 * window as u64) * 1_000_000_000;
            for call in 0..*calls {
                let status = if call < *errors { 503 } else { 200 };
                let at = Timestamp(start + u64::from(call) * 10_000_000);
                rate.observe(PLACE, status, at, &mut findings);
            }
        }
        findings
    }

    #[test]
    fn a_sudden_rise_is_found_once_per_window() {
        let windows = [(100, 0), (100, 1), (100, 0), (100, 40), (100, 100)];
        let table = run(&windows);
        let findings = table.sorted();
        assert_eq!(findings.len(), 1);
        let finding = findings[0];
        assert_eq!((finding.rule.as_str(), finding.severity), ("error-rate-spike", Severity::High));
        assert_eq!(finding.evidence.len(), 2, "{:?}", finding.evidence);
        assert_eq!(
            finding.evidence[0],
            "20 of 20 calls within 60 s answered 5xx (100 %), 0.2 % before"
        );
    }

    #[test]
    fn without_a_past_half_must_fail() {
        assert_eq!(run(&[(30, 20)]).sorted().len(), 1);
        let table = run(&[(19, 19)]);
        assert!(table.sorted().is_empty(), "too few calls");
    }

    #[test]
    fn what_is_usual_or_small_is_no_spike() {
        // The errors come first in a window, so shares are high at its begin only.
        for windows in [
            vec![(100, 60), (100, 60), (100, 65)],
            vec![(100, 0), (100, 9), (100, 9)],
            vec![(100, 0), (15, 15), (12, 12)],
            vec![(1000, 0); 20],
        ] {
            let first = run(&windows[..1]).sorted().first().map_or(0, |f| f.count);
            let count = run(&windows).sorted().first().map_or(0, |finding| finding.count);
            assert_eq!(count, first, "{windows:?}");
        }
    }

    #[test]
    fn few_error_bodies_are_read_in_a_window() {
        let mut rate = Rate::default();
        assert_eq!((0..100).filter(|_| rate.take_body()).count(), 16);
        rate.observe(PLACE, 200, Timestamp(WINDOW_NS), &mut Table::default());
        assert!(rate.take_body());
    }
}
