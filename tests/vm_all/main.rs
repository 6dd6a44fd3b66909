//! Whole-host observation, which is allowed in a guest and nowhere else: a machine also
//! runs what is not ours to watch.

use std::process::Command;

use anyhow::{Result, ensure};
use support::{apiscope::Options, child::output, client::Client, ensure_guest, server::Server};

mod container;
mod containers;

#[test]
fn a_server_that_the_agent_did_not_start_is_seen() -> Result<()> {
    ensure_guest()?;
    for tls in [false, true] {
        let server = Server::python("threading", [127, 0, 0, 1].into(), tls)?;
        let _running = server.start()?;
        let mut apiscope = Options::new()?.args(["--all"]).start()?;
        apiscope.wait_ready()?;
        for number in 0..5 {
            let target = format!("{}/api/items/{number}", server.target());
            output(Command::new("curl").args(["-sSk", "-o", "/dev/null", &target]))?;
        }
        let done = Client::python(&server, 20, 1)?.run()?;
        apiscope.settle(5 + done.len())?;
        let port = u64::from(server.address()?.port());
        let mut paths: Vec<_> = apiscope
            .stop()?
            .iter()
            .filter(|call| call.number("server.port") == Some(port))
            .map(|call| (call.text("url.path").to_owned(), call.text("apiscope.role").to_owned()))
            .collect();
        paths.sort();
        let mut expected: Vec<_> = (0..5).map(|number| format!("/api/items/{number}")).collect();
        expected.extend(done.into_iter().map(|call| call.path));
        expected.sort();
        let expected: Vec<_> =
            expected.into_iter().map(|path| (path, "server".to_owned())).collect();
        ensure!(paths == expected, "{paths:?}\nis not\n{expected:?}");
    }
    Ok(())
}
