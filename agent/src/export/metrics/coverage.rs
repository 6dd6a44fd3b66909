//! The coverage ledger as metrics. Gauges, not counters: a connection that is bound late
//! goes over to another fate.

use std::collections::BTreeMap;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{Metrics, raise};
use crate::{
    call::Missing,
    export::coverage::name,
    flow::coverage::{Count, Coverage, Fate, OTHER, Row},
};

/// Programs that have series of their own; the others share `program="other"`.
const PROGRAMS_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    program: String,
    container_id: String,
    fate: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    program: String,
    container_id: String,
    fate: &'static str,
    reason: &'static str,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lost {
    program: String,
    container_id: String,
    cause: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct CoverageMetrics {
    connections: Family<Kind, Gauge>,
    unmeasured: Family<Kind, Gauge>,
    bytes: Family<Moved, Gauge>,
    lost: Family<Lost, Counter>,
}

impl Metrics {
    /// Sets what became of each program's connections.
    pub fn coverage(&self, coverage: &Coverage) {
        self.coverage.set(coverage);
    }
}

impl CoverageMetrics {
    pub(super) fn register(&self, own: &mut Registry) {
        own.register(
            "coverage_connections",
            "Connections by what became of them, by program; a late binding moves one",
            self.connections.clone(),
        );
        own.register(
            "coverage_unmeasured_connections",
            "Of these, those whose bytes are not known and not in coverage_bytes",
            self.unmeasured.clone(),
        );
        own.register(
            "coverage_bytes",
            "Bytes that these connections moved, as far as they are known",
            self.bytes.clone(),
        );
        own.register(
            "coverage_lost_bytes",
            "Bytes of decoded connections that were not captured, by program and cause",
            self.lost.clone(),
        );
    }

    fn set(&self, coverage: &Coverage) {
        let rows = coverage.rows();
        let (own, rest) = rows.split_at(rows.len().min(PROGRAMS_MAX));
        // Names that are cut may be the same.
        let mut alike: BTreeMap<(String, &str), Vec<&Row>> = BTreeMap::new();
        for row in own {
            let container = row.program.container.as_deref().unwrap_or_default();
            alike.entry((name(&row.program.name), container)).or_default().push(row);
        }
        for ((program, container), rows) in alike {
            self.rows(&program, container, &rows);
        }
        if !rest.is_empty() {
            self.rows(OTHER, "", &rest.iter().collect::<Vec<_>>());
        }
    }

    /// Sets the series of a program to the sums of its rows.
    fn rows(&self, program: &str, container: &str, rows: &[&Row]) {
        let (program, container_id) = (program.to_owned(), container.to_owned());
        for fate in Fate::all() {
            let mut sum: Option<Count> = None;
            for (_, count) in rows.iter().flat_map(|row| row.fates()).filter(|it| it.0 == fate) {
                let sum = sum.get_or_insert_default();
                sum.connections += count.connections;
                sum.unmeasured += count.unmeasured;
                for (sum, bytes) in sum.bytes.iter_mut().zip(count.bytes) {
                    *sum = sum.saturating_add(bytes);
                }
            }
            let Some(sum) = sum else { continue };
            let reason = fate.reason().map_or("", |reason| reason.as_str());
            let kind = Kind {
                program: program.clone(),
                container_id: container_id.clone(),
                fate: fate.as_str(),
                reason,
            };
            self.connections.get_or_create(&kind).set(number(sum.connections));
            self.unmeasured.get_or_create(&kind).set(number(sum.unmeasured));
            // Where none are known there is no series, which could only say 0.
            if sum.unmeasured == sum.connections && sum.unmeasured > 0 {
                continue;
            }
            for (bytes, direction) in sum.bytes.into_iter().zip(["ingress", "egress"]) {
                let Kind { program, container_id, fate, reason } = kind.clone();
                let moved = Moved { program, container_id, fate, reason, direction };
                self.bytes.get_or_create(&moved).set(number(bytes));
            }
        }
        let mut lost = Missing::default();
        for row in rows {
            lost.merge(&row.lost);
        }
        for (cause, bytes) in lost.iter() {
            let labels = Lost {
                program: program.clone(),
                container_id: container_id.clone(),
                cause: cause.as_str(),
            };
            raise(&self.lost.get_or_create(&labels), bytes);
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::coverage::tests::sample;

    #[test]
    fn what_is_opaque_is_a_series_with_its_reason_and_the_unknown_is_not_zero() {
        let metrics = Metrics::new();
        metrics.coverage(&sample("/opt/uv\"} 1\nevil 2", "pypi.example"));
        let text = metrics.render();
        let id = "0123456789abcdef".repeat(4);
        let program = format!("program=\"/opt/uv\\\"}} 1\\\\u{{a}}evil 2\",container_id=\"{id}\"");
        let opaque = "fate=\"opaque\",reason=\"no_known_library\"";
        for line in [
            format!("apiscope_coverage_connections{{{program},{opaque}}} 2"),
            format!("apiscope_coverage_unmeasured_connections{{{program},{opaque}}} 0"),
            format!("apiscope_coverage_bytes{{{program},{opaque},direction=\"ingress\"}} 4096"),
            format!("apiscope_coverage_connections{{{program},fate=\"other\",reason=\"\"}} 1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let bytes = text.lines().filter(|line| line.starts_with("apiscope_coverage_bytes{"));
        assert!(
            bytes.clone().count() == 4 && bytes.clone().all(|line| !line.contains("\"other\""))
        );
    }
}
