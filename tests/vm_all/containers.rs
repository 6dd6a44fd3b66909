//! Containers, seen from the host, under either version of cgroups.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, Done, all, all_by_library, compare_complete},
    client::Client,
    eventually,
};

use crate::{
    container::{Container, LIBRARY, Network, PROGRAM},
    ensure_guest,
};

/// Requests that each server gets.
const COUNT: usize = 10;

#[test]
fn a_container_that_is_older_than_the_agent_is_seen_through_its_root() -> Result<()> {
    ensure_guest()?;
    let container = Container::start(0xd4, Network(4), true)?;
    let mut apiscope = Options::new()?.args(["--all"]).start()?;
    apiscope.wait_ready()?;
    let done = request(&container)?;
    apiscope.settle(usize::MAX)?;
    right(&container, &done, &apiscope.stop()?)
}

#[test]
fn a_containers_cgroup_is_a_scope_or_an_error_says_what_is_missing() -> Result<()> {
    ensure_guest()?;
    let one = Container::start(0xe5, Network(5), true)?;
    let other = Container::start(0xf6, Network(6), true)?;
    let mut apiscope = Options::new()?.args(["--cgroup", &one.cgroup()]).start()?;
    if !version_2()? {
        let ended = eventually("the agent to end", || {
            let running = apiscope.running();
            Ok(running.err().map(|error| format!("{error:#}")))
        })?;
        ensure!(ended.contains("no cgroup version 2 hierarchy is mounted"), "{ended}");
        return Ok(());
    }
    apiscope.wait_ready()?;
    let (done, unseen) = (request(&one)?, request(&other)?);
    ensure!(unseen.len() == COUNT, "{} requests", unseen.len());
    apiscope.settle(done.len())?;
    let calls = apiscope.stop()?;
    compare_complete(&done, &calls)?;
    attributed(&one, &calls)
}

/// Makes requests from the host; what it did.
fn request(container: &Container) -> Result<Vec<Done>> {
    let done = Client::python(&container.server, COUNT, 2)?.run()?;
    ensure!(done.len() == COUNT, "{} requests were made", done.len());
    Ok(done)
}

/// Fails unless each request is one call of the server's end, which is the container's. What
/// is told of the client's end alone was requested too: in an emulated machine the two ends of
/// a call may be too far apart in time to be one. The test's own questions to the agent are
/// among what the whole host calls.
fn right(container: &Container, done: &[Done], calls: &[Call]) -> Result<()> {
    let port = container.server.address()?.port();
    let of = |call: &&Call| call.number("server.port") == Some(port.into());
    let (server, client): (Vec<Call>, Vec<Call>) =
        calls.iter().filter(of).cloned().partition(|call| call.text("apiscope.role") == "server");
    compare_complete(done, &server)?;
    for call in &client {
        ensure!(done.contains(&call.done()), "nobody did {}", call.0);
    }
    attributed(container, &server)
}

/// Fails unless the calls tell the container, its program and its library.
fn attributed(container: &Container, calls: &[Call]) -> Result<()> {
    all(calls, "container.id", &container.id)?;
    all(calls, "process.executable.path", PROGRAM)?;
    if container.server.target().starts_with("https:") {
        all_by_library(calls, LIBRARY)?;
    }
    Ok(())
}

/// Whether processes are in a hierarchy of version 2, which `cargo xtask vm --cgroup 1` has
/// not mounted.
fn version_2() -> Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")))
}
