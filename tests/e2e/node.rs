//! Node: an event loop, `http` and `https`, with OpenSSL linked in statically.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Done, all, compare},
    client::{Client, TOGETHER, together},
    proof,
    server::Server,
};

/// Of Node 18 and 20.
const STACK: &str = "OpenSSL 3.0, linked statically";

use crate::{both_in_scope, calls_on_buffers, count, server_on_buffers_sees_all, server_sees_all};

#[test]
fn http_with_chunked_bodies_is_seen() -> Result<()> {
    let server = Server::node(false)?;
    server_sees_all(&server, &Client::python(&server, count(), 4)?).map(drop)
}

#[test]
fn http_on_a_connection_per_request_is_seen() -> Result<()> {
    let server = Server::node(false)?;
    both_in_scope(Options::new()?, &server, &Client::python(&server, count(), 4)?.close()).map(drop)
}

#[test]
fn http_of_a_keep_alive_agent_is_seen() -> Result<()> {
    let server = Server::node(false)?;
    both_in_scope(Options::new()?, &server, &Client::node(&server, count(), 4)).map(drop)
}

#[test]
fn https_of_a_server_is_seen() -> Result<()> {
    let server = Server::node(true)?;
    let calls = server_on_buffers_sees_all(&server, Client::python(&server, 0, 4)?)?;
    proof::whole(STACK, "Node.js, server", &calls)
}

#[test]
fn https_of_a_server_that_runs_already_is_seen() -> Result<()> {
    let server = Server::node(true)?;
    let running = server.start()?;
    let options = Options::new()?.args(["--pid", &running.pid().to_string()]);
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;
    let done = Client::python(&server, 100, 2)?.run()?;
    apiscope.settle(done.len())?;
    let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    let seen: Vec<Done> = apiscope.stop()?.iter().map(|call| call.done().without_port()).collect();
    compare(&done, &seen)
}

#[test]
fn https_of_a_client_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _running = server.start()?;
    let client = Client::node(&server, 0, 4).interact()?;
    let mut apiscope = Options::new()?.pid(client.pid()).start()?;
    apiscope.wait_ready()?;
    let calls = calls_on_buffers(apiscope, client)?;
    all(&calls, "apiscope.role", "client")?;
    proof::whole(STACK, "Node.js, client", &calls)
}

#[test]
fn https_of_a_client_is_seen_from_both_ends() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::node(&server, count(), 4);
    let calls = Options::new()?.script(TOGETHER, together(&server, &client))?.finish()?;
    // Where the client's session was not bound to its socket, its view and the server's
    // stand alone.
    let done: Vec<Done> = client.done()?;
    let of = |role| calls.iter().filter(move |call| call.text("apiscope.role") == role);
    let server_view: Vec<Done> = of("server").map(support::call::Call::done).collect();
    compare(&done, &server_view)?;
    let merged = of("server").filter(|call| call.is("apiscope.both_ends"));
    let client_view = of("client").chain(merged).map(|call| call.done().without_port());
    let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    compare(&done, &client_view.collect::<Vec<_>>())?;
    let merged = of("server").filter(|call| call.is("apiscope.both_ends")).count();
    ensure!(merged * 2 >= done.len(), "both ends of {merged} of {} calls", done.len());
    Ok(())
}
