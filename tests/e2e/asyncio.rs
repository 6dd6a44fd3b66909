//! CPython's asyncio: TLS is done on memory buffers, so that no system call is nested in
//! a TLS call, and the connection is told by its ciphertext.

use anyhow::{Result, ensure};
use support::{apiscope::Options, client::Client, proof, server::Server};

use crate::{
    V4, count, peers, python::shares_addresses, server_in_scope, server_on_buffers_sees_all,
    server_sees_all,
};

#[test]
fn plain_http_is_seen() -> Result<()> {
    let server = Server::python("asyncio", V4, false)?;
    server_sees_all(&server, &Client::python(&server, count(), 4)?).map(drop)
}

#[test]
fn https_on_kept_connections_is_seen_with_its_peers() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let calls = server_on_buffers_sees_all(&server, Client::python(&server, 0, 4)?)?;
    proof::whole("OpenSSL 3.0 on memory buffers", "CPython's asyncio", &calls)
}

#[test]
fn https_on_connections_from_before_the_agent_is_seen_with_its_peers() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let running = server.start()?;
    let mut client = Client::python(&server, 0, 4)?.interact()?;
    client.run(4)?;
    let mut apiscope = Options::new()?.pid(running.pid()).start()?;
    apiscope.wait_ready()?;
    let done = client.run(count())?;
    apiscope.settle(done.len())?;
    let calls = apiscope.stop()?;
    let known = peers(done, &calls)?;
    let certain = calls.iter().filter(|call| call.text("apiscope.binding") == "ciphertext");
    ensure!(certain.count() * 10 >= calls.len() * 9, "{known} of {} are bound", calls.len());
    Ok(())
}

#[test]
fn https_on_a_connection_per_request_is_seen_with_no_wrong_peer() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let client = Client::python(&server, support::scaled(200), 4)?.close();
    let (done, calls) = server_in_scope(&server, &client)?;
    let known = peers(done, &calls)?;
    ensure!(known * 2 >= calls.len(), "{known} of {} calls are bound", calls.len());
    Ok(())
}

#[test]
fn sessions_at_the_same_address_in_forked_processes_have_no_wrong_peer() -> Result<()> {
    let server = Server::python("prefork-asyncio", V4, true)?;
    let client = Client::python(&server, count(), 8)?;
    let (done, calls) = server_in_scope(&server, &client)?;
    let known = peers(done, &calls)?;
    ensure!(known * 2 >= calls.len(), "{known} of {} calls are bound", calls.len());
    shares_addresses(&server)
}
