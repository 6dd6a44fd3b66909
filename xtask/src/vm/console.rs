//! What a guest prints: which part of it is the command's, and whether its kernel failed.

use std::io::Write as _;

use anyhow::{Context as _, Result};

/// What `init.sh` says just before the command, and just after it.
const READY: &str = "vm-init: ready";
const DONE: &str = "vm-init: done";

/// Lines of a guest's start that are kept, to be shown if it does not get ready.
const BOOT_LINES: usize = 200;

/// How far a guest is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Phase {
    #[default]
    Boot,
    Command,
    End,
}

impl Phase {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Boot => "the guest's start",
            Self::Command => "the command",
            Self::End => "the guest's end",
        }
    }
}

/// What a guest prints, of which only the command's part is shown as it comes.
#[derive(Default)]
pub(super) struct Console {
    pub(super) phase: Phase,
    boot: Vec<String>,
    pub(super) fault: Fault,
}

impl Console {
    /// Takes a line and returns what to show of it.
    pub(super) fn line(&mut self, line: &str) -> Option<String> {
        self.fault.see(line);
        match (self.phase, line.trim_end()) {
            // The firmware leaves what clears the screen in front of it.
            (Phase::Boot, line) if line.ends_with(READY) => self.phase = Phase::Command,
            (Phase::Boot, _) => {
                if self.boot.len() < BOOT_LINES {
                    self.boot.push(line.chars().filter(|char| !char.is_control()).collect());
                }
            }
            (Phase::Command, text) => {
                let Some(rest) = text.strip_suffix(DONE) else {
                    return Some(line.trim_end_matches('\r').to_owned());
                };
                self.phase = Phase::End;
                // The command's last line may have had no end.
                return (!rest.is_empty()).then(|| rest.to_owned());
            }
            (Phase::End, _) => {}
        }
        None
    }

    /// Shows the start of a guest that did not get ready.
    pub(super) fn show_boot(&self) -> Result<()> {
        if self.phase != Phase::Boot {
            return Ok(());
        }
        self.boot.iter().try_for_each(|line| show(line))
    }
}

/// What the console says about a kernel that failed.
///
/// Only a panic counts, and every oops becomes one: the words of an oops alone may
/// be the command's own.
#[derive(Default)]
pub(super) struct Fault {
    first: Option<String>,
    pub(super) panic: Option<String>,
}

impl Fault {
    fn see(&mut self, line: &str) {
        if self.first.is_none() && (line.contains("BUG: ") || line.contains("Oops: ")) {
            self.first = Some(line.trim().to_owned());
        }
        if self.panic.is_none() && line.contains("Kernel panic - not syncing") {
            self.panic = Some(self.first.take().unwrap_or_else(|| line.trim().to_owned()));
        }
    }
}

pub(super) fn show(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("write the guest's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commands_lines_are_shown() {
        let mut console = Console::default();
        assert_eq!(console.line("\u{1b}c\u{1b}[2JSeaBIOS\r"), None);
        assert_eq!(console.line("\u{1b}[?7l\u{1b}[2Jvm-init: ready\r"), None);
        assert_eq!(console.phase, Phase::Command);
        assert_eq!(console.line("hello\r").unwrap(), "hello");
        assert_eq!(console.line("no end of linevm-init: done\r").unwrap(), "no end of line");
        assert_eq!(console.line("[    3.5] reboot: Power down\r"), None);
        assert_eq!(console.boot, ["c[2JSeaBIOS"]);
    }

    #[test]
    fn a_panic_is_reported_by_the_oops_before_it() {
        let mut fault = Fault::default();
        fault.see("[  3.1] Oops: int3: 0000 [#1] PREEMPT SMP");
        assert_eq!(fault.panic, None);
        fault.see("[  3.2] Kernel panic - not syncing: Fatal exception");
        assert_eq!(fault.panic.unwrap(), "[  3.1] Oops: int3: 0000 [#1] PREEMPT SMP");
    }
}
