//! The agent gives up what it does not need, and sees as much as before.

use std::{ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use support::{
    apiscope::{self, Apiscope, Options},
    call::{Call, compare_complete},
    child::{self, Process, output},
    client::Client,
    directory, eventually,
    server::Server,
    status::Status,
};

use crate::{V4, count, server_sees_all};

/// Capabilities that the agent may keep, as `linux/capability.h` numbers them:
/// `DAC_READ_SEARCH`, `KILL`, `SYS_PTRACE`, `SYS_ADMIN`, `PERFMON`, `BPF`,
/// `CHECKPOINT_RESTORE`.
const KEPT: u64 = 1 << 2 | 1 << 5 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39 | 1 << 40;

/// Tells what it may do in a file, waits for another one, and runs a command.
const WAITING: &str = "\
cat /proc/self/status > \"$1/status\"
while [ ! -e \"$1/go\" ]; do sleep 0.05; done
shift
exec \"$@\"";

/// Fails unless all threads gave up what they do not need.
fn all_confined(threads: &[Status]) -> Result<()> {
    let own = Status::read(Path::new("/proc/self/status"))?;
    ensure!(own.effective & !KEPT != 0, "this test has nothing to give up");
    for (number, thread) in threads.iter().enumerate() {
        let kept = if number == 0 { KEPT } else { 0 };
        ensure!(thread.no_new_privileges && thread.seccomp == 2, "{number}: {thread:x?}");
        ensure!(thread.effective & !kept == 0, "{number}: {thread:x?}");
        ensure!(thread.permitted == thread.effective, "{number}: {thread:x?}");
        ensure!(thread.inheritable == 0 && thread.ambient == 0, "{number}: {thread:x?}");
        ensure!(thread.bounding & !KEPT == 0, "{number}: {thread:x?}");
    }
    Ok(())
}

/// Waits until all threads have done so: one may just have started.
fn wait_confined(threads: impl Fn() -> Result<Vec<Status>>) -> Result<()> {
    let confined = || Ok(all_confined(&threads()?).is_ok().then_some(()));
    eventually("all threads to be confined", confined).or_else(|_| all_confined(&threads()?))
}

/// A copy of OpenSSL that no process has mapped yet, in a place where nobody looks.
fn library(directory: &Path) -> Result<OsString> {
    let maps = output(Command::new(child::python()?).args([
        "-c",
        "import ssl; print(*{line.split()[-1] for line in open('/proc/self/maps') if 'libssl' in line})",
    ]))?;
    let copy = directory.join("libssl-later.so");
    fs::copy(maps.trim(), &copy)?;
    Ok(copy.into())
}

/// Starts the agent with a client of a server that waits, over a library of its own.
fn start_waiting(directory: &Path, client: &Client) -> Result<Apiscope> {
    let mut args = vec![directory.into(), "env".into()];
    let mut preload = OsString::from("LD_PRELOAD=");
    preload.push(library(directory)?);
    args.push(preload);
    args.extend(client.command().iter().cloned());
    let mut apiscope = Options::new()?.state(&directory.join("state")).script(WAITING, args)?;
    apiscope.wait_ready()?;
    Ok(apiscope)
}

#[test]
fn every_thread_is_confined_and_sees_a_library_that_comes_later() -> Result<()> {
    let directory = directory()?;
    let server = Server::python("threading", V4, true)?;
    let _running = server.start()?;
    let client = Client::python(&server, 200, 1)?.close();
    let apiscope = start_waiting(directory.path(), &client)?;
    ensure!(apiscope.threads()?.len() > 3, "the agent has but few threads");
    wait_confined(|| apiscope.threads())?;
    let inspector = apiscope.inspector()?;
    let status = Status::read(Path::new(&format!("/proc/{inspector}/status")))?;
    ensure!(status.permitted == 0 && status.bounding == 0, "{status:x?}");
    ensure!(status.no_new_privileges && status.seccomp == 2, "{status:x?}");
    // Its socket alone, once it does not look into a file.
    eventually("the other files of the inspector to be closed", || {
        Ok((fs::read_dir(format!("/proc/{inspector}/fd"))?.count() == 1).then_some(()))
    })?;

    fs::write(directory.path().join("go"), "")?;
    let calls = apiscope.finish()?;
    let done = client.done()?;
    // It may take a moment until the library is attached to.
    // Kernels before 5.15 do not tell which one it is.
    let late = |call: &&Call| ["libssl-later.so", ""].contains(&call.text("apiscope.tls.library"));
    ensure!(
        calls.iter().filter(late).count() > done.len() / 2,
        "{} of {} calls were seen, the first of them: {:?}",
        calls.len(),
        done.len(),
        calls.first()
    );
    ensure!(calls.iter().all(|call| done.contains(&call.done())), "a call that nobody made");
    // What was learned was written after all was given up.
    let mut inventory = Command::new(apiscope::binary()?);
    let text =
        output(inventory.arg("inventory").arg("--state").arg(directory.path().join("state")))?;
    ensure!(text.contains("GET"), "the state holds nothing:\n{text}");
    Ok(())
}

#[test]
fn the_command_keeps_what_the_agent_was_started_with() -> Result<()> {
    let directory = directory()?;
    let server = Server::python("threading", V4, false)?;
    let _running = server.start()?;
    let client = Client::python(&server, 1, 1)?;
    let apiscope = start_waiting(directory.path(), &client)?;
    let own = Status::read(Path::new("/proc/self/status"))?;
    let path = directory.path().join("status");
    let command = eventually("the command", || Ok(Status::read(&path).ok()))?;
    ensure!(command == own, "{command:x?} is not {own:x?}");
    fs::write(directory.path().join("go"), "")?;
    apiscope.finish().map(drop)
}

#[test]
fn a_recording_is_confined_too() -> Result<()> {
    let directory = directory()?;
    let server = Server::python("threading", V4, false)?;
    let _running = server.start()?;
    let client = Client::python(&server, 20, 1)?;
    let recording = directory.path().join("recording");
    let mut command = Command::new(apiscope::binary()?);
    command.arg("record").arg(&recording).args(["--", "sh", "-c", WAITING, "sh"]);
    let mut process = Process::start(command.arg(directory.path()).args(client.command()))?;
    eventually("the recording to be confined", || {
        process.running()?;
        Ok(process.stderr().so_far().iter().any(|line| line.contains("confined: ")).then_some(()))
    })?;
    wait_confined(|| Status::of_threads(process.pid()))?;
    fs::write(directory.path().join("go"), "")?;
    let status = process.wait()?;
    ensure!(status.success(), "the recording ended with {status}\n{}", process.said());
    let mut replay = Command::new(apiscope::binary()?);
    let text = output(replay.args(["replay", "--output", "json", "--body-hash"]).arg(&recording))?;
    let calls = text.lines().map(Call::parse).collect::<Result<Vec<_>>>()?;
    compare_complete(&client.done()?, &calls)
}

#[test]
fn nothing_is_given_up_when_that_is_asked_for() -> Result<()> {
    let server = Server::python("threading", V4, false)?;
    let running = server.start()?;
    let options = Options::new()?.pid(running.pid()).args(["--no-confine"]);
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;
    let own = Status::read(Path::new("/proc/self/status"))?;
    for thread in apiscope.threads()? {
        ensure!(thread == own, "{thread:x?} is not {own:x?}");
    }
    apiscope.stop().map(drop)
}

#[test]
fn a_server_under_load_is_seen_as_before() -> Result<()> {
    let server = Server::python("threading", V4, true)?;
    server_sees_all(&server, &Client::python(&server, count(), 4)?.close()).map(drop)
}
