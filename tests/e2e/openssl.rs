//! OpenSSL 1.1.1, 3.5 and the newest, each with the Python of its release of Debian, from
//! folders where no installed library is. 3.0 is what the other tests use.

use anyhow::Result;
use support::{
    apiscope::Options,
    call::{Call, all, all_by_library},
    client::Client,
    proof,
    server::Server,
};

use crate::{both_in_scope, count, server_on_buffers_sees_all};

/// Releases of Debian.
const SUITES: [&str; 3] = ["bullseye", "trixie", "sid"];

fn version(suite: &str) -> &'static str {
    match suite {
        "bullseye" => "OpenSSL 1.1.1",
        "trixie" => "OpenSSL 3.5",
        _ => "OpenSSL 3.6",
    }
}

fn by(calls: &[Call], suite: &str) -> Result<()> {
    let library = if suite == "bullseye" { "libssl.so.1.1" } else { "libssl.so." };
    all_by_library(calls, library)
}

#[test]
fn https_of_a_server_and_its_client_is_seen() -> Result<()> {
    for suite in SUITES {
        let server = Server::python_of(suite, "threading")?;
        let client = Client::python_of(suite, &server, count() / 2, 4)?;
        let calls = both_in_scope(Options::new()?, &server, &client)?;
        by(&calls, suite)?;
        all(&calls, "apiscope.binding", "nested_syscall")?;
        proof::whole(version(suite), "CPython with threads, server and client", &calls)?;
    }
    Ok(())
}

#[test]
fn https_on_memory_buffers_is_seen() -> Result<()> {
    for suite in SUITES {
        let server = Server::python_of(suite, "asyncio")?;
        let calls = server_on_buffers_sees_all(&server, Client::python_of(suite, &server, 0, 4)?)?;
        by(&calls, suite)?;
        let stack = format!("{} on memory buffers", version(suite));
        proof::whole(&stack, "CPython's asyncio", &calls)?;
    }
    Ok(())
}
