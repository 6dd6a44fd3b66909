//! How much is captured of each program.

use std::sync::Arc;

use ahash::AHashMap;

use crate::{call::Process, flow::coverage::Program, shed::Load};

/// Processes that are counted apart in one interval, at most.
const PROCESSES_MAX: usize = 65536;

/// What was captured since it was last taken, by process.
#[derive(Debug, Default)]
pub(super) struct Loads(AHashMap<u32, (Option<Arc<Process>>, Load)>);

impl Loads {
    /// Counts a record.
    pub(super) fn add(&mut self, tgid: u32, bytes: usize) {
        if self.0.len() < PROCESSES_MAX || self.0.contains_key(&tgid) {
            let (_, load) = self.0.entry(tgid).or_default();
            load.add(Load { records: 1, bytes: bytes as u64 });
        }
    }

    /// A process ends: what it was has to be kept here.
    pub(super) fn ended(&mut self, process: &Arc<Process>) {
        if let Some((known, _)) = self.0.get_mut(&process.pid) {
            *known = Some(Arc::clone(process));
        }
    }

    /// What was captured of each program; `running` tells what a process runs.
    pub(super) fn take(
        &mut self,
        running: impl Fn(u32) -> Option<Arc<Process>>,
    ) -> Vec<(Program, Load)> {
        let mut programs = AHashMap::<Program, Load>::new();
        for (tgid, (process, load)) in self.0.drain() {
            if let Some(process) = process.or_else(|| running(tgid)) {
                programs.entry(Program::of(&process)).or_default().add(load);
            }
        }
        programs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, name: &str) -> Arc<Process> {
        let (comm, executable) = (String::new(), name.to_owned());
        Arc::new(Process { pid, start_ns: 1, comm, executable, container_id: None })
    }

    #[test]
    fn processes_of_one_program_are_one_and_those_that_ended_count() {
        let mut loads = Loads::default();
        for (tgid, bytes) in [(1, 10), (2, 20), (2, 5), (3, 7), (4, 1)] {
            loads.add(tgid, bytes);
        }
        loads.ended(&process(2, "/a"));
        loads.ended(&process(9, "/a"));
        let running = |tgid| match tgid {
            1 => Some(process(1, "/a")),
            3 => Some(process(3, "/b")),
            _ => None,
        };
        let mut taken = loads.take(running);
        taken.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let taken: Vec<_> =
            taken.iter().map(|(it, load)| (&*it.name, load.records, load.bytes)).collect();
        assert_eq!(taken, [("/a", 3, 35), ("/b", 1, 7)]);
        assert!(loads.take(running).is_empty());
    }
}
