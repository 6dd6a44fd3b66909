//! Who is not in scope is not observed.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{all, compare_complete},
    client::Client,
    server::Server,
};

use crate::{V4, observe};

/// Requests of each client.
const COUNT: usize = 300;

#[test]
fn nothing_is_read_of_processes_outside_the_scope() -> Result<()> {
    let mut apiscope = Options::new()?.command(["sleep", "600"])?;
    apiscope.wait_ready()?;
    for tls in [false, true] {
        let server = Server::python("threading", V4, tls)?;
        let _outside = server.start()?;
        let done = Client::python(&server, COUNT, 2)?.run()?;
        ensure!(done.len() == COUNT);
    }
    ensure!(apiscope.kernel_counter("bytes_read")? == 0, "bytes were read");
    ensure!(apiscope.kernel_counter("bytes")? == 0, "bytes were reported");
    let calls = apiscope.stop()?;
    ensure!(calls.is_empty(), "calls of others: {calls:?}");
    Ok(())
}

#[test]
fn the_same_program_outside_the_scope_is_not_observed() -> Result<()> {
    for tls in [false, true] {
        let inside = Server::python("threading", V4, tls)?;
        let outside = Server::python("threading", V4, tls)?;
        let _outside = outside.start()?;
        let mut apiscope = observe(Options::new()?, &inside)?;
        let mut others = Client::python(&outside, 0, 2)?.interact()?;
        others.tell(COUNT)?;
        let done = Client::python(&inside, COUNT, 2)?.run()?;
        ensure!(others.done()?.len() == COUNT);
        apiscope.settle(done.len())?;
        let calls = apiscope.stop()?;
        compare_complete(&done, &calls)?;
        all(&calls, "apiscope.role", "server")?;
    }
    Ok(())
}

#[test]
fn the_status_of_the_command_is_that_of_the_run() -> Result<()> {
    let error = Options::new()?.script("exit 7", [""; 0])?.finish().unwrap_err();
    ensure!(format!("{error:#}").contains("exit status: 7"), "{error:#}");
    Ok(())
}
