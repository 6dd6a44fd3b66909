//! Clients of the servers: `client.py`, `wheel_client.py`, `client.mjs`, `client.pl`,
//! `client.cmake`, `client.go` and that of `tests/programs/rustls`.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    call::{self, Done},
    child::{self, Process},
    eventually,
    go::{self, Build},
    program, ring_program,
    server::Server,
    tool,
};

/// Runs a server, the first `$1` arguments, and a client, the rest, and ends the server
/// when the client has ended.
pub const TOGETHER: &str = "\
count=$1; shift
server=
while [ $count -gt 0 ]; do
    server=\"$server '$1'\"; shift; count=$((count - 1))
done
eval \"$server &\"
server=$!
\"$@\"
status=$?
kill $server
wait $server
exit $status";

/// The arguments of [`TOGETHER`].
pub fn together(server: &Server, client: &Client) -> Vec<OsString> {
    let mut args = vec![server.command().len().to_string().into()];
    args.extend(server.command().iter().cloned());
    args.extend(client.command.iter().cloned());
    args
}

/// A client that can be started: by a test, or by the agent.
#[derive(Debug)]
pub struct Client {
    command: Vec<OsString>,
    out: PathBuf,
}

impl Client {
    /// `client.py`, told to make so many requests.
    pub fn python(server: &Server, count: usize, connections: usize) -> Result<Self> {
        Ok(Self::python_by(vec![child::python()?.into()], server, count, connections))
    }

    /// The same by the Python of another release of Debian.
    pub fn python_of(
        suite: &str,
        server: &Server,
        count: usize,
        connections: usize,
    ) -> Result<Self> {
        Ok(Self::python_by(child::python_of(suite)?, server, count, connections))
    }

    fn python_by(
        mut command: Vec<OsString>,
        server: &Server,
        count: usize,
        connections: usize,
    ) -> Self {
        let out = server.directory().join("done");
        command.push(program("client.py").into());
        command.extend(["--target".into(), server.target().into()]);
        command.extend(["--out".into(), out.clone().into()]);
        command.extend(["--count".into(), count.to_string().into()]);
        command.extend(["--connections".into(), connections.to_string().into()]);
        Self { command, out }
    }

    /// `client.mjs`, told to make so many requests.
    pub fn node(server: &Server, count: usize, connections: usize) -> Self {
        let out = server.directory().join("done");
        let command = vec![
            "node".into(),
            program("client.mjs").into(),
            server.target().into(),
            count.to_string().into(),
            connections.to_string().into(),
            out.clone().into(),
        ];
        Self { command, out }
    }

    /// `client.pl`, told to make so many requests on one connection.
    pub fn perl(server: &Server, count: usize) -> Self {
        let out = server.directory().join("done");
        let mut command: Vec<OsString> = vec!["perl".into(), program("client.pl").into()];
        command.extend([server.target().into(), count.to_string().into(), out.clone().into()]);
        Self { command, out }
    }

    /// `wheel_client.py`, told to make so many requests by a package.
    pub fn wheel(package: &str, server: &Server, count: usize) -> Result<Self> {
        let out = server.directory().join("done");
        let mut command: Vec<OsString> = vec![tool("python")?.into(), "-B".into()];
        command.extend([program("wheel_client.py").into(), package.into()]);
        command.extend([server.target().into(), count.to_string().into(), out.clone().into()]);
        Ok(Self { command, out })
    }

    /// `client.cmake`, told to make so many requests, each on a connection of its own, by a
    /// `cmake`.
    pub fn cmake(cmake: &Path, server: &Server, count: usize) -> Self {
        let out = server.directory().join("done");
        let mut command: Vec<OsString> = vec![cmake.into()];
        let out_option = format!("-DOUT={}", out.display());
        command.push(format!("-DTARGET={}", server.target()).into());
        command.extend([format!("-DCOUNT={count}").into(), out_option.into()]);
        command.extend(["-P".into(), program("client.cmake").into()]);
        Self { command, out }
    }

    /// reqwest with ring, told to make so many requests.
    pub fn reqwest(server: &Server, count: usize, connections: usize) -> Result<Self> {
        let out = server.directory().join("done");
        let mut command: Vec<OsString> = vec![ring_program("rustls-client")?.into()];
        command.extend([server.target().into(), count.to_string().into()]);
        command.extend([connections.to_string().into(), out.clone().into()]);
        Ok(Self { command, out })
    }

    /// `client.go`, told to make so many requests.
    pub fn go(server: &Server, build: Build, count: usize, connections: usize) -> Result<Self> {
        let out = server.directory().join("done");
        let mut command = go::command("client", build)?;
        command.extend([server.target().into(), count.to_string().into()]);
        command.extend([connections.to_string().into(), out.clone().into()]);
        Ok(Self { command, out })
    }

    /// With a folder in which Python looks for packages first.
    #[must_use]
    pub fn packages(mut self, folder: &Path) -> Self {
        let path = format!("PYTHONPATH={}", folder.display());
        self.command.splice(0..0, ["env".into(), path.into()]);
        self
    }

    /// The command that runs it.
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// With an option.
    #[must_use]
    pub fn with(mut self, option: &str) -> Self {
        self.command.push(option.into());
        self
    }

    /// With a connection per request.
    #[must_use]
    pub fn close(self) -> Self {
        self.with("--close")
    }

    /// What it did.
    pub fn done(&self) -> Result<Vec<Done>> {
        call::read(&self.out)
    }

    /// Runs it, outside of what is observed; what it did.
    pub fn run(&self) -> Result<Vec<Done>> {
        let mut process = self.start()?;
        drop(process.stdin());
        let status = process.wait()?;
        ensure!(status.success(), "the client ended with {status}\n{}", process.said());
        self.done()
    }

    /// Starts it, outside of what is observed.
    pub fn start(&self) -> Result<Process> {
        let (name, args) = self.command.split_first().context("no command")?;
        Process::start(Command::new(name).args(args))
    }

    /// Starts it and keeps its connections open for what it is told.
    pub fn interact(self) -> Result<Conversation> {
        let client = self.with("--interactive");
        let mut process = client.start()?;
        let stdin = process.stdin().context("no standard input")?;
        Ok(Conversation { client, process, stdin, told: 0 })
    }
}

/// A client that does what it is told, on the same connections.
#[derive(Debug)]
pub struct Conversation {
    client: Client,
    process: Process,
    stdin: std::process::ChildStdin,
    told: usize,
}

impl Conversation {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Tells it to make requests; does not wait.
    pub fn tell(&mut self, count: usize) -> Result<()> {
        self.told += 1;
        writeln!(self.stdin, "run {count}").context("tell the client")?;
        self.stdin.flush().context("tell the client")
    }

    /// Waits until it has done all that it was told; all that it did, from its start.
    pub fn done(&mut self) -> Result<Vec<Done>> {
        eventually("the client", || {
            let answered = self.process.stdout().count() >= self.told;
            if !answered {
                self.process.running()?;
            }
            Ok(answered.then_some(()))
        })?;
        self.client.done()
    }

    /// Tells it to make requests and waits; those.
    pub fn run(&mut self, count: usize) -> Result<Vec<Done>> {
        self.tell(count)?;
        let mut done = self.done()?;
        let before = done.len().checked_sub(count).context("fewer than told")?;
        Ok(done.split_off(before))
    }
}
