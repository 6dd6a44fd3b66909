//! What capture costs, what it may, what is shed for that, and who is spared.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::Metrics;
use crate::{run::budget::Usage, shed::Detail};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Left {
    detail: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct CostMetrics {
    budget: Gauge<f64, AtomicU64>,
    usage: Family<Part, Gauge<f64, AtomicU64>>,
    shed: Family<Left, Gauge>,
    spared: Gauge,
    ciphertext: Gauge,
}

impl Metrics {
    /// Sets the budget and what was taken of it, in cores, and the programs of which less
    /// is captured.
    pub fn budget(&self, cores: f64, usage: Usage, shed: &[(String, Detail)]) {
        let metrics = &self.cost;
        metrics.budget.set(cores);
        metrics.usage.get_or_create(&Part { part: "agent" }).set(usage.agent);
        if let Some(kernel) = usage.kernel {
            metrics.usage.get_or_create(&Part { part: "kernel" }).set(kernel);
        }
        for detail in Detail::SHED {
            let count = shed.iter().filter(|(_, it)| *it == detail).count();
            let gauge = metrics.shed.get_or_create(&Left { detail: detail.as_str() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Sets how many programs get no probes.
    pub fn spared(&self, programs: usize) {
        self.cost.spared.set(i64::try_from(programs).unwrap_or(i64::MAX));
    }

    /// Sets of how many processes the ciphertext is looked at.
    pub fn ciphertext(&self, processes: usize) {
        self.cost.ciphertext.set(i64::try_from(processes).unwrap_or(i64::MAX));
    }
}

impl CostMetrics {
    pub(super) fn register(&self, own: &mut Registry) {
        let cores = || Unit::Other("cores".to_owned());
        own.register_with_unit(
            "cpu_budget",
            "Processor time that capture may take; 0 without a budget",
            cores(),
            self.budget.clone(),
        );
        own.register_with_unit(
            "cpu_usage",
            "Processor time that capture takes, of the agent and of the kernel programs",
            cores(),
            self.usage.clone(),
        );
        own.register(
            "shed_programs",
            "Programs of which less is captured, for the CPU budget, by what still is",
            self.shed.clone(),
        );
        own.register(
            "spared_programs",
            "Programs that get no probes, because their processes crashed with them",
            self.spared.clone(),
        );
        own.register(
            "ciphertext_processes",
            "Processes whose TLS works on buffers in memory, and whose ciphertext is looked at",
            self.ciphertext.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_has_no_series() {
        let metrics = Metrics::new();
        let shed = [("a".to_owned(), Detail::Heads), ("b".to_owned(), Detail::Heads)];
        metrics.budget(0.5, Usage { agent: 0.25, kernel: None }, &shed);
        let text = metrics.render();
        for line in [
            "apiscope_cpu_budget_cores 0.5",
            "apiscope_cpu_usage_cores{part=\"agent\"} 0.25",
            "apiscope_shed_programs{detail=\"heads\"} 2",
            "apiscope_shed_programs{detail=\"lines\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("kernel\"} 0"), "{text}");
    }
}
