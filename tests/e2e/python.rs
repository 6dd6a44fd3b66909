//! CPython's own servers: threads, TLS, IPv6, unix sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, all, all_by_library},
    client::Client,
    proof,
    server::Server,
};

use crate::{V4, V6, both_in_scope, count, server_sees_all};

fn threads(ip: IpAddr, tls: bool) -> Result<Vec<Call>> {
    let server = Server::python("threading", ip, tls)?;
    let client = Client::python(&server, count(), 4)?;
    both_in_scope(Options::new()?, &server, &client)
}

#[test]
fn http_over_ipv4_is_seen() -> Result<()> {
    all(&threads(V4, false)?, "network.type", "ipv4")
}

#[test]
fn http_over_ipv6_is_seen() -> Result<()> {
    let calls = threads(V6, false)?;
    all(&calls, "network.type", "ipv6")?;
    all(&calls, "server.address", "::1")
}

#[test]
fn https_over_ipv4_is_seen() -> Result<()> {
    let calls = threads(V4, true)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    all_by_library(&calls, "libssl.so")?;
    proof::whole("OpenSSL 3.0", "CPython with threads, server and client", &calls)
}

#[test]
fn https_over_ipv6_is_seen() -> Result<()> {
    all(&threads(V6, true)?, "client.address", "::1")
}

#[test]
fn https_on_a_connection_per_request_is_seen() -> Result<()> {
    let server = Server::python("threading", V4, true)?;
    let client = Client::python(&server, count(), 4)?.close();
    both_in_scope(Options::new()?, &server, &client).map(drop)
}

#[test]
fn http_over_a_unix_socket_is_seen() -> Result<()> {
    let server = Server::python_unix()?;
    let client = Client::python(&server, count(), 4)?;
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    all(&calls, "network.transport", "unix")?;
    all(&calls, "server.address", &server.socket().display().to_string())
}

#[test]
fn a_server_on_a_unix_socket_alone_tells_its_calls() -> Result<()> {
    let server = Server::python_unix()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 4)?.close())?;
    ensure!(calls.iter().all(|call| call.client_port().is_none()), "a unix socket has no port");
    Ok(())
}

/// Fails unless sessions of several processes of a server were at one address: forked
/// processes have the same heap. Else nothing would be proven.
pub(crate) fn shares_addresses(server: &Server) -> Result<()> {
    let text = fs::read_to_string(server.directory().join("sessions"))?;
    let mut processes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        let (process, session) = line.split_once(' ').context("a session has a process")?;
        processes.entry(session).or_default().insert(process);
    }
    let together = processes.values().map(BTreeSet::len).max();
    ensure!(together > Some(1), "no address was used twice: {text}");
    Ok(())
}

#[test]
fn sessions_at_the_same_address_in_forked_processes_are_kept_apart() -> Result<()> {
    let server = Server::python("prefork", V4, true)?;
    let client = Client::python(&server, count(), 6)?;
    let calls = server_sees_all(&server, &client)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    shares_addresses(&server)?;
    proof::whole("OpenSSL 3.0", "CPython, forked workers with sessions at equal addresses", &calls)
}
