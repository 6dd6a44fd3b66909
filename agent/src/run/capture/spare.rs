//! Whom probes do harm gets none; and one process of each file has them first.

use std::time::{Duration, Instant};

use anyhow::Result;
use tracing::{debug, warn};

use super::Capture;
use crate::{
    call::Process,
    event::verdict::{FileVerdict, Unhooked},
    flow::coverage::Program,
    probe::{self, FileId},
    redact::printable,
    run::{confine::Confined, safety::End},
    safety::Step,
};

/// How long one process of each program has the probes of a file alone.
const TRIAL: Duration = Duration::from_secs(1);

/// How much longer it takes at most, where a process ends in that time.
const ENDING: Duration = Duration::from_secs(10);

impl Capture {
    /// Gives the processes that have probes time to show what comes of them, before others
    /// have them too.
    pub(super) fn try_probes(&mut self) -> Result<()> {
        let until = Instant::now() + TRIAL;
        let mut events = Vec::new();
        while self.probes.is_trial() {
            let now = Instant::now();
            let ending = || self.probes.tried().into_iter().any(probe::process::is_ending);
            if now >= until + ENDING || (now >= until && !ending()) {
                break;
            }
            self.wait()?;
            self.drain(&mut events);
        }
        self.early.append(&mut events);
        for (name, error) in self.probes.end_trial() {
            let (name, error) = (printable(&name), printable(&format!("{error:#}")).into_owned());
            warn!("TLS of {name} is captured of one process alone: {error}");
        }
        Ok(())
    }

    /// Takes probes away in a thread that helps the run from here on.
    pub fn detach_in_thread(&mut self, confined: &Confined) -> Result<()> {
        let helper = confined.helper();
        self.probes.detach_in_thread(move || helper.enter())
    }

    /// Programs that get no probes because they crashed with them.
    pub fn spared(&self) -> usize {
        self.safety.spared()
    }

    /// A process ended, by a signal maybe; `own` says that it had probes of its own.
    pub(super) fn ended(&mut self, process: &Process, signal: u32, own: bool) {
        let on_trial = self.probes.is_trial();
        if on_trial && !own {
            // It had none.
            return;
        }
        let detached_ns = self.probes.detached();
        let end = End { signal, at_ns: probe::process::boot_time(), on_trial, detached_ns };
        let Some((step, program)) = self.safety.ended(process, end) else { return };
        for key in self.safety.files(&program) {
            if self.safety.concerns(key) {
                self.part(key);
            } else if let Err(error) = self.probes.join(key) {
                warn!("{}", printable(&format!("{error:#}")));
            }
        }
        let running = self.processes.values().filter(|it| Program::of(it) == program);
        for pid in running.map(|it| it.pid).collect::<Vec<_>>() {
            match step {
                Step::Spare => self.verdicts.add(pid, FileVerdict::Unhooked(Unhooked::Spared)),
                // It is looked at again when it uses TLS.
                Step::Restore => self.verdicts.executed(pid),
            }
        }
    }

    /// Attaches to a file process by process, but for those whose program is spared.
    pub(super) fn part(&mut self, key: FileId) {
        let Self { probes, safety, processes, .. } = self;
        if let Err(error) = probes.part(key, |pid| safety.spares(processes.get(&pid))) {
            // Of one that ended meanwhile it is no matter.
            debug!("{}", printable(&format!("{error:#}")));
        }
    }
}
