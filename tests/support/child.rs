//! Processes of a test, which end with it.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::eventually;

/// Lines that a process writes, as they come.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Those so far.
    pub fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many there are so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn collect(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                line.clear();
            }
        })
    }
}

/// A process with all that it starts: killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program in a process group of its own, its output collected.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().display().to_string();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.process_group(0).spawn().with_context(|| format!("start {name}"))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|from| stdout.collect(from)));
        readers.extend(child.stderr.take().map(|from| stderr.collect(from)));
        Ok(Self { name, child, stdout, stderr, readers })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output.
    pub const fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it wrote to standard error.
    pub const fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Its standard input; `None` when taken before.
    pub const fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Fails when it has ended, with what it said.
    pub fn running(&mut self) -> Result<()> {
        let status = self.child.try_wait().context("look at the process")?;
        ensure!(status.is_none(), "{} ended: {status:?}\n{}", self.name, self.said());
        Ok(())
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(pid(self.child.id())?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Waits for its end and for the end of what it wrote.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        let status = eventually(&what, || self.child.try_wait().context("look at the process"))
            .with_context(|| self.said())?;
        eventually("the end of its output", || {
            Ok(self.readers.iter().all(JoinHandle::is_finished).then_some(()))
        })?;
        Ok(status)
    }

    /// The last of what it wrote to standard error.
    pub fn said(&self) -> String {
        let lines = self.stderr.so_far();
        let from = lines.len().saturating_sub(30);
        format!("{} said:\n{}", self.name, lines.get(from..).unwrap_or_default().join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(group) = pid(self.child.id()) {
            // Fails when all of them have ended.
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

fn pid(number: u32) -> Result<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw).context("process id")
}

/// Runs a program that must succeed; its output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("run {name}"))?;
    ensure!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The Python interpreter itself: `python3` may be a script that looks for it.
pub fn python() -> Result<&'static str> {
    static PYTHON: OnceLock<String> = OnceLock::new();
    if let Some(python) = PYTHON.get() {
        return Ok(python);
    }
    let found = output(Command::new("python3").args(["-c", "import sys; print(sys.executable)"]))?;
    Ok(PYTHON.get_or_init(|| found.trim().to_owned()))
}

/// The Python of another release of Debian, which `cargo xtask setup` unpacks, as the start
/// of a command: its own loader, its own libraries, OpenSSL among them.
pub fn python_of(suite: &str) -> Result<Vec<OsString>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python").join(suite);
    let root = root
        .canonicalize()
        .with_context(|| format!("find {}; cargo xtask setup installs it", root.display()))?;
    let home = root.join("usr").display().to_string();
    let libraries = format!("{}/lib/x86_64-linux-gnu:{home}/lib/x86_64-linux-gnu", root.display());
    Ok(vec![
        "env".into(),
        format!("PYTHONHOME={home}").into(),
        "PYTHONDONTWRITEBYTECODE=1".into(),
        root.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").into(),
        "--library-path".into(),
        libraries.into(),
        root.join("usr/bin/python3").into(),
    ])
}

/// The library that Python's `ssl` is linked with.
pub fn python_library() -> Result<String> {
    let script = "import _ssl; print([line.split()[-1] for line in open('/proc/self/maps') \
                  if 'libssl.so' in line][0])";
    let mut command = Command::new(python()?);
    Ok(output(command.args(["-c", script]))?.trim().to_owned())
}
