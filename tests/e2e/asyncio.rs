//! CPython's asyncio: TLS is done on memory buffers, so that no system call is nested in
//! a TLS call, and the connection has to be inferred.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use support::{
    call::{Call, Done, compare},
    client::Client,
    server::Server,
};

use crate::{COUNT, V4, server_in_scope, server_sees_all};

#[test]
fn plain_http_is_seen() -> Result<()> {
    let server = Server::python("asyncio", V4, false)?;
    server_sees_all(&server, &Client::python(&server, COUNT, 4)?).map(drop)
}

#[test]
fn https_on_kept_connections_is_seen_with_no_wrong_peer() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let client = Client::python(&server, COUNT, 4)?;
    let (done, calls) = server_in_scope(&server, &client)?;
    check(done, &calls)
}

#[test]
fn https_on_a_connection_per_request_is_seen_with_no_wrong_peer() -> Result<()> {
    let server = Server::python("asyncio", V4, true)?;
    let client = Client::python(&server, 200, 4)?.close();
    let (done, calls) = server_in_scope(&server, &client)?;
    check(done, &calls)
}

/// Every call is seen once, and whoever is named as its peer was.
fn check(done: Vec<Done>, calls: &[Call]) -> Result<()> {
    // Every path is requested once.
    let ports: BTreeMap<_, _> = done.iter().map(|call| (call.path.clone(), call.port)).collect();
    ensure!(ports.len() == done.len(), "paths repeat");

    let without_port: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    let seen: Vec<Done> = calls.iter().map(|call| call.done().without_port()).collect();
    compare(&without_port, &seen)?;

    let mut bound = 0;
    for call in calls {
        let binding = call.text("apiscope.binding");
        if binding == "none" {
            ensure!(call.client_port().is_none(), "a peer without a binding: {}", call.0);
            continue;
        }
        ensure!(["record_length", "nested_syscall"].contains(&binding), "{}", call.0);
        let port = ports.get(call.text("url.path")).context("a path that nobody requested")?;
        ensure!(call.client_port() == *port, "the peer was {port:?}: {}", call.0);
        bound += 1;
    }
    ensure!(bound * 2 >= calls.len(), "{bound} of {} calls are bound", calls.len());
    Ok(())
}
