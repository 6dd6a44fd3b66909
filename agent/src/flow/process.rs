//! The facts of processes, by process id.

use std::sync::Arc;

use super::{
    coverage::{Coverage, RowId},
    recent::Recent,
};
use crate::{call::Process, event::verdict::ProcessVerdict};

/// Processes that were reported, and of the ended ones those that were met lately.
#[derive(Debug)]
pub(super) struct Processes {
    by_pid: Recent<u32, Known>,
}

/// What is known of a process.
#[derive(Debug, Default)]
struct Known {
    process: Option<Arc<Process>>,
    verdict: Option<Arc<ProcessVerdict>>,
    /// Its row in the ledger, once it was looked up.
    row: Option<RowId>,
}

/// Whether both are starts of one process.
const fn same(start_ns: u64, known: u64) -> bool {
    start_ns == 0 || known == 0 || start_ns == known
}

impl Processes {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_pid: Recent::new(limit) }
    }

    /// From now on these facts hold.
    pub(super) fn update(&mut self, process: Arc<Process>) {
        let known = self.by_pid.entry(&process.pid);
        // Of one that has ended, /proc tells less than it did before.
        if let Some(before) = &known.process
            && process.executable.is_empty()
            && process.start_ns == before.start_ns
            && process.comm == before.comm
        {
            return;
        }
        let stays = known.process.as_ref().is_some_and(|before| {
            same(process.start_ns, before.start_ns) && process.executable == before.executable
        });
        if !stays {
            known.verdict = None;
        }
        known.row = None;
        known.process = Some(process);
    }

    /// From now on this is known of a process's TLS.
    pub(super) fn judge(&mut self, verdict: Arc<ProcessVerdict>) {
        let pid = verdict.pid;
        self.by_pid.entry(&pid).verdict = Some(verdict);
    }

    /// What is known of a process's TLS.
    pub(super) fn verdict(&self, pid: u32, start_ns: u64) -> Option<Arc<ProcessVerdict>> {
        let verdict = self.by_pid.peek(&pid)?.verdict.as_ref()?;
        same(start_ns, verdict.start_ns).then(|| Arc::clone(verdict))
    }

    /// The row of a process in the ledger; `None` when the process is not known.
    pub(super) fn row(
        &mut self,
        pid: u32,
        start_ns: u64,
        coverage: &mut Coverage,
    ) -> Option<RowId> {
        self.by_pid.peek(&pid)?;
        let known = self.by_pid.entry(&pid);
        let process = known.process.as_ref()?;
        if !same(start_ns, process.start_ns) {
            return None;
        }
        Some(*known.row.get_or_insert_with(|| coverage.row(process)))
    }

    /// The facts of a process; `None` when it was not reported, or when `start_ns`
    /// shows that the one reported was another with the same id.
    pub(super) fn get(&mut self, pid: u32, start_ns: u64) -> Option<Arc<Process>> {
        self.by_pid.peek(&pid)?;
        let process = self.by_pid.entry(&pid).process.as_ref()?;
        same(start_ns, process.start_ns).then(|| Arc::clone(process))
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.by_pid.forgotten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(start_ns: u64, comm: &str, executable: &str) -> Arc<Process> {
        let (comm, executable) = (comm.into(), executable.into());
        Arc::new(Process { pid: 7, start_ns, comm, executable, container_id: None })
    }

    fn executable(processes: &mut Processes) -> String {
        processes.get(7, 0).unwrap().executable.clone()
    }

    #[test]
    fn an_ended_process_that_is_met_again_keeps_its_program() {
        let mut processes = Processes::new(4);
        processes.update(process(5, "app", "/usr/bin/app"));
        processes.update(process(5, "app", ""));
        assert_eq!(executable(&mut processes), "/usr/bin/app");
        processes.update(process(6, "app", ""));
        assert_eq!(executable(&mut processes), "", "another process of the same id");
    }

    #[test]
    fn a_verdict_holds_for_its_process_and_its_program() {
        let mut processes = Processes::new(4);
        processes.update(process(5, "app", "/usr/bin/app"));
        let verdict = ProcessVerdict { pid: 7, start_ns: 5, ..ProcessVerdict::default() };
        processes.judge(Arc::new(verdict));
        processes.update(process(5, "app", "/usr/bin/app"));
        assert!(processes.verdict(7, 0).is_some() && processes.verdict(7, 6).is_none());
        processes.update(process(5, "other", "/usr/bin/other"));
        assert!(processes.verdict(7, 0).is_none(), "another program");
    }
}
