//! Servers and proxies that much runs behind, each observed alone.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Done, all, compare, compare_complete},
    client::Client,
    proof,
    server::Server,
};

use crate::{count, observe, server_on_buffers_sees_all, server_sees_all};

#[test]
fn a_proxy_that_interleaves_many_sessions_in_one_thread_is_seen_from_both_sides() -> Result<()> {
    let upstream = Server::nginx(true)?;
    let _nginx = upstream.start()?;
    let server = Server::haproxy(&upstream)?;
    let mut apiscope = observe(Options::new()?, &server)?;
    let done = Client::python(&server, count(), 16)?.run()?;
    apiscope.settle(2 * done.len())?;
    let calls = apiscope.stop()?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    let (answered, asked): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|call| call.text("apiscope.role") == "server");
    compare_complete(&done, &answered)?;
    let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    compare(&done, &asked.iter().map(|call| call.done().without_port()).collect::<Vec<_>>())?;
    let upstream = Some(upstream.address()?.port().into());
    let elsewhere = asked.iter().find(|call| call.number("server.port") != upstream);
    ensure!(elsewhere.is_none(), "another upstream: {elsewhere:?}");
    proof::whole("OpenSSL 3.0", "haproxy, one thread, both sides", &answered)
}

#[test]
fn https_of_forked_workers_with_threads_is_seen() -> Result<()> {
    let server = Server::gunicorn()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    proof::whole("OpenSSL 3.0", "Gunicorn", &calls)
}

#[test]
fn https_of_a_server_on_memory_buffers_is_seen_with_its_peers() -> Result<()> {
    let server = Server::uvicorn()?;
    let calls = server_on_buffers_sees_all(&server, Client::python(&server, 0, 8)?)?;
    proof::whole("OpenSSL 3.0 on memory buffers", "Uvicorn", &calls)
}
