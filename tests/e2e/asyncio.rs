//! CPython's asyncio: TLS is done on memory buffers, so that no system call is nested in
//! a TLS call, and the connection has to be inferred.

use anyhow::{Result, ensure};
use support::{client::Client, proof, server::Server};

use crate::{V4, count, peers, server_in_scope, server_sees_all};

#[test]
fn plain_http_is_seen() -> Result<()> {
    let server = Server::python("asyncio", V4, false)?;
    server_sees_all(&server, &Client::python(&server, count(), 4)?).map(drop)
}

#[test]
fn https_on_kept_connections_is_seen_with_no_wrong_peer() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let client = Client::python(&server, count(), 4)?;
    let (done, calls) = server_in_scope(&server, &client)?;
    let known = peers(done, &calls)?;
    ensure!(known * 2 >= calls.len(), "{known} of {} calls are bound", calls.len());
    proof::in_part("OpenSSL 3.0 on memory buffers", "CPython's asyncio", &calls)
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
