//! nginx with two workers: HTTP and HTTPS.

use anyhow::{Result, ensure};
use support::{apiscope::Options, call::all, client::Client, proof, server::Server};

use crate::{both_in_scope, count, server_sees_all};

#[test]
fn every_http_call_on_kept_connections_is_seen_once() -> Result<()> {
    let server = Server::nginx(false)?;
    let client = Client::python(&server, count(), 4)?.with("--static");
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    all(&calls, "network.transport", "tcp")?;
    all(&calls, "server.address", "127.0.0.1")?;
    let port = u64::from(server.address()?.port());
    ensure!(calls.iter().all(|call| call.number("server.port") == Some(port)));
    ensure!(
        calls.iter().all(|call| call.text("process.executable.path").ends_with("/nginx")),
        "the server's view names another program"
    );
    Ok(())
}

#[test]
fn every_http_call_on_its_own_connection_is_seen_once() -> Result<()> {
    let server = Server::nginx(false)?;
    let client = Client::python(&server, count(), 4)?.close();
    both_in_scope(Options::new()?, &server, &client).map(drop)
}

#[test]
fn every_https_call_on_kept_connections_is_seen_once() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::python(&server, count(), 4)?.with("--static");
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    proof::whole("OpenSSL 3.0", "nginx, TLS 1.3", &calls)
}

#[test]
fn every_https_call_on_its_own_connection_is_seen_once() -> Result<()> {
    let server = Server::nginx(true)?;
    // Handshakes are most of the work.
    let client = Client::python(&server, count(), 4)?.close();
    both_in_scope(Options::new()?, &server, &client).map(drop)
}

#[test]
fn every_call_over_tls_1_2_is_seen_once() -> Result<()> {
    let server = Server::nginx_tls_1_2()?;
    // Handshakes are most of the work.
    let client = Client::python(&server, count(), 4)?.close();
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    proof::whole("OpenSSL 3.0", "nginx, TLS 1.2", &calls)
}

#[test]
fn a_server_alone_tells_its_calls_and_their_peers() -> Result<()> {
    let server = Server::nginx(false)?;
    let client = Client::python(&server, count(), 4)?;
    let calls = server_sees_all(&server, &client)?;
    ensure!(calls.iter().all(|call| !call.is("apiscope.both_ends")));
    all(&calls, "client.address", "127.0.0.1")
}

#[test]
fn a_tls_server_alone_tells_its_calls_and_their_peers() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::python(&server, count(), 4)?;
    let calls = server_sees_all(&server, &client)?;
    all(&calls, "client.address", "127.0.0.1")?;
    all(&calls, "url.scheme", "https")
}

#[test]
fn a_ring_buffer_carries_all_calls() -> Result<()> {
    transport("ring")
}

#[test]
fn a_perf_event_array_carries_all_calls() -> Result<()> {
    transport("perf")
}

fn transport(name: &str) -> Result<()> {
    let server = Server::nginx(false)?;
    let client = Client::python(&server, count(), 4)?;
    let options = Options::new()?.args(["--transport", name]);
    both_in_scope(options, &server, &client).map(drop)
}
