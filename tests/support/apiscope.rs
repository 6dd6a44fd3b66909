//! The agent, as a process.

use std::{
    env,
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use crate::{call::Call, child::Process, eventually, net, status::Status};

/// After so long without one, no call is on its way.
const SETTLED: Duration = Duration::from_secs(5);

/// The program: `APISCOPE_BIN`, or what was built beside the test.
pub fn binary() -> Result<PathBuf> {
    let path = if let Some(path) = env::var_os("APISCOPE_BIN") {
        PathBuf::from(path)
    } else {
        let test = env::current_exe().context("find the test")?;
        let profile = test.parent().and_then(Path::parent).context("find the build")?;
        profile.join("apiscope")
    };
    ensure!(
        path.is_file(),
        "{} is not there: cargo build -p apiscope, or set APISCOPE_BIN",
        path.display()
    );
    Ok(path)
}

/// How to run the agent.
#[derive(Debug)]
pub struct Options {
    command: Command,
    listen: SocketAddr,
    state: bool,
    cpu_budget: &'static str,
}

impl Options {
    /// `run` with JSON lines and body hashes; no scope yet.
    pub fn new() -> Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, net::free_port()?));
        let mut command = Command::new(binary()?);
        command.args(["run", "--output", "json", "--body-hash"]);
        command.args(["--listen", &listen.to_string()]);
        Ok(Self { command, listen, state: false, cpu_budget: "off" })
    }

    /// Observes a process that runs.
    #[must_use]
    pub fn pid(self, pid: u32) -> Self {
        self.args(["--pid", &pid.to_string()])
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Lets capture take so many cores; otherwise it takes what it needs.
    #[must_use]
    pub const fn cpu_budget(mut self, cores: &'static str) -> Self {
        self.cpu_budget = cores;
        self
    }

    /// Keeps state in a directory.
    #[must_use]
    pub fn state(mut self, directory: &Path) -> Self {
        self.command.arg("--state").arg(directory);
        self.state = true;
        self
    }

    /// Starts the agent without a command.
    pub fn start(mut self) -> Result<Apiscope> {
        self.settle_options();
        Ok(Apiscope { process: Process::start(&mut self.command)?, listen: self.listen })
    }

    /// Starts the agent with a command to observe.
    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, command: I) -> Result<Apiscope> {
        self.settle_options();
        self.command.arg("--").args(command);
        Ok(Apiscope { process: Process::start(&mut self.command)?, listen: self.listen })
    }

    /// Adds what was not asked for otherwise.
    fn settle_options(&mut self) {
        if !self.state {
            self.command.arg("--no-state");
        }
        self.command.args(["--cpu-budget", self.cpu_budget]);
    }

    /// Starts the agent with a script to observe; `$1` and on are the arguments.
    pub fn script<I: IntoIterator<Item: AsRef<OsStr>>>(
        self,
        script: &str,
        args: I,
    ) -> Result<Apiscope> {
        let mut command: Vec<_> =
            ["sh", "-c", script, "sh"].map(|word| OsStr::new(word).to_owned()).into();
        command.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.command(command)
    }
}

/// A run of the agent; killed, with its command, when this is dropped.
#[derive(Debug)]
pub struct Apiscope {
    process: Process,
    listen: SocketAddr,
}

impl Apiscope {
    /// Waits until all in scope is observed.
    pub fn wait_ready(&mut self) -> Result<()> {
        let listen = self.listen;
        eventually("the agent to be ready", || {
            self.process.running()?;
            Ok(net::get(listen, "/readyz").is_ok_and(|(status, _)| status == 200).then_some(()))
        })
    }

    /// Fails when it has ended, with what it said.
    pub fn running(&mut self) -> Result<()> {
        self.process.running()
    }

    /// What each of its threads may do, the one that captures first.
    pub fn threads(&self) -> Result<Vec<Status>> {
        Status::of_threads(self.process.pid())
    }

    /// The process that looks into files for it.
    pub fn inspector(&self) -> Result<u32> {
        let parent = self.process.pid().to_string();
        for entry in fs::read_dir("/proc").context("read /proc")? {
            // A process may end meanwhile.
            let text = fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
            // pid (comm) state ppid, proc_pid_stat(5)
            let Some((pid, rest)) = text.split_once(" (inspector) ") else { continue };
            if rest.split(' ').nth(1) == Some(&parent) {
                return pid.parse().context("parse a process id");
            }
        }
        bail!("the agent has no process that looks into files")
    }

