//! curl: a process per request.

use std::fs;

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

#[test]
fn every_https_call_of_short_lived_processes_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let out = server.directory().join("curl");
    let count = support::scaled(COUNT);
    let args = [&count.to_string(), &server.target(), out.to_str().context("path")?];
    let calls = Options::new()?.script(SCRIPT, args)?.finish()?;

    let text = fs::read_to_string(&out).context("read what curl did")?;
    let done: Vec<Done> = text.lines().map(parse).collect::<Result<_>>()?;
    ensure!(done.len() == count && done.iter().all(|call| call.status == 200), "curl failed");
    let seen: Vec<Done> = calls.iter().map(|call| call.done().without_hashes()).collect();
    compare(&done, &seen)?;
    all(&calls, "apiscope.role", "client")?;
    let mut processes: Vec<_> = calls.iter().map(|call| call.number("process.pid")).collect();
    processes.sort_unstable();
    processes.dedup();
    ensure!(processes.len() == count, "{} processes made {} calls", processes.len(), count);
    ensure!(calls.iter().all(is_curl), "another program than curl is named");
    proof::whole("OpenSSL 3.0", "curl, a process for each call", &calls)
}

/// A process may be gone before its program is looked at: then none is told.
fn is_curl(call: &Call) -> bool {
    let path = call.text("process.executable.path");
    path.is_empty() || path.ends_with("/curl")
}

/// A line of curl's: method, path, status, bytes, port.
fn parse(line: &str) -> Result<Done> {
    let mut words = line.split(' ');
    let mut next = || words.next().context("a line of curl's is short");
    let (method, path) = (next()?.to_owned(), next()?.to_owned());
    let status = next()?.parse().context("status")?;
    let response_size = next()?.parse().context("size")?;
    let port = Some(next()?.parse().context("port")?);
    let number = path.rsplit('/').next().unwrap_or_default().len();
    Ok(Done {
        method,
        status,
        request_size: u64::try_from("number=".len() + number)?,
        request_sha256: None,
        response_size,
        response_sha256: None,
        port,
        path,
    })
}
