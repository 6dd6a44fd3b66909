//! OpenSSL 1.1.1, 3.5 and the newest, each with the Python of its release of Debian, from
//! folders where no installed library is. 3.0 is what the other tests use.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, Done, all, compare},
    client::Client,
    server::Server,
};

use crate::{COUNT, both_in_scope, server_in_scope};

/// Releases of Debian.
const SUITES: [&str; 3] = ["bullseye", "trixie", "sid"];

fn by(calls: &[Call], suite: &str) -> Result<()> {
    let library = if suite == "bullseye" { "libssl.so.1.1" } else { "libssl.so." };
    let other = calls.iter().find(|call| !call.text("apiscope.tls.library").starts_with(library));
    ensure!(other.is_none(), "{suite}: another library: {other:?}");
    Ok(())
}

#[test]
fn https_of_a_server_and_its_client_is_seen() -> Result<()> {
    for suite in SUITES {
        let server = Server::python_of(suite, "threading")?;
        let client = Client::python_of(suite, &server, COUNT / 2, 4)?;
        let calls = both_in_scope(Options::new()?, &server, &client)?;
        by(&calls, suite)?;
        all(&calls, "apiscope.binding", "nested_syscall")?;
    }
    Ok(())
}

/// TLS on memory buffers: which port a client had is known only as far as sessions are
/// bound to sockets.
#[test]
fn https_on_memory_buffers_is_seen() -> Result<()> {
    for suite in SUITES {
        let server = Server::python_of(suite, "asyncio")?;
        let client = Client::python_of(suite, &server, COUNT / 2, 4)?;
        let (done, calls) = server_in_scope(&server, &client)?;
        by(&calls, suite)?;
        let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
        compare(&done, &calls.iter().map(|call| call.done().without_port()).collect::<Vec<_>>())?;
        all(&calls, "apiscope.role", "server")?;
    }
    Ok(())
}
