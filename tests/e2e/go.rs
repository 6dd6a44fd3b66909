//! Go: `crypto/tls`, whose goroutines change threads within a call, in programs of the
//! newest and the oldest toolchain, with and without symbols.

use anyhow::Result;
use support::{
    apiscope::Options,
    call::{Call, all, all_by_library, compare_complete},
    client::Client,
    go::Build,
    proof,
    server::Server,
};

use crate::{both_in_scope, count, proxy_sees_both_sides, server_sees_all};

const fn stack(build: Build) -> &'static str {
    match build {
        Build::Newest => "Go 1.27",
        Build::Stripped => "Go 1.27, position-independent, stripped",
        Build::Oldest => "Go 1.21, stripped",
    }
}

/// Every call's session was seen to use its socket, and belongs to a Go program.
fn by_go(calls: &[Call], name: &str) -> Result<()> {
    all(calls, "apiscope.binding", "nested_syscall")?;
    all_by_library(calls, name)
}

#[test]
fn https_of_servers_of_every_build_is_seen() -> Result<()> {
    for build in Build::ALL {
        let server = Server::go(build, true, None)?;
        let calls = server_sees_all(&server, &Client::python(&server, count(), 4)?)?;
        by_go(&calls, "server")?;
        proof::whole(stack(build), "net/http, server", &calls)?;
    }
    Ok(())
}

#[test]
fn https_of_a_connection_per_request_is_seen_from_both_ends() -> Result<()> {
    let server = Server::go(Build::Stripped, true, None)?;
    let client = Client::go(&server, Build::Stripped, count(), 4)?.close();
    both_in_scope(Options::new()?, &server, &client).map(drop)
}

#[test]
fn https_of_clients_of_every_build_is_seen() -> Result<()> {
    for build in Build::ALL {
        let server = Server::nginx(true)?;
        let _nginx = server.start()?;
        let client = Client::go(&server, build, count(), 8)?;
        let calls = Options::new()?.command(client.command())?.finish()?;
        compare_complete(&client.done()?, &calls)?;
        all(&calls, "apiscope.role", "client")?;
        by_go(&calls, "client")?;
        proof::whole(stack(build), "net/http, client", &calls)?;
    }
    Ok(())
}

/// A goroutine of the proxy reads from one connection and writes to the other.
#[test]
fn a_reverse_proxy_is_seen_from_both_of_its_sides() -> Result<()> {
    let upstream = Server::nginx(true)?;
    let _nginx = upstream.start()?;
    let server = Server::go(Build::Newest, true, Some(&upstream))?;
    let client = Client::python(&server, count(), 4)?;
    let (answered, asked) = proxy_sees_both_sides(&server, &upstream, &client)?;
    by_go(&answered, "server")?;
    by_go(&asked, "server")?;
    proof::whole(stack(Build::Newest), "net/http, reverse proxy", &answered)
}

#[test]
fn https_of_a_server_that_runs_already_is_seen() -> Result<()> {
    let server = Server::go(Build::Oldest, true, None)?;
    let running = server.start()?;
    let mut client = Client::python(&server, 0, 2)?.interact()?;
    client.run(2)?;
    let options = Options::new()?.args(["--pid", &running.pid().to_string()]);
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;
    crate::observe_from_now_on(apiscope, &mut client, 200)
}

#[test]
fn plaintext_http_is_seen() -> Result<()> {
    let server = Server::go(Build::Newest, false, None)?;
    let client = Client::go(&server, Build::Oldest, count(), 4)?;
    both_in_scope(Options::new()?, &server, &client).map(drop)
}
