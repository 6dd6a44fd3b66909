//! What a run gives up once it has opened everything: privileges, files to write, system
//! calls.
//!
//! The order of a start is that of the types: a [`Privileged`] forks the command and
//! opens what is to be opened, and is used up to make a [`Confined`]; that one starts
//! the threads, which are confined from their first moment, and is used up at the end
//! of the start, when system calls are limited too.
//!
//! What cannot be done is told as a warning and never ends a run.

pub(crate) mod calls;
mod capabilities;
mod files;

use std::{
    fmt::{Display, Write as _},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use tracing::{info, warn};

pub use self::{calls::available as seccomp, capabilities::uprobes_demand_admin};
use self::{
    capabilities::Demands,
    files::{Rules, Writes},
};
use crate::inspect::Inspector;

/// A run that may do all that it was started with. There is no other thread yet.
#[derive(Debug)]
pub struct Privileged(());

/// What a run still needs when its threads start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// It writes files in this directory.
    pub directory: Option<&'a Path>,
    /// It draws on the terminal.
    pub terminal: bool,
    /// It has a command that it may have to end.
    pub command: bool,
}

impl Privileged {
    /// The start of a run.
    #[expect(clippy::new_without_default, reason = "made once, and on purpose")]
    pub const fn new() -> Self {
        Self(())
    }

    /// Forks the process that looks into files. First of all that is forked and started: it
    /// is to inherit nothing.
    pub fn inspector(&self) -> Result<Inspector> {
        Inspector::start().context("start the process that looks into files")
    }

    /// Gives up what the rest of the run does not need: capabilities here and in every
    /// thread from here on, and in the helping threads all of them and writing elsewhere.
    pub fn confine(self, needs: Needs<'_>) -> Confined {
        let mut held = Held::default();
        if let Err(error) = rustix::thread::set_no_new_privs(true) {
            held.missing("no_new_privs", error);
        } else {
            held.holds("no new privileges");
        }
        let needed = capabilities::needed(Demands::of_this_kernel(), needs.command);
        match capabilities::keep(&needed) {
            Ok(kept) if kept.is_empty() => held.holds("no capabilities"),
            Ok(kept) => held.holds(kept.join(" ")),
            Err(error) => held.missing("capabilities are not dropped", format!("{error:#}")),
        }
        let writes = Writes { directory: needs.directory, terminal: needs.terminal };
        let rules = Rules::new(writes).and_then(|rules| Ok((rules.tried()?, rules)));
        let rules = match rules {
            Ok((version, rules)) => {
                held.holds(format!("landlock {}", version as i32));
                Some(Arc::new(rules))
            }
            Err(error) => {
                held.missing("writing is not confined by landlock", format!("{error:#}"));
                None
            }
        };
        Confined { helper: Helper::Confined(rules), held: Some(held) }
    }

    /// Gives up nothing.
    pub const fn go_on(self) -> Confined {
        Confined { helper: Helper::Free, held: None }
    }
}

/// A run that has given up what can be given up before its threads start.
#[derive(Debug)]
pub struct Confined {
    helper: Helper,
    held: Option<Held>,
}

impl Confined {
    /// What a thread that helps the run, and looks at no process, does first.
    pub fn helper(&self) -> Helper {
        self.helper.clone()
    }

    /// Limits the system calls of all threads, and keeps this one from opening files for
    /// writing. Everything is opened and every command started.
    pub fn seal(self) {
        let Some(mut held) = self.held else { return };
        match calls::limit_all_threads() {
            Ok(count) => held.holds(format!("{count} system calls")),
            Err(error) => held.missing("system calls are not limited", format!("{error:#}")),
        }
        if let Err(error) = calls::forbid_writing() {
            held.missing("opening files for writing is not forbidden", format!("{error:#}"));
        }
        info!("confined: {}", held.0);
    }
}

/// A thread that helps the run is made one by this. The default gives up nothing.
#[derive(Clone, Debug, Default)]
pub enum Helper {
    /// Gives up nothing.
    #[default]
    Free,
    /// Gives up all, and comes under the rules that this kernel has.
    Confined(Option<Arc<Rules>>),
}

impl Helper {
    /// Gives up, in this thread and those that it starts, all capabilities, and writing
    /// where the run does not write.
    pub fn enter(&self) {
        let Self::Confined(rules) = self else { return };
        if let Err(error) = capabilities::keep_none() {
            warn!("a thread keeps its capabilities: {error:#}");
        }
        if let Some(rules) = rules
            && let Err(error) = rules.enter()
        {
            warn!("a thread is not confined by landlock: {error:#}");
        }
    }
}

/// Gives up all capabilities for good, in a process that needs none.
pub(crate) fn give_up_all() -> Result<()> {
    capabilities::keep(&caps::CapsHashSet::new()).map(drop)
}

/// What holds, in words.
#[derive(Debug, Default)]
struct Held(String);

impl Held {
    fn holds(&mut self, what: impl Display) {
        let separator = if self.0.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        _ = write!(self.0, "{separator}{what}");
    }

    #[expect(clippy::unused_self, reason = "what is missing is not held")]
    fn missing(&mut self, what: &str, why: impl Display) {
        warn!("not confined as it could be: {what}: {why}");
    }
}

/// The version of landlock that the kernel has; `None` without it.
pub fn landlock() -> Option<i32> {
    Rules::new(Writes::default()).and_then(|rules| rules.tried()).ok().map(|abi| abi as i32)
}
