//! The report: target and measured side by side.

use std::fmt::Write as _;

/// Lines of the report.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    pub(super) fn row(
        &mut self,
        what: impl Into<String>,
        target: impl Into<String>,
        measured: String,
    ) {
        let (what, target) = (what.into(), target.into());
        println!("    {what}: {measured} (target {target})");
        self.rows.push([what, target, measured]);
    }

    pub(super) fn render(&self) -> String {
        let first = self.rows.iter().map(|[what, ..]| what.len()).max().unwrap_or(0);
        let second = self.rows.iter().map(|[_, target, _]| target.len()).max().unwrap_or(0).max(6);
        let mut text = format!("{:first$}  {:>second$}  measured\n", "", "target");
        for [what, target, measured] in &self.rows {
            // Writing to a string cannot fail.
            _ = writeln!(text, "{what:first$}  {target:>second$}  {measured}");
        }
        text
    }
}

/// The middle one of the values.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
