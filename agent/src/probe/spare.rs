//! Keeps probes away from programs, and tries them in one process first.

use std::{collections::HashSet, sync::Arc};

use anyhow::Result;

use super::{FileId, Probes};

impl Probes {
    /// Whether files have probes in one process alone.
    pub fn is_trial(&self) -> bool {
        self.libraries.is_trial()
    }

    /// Processes that have probes alone.
    pub fn tried(&self) -> HashSet<u32> {
        self.libraries.tried()
    }

    /// Attaches to the files on trial for all processes. Those where that failed, and why.
    pub fn end_trial(&mut self) -> Vec<(Arc<str>, anyhow::Error)> {
        self.libraries.end_trial(&mut self.ebpf)
    }

    /// Attaches to a file process by process from here on, and to none of those that are
    /// spared.
    pub fn part(&mut self, key: FileId, spared: impl Fn(u32) -> bool) -> Result<()> {
        self.libraries.part(&mut self.ebpf, key, spared)
    }

    /// Attaches to a file for everyone again.
    pub fn join(&mut self, key: FileId) -> Result<()> {
        self.libraries.join(&mut self.ebpf, key)
    }

    /// A process forked another one.
    pub fn forked(&mut self, parent: u32, child: u32, spared: bool) {
        self.libraries.forked(&mut self.ebpf, parent, child, spared);
    }

    /// A process has ended, or runs another program. Whether it had probes of its own.
    pub fn left(&mut self, pid: u32) -> bool {
        self.libraries.left(pid)
    }

    /// Since when, in nanoseconds of `CLOCK_BOOTTIME`, all probes are gone that were to be
    /// taken away; `None` while some are there.
    pub fn detached(&self) -> Option<u64> {
        self.libraries.detached()
    }

    /// Takes probes away in a thread from here on, which runs `enter` first.
    pub fn detach_in_thread(&mut self, enter: impl FnOnce() + Send + 'static) -> Result<()> {
        self.libraries.detach_in_thread(enter)
    }
}
