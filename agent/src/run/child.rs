//! The command that a run starts: held, let go, waited for.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A command that runs.
#[derive(Debug)]
pub struct Command {
    child: Child,
    status: Option<ExitStatus>,
}

impl Command {
    /// Takes charge of a child.
    pub const fn new(child: Child) -> Self {
        Self { child, status: None }
    }

    /// Its status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("wait for the command")?;
        }
        Ok(self.status)
    }

    /// Asks it to end, once.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), None) = (pid, self.status) {
            // A failure means that it has ended.
            _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The exit code that a shell gives a status: that of the program, or 128 and the
/// signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }
}
