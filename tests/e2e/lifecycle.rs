//! Attaching to what runs, and bodies that are larger than what is captured.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use support::{
    apiscope::Options, call::compare_complete, child::output, client::Client, server::Server,
};

use crate::{CONNECTIONS, V4, observe, observe_from_now_on};

#[test]
fn a_connection_from_before_the_agent_is_observed_from_then_on() -> Result<()> {
    for tls in [false, true] {
        let server = Server::python("threading", V4, tls)?;
        let running = server.start()?;
        let mut client = Client::python(&server, 20, CONNECTIONS)?.interact()?;
        // The answer says that the first 20 are done as well.
        client.run(CONNECTIONS)?;

        let mut apiscope = Options::new()?.pid(running.pid()).start()?;
        apiscope.wait_ready()?;
        observe_from_now_on(apiscope, &mut client, 100)?;
    }
    Ok(())
}

#[test]
fn a_process_that_is_let_go_goes_on() -> Result<()> {
    let server = Server::python("threading", V4, true)?;
    let running = server.start()?;
    for _ in 0..2 {
        let mut apiscope = Options::new()?.pid(running.pid()).start()?;
        apiscope.wait_ready()?;
        let done = Client::python(&server, 50, 1)?.run()?;
        apiscope.settle(done.len())?;
        compare_complete(&done, &apiscope.stop()?)?;
    }
    ensure!(Client::python(&server, 50, 1)?.run()?.len() == 50);
    Ok(())
}

/// The body of the large download, and what the agent may grow by.
const DOWNLOAD: u64 = 50 << 20;
const GROWTH_KB: u64 = 64 << 10;
const MESSAGE_BUDGET: u64 = 64 << 10;

#[test]
fn a_large_download_is_measured_exactly_and_not_kept() -> Result<()> {
    for tls in [false, true] {
        let server = Server::nginx(tls)?;
        let file = fs::File::create(server.directory().join("static/large"))?;
        file.set_len(DOWNLOAD)?;
        let mut apiscope = observe(Options::new()?, &server)?;
        let before = apiscope.memory_kb("VmRSS")?;
        let size = output(
            Command::new("curl")
                .args(["-sSk", "--max-time", "60", "-o", "/dev/null", "-w", "%{size_download}"])
                .arg(format!("{}/static/large", server.target())),
        )?;
        ensure!(size == DOWNLOAD.to_string(), "curl got {size}");
        apiscope.settle(1)?;
        let grown = apiscope.memory_kb("VmHWM")?.saturating_sub(before);
        ensure!(grown < GROWTH_KB, "the agent grew by {grown} kB");

        let calls = apiscope.stop()?;
        let [call] = calls.as_slice() else { anyhow::bail!("{} calls", calls.len()) };
        ensure!(call.number("http.response.body.size") == Some(DOWNLOAD), "{}", call.0);
        ensure!(!call.is("apiscope.complete"), "{}", call.0);
        ensure!(call.text("apiscope.response.body.sha256").is_empty(), "{}", call.0);
        let lost = call.number("apiscope.lost.budget").unwrap_or_default();
        ensure!(call.number("apiscope.lost_bytes") == Some(lost), "another cause: {}", call.0);
        // The budget is the message's, so the head has taken of it as well.
        let captured = DOWNLOAD.saturating_sub(lost);
        ensure!(captured > 0 && captured <= MESSAGE_BUDGET, "{captured} captured: {}", call.0);
    }
    Ok(())
}
