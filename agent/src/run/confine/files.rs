//! Landlock: where the threads that do not look at processes may write.
//!
//! A thread under landlock may not look at processes that are not under it, whatever
//! its rules say (Documentation/userspace-api/landlock.rst, "Ptrace restrictions"). So
//! the thread that captures cannot be under it: `calls` keeps it from writing.

use std::{path::Path, thread};

use anyhow::{Context as _, Result, anyhow};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetStatus, Scope, make_bitflags,
};

/// The newest version whose restrictions are known to leave a run whole.
const KNOWN: ABI = ABI::V6;

/// What writing a database in a directory takes.
const IN_DIRECTORY: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{WriteFile | MakeReg | RemoveFile | Truncate});

/// What drawing on a terminal takes.
const ON_TERMINAL: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | IoctlDev});

/// The controlling terminal.
const TERMINAL: &str = "/dev/tty";

/// Where a run writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Writes<'a> {
    /// Files in this directory.
    pub(super) directory: Option<&'a Path>,
    /// The terminal.
    pub(super) terminal: bool,
}

/// Rules for any number of threads: reading everything, writing what is named, executing
/// nothing, neither connecting nor listening.
#[derive(Debug)]
pub struct Rules(RulesetCreated);

impl Rules {
    /// Makes the rules, as far as this kernel has them.
    pub(super) fn new(writes: Writes<'_>) -> Result<Self> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_write(KNOWN) | AccessFs::Execute)?
            .handle_access(AccessNet::from_all(KNOWN))?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        if let Some(directory) = writes.directory {
            let opened =
                PathFd::new(directory).with_context(|| format!("open {}", directory.display()))?;
            rules = rules.add_rule(PathBeneath::new(opened, IN_DIRECTORY))?;
        }
        // Without one the agent has no view to draw either.
        if writes.terminal
            && let Ok(opened) = PathFd::new(TERMINAL)
        {
            rules = rules.add_rule(PathBeneath::new(opened, ON_TERMINAL))?;
        }
        Ok(Self(rules))
    }

    /// Puts this thread under the rules, and those that it starts from here on.
    pub(super) fn enter(&self) -> Result<RestrictionStatus> {
        Ok(self.0.try_clone().context("copy the rules")?.restrict_self()?)
    }

    /// What this kernel makes of the rules, tried in a thread: the version of landlock.
    pub(super) fn tried(&self) -> Result<ABI> {
        let tried = thread::scope(|scope| scope.spawn(|| self.enter()).join());
        let Ok(status) = tried else { return Err(anyhow!("the thread died")) };
        let status = status?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
                Err(anyhow!("the kernel was started without it (lsm=)"))
            }
            (RulesetStatus::NotEnforced, _) => Err(anyhow!("the kernel does not have it")),
            (_, LandlockStatus::Available { effective_abi, .. }) => Ok(effective_abi),
            (_, status) => Err(anyhow!("{status:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_is_named_can_be_written() {
        let (named, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rules = Rules::new(Writes { directory: Some(named.path()), terminal: false }).unwrap();
        if let Err(error) = rules.tried() {
            println!("not tested: {error}");
            return;
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                rules.enter().unwrap();
                fs::write(named.path().join("a"), "x").unwrap();
                fs::remove_file(named.path().join("a")).unwrap();
                fs::write(other.path().join("a"), "x").unwrap_err();
                fs::read_dir(other.path()).unwrap();
            });
        });
        // The other threads are as they were.
        fs::write(other.path().join("a"), "x").unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        let missing = Path::new("/nonexistent/directory");
        let error = Rules::new(Writes { directory: Some(missing), terminal: false }).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/directory"), "{error:#}");
    }
}
