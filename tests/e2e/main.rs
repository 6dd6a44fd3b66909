//! Real programs talk HTTP, the agent watches, and what it reports is compared with
//! what the clients wrote down: every call exactly once, none lost, none invented.
//!
//! Needs root, Go, nginx, lighttpd, node, curl, hey, wget, openssl, NSS, perl, ruby and python3,
//! and what `cargo xtask setup` installs from the Python package index and builds.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::{Apiscope, Options},
    call::{Call, Done, all, all_both_ends, compare, compare_complete},
    client::{Client, Conversation, TOGETHER, together},
    eventually,
    server::Server,
};

mod asyncio;
mod confine;
mod coverage;
mod curl;
mod discovery;
mod gnutls;
mod go;
mod grpc;
mod handshake;
mod http2;
mod java;
mod ktls;
mod languages;
mod lifecycle;
mod located;
mod nginx;
mod node;
mod nss;
mod openssl;
mod python;
mod quic;
mod restart;
mod returns;
mod rustls;
mod safety;
mod scope;
mod servers;
mod shed;
mod sockets;
mod stripped;
mod uring;
mod wheels;

/// Loopback.
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Requests of one client.
fn count() -> usize {
    support::scaled(2000)
}

/// Connections of a client that keeps them open.
const CONNECTIONS: usize = 2;

/// How long a look at the ciphertext may take before more calls are made.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Observes a server and its client; every call is seen from both ends.
fn both_in_scope(options: Options, server: &Server, client: &Client) -> Result<Vec<Call>> {
    let calls = options.script(TOGETHER, together(server, client))?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    all_both_ends(&calls)?;
    Ok(calls)
}

/// Makes calls on connections from before the agent, and compares what was seen.
///
/// A server that already waited for a request when the agent came made that system
/// call, or that call of its TLS library, unseen: the first request of each connection
/// may be missing. It must not be wrong, and all others must be there.
fn observe_from_now_on(
    mut apiscope: Apiscope,
    client: &mut Conversation,
    count: usize,
) -> Result<()> {
    let first = client.run(CONNECTIONS)?;
    let done = client.run(count)?;
    apiscope.settle(first.len() + done.len())?;
    let (of_first, calls): (Vec<_>, Vec<_>) = apiscope.stop()?.into_iter().partition(|call| {
        let path = call.text("url.path");
        first.iter().any(|done| done.path == path)
    });
    compare_complete(&done, &calls)?;
    all(&calls, "apiscope.role", "server")?;
    for call in of_first {
        ensure!(first.contains(&call.done()), "nobody did {}", call.0);
    }
    Ok(())
}

/// Starts the agent with a command to observe, and waits for the agent.
fn observe_command<I>(options: Options, command: I) -> Result<Apiscope>
where
    I: IntoIterator<Item: AsRef<OsStr>>,
{
    let mut apiscope = options.command(command)?;
    apiscope.wait_ready()?;
    Ok(apiscope)
}

/// Starts the agent with a server to observe, and waits for both.
fn observe(options: Options, server: &Server) -> Result<Apiscope> {
    let apiscope = observe_command(options, server.command())?;
    server.wait_ready()?;
    Ok(apiscope)
}

/// Observes a server alone while a client outside makes calls: what was done, and what
/// was seen.
fn server_in_scope(server: &Server, client: &Client) -> Result<(Vec<Done>, Vec<Call>)> {
    let mut apiscope = observe(Options::new()?, server)?;
    let done = client.run()?;
    apiscope.settle(done.len())?;
    Ok((done, apiscope.stop()?))
}

/// Observes a server alone; every call is seen from its end.
fn server_sees_all(server: &Server, client: &Client) -> Result<Vec<Call>> {
    let (done, calls) = server_in_scope(server, client)?;
    compare_complete(&done, &calls)?;
    all(&calls, "apiscope.role", "server")?;
    Ok(calls)
}

