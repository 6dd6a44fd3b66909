//! The facts of processes, by process id.

use std::sync::Arc;

use super::recent::Recent;
use crate::call::Process;

/// Processes that were reported, and of the ended ones those that were met lately.
#[derive(Debug)]
pub(super) struct Processes {
    by_pid: Recent<u32, Option<Arc<Process>>>,
}

impl Processes {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_pid: Recent::new(limit) }
    }

    /// From now on these facts hold.
    pub(super) fn update(&mut self, process: Arc<Process>) {
        self.by_pid.insert(process.pid, Some(process));
    }

    /// The facts of a process; `None` when it was not reported, or when `start_ns`
    /// shows that the one reported was another with the same id.
    pub(super) fn get(&mut self, pid: u32, start_ns: u64) -> Option<Arc<Process>> {
        self.by_pid.peek(&pid)?;
        let process = self.by_pid.entry(&pid).as_ref()?;
        let other = start_ns != 0 && process.start_ns != 0 && start_ns != process.start_ns;
        (!other).then(|| Arc::clone(process))
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.by_pid.forgotten()
    }
}
