//! Spares programs whose processes crash with probes in them.

use std::sync::Arc;

use ahash::AHashSet;
use smallvec::SmallVec;
use tracing::{info, warn};

use crate::{
    call::Process,
    export::coverage::program as in_words,
    flow::{coverage::Program, recent::Recent},
    probe::FileId,
    safety::{Crash, Ended, Probed, Step, Supervisor},
};

/// Programs whose files are remembered, at most.
const PROGRAMS_MAX: usize = 4096;

/// Files of a program that are remembered, at most.
const FILES_MAX: usize = 64;

/// Programs that are spared, at most.
const SPARED_MAX: usize = 1024;

/// Crashes that are told one by one.
const NEWS_MAX: u32 = 1000;

/// What is known of how programs bear their probes.
#[derive(Debug)]
pub(super) struct Safety {
    supervisor: Supervisor,
    /// Files with TLS functions that processes of a program have mapped: a process that
    /// has ended can no longer be asked.
    files: Recent<Program, SmallVec<[FileId; 2]>>,
    spared: AHashSet<Program>,
    kinds: ahash::RandomState,
    /// How often more is told.
    news: u32,
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            supervisor: Supervisor::default(),
            files: Recent::new(PROGRAMS_MAX),
            spared: AHashSet::new(),
            kinds: ahash::RandomState::new(),
            news: NEWS_MAX,
        }
    }
}

/// How a process ended. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) signal: u32,
    pub(super) at_ns: u64,
    /// Its probes were the first of their file.
    pub(super) on_trial: bool,
    /// Since when all probes are gone that were to be taken away; `None` while some are
    /// there.
    pub(super) detached_ns: Option<u64>,
}

impl Safety {
    /// Whether the program of a process is spared.
    pub(super) fn spares(&self, process: Option<&Arc<Process>>) -> bool {
        // Mostly none is, and nothing has to be made of the process.
        !self.spared.is_empty()
            && process.is_some_and(|process| self.spared.contains(&Program::of(process)))
    }

    /// The same number for all processes of a program.
    pub(super) fn kind(&self, process: Option<&Arc<Process>>) -> u64 {
        process.map_or(0, |process| self.kinds.hash_one(Program::of(process)))
    }

    /// Programs that are spared.
    pub(super) fn spared(&self) -> usize {
        self.spared.len()
    }

    /// A process maps a file with TLS functions.
    pub(super) fn maps(&mut self, process: &Process, key: FileId) {
        let files = self.files.entry(&Program::of(process));
        if files.len() < FILES_MAX && !files.contains(&key) {
            files.push(key);
        }
    }

    /// Files with TLS functions that a program has mapped.
    pub(super) fn files(&self, program: &Program) -> SmallVec<[FileId; 2]> {
        self.files.peek(program).cloned().unwrap_or_default()
    }

    /// Whether a spared program maps a file.
    pub(super) fn concerns(&self, key: FileId) -> bool {
        let mut files = self.spared.iter().filter_map(|program| self.files.peek(program));
        files.any(|files| files.contains(&key))
    }

    /// A process ended. What is to be done with which program, which counts as spared, or
    /// as not spared any more, from here on.
    pub(super) fn ended(&mut self, process: &Process, end: End) -> Option<(Step, Program)> {
        let crash = Crash::of(end.signal)?;
        let program = Program::of(process);
        let maps = self.files.peek(&program).is_some_and(|files| !files.is_empty());
        let probed = if end.on_trial {
            Probed::OnTrial
        } else if !self.spared.contains(&program) {
            if maps { Probed::Yes } else { Probed::No }
        } else if end.detached_ns.is_some_and(|since| process.start_ns > since) {
            Probed::No
        } else {
            Probed::Leaving
        };
        let ended = Ended { crash, at_ns: end.at_ns, probed };
        let step = self.supervisor.crashed(&program, ended)?;
        match step {
            Step::Spare if self.spared.len() >= SPARED_MAX => {
                self.tell(&program, "crashes with probes in it, as too many do to spare it");
                return None;
            }
            Step::Spare => {
                self.tell(
                    &program,
                    "crashed with probes in it: it gets none from here on, and its TLS is not \
                     captured",
                );
                self.spared.insert(program.clone());
            }
            Step::Restore => {
                self.tell(&program, "crashes without probes too: it gets them again");
                self.spared.remove(&program);
            }
        }
        Some((step, program))
    }

    fn tell(&mut self, program: &Program, what: &str) {
        let Some(left) = self.news.checked_sub(1) else { return };
        self.news = left;
        warn!("{} {what}", in_words(program));
        if left == 0 {
            info!("what more crashes is told by the metrics alone");
        }
    }
}
