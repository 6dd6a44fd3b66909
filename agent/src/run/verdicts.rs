//! What is known of the TLS of processes in scope, and which of it is to be told.

use std::{collections::HashMap, sync::Arc};

use crate::{
    call::Timestamp,
    event::verdict::{FileVerdict, ProcessVerdict},
};

/// Processes that are remembered, at most.
const PROCESSES_MAX: usize = 65536;

/// How long what a process maps is taken to stay the same while it uses TLS. Files that
/// are mapped for the first time by anyone are told of at once; the others are not.
const FRESH_NS: u64 = 10_000_000_000;

/// Verdicts by process. A verdict is told once its process uses TLS: most never do.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    by_pid: HashMap<u32, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    verdict: ProcessVerdict,
    told: Option<Arc<ProcessVerdict>>,
    /// When it was looked at because it uses TLS.
    used: Option<Timestamp>,
}

impl Verdicts {
    /// A child runs what its parent runs.
    pub(super) fn forked(&mut self, parent: u32, child: u32) {
        match self.by_pid.get(&parent).map(|known| known.verdict.clone()) {
            Some(verdict) => self.insert(child, verdict),
            None => drop(self.by_pid.remove(&child)),
        }
    }

    /// A process runs another program.
    pub(super) fn executed(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    /// A process executes or maps a file.
    pub(super) fn add(&mut self, pid: u32, file: FileVerdict) {
        if let Some(known) = self.by_pid.get_mut(&pid) {
            known.verdict.add(file);
        } else {
            let mut verdict = ProcessVerdict::default();
            verdict.add(file);
            self.insert(pid, verdict);
        }
    }

    /// Whether a process that uses TLS is to be looked at.
    pub(super) fn is_due(&self, pid: u32, now: Timestamp) -> bool {
        let used = self.by_pid.get(&pid).and_then(|known| known.used);
        used.is_none_or(|used| now.nanos_since(used) >= FRESH_NS)
    }

    /// A process that uses TLS was looked at; or it was gone, which takes nothing away
    /// from what an earlier look has found.
    pub(super) fn looked(&mut self, pid: u32, now: Timestamp, found: bool) {
        if !self.by_pid.contains_key(&pid) {
            self.insert(pid, ProcessVerdict::default());
        }
        if let Some(known) = self.by_pid.get_mut(&pid) {
            known.used = Some(now);
            // Told again: who was told may have forgotten.
            known.told = None;
            known.verdict.looked |= found;
        }
    }

    /// The verdict of a process that uses TLS, when it is new.
    pub(super) fn news(&mut self, pid: u32, start_ns: u64) -> Option<Arc<ProcessVerdict>> {
        let known = self.by_pid.get_mut(&pid)?;
        known.used?;
        let verdict = ProcessVerdict { pid, start_ns, ..known.verdict.clone() };
        if known.told.as_deref() == Some(&verdict) {
            return None;
        }
        Some(Arc::clone(known.told.insert(Arc::new(verdict))))
    }

    fn insert(&mut self, pid: u32, verdict: ProcessVerdict) {
        if self.by_pid.len() >= PROCESSES_MAX {
            self.by_pid.clear();
        }
        self.by_pid.insert(pid, Known { verdict, ..Known::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::verdict::Unhooked;

    #[test]
    fn a_verdict_is_told_when_tls_is_used_and_when_it_changes() {
        let mut verdicts = Verdicts::default();
        verdicts.add(7, FileVerdict::Nothing);
        assert_eq!(verdicts.news(7, 1), None, "it uses no TLS");
        assert!(verdicts.is_due(7, Timestamp(5)));
        verdicts.looked(7, Timestamp(5), true);
        let told = verdicts.news(7, 1).unwrap();
        assert!(told.looked && told.hooked.is_none() && told.pid == 7);
        assert_eq!(verdicts.news(7, 1), None, "nothing is new");
        assert!(!verdicts.is_due(7, Timestamp(6)) && verdicts.is_due(7, Timestamp(5 + FRESH_NS)));
        verdicts.add(7, FileVerdict::Hooked("libssl.so.3".into()));
        assert_eq!(verdicts.news(7, 1).unwrap().hooked.as_deref(), Some("libssl.so.3"));
    }

    #[test]
    fn a_child_inherits_and_another_program_does_not() {
        let mut verdicts = Verdicts::default();
        verdicts.add(7, FileVerdict::Unhooked(Unhooked::Java));
        verdicts.forked(7, 8);
        verdicts.looked(8, Timestamp(1), false);
        assert_eq!(verdicts.news(8, 2).unwrap().unhooked, Some(Unhooked::Java));
        verdicts.executed(8);
        verdicts.looked(8, Timestamp(2), false);
        let told = verdicts.news(8, 2).unwrap();
        assert!(told.unhooked.is_none() && !told.looked, "it was gone, and nothing is known");
    }
}
