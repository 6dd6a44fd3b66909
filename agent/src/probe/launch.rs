//! Starts a command that waits until it is in scope: observed from its first
//! instruction.

use std::{
    env,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};

/// A command that was forked and waits before its exec.
#[derive(Debug)]
pub struct Held {
    /// Its process.
    pub pid: u32,
    program: String,
    gate: io::PipeWriter,
    spawning: JoinHandle<io::Result<Child>>,
}

/// Where a command's standard output goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandOutput {
    /// Where the agent's goes.
    Inherit,
    /// To standard error, so that standard output holds what the agent prints alone.
    ToStderr,
    /// Nowhere, and standard error too: the agent draws on the terminal.
    Discard,
}

/// Forks a command and holds it before its exec.
pub fn hold(arguments: &[String], output: CommandOutput) -> Result<Held> {
    let (program, rest) = arguments.split_first().context("no command was given")?;
    let (mut hello, mut greet) = io::pipe().context("make a pipe")?;
    let (gate_end, gate) = io::pipe().context("make a pipe")?;
    let mut command = Command::new(program);
    command.args(rest);
    match output {
        CommandOutput::Inherit => {}
        CommandOutput::ToStderr => {
            let stderr = io::stderr().as_fd().try_clone_to_owned().context("copy stderr")?;
            command.stdout(stderr);
        }
        CommandOutput::Discard => {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    let gate_fd = gate.as_raw_fd();
    // SAFETY: between fork and exec only async-signal-safe calls are made: getpid,
    // write, read and close on descriptors that live for as long as the closure.
    unsafe {
        command.pre_exec(move || {
            // The parent's end, inherited: with it open here, a parent that dies
            // would leave this process waiting for itself.
            libc::close(gate_fd);
            greet.write_all(&std::process::id().to_ne_bytes())?;
            let mut go = [0];
            if (&gate_end).read(&mut go)? == 0 {
                return Err(io::Error::other("apiscope ended before the command was started"));
            }
            Ok(())
        });
    }
    // `spawn` returns only after the exec, so it needs a thread to wait in.
    let spawning = thread::spawn(move || command.spawn());
    let mut pid = [0; 4];
    match hello.read_exact(&mut pid) {
        Ok(()) => {
            Ok(Held { pid: u32::from_ne_bytes(pid), program: program.clone(), gate, spawning })
        }
        // The fork itself failed: the pipe closed with the command.
        Err(_) => Err(match spawning.join() {
            Ok(Err(error)) => anyhow!(error).context(format!("start {program}")),
            _ => anyhow!("start {program}"),
        }),
    }
}

/// The file that a command's name stands for, as execvp(3) finds it.
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(name.into());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl Held {
    /// Lets the command run.
    pub fn release(mut self) -> Result<Child> {
        self.gate.write_all(&[1]).context("let the command run")?;
        match self.spawning.join() {
            Ok(child) => child.with_context(|| format!("start {}", self.program)),
            Err(_) => Err(anyhow!("start {}", self.program)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_command_runs_only_when_released() {
        let held =
            hold(&["sh".into(), "-c".into(), "exit 7".into()], CommandOutput::Inherit).unwrap();
        let exe = std::fs::read_link(format!("/proc/{}/exe", held.pid)).unwrap();
        assert_eq!(exe, env::current_exe().unwrap());
        let pid = held.pid;
        let mut child = held.release().unwrap();
        assert_eq!(child.id(), pid);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn programs_are_found_as_the_system_finds_them() {
        assert!(find("sh").unwrap().is_absolute());
        assert_eq!(find("./sh"), Some("./sh".into()));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn a_missing_program_is_said() {
        let held = hold(&["/nonexistent/program".into()], CommandOutput::Inherit).unwrap();
        let error = held.release().unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
