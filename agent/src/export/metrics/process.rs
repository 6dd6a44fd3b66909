//! What the agent itself costs, by the names that Prometheus' own clients use.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Debug, Default)]
pub(super) struct ProcessMetrics {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    started: Gauge<f64, AtomicU64>,
    descriptors: Gauge,
}

impl ProcessMetrics {
    pub(super) fn register(&self, root: &mut Registry) {
        root.register_with_unit("process_cpu", "CPU time used", Unit::Seconds, self.cpu.clone());
        root.register_with_unit(
            "process_resident_memory",
            "Resident memory",
            Unit::Bytes,
            self.resident.clone(),
        );
        root.register_with_unit(
            "process_start_time",
            "Start, since the Unix epoch",
            Unit::Seconds,
            self.started.clone(),
        );
        root.register("process_open_fds", "Open descriptors", self.descriptors.clone());
    }

    /// Reads the values from /proc; those that are not there stay as they were.
    pub(super) fn read(&self) {
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second().max(1) as f64;
            let cpu = (stat.utime + stat.stime) as f64 / ticks;
            if cpu > self.cpu.get() {
                self.cpu.inc_by(cpu - self.cpu.get());
            }
            let resident = stat.rss.saturating_mul(procfs::page_size());
            self.resident.set(i64::try_from(resident).unwrap_or(i64::MAX));
            if let Ok(boot) = procfs::boot_time_secs() {
                self.started.set(boot as f64 + stat.starttime as f64 / ticks);
            }
        }
        if let Ok(count) = process.fd_count() {
            self.descriptors.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
