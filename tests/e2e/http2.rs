//! HTTP/2 of programs that much is written with: many calls at once on a connection, over
//! plaintext and TLS, from its start and midway.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use support::{
    apiscope::Options,
    call::{Call, Done, all, all_both_ends},
    child::output,
    client::{Client, TOGETHER},
    go::Build,
    proof,
    server::Server,
};

use crate::{both_in_scope, calls_on_buffers, count, curl, observe, server_on_buffers_sees_all};

/// `$1` requests to `$2` on one connection, many at a time; curl writes down each in `$3`.
const AT_ONCE: &str = "\
curl -sk --http2 --parallel --parallel-max 16 --max-time 60 -o /dev/null \
-w '%{method} %{url_effective} %{http_code} %{size_download} %{local_port}\n' \
\"$2/api/items/[1-$1]?q=secret-7\" | sed 's| https*://[^/]*| |; s|?[^ ]*||' > \"$3\"";

fn http2(calls: &[Call]) -> Result<()> {
    all(calls, "network.protocol.version", "2")
}

/// `h2load` writes down no more than how many calls it made, which are all alike.
#[test]
fn plaintext_is_seen_from_both_ends() -> Result<()> {
    const CLIENT: &str = "\
        until h2load -n 1 \"$1/api/items/0\" | grep -q ' 1 succeeded'; do sleep 0.1; done\n\
        h2load -n $2 -c 4 -m 16 \"$1/api/items/7\"";
    let server = Server::nginx_http2(false)?;
    let mut args = vec![server.command().len().to_string().into()];
    args.extend(server.command().iter().cloned());
    args.extend(["sh", "-c", CLIENT, "sh", &server.target(), &count().to_string()].map(Into::into));
    let calls = Options::new()?.script(TOGETHER, args)?.finish()?;
    let calls: Vec<Call> =
        calls.into_iter().filter(|call| call.text("url.path") == "/api/items/7").collect();
    ensure!(calls.len() == count(), "{} calls", calls.len());
    let status = |call: &Call| call.number("http.response.status_code") == Some(200);
    ensure!(calls.iter().all(|call| status(call) && call.is("apiscope.complete")));
    all_both_ends(&calls)?;
    http2(&calls)
}

/// Observes a server alone, of which curl asks for much at once.
fn server_sees_all_of_curl(server: &Server) -> Result<Vec<Call>> {
    let mut apiscope = observe(Options::new()?, server)?;
    let out = server.directory().join("curl");
    let mut script = Command::new("sh");
    script.args(["-c", AT_ONCE, "sh", &count().to_string(), &server.target()]);
    output(script.arg(&out))?;
    apiscope.settle(count())?;
    let calls = apiscope.stop()?;
    curl::compare_done(&out, count(), |_| 0, &calls)?;
    http2(&calls)?;
    Ok(calls)
}

#[test]
fn https_of_nginx_is_seen() -> Result<()> {
    let calls = server_sees_all_of_curl(&Server::nginx_http2(true)?)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    proof::whole("OpenSSL 3.0", "nginx, HTTP/2", &calls)
}

#[test]
fn https_of_go_is_seen_from_both_ends() -> Result<()> {
    for (build, stack) in [(Build::Newest, "Go 1.27"), (Build::Oldest, "Go 1.21, stripped")] {
        let server = Server::go(build, true, None)?;
        let client = Client::go(&server, build, count(), 16)?.with("--http2");
        let calls = both_in_scope(Options::new()?, &server, &client)?;
        http2(&calls)?;
        all(&calls, "apiscope.binding", "nested_syscall")?;
        proof::whole(stack, "net/http, HTTP/2, server and client", &calls)?;
    }
    Ok(())
}

#[test]
fn https_of_a_node_server_is_seen() -> Result<()> {
    let server = Server::node_http2(true)?;
    let client = Client::node(&server, 0, 4).with("--http2");
    let calls = server_on_buffers_sees_all(&server, client)?;
    http2(&calls)?;
    proof::whole("OpenSSL 3.0, linked statically", "Node.js, HTTP/2, server", &calls)
}

#[test]
fn https_of_a_node_client_is_seen() -> Result<()> {
    // nginx ends a stream without having read the body that it does not need.
    let server = Server::go(Build::Newest, true, None)?;
    let _running = server.start()?;
    let client = Client::node(&server, 0, 4).with("--http2").interact()?;
    let mut apiscope = Options::new()?.pid(client.pid()).start()?;
    apiscope.wait_ready()?;
    let calls = calls_on_buffers(apiscope, client)?;
    http2(&calls)?;
    all(&calls, "apiscope.role", "client")?;
    proof::whole("OpenSSL 3.0, linked statically", "Node.js, HTTP/2, client", &calls)
}

#[test]
fn https_of_rustls_is_seen() -> Result<()> {
    let server = Server::ring()?;
    let client = Client::reqwest(&server, count(), 4)?.with("--http2");
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    http2(&calls)?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    proof::whole("rustls with ring", "hyper and reqwest, HTTP/2", &calls)
}

