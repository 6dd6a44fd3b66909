//! The CPU budget: what costs too much loses detail, and nothing loses a call.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use support::{
    apiscope::{Apiscope, Options},
    call::{Call, compare_complete},
    child::output,
    client::Client,
    server::Server,
};

use crate::V4;

/// Calls of one flood, and so many a second: much for the budget, and nothing that fills
/// the buffer.
const FLOOD: usize = 1000;
const RATE: usize = 500;

/// Connections of a flood.
const WORKERS: usize = 4;

/// Floods, at most, until less is captured.
const FLOODS_MAX: usize = 60;

/// Requests of the program that nobody floods, during each flood.
const QUIET: usize = 5;

/// Programs of which less is captured.
fn shed(apiscope: &Apiscope) -> Result<f64> {
    let metrics = apiscope.metrics()?;
    let of = metrics.iter().filter(|(series, _)| series.starts_with("apiscope_shed_programs{"));
    of.map(|(_, value)| value.parse::<f64>().context("parse a gauge")).sum()
}

fn of_server<'a>(calls: &'a [Call], server: &Server) -> Result<Vec<&'a Call>> {
    let port = u64::from(server.address()?.port());
    Ok(calls.iter().filter(|call| call.number("server.port") == Some(port)).collect())
}

/// Makes calls with large answers, outside of what is observed.
fn flood(server: &Server, calls: usize, rate: Option<usize>) -> Result<()> {
    let mut hey = Command::new("hey");
    hey.args(["-n", &calls.to_string(), "-c", &WORKERS.to_string()]);
    if let Some(rate) = rate {
        hey.args(["-q", &(rate / WORKERS).to_string()]);
    }
    let said = output(hey.arg(format!("{}/static/7.txt", server.target())))?;
    ensure!(said.contains(&format!("[200]\t{calls} responses")), "{said}");
    Ok(())
}

/// Every call of a flood was told, in whatever detail; of how many something was shed.
fn all_told(calls: &[&Call]) -> Result<usize> {
    let mut cut = 0;
    for call in calls.iter().map(|call| &call.0) {
        ensure!(call.get("url.path").is_some_and(|path| path == "/static/7.txt"), "{call}");
        let status = call.get("http.response.status_code");
        ensure!(status.is_some_and(|status| status == 200), "{call}");
        cut += usize::from(call.get("apiscope.lost.shed").is_some());
    }
    Ok(cut)
}

#[test]
fn a_flood_costs_the_detail_of_its_own_calls_and_the_count_of_none() -> Result<()> {
    let (flooded, quiet) = (Server::nginx(false)?, Server::python("threading", V4, false)?);
    let (nginx, python) = (flooded.start()?, quiet.start()?);
    // A buffer that does not fill while the agent waits for a processor.
    let options = Options::new()?.args(["--buffer", "64"]).cpu_budget("0.01");
    let options = options.pid(nginx.pid()).pid(python.pid());
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;

    let mut client = Client::python(&quiet, QUIET, 1)?.interact()?;
    let mut floods = 0;
    let mut after = 0;
    // Once less is captured, so much more that all of it is of that time.
    while after < 2 {
        ensure!(floods < FLOODS_MAX, "nothing was shed in {floods} floods");
        client.tell(QUIET)?;
        flood(&flooded, FLOOD, Some(RATE))?;
        floods += 1;
        after += usize::from(shed(&apiscope)? > 0.0);
    }
    let done = client.done()?;
    apiscope.settle(done.len() + floods * FLOOD)?;
    let said = apiscope.said();
    let calls = apiscope.stop()?;

    let of_flood = of_server(&calls, &flooded)?;
    ensure!(of_flood.len() == floods * FLOOD, "{} of {floods} floods\n{said}", of_flood.len());
    let cut = all_told(&of_flood)?;
    ensure!(cut >= FLOOD, "{cut} calls of which something was shed");

    // Of the other program all is there.
    let of_quiet: Vec<Call> = of_server(&calls, &quiet)?.into_iter().cloned().collect();
    compare_complete(&done, &of_quiet)?;

    let of =
        |name: &str| said.lines().any(|line| line.contains("cpu-budget") && line.contains(name));
    ensure!(of("nginx") && !of("python"), "{said}");
    Ok(())
}

#[test]
fn a_buffer_that_fills_costs_detail_before_it_costs_calls() -> Result<()> {
    // Of 38 kB each: in full, twice as much as the buffer holds.
    let count = 500;
    let server = Server::nginx(false)?;
    let nginx = server.start()?;
    let options = Options::new()?.args(["--transport", "ring"]).pid(nginx.pid());
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;
    apiscope.signal(Signal::STOP)?;
    flood(&server, count, None)?;
    apiscope.signal(Signal::CONT)?;
    apiscope.settle(count)?;
    ensure!(apiscope.kernel_counter("lost_full")? == 0, "records were lost");
    let calls = apiscope.stop()?;
    ensure!(calls.len() == count, "{} of {count} calls", calls.len());
    let cut = all_told(&calls.iter().collect::<Vec<_>>())?;
    ensure!(cut > 0 && cut < count, "{cut} calls of which something was shed");
    Ok(())
}
