//! Whether probes do harm: judged by how the processes of a program end, with probes and
//! without.
//!
//! A program whose processes crash with probes in them is spared: probes are kept away
//! from it, and only from it, for whoever can crash a process of his own must not be able
//! to blind the agent for others. If its processes crash without probes too, they are at
//! fault themselves, and are probed again.
//!
//! Pure: times come in, steps go out.

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use crate::flow::{coverage::Program, recent::Recent};

/// Programs of which crashes are remembered, at most.
const PROGRAMS_MAX: usize = 4096;

/// Crashes within [`WINDOW_NS`] that are too many.
const CRASHES: usize = 2;

const WINDOW_NS: u64 = 60_000_000_000;

/// How long a program that crashes without probes is not judged again.
const AT_FAULT_NS: u64 = 3_600_000_000_000;

/// The end of a process by a signal that says that it went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// One that code which was changed under a program makes likely: an instruction that
    /// is none (`SIGILL`), a breakpoint that nobody expects (`SIGTRAP`), a system call that
    /// its filter does not know, as a return probe makes one since 6.11 (`SIGSYS`).
    OfCode,
    /// Any other: `SIGSEGV`, `SIGBUS`, `SIGABRT`, `SIGFPE`.
    Other,
}

impl Crash {
    /// What a process ended by this signal has come to; `None` when it did not crash.
    pub fn of(signal: u32) -> Option<Self> {
        match i32::try_from(signal).ok()? {
            libc::SIGILL | libc::SIGTRAP | libc::SIGSYS => Some(Self::OfCode),
            libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT | libc::SIGFPE => Some(Self::Other),
            _ => None,
        }
    }

    /// How many are too many.
    const fn too_many(self) -> usize {
        match self {
            Self::OfCode => 1,
            Self::Other => CRASHES,
        }
    }
}

/// Whether a process had probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probed {
    /// It had.
    Yes,
    /// It had, as the first one of a file, and can alone show what comes of them.
    OnTrial,
    /// It had some, or may have had some, that are being taken away.
    Leaving,
    /// It never had any.
    No,
}

/// A process of a program that crashed.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How.
    pub crash: Crash,
    /// When, nanoseconds of any clock.
    pub at_ns: u64,
    /// With probes or without.
    pub probed: Probed,
}

/// What is to be done about a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Keep probes away from it.
    Spare,
    /// Probe it again: it crashes without them.
    Restore,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Probed,
    /// As many crashes without probes show that they were not the cause.
    Spared {
        crashes: usize,
    },
    AtFault {
        since_ns: u64,
    },
}

#[derive(Debug, Default)]
struct History {
    state: State,
    /// When processes crashed, of those that count in this state.
    crashes: SmallVec<[u64; CRASHES]>,
}

/// Remembers what crashed, and decides; bounded.
#[derive(Debug)]
pub struct Supervisor {
    programs: Recent<Program, History>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { programs: Recent::new(PROGRAMS_MAX) }
    }
}

impl Supervisor {
    /// Takes a crash into account.
    pub fn crashed(&mut self, program: &Program, ended: Ended) -> Option<Step> {
        let now = ended.at_ns;
        let history = self.programs.entry(program);
        if let State::AtFault { since_ns } = history.state
            && now.saturating_sub(since_ns) >= AT_FAULT_NS
        {
            *history = History::default();
        }
        let too_many = match (history.state, ended.probed) {
            (State::Probed, Probed::Yes) => ended.crash.too_many(),
            (State::Probed, Probed::OnTrial) => 1,
            (State::Spared { crashes }, Probed::No) => crashes,
            _ => return None,
        };
        history.crashes.retain(|&mut at| now.saturating_sub(at) < WINDOW_NS);
        history.crashes.push(now);
        if history.crashes.len() < too_many {
            return None;
        }
        history.crashes.clear();
        let (state, step) = match history.state {
            State::Probed => (State::Spared { crashes: too_many }, Step::Spare),
            _ => (State::AtFault { since_ns: now }, Step::Restore),
        };
        history.state = state;
        Some(step)
    }
}