/// The tables of both compressors were filled before the agent came. What is told is right, and
/// what cannot be known is told to be unknown.
#[test]
fn connections_from_before_are_seen_as_far_as_they_can_be_known() -> Result<()> {
    for server in [Server::nginx_http2(false)?, Server::nginx_http2(true)?] {
        let running = server.start()?;
        server.wait_ready()?;
        let mut client = Client::node(&server, 0, 2).with("--http2").interact()?;
        client.run(400)?;
        let mut apiscope = Options::new()?.args(["--pid", &running.pid().to_string()]).start()?;
        apiscope.wait_ready()?;
        let first = client.run(4)?;
        let done = client.run(count())?;
        apiscope.settle(done.len())?;
        let calls = apiscope.stop()?;
        http2(&calls)?;
        known_is_right(&[first, done].concat(), &calls)?;
    }
    Ok(())
}

/// Every call that was seen was made, with all that is told of it; nearly all were seen, and of
/// nearly all the path is known.
fn known_is_right(done: &[Done], calls: &[Call]) -> Result<()> {
    let mut known = 0;
    for call in calls {
        let unknown = call.texts("apiscope.unknown");
        let seen = call.done();
        let is = |done: &Done| {
            (unknown.contains(&"method") || seen.method == done.method)
                && (unknown.contains(&"path") || seen.path == done.path)
                && (unknown.contains(&"status") || seen.status == done.status)
                && seen.port == done.port
        };
        ensure!(done.iter().any(is), "nobody did {}", call.0);
        known += usize::from(!unknown.contains(&"path"));
    }
    ensure!(calls.len() <= done.len() && calls.len() + 4 >= done.len(), "{} calls", calls.len());
    ensure!(known * 100 >= calls.len() * 99, "{known} of {} paths", calls.len());
    Ok(())
}

/// A body that is longer than the budget is counted, and the calls beside and behind it on its
/// connection are whole.
#[test]
fn what_is_beyond_the_budget_is_counted_and_costs_no_other_call() -> Result<()> {
    const LARGE: usize = 3_000_000;
    const SMALL: usize = 200;
    let server = Server::nginx_http2(true)?;
    let file = server.directory().join("static/large.txt");
    fs::write(&file, "x".repeat(LARGE)).context("write a file")?;
    let mut apiscope = observe(Options::new()?, &server)?;
    let mut script = Command::new("sh");
    output(script.args(["-c", LARGE_AND_SMALL, "sh", &server.target(), &SMALL.to_string()]))?;
    apiscope.settle(SMALL + 1)?;
    let calls = apiscope.stop()?;
    http2(&calls)?;
    let (large, small): (Vec<_>, Vec<_>) =
        calls.iter().partition(|call| call.text("url.path") == "/static/large.txt");
    let [large] = large[..] else { bail!("{} downloads", large.len()) };
    let len = u64::try_from(LARGE)?;
    ensure!(large.number("http.response.body.size") == Some(len), "{}", large.0);
    ensure!(large.number("apiscope.lost.budget").is_some_and(|lost| lost > len / 2), "{}", large.0);
    ensure!(small.len() == SMALL, "{} calls", small.len());
    let cut = small.iter().find(|call| !call.is("apiscope.complete"));
    ensure!(cut.is_none(), "not complete: {cut:?}");
    // All of them on one connection, else this would show nothing.
    let ports: BTreeSet<_> = calls.iter().map(Call::client_port).collect();
    ensure!(ports.len() == 1, "{ports:?}");
    Ok(())
}

/// A download and `$2` small calls from `$1`, many at once.
const LARGE_AND_SMALL: &str = "\
curl -sk --http2 --fail --max-time 60 -o /dev/null --parallel --parallel-max 12 \
\"$1/api/items/first\" \"$1/static/large.txt\" \"$1/api/items/[2-$2]\"";

/// A client that tells its server every 16 KiB that it may go on.
#[test]
fn a_download_is_one_message_however_often_the_client_says_something() -> Result<()> {
    const LARGE: usize = 3_000_000;
    let server = Server::nginx_http2(false)?;
    let file = server.directory().join("static/large.txt");
    fs::write(&file, "x".repeat(LARGE)).context("write a file")?;
    let mut apiscope = observe(Options::new()?, &server)?;
    let url = format!("{}/static/large.txt", server.target());
    output(Command::new("h2load").args(["-n", "1", "-w", "15", &url]))?;
    apiscope.settle(1)?;
    let calls = apiscope.stop()?;
    let [call] = &calls[..] else { bail!("{} calls", calls.len()) };
    let len = u64::try_from(LARGE)?;
    ensure!(call.number("http.response.body.size") == Some(len), "{}", call.0);
    ensure!(call.number("apiscope.lost.budget").is_some_and(|lost| lost > len / 2), "{}", call.0);
    Ok(())
}

/// Heads are compressed by those before them, so none may be cut.
#[test]
fn heads_are_whole_however_small_the_budget() -> Result<()> {
    const COUNT: usize = 50;
    let server = Server::nginx_http2(true)?;
    let mut apiscope = observe(Options::new()?.args(["--message-budget", "1024"]), &server)?;
    let long = format!("x-long: {}", "~".repeat(3000));
    let urls = format!("{}/api/items/[1-{COUNT}]", server.target());
    let mut curl = Command::new("curl");
    output(curl.args([
        "-sk",
        "--http2",
        "--max-time",
        "60",
        "-o",
        "/dev/null",
        "-H",
        &long,
        &urls,
    ]))?;
    apiscope.settle(COUNT)?;
    let calls = apiscope.stop()?;
    ensure!(calls.len() == COUNT, "{} calls", calls.len());
    let cut = calls.iter().find(|call| !call.is("apiscope.complete"));
    ensure!(cut.is_none(), "not complete: {cut:?}");
    http2(&calls)
}