/// Observes a proxy alone: what it was asked, every call once, and what it asked for that of
/// its upstream, every call once too.
fn proxy_sees_both_sides(
    proxy: &Server,
    upstream: &Server,
    client: &Client,
) -> Result<(Vec<Call>, Vec<Call>)> {
    let mut apiscope = observe(Options::new()?, proxy)?;
    let done = client.run()?;
    apiscope.settle(2 * done.len())?;
    let calls = apiscope.stop()?;
    let (answered, asked): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|call| call.text("apiscope.role") == "server");
    compare_complete(&done, &answered)?;
    let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    compare(&done, &asked.iter().map(|call| call.done().without_port()).collect::<Vec<_>>())?;
    let upstream = Some(upstream.address()?.port().into());
    let elsewhere = asked.iter().find(|call| call.number("server.port") != upstream);
    ensure!(elsewhere.is_none(), "another upstream: {elsewhere:?}");
    Ok((answered, asked))
}

/// Observes a server whose TLS works on buffers in memory. Its ciphertext is looked at once
/// that was seen, and from then on it is certain which socket each session has.
fn server_on_buffers_sees_all(server: &Server, client: Client) -> Result<Vec<Call>> {
    let apiscope = observe(Options::new()?, server)?;
    let calls = calls_on_buffers(apiscope, client.interact()?)?;
    all(&calls, "apiscope.role", "server")?;
    Ok(calls)
}

/// Makes calls while one end of them is observed, whose TLS works on buffers in memory: from
/// when its ciphertext is looked at, every call is seen once, with its right peer.
fn calls_on_buffers(mut apiscope: Apiscope, mut client: Conversation) -> Result<Vec<Call>> {
    let mut first = client.run(CONNECTIONS)?;
    let mut asked = Instant::now();
    eventually("a look at the ciphertext", || {
        let looked = |(name, value): &(String, String)| {
            name == "apiscope_ciphertext_processes" && value != "0"
        };
        if apiscope.metrics()?.iter().any(looked) {
            return Ok(Some(()));
        }
        // Those before may have come before the probes were in place.
        if asked.elapsed() >= ASK_AGAIN {
            first.extend(client.run(CONNECTIONS)?);
            asked = Instant::now();
        }
        Ok(None)
    })?;
    let done = client.run(count())?;
    apiscope.settle(first.len() + done.len())?;
    let (of_first, calls): (Vec<_>, Vec<_>) = apiscope.stop()?.into_iter().partition(|call| {
        let path = call.text("url.path");
        first.iter().any(|done| done.path == path)
    });
    compare_complete(&done, &calls)?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    if first.len() > CONNECTIONS {
        first.retain(|done| of_first.iter().any(|call| call.text("url.path") == done.path));
    }
    peers(first, &of_first)?;
    Ok(calls)
}

/// Where sessions are bound to sockets by inference: every call must be seen once, and
/// whoever is named as its peer must be. The number of calls whose peer is known.
fn peers(done: Vec<Done>, calls: &[Call]) -> Result<usize> {
    // Every path is requested once.
    let ports: BTreeMap<_, _> = done.iter().map(|call| (call.path.clone(), call.port)).collect();
    ensure!(ports.len() == done.len(), "paths repeat");

    let without_port: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    let seen: Vec<Done> = calls.iter().map(|call| call.done().without_port()).collect();
    compare(&without_port, &seen)?;

    let mut known = 0;
    for call in calls {
        let binding = call.text("apiscope.binding");
        if binding == "none" {
            ensure!(call.client_port().is_none(), "a peer without a binding: {}", call.0);
            continue;
        }
        ensure!(["ciphertext", "record_length", "nested_syscall"].contains(&binding), "{}", call.0);
        let port = ports.get(call.text("url.path")).context("a path that nobody requested")?;
        ensure!(call.client_port() == *port, "the peer was {port:?}: {}", call.0);
        known += 1;
    }
    Ok(known)
}
