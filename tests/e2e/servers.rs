//! Servers and proxies that much runs behind, each observed alone.

use anyhow::Result;
use support::{call::all, client::Client, proof, server::Server};

use crate::{count, proxy_sees_both_sides, server_on_buffers_sees_all, server_sees_all};

#[test]
fn a_proxy_that_interleaves_many_sessions_in_one_thread_is_seen_from_both_sides() -> Result<()> {
    let upstream = Server::nginx(true)?;
    let _nginx = upstream.start()?;
    let server = Server::haproxy(&upstream)?;
    let client = Client::python(&server, count(), 16)?;
    let (answered, asked) = proxy_sees_both_sides(&server, &upstream, &client)?;
    all(&answered, "apiscope.binding", "nested_syscall")?;
    all(&asked, "apiscope.binding", "nested_syscall")?;
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
