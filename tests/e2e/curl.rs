//! curl: a process per request, and one process that makes them all at once.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, Done, all, compare},
    proof,
    server::Server,
};

/// As many processes as start in about three seconds.
const COUNT: usize = 600;

/// `$1` requests to `$2`, four at a time; curl writes down each in `$3`.
const SCRIPT: &str = "\
seq \"$1\" | xargs -P 4 -I{} curl -sk --max-time 60 -o /dev/null -X PUT -d number={} \
-w '%{method} /api/items/{} %{http_code} %{size_download} %{local_port}\\n' \
\"$2/api/items/{}?q=secret-{}\" >> \"$3\"";

/// `$1` requests to `$2` by one thread, sixteen at a time; curl writes down each in `$3`.
const AT_ONCE: &str = "\
curl -sk --http1.1 --parallel --parallel-max 16 --max-time 60 -o /dev/null \
-w '%{method} %{url_effective} %{http_code} %{size_download} %{local_port}\n' \
\"$2/api/items/[1-$1]?q=secret-7\" | sed 's| https://[^/]*| |; s|?[^ ]*||' > \"$3\"";

#[test]
fn every_https_call_of_short_lived_processes_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let out = server.directory().join("curl");
    let count = support::scaled(COUNT);
    let args = [&count.to_string(), &server.target(), out.to_str().context("path")?];
    let calls = Options::new()?.script(SCRIPT, args)?.finish()?;

    let body = |number: &str| "number=".len() + number.len();
    compare_with(&out, count, body, &calls)?;
    let mut processes: Vec<_> = calls.iter().map(|call| call.number("process.pid")).collect();
    processes.sort_unstable();
    processes.dedup();
    ensure!(processes.len() == count, "{} processes made {} calls", processes.len(), count);
    ensure!(calls.iter().all(is_curl), "another program than curl is named");
    proof::whole("OpenSSL 3.0", "curl, a process for each call", &calls)
}

#[test]
fn every_https_call_of_a_thread_with_many_transfers_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let out = server.directory().join("curl");
    let count = support::scaled(2000);
    let args = [&count.to_string(), &server.target(), out.to_str().context("path")?];
    let calls = Options::new()?.script(AT_ONCE, args)?.finish()?;
    compare_with(&out, count, |_| 0, &calls)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    let connections: BTreeSet<_> = calls.iter().map(Call::client_port).collect();
    ensure!(connections.len() > 1, "one connection alone: {connections:?}");
    proof::whole("OpenSSL 3.0", "curl, many transfers in one thread", &calls)
}

/// Compares what curl wrote down with what was seen; `body` is the length of a request's.
fn compare_with(
    out: &Path,
    count: usize,
    body: impl Fn(&str) -> usize,
    calls: &[Call],
) -> Result<()> {
    compare_done(out, count, body, calls)?;
    all(calls, "apiscope.role", "client")
}

/// Compares what curl wrote down with what was seen, from either end.
pub(crate) fn compare_done(
    out: &Path,
    count: usize,
    body: impl Fn(&str) -> usize,
    calls: &[Call],
) -> Result<()> {
    let text = fs::read_to_string(out).context("read what curl did")?;
    let done: Vec<Done> = text.lines().map(|line| parse(line, &body)).collect::<Result<_>>()?;
    ensure!(done.len() == count && done.iter().all(|call| call.status == 200), "curl failed");
    let seen: Vec<Done> = calls.iter().map(|call| call.done().without_hashes()).collect();
    compare(&done, &seen)
}

/// A process may be gone before its program is looked at: then none is told.
fn is_curl(call: &Call) -> bool {
    let path = call.text("process.executable.path");
    path.is_empty() || path.ends_with("/curl")
}

/// A line of curl's: method, path, status, bytes, port.
fn parse(line: &str, body: impl Fn(&str) -> usize) -> Result<Done> {
    let mut words = line.split(' ');
    let mut next = || words.next().context("a line of curl's is short");
    let (method, path) = (next()?.to_owned(), next()?.to_owned());
    let status = next()?.parse().context("status")?;
    let response_size = next()?.parse().context("size")?;
    let port = Some(next()?.parse().context("port")?);
    let number = path.rsplit('/').next().unwrap_or_default();
    Ok(Done {
        method,
        status,
        request_size: u64::try_from(body(number))?,
        request_sha256: None,
        response_size,
        response_sha256: None,
        port,
        path,
    })
}
