//! The end of the agent: sudden, or followed by another run.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use support::{
    apiscope::{self, Options},
    child::output,
    client::Client,
    directory, eventually,
    server::Server,
};

use crate::{CONNECTIONS, V4, both_in_scope, observe_from_now_on};

/// `BPF_PROG_GET_FD_BY_ID` of `bpf(2)`.
const PROGRAM_BY_ID: libc::c_int = 13;

/// Whether a kernel program is still loaded.
fn loaded(id: u32) -> Result<bool> {
    // The part of `union bpf_attr` for it: id, next id, flags.
    let attributes = [id, 0, 0];
    // SAFETY: the attributes are those of the command, live for the call, and are as
    // long as is said.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_BY_ID, &raw const attributes, size_of_val(&attributes))
    };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        ensure!(error.raw_os_error() == Some(libc::ENOENT), "look for program {id}: {error}");
        return Ok(false);
    }
    // SAFETY: the call above opened it, and nothing else owns it.
    ensure!(unsafe { libc::close(i32::try_from(fd)?) } == 0, "close a program");
    Ok(true)
}

#[test]
fn an_agent_that_is_killed_under_load_leaves_nothing_behind() -> Result<()> {
    let server = Server::python("threading", V4, true)?;
    let mut running = server.start()?;
    let mut apiscope = Options::new()?.pid(running.pid()).start()?;
    apiscope.wait_ready()?;
    let programs = apiscope.kernel_programs()?;
    ensure!(!programs.is_empty(), "the agent holds no kernel program");
    for &id in &programs {
        ensure!(loaded(id)?, "program {id} is held but not loaded");
    }

    let mut client = Client::python(&server, 0, CONNECTIONS)?.interact()?;
    client.tell(1500)?;
    apiscope.settle(100)?;
    ensure!(apiscope.count() >= 100, "no load was seen");
    let inspector = format!("/proc/{}", apiscope.inspector()?);
    apiscope.kill()?;
    eventually("the process that looks into files to go", || {
        Ok((!Path::new(&inspector).exists()).then_some(()))
    })?;
    let done = client.done()?;
    ensure!(done.len() == 1500, "{} of 1500 requests were answered", done.len());
    running.running()?;
    eventually("the kernel programs to go", || {
        let left = programs.iter().map(|&id| loaded(id)).collect::<Result<Vec<_>>>()?;
        Ok((!left.contains(&true)).then_some(()))
    })?;

    let mut next = Options::new()?.pid(running.pid()).start()?;
    next.wait_ready()?;
    observe_from_now_on(next, &mut client, 50)
}

#[test]
fn the_inventory_outlives_the_agent() -> Result<()> {
    let server = Server::python("threading", V4, false)?;
    let state = directory()?;
    let mut before = 0;
    for _ in 0..2 {
        let client = Client::python(&server, 100, 1)?;
        both_in_scope(Options::new()?.state(state.path()), &server, &client)?;
        let calls = inventory(state.path())?;
        ensure!(calls == before + 100, "{before} calls before, {calls} after 100 more");
        before = calls;
    }
    Ok(())
}

/// Calls of all endpoints in a state.
fn inventory(state: &Path) -> Result<u64> {
    let mut command = Command::new(apiscope::binary()?);
    command.args(["inventory", "--output", "json", "--state"]).arg(state);
    let text = output(&mut command)?;
    let mut calls = 0;
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("parse {line}"))?;
        // Services are listed as well; endpoints are what has a method.
        if value.to_string().contains("method\":") {
            calls += value.get("calls").and_then(Value::as_u64).context("no calls")?;
        }
    }
    Ok(calls)
}