    /// Calls reported so far.
    pub fn count(&self) -> usize {
        self.process.stdout().count()
    }

    /// Waits until so many calls were reported, or no more come.
    pub fn settle(&mut self, count: usize) -> Result<()> {
        let mut last = (self.count(), Instant::now());
        eventually("calls", || {
            self.process.running()?;
            let now = self.count();
            if now != last.0 {
                last = (now, Instant::now());
            }
            Ok((now >= count || last.1.elapsed() > SETTLED).then_some(()))
        })
    }

    /// Waits until the command has ended, which must succeed; the calls.
    pub fn finish(mut self) -> Result<Vec<Call>> {
        let status = self.process.wait()?;
        ensure!(status.success(), "the run ended with {status}\n{}", self.process.said());
        self.calls()
    }

    /// Waits until the command has ended, which must succeed; what the agent said.
    pub fn finish_said(mut self) -> Result<Vec<String>> {
        let status = self.process.wait()?;
        ensure!(status.success(), "the run ended with {status}\n{}", self.process.said());
        Ok(self.process.stderr().so_far())
    }

    /// Waits until the command has ended, which must succeed; the calls, of which some may
    /// not have been readable, and what the agent said.
    pub fn finish_with_gaps(mut self) -> Result<(Vec<Call>, Vec<String>)> {
        let status = self.process.wait()?;
        ensure!(status.success(), "the run ended with {status}\n{}", self.process.said());
        Ok((self.parse()?, self.process.stderr().so_far()))
    }

    /// Asks the agent to end; the calls. It ends as it was told, or as its command does
    /// that it has told.
    pub fn stop(mut self) -> Result<Vec<Call>> {
        self.end()?;
        self.calls()
    }

    /// The same; of the calls some may not have been readable. And what the agent said.
    pub fn stop_with_gaps(mut self) -> Result<(Vec<Call>, Vec<String>)> {
        self.end()?;
        Ok((self.parse()?, self.process.stderr().so_far()))
    }

    fn end(&mut self) -> Result<()> {
        self.process.running()?;
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait()?;
        ensure!(
            matches!(status.code(), Some(0 | 143)),
            "the run ended with {status}\n{}",
            self.process.said()
        );
        Ok(())
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends the agent as nothing can prepare for, and leaves its command alone.
    pub fn kill(&mut self) -> Result<()> {
        self.process.running()?;
        self.process.signal(Signal::KILL)?;
        self.process.wait().map(drop)
    }

    /// The last of what it said.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// A field of the agent's `/proc/PID/status`, in kB.
    pub fn memory_kb(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.context("no such field")?.parse().context("parse kB")
    }

    /// Ids of the kernel programs that the agent holds.
    pub fn kernel_programs(&self) -> Result<Vec<u32>> {
        let path = format!("/proc/{}/fdinfo", self.process.pid());
        let mut ids = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("read {path}"))? {
            // A descriptor may be closed meanwhile.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            for line in text.lines().filter_map(|line| line.strip_prefix("prog_id:")) {
                ids.push(line.trim().parse().context("parse a program id")?);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// A counter of the kernel programs.
    pub fn kernel_counter(&self, name: &str) -> Result<u64> {
        let series = format!("apiscope_kernel_counter_total{{name=\"{name}\"}}");
        let value = self.metrics()?.into_iter().find(|(found, _)| *found == series);
        let (_, value) = value.with_context(|| format!("no {series}"))?;
        value.parse().context("parse a counter")
    }

    /// Every series of the metrics with its value.
    pub fn metrics(&self) -> Result<Vec<(String, String)>> {
        let (status, text) = net::get(self.listen, "/metrics")?;
        ensure!(status == 200, "/metrics: {status}");
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        Ok(samples.map(|(series, value)| (series.to_owned(), value.to_owned())).collect())
    }

    fn calls(&self) -> Result<Vec<Call>> {
        // All that the tests let talk TLS is of libraries that are hooked.
        let opaque = self.process.stderr().so_far();
        let opaque = opaque.iter().find(|line| line.contains("TLS not readable"));
        ensure!(opaque.is_none(), "something is opaque\n{}", self.process.said());
        self.parse()
    }

    fn parse(&self) -> Result<Vec<Call>> {
        let lines = self.process.stdout().so_far();
        lines.iter().map(|line| Call::parse(line)).collect()
    }
}
