//! Java encrypts by itself, in the virtual machine: what is known of its connections is told.
//! Netty has OpenSSL do it, where it can.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options, call::all_by_library, client::Client, program, proof, server::Server,
};

use crate::{
    count,
    coverage::{by_curl, server_is_opaque, told_as_opaque},
    peers, server_in_scope,
};

/// Requests, each on a connection of its own.
const COUNT: usize = 8;

const WHY: &str = "the Java virtual machine encrypts by itself";

#[test]
fn connections_of_a_client_are_opaque_and_counted_exactly() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let client = program("Client.java").display().to_string();
    let command = ["java".into(), client, server.target(), COUNT.to_string()];
    let said = Options::new()?.command(command)?.finish_said()?;
    let java = fs::canonicalize("/usr/bin/java").context("find Java")?;
    told_as_opaque(&said, &java, COUNT, WHY)?;
    proof::opaque("JSSE of Java 17", "HttpsURLConnection, client", COUNT as u64)
}

#[test]
fn connections_of_a_server_are_opaque_and_counted_exactly() -> Result<()> {
    let java = fs::canonicalize("/usr/bin/java").context("find Java")?;
    server_is_opaque(&Server::java()?, &java, by_curl(COUNT), "java", WHY)?;
    proof::opaque("JSSE of Java 17", "HttpsServer", COUNT as u64)
}

#[test]
fn https_of_netty_by_openssl_is_seen_with_no_wrong_peer() -> Result<()> {
    let server = Server::netty()?;
    let (done, calls) = server_in_scope(&server, &Client::python(&server, count(), 8)?)?;
    all_by_library(&calls, "libssl.so.3")?;
    let known = peers(done, &calls)?;
    ensure!(known * 2 >= calls.len(), "{known} of {} calls are bound", calls.len());
    proof::in_part("OpenSSL 3.0 on memory buffers", "Netty with netty-tcnative", &calls)
}
