//! `io_uring`: what a process moves by it is not read, and that is told.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use support::{apiscope::Options, program, proof, server::Server, tool};

/// Requests, each on a connection of its own.
const COUNT: usize = 8;

#[test]
fn connections_over_it_are_opaque_and_counted_exactly() -> Result<()> {
    let server = Server::nginx(false)?;
    let _nginx = server.start()?;
    let python = tool("python")?;
    let address = server.address()?;
    let [host, port] = [address.ip().to_string(), address.port().to_string()];
    let client = client(&python, &host, &port)?.display().to_string();
    let command = [python.display().to_string(), "-B".into(), client, host, port];
    let said = Options::new()?.command(command.into_iter().chain([COUNT.to_string()]))?;
    let said = said.finish_said()?;
    let all = said.join("\n");
    let program = fs::canonicalize(&python)?.display().to_string();
    let why = "its bytes move by io_uring, which is not read";
    let line = format!("not read: {program}: {COUNT} connections, ");
    let lines: Vec<_> = said.iter().filter(|text| text.contains("not read: ")).collect();
    ensure!(lines.len() == 1 && lines[0].contains(&line) && lines[0].contains(why), "{all}");
    // A request has 46 bytes, and the answer to it 216.
    ensure!(lines[0].contains("1.69 KiB in and 368 B out"), "{all}");
    let warning = format!("a connection of {program} is not readable: {why}");
    ensure!(said.iter().filter(|text| text.contains(&warning)).count() == 1, "{all}");
    proof::opaque("io_uring", "Python, client", u64::try_from(COUNT)?)
}

/// A client by the package of liburing; where the processor lacks its instructions, which is
/// tried, by system calls alone.
fn client(python: &Path, host: &str, port: &str) -> Result<PathBuf> {
    let package = program("uring_client.py");
    let mut command = Command::new(python);
    let tried = command.arg("-B").arg(&package).args([host, port, "1"]).output();
    let signal = tried.context("run a client")?.status.signal();
    Ok(if signal == Some(libc::SIGILL) { program("uring_raw.py") } else { package })
}
