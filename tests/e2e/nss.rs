//! NSS, whose functions are not exported: programs call NSPR's, for files as well as for
//! TLS.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, Done, all, all_by_library, compare},
    child::output,
    directory, net, proof,
    server::Server,
};

use crate::observe_command;

/// A process of `tstclnt` that makes no request, so that the library is known to be mapped,
/// and one for each of `$1` requests to the port `$2`, which it reads from
/// the file `$3`.
const CLIENT: &str = "\
timeout 2 tstclnt -D -o -h 127.0.0.1 -p \"$2\" < /dev/null > /dev/null 2>&1
for number in $(seq \"$1\"); do
    printf 'POST /api/items/%s?q=secret-1 HTTP/1.1\\r\\nHost: localhost\\r\\n\
Connection: close\\r\\nContent-Length: 8\\r\\n\\r\\nsecret-2' \"$number\" > \"$3\"
    timeout 60 tstclnt -D -o -h 127.0.0.1 -p \"$2\" -A \"$3\" > /dev/null 2>&1
done";

#[test]
fn https_of_a_client_is_seen() -> Result<()> {
    let count = support::scaled(200);
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let port = server.address()?.port();
    let request = server.directory().join("request").display().to_string();
    let calls =
        Options::new()?.script(CLIENT, [count.to_string(), port.to_string(), request])?.finish()?;
    let done: Vec<Done> = (1..=count).map(|number| posted(number, "?q=secret-1")).collect();
    let seen: Vec<Done> =
        calls.iter().map(|call| call.done().without_hashes().without_port()).collect();
    compare(&done, &seen)?;
    all(&calls, "apiscope.role", "client")?;
    by_nspr(&calls)?;
    let complete = |call: &Call| call.is("apiscope.complete");
    ensure!(calls.iter().all(complete), "not complete: {calls:?}");
    let of_nginx = |call: &Call| call.number("server.port") == Some(port.into());
    ensure!(calls.iter().all(of_nginx), "another server: {calls:?}");
    proof::whole("NSS by NSPR", "tstclnt, client", &calls)
}

/// What `selfserv` answers it writes from several buffers at once, which is counted and
/// not read: no response is invented for it.
#[test]
fn https_of_a_server_is_seen_as_far_as_it_is_read() -> Result<()> {
    let count = support::scaled(50);
    let directory = directory()?;
    let database = format!("sql:{}", directory.path().display());
    let certutil = || {
        let mut command = Command::new("certutil");
        command.args(["-d", &database]);
        command
    };
    output(certutil().args(["-N", "--empty-password"]))?;
    let noise = directory.path().join("noise");
    std::fs::write(&noise, [7; 64]).context("write noise")?;
    output(
        certutil()
            .args(["-S", "-n", "localhost", "-s", "CN=localhost", "-x", "-t", "C,C,C"])
            .args(["-k", "ec", "-q", "secp256r1", "-z"])
            .arg(&noise),
    )?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], net::free_port()?));
    let port = address.port().to_string();
    let command =
        ["selfserv", "-n", "localhost", "-p", &port, "-d", &database, "-V", "tls1.2:tls1.3"];
    let mut apiscope = observe_command(Options::new()?, command)?;
    net::wait_for_port(address)?;
    for number in 0..count {
        let url = format!("https://{address}/items/{number}");
        output(Command::new("curl").args(["-sk", "--max-time", "60", "-o", "/dev/null", &url]))?;
    }
    apiscope.settle(count)?;
    let calls = apiscope.stop()?;
    let mut paths: Vec<_> = calls.iter().map(|call| call.text("url.path")).collect();
    let mut wanted: Vec<_> = (0..count).map(|number| format!("/items/{number}")).collect();
    paths.sort_unstable();
    wanted.sort_unstable();
    ensure!(paths == wanted, "other calls: {paths:?}");
    all(&calls, "apiscope.role", "server")?;
    by_nspr(&calls)?;
    for call in &calls {
        let invented = call.number("http.response.status_code").is_some();
        ensure!(
            !invented && !call.is("apiscope.complete"),
            "a response that was not read: {call:?}"
        );
    }
    Ok(())
}

fn by_nspr(calls: &[Call]) -> Result<()> {
    all_by_library(calls, "libnspr4.so")?;
    all(calls, "apiscope.binding", "nested_syscall")
}

/// What nginx answers to a request of [`CLIENT`].
fn posted(number: usize, query: &str) -> Done {
    let path = format!("/api/items/{number}");
    let answer = format!(r#"{{"method":"POST","target":"{path}{query}","q":"secret-1"}}"#);
    Done {
        method: "POST".into(),
        status: 200,
        request_size: 8,
        request_sha256: None,
        response_size: answer.len() as u64,
        response_sha256: None,
        port: None,
        path,
    }
}
