//! GnuTLS: lighttpd as a server, wget as a client.

use std::fs;

use anyhow::{Context as _, Result};
use support::{
    apiscope::Options,
    call::{Call, Done, all, all_both_ends, all_by_library, compare, compare_complete},
    client::Client,
    proof,
    server::Server,
};

use crate::{count, observe};

/// A wget for the addresses in the file `$1`, on one connection, from the server that the
/// other arguments start.
const SCRIPT: &str = "\
urls=$1; shift
\"$@\" &
server=$!
wget -q --tries=300 --waitretry=1 --retry-connrefused --no-check-certificate \
    -O /dev/null -i \"$urls\"
status=$?
kill $server
wait $server
exit $status";

/// Observes lighttpd alone: it answers over TLS, and asks nginx in plaintext. The calls
/// that it answered.
fn proxy(client: impl FnOnce(&Server) -> Result<Client>) -> Result<Vec<Call>> {
    let upstream = Server::nginx(false)?;
    let _nginx = upstream.start()?;
    let server = Server::lighttpd(&upstream)?;
    let mut apiscope = observe(Options::new()?, &server)?;
    let done = client(&server)?.run()?;
    apiscope.settle(2 * done.len())?;
    let (answered, asked): (Vec<_>, Vec<_>) =
        apiscope.stop()?.into_iter().partition(|call| call.text("apiscope.role") == "server");
    compare_complete(&done, &answered)?;
    all(&answered, "apiscope.binding", "nested_syscall")?;
    all_by_library(&answered, "libgnutls.so")?;
    let done: Vec<Done> = done.into_iter().map(Done::without_port).collect();
    compare(&done, &asked.iter().map(|call| call.done().without_port()).collect::<Vec<_>>())?;
    all(&asked, "url.scheme", "http")?;
    Ok(answered)
}

#[test]
fn https_of_a_reverse_proxy_is_seen() -> Result<()> {
    let calls = proxy(|server| Client::python(server, count(), 4))?;
    proof::whole("GnuTLS", "lighttpd", &calls)
}

#[test]
fn https_on_a_connection_per_request_is_seen() -> Result<()> {
    proxy(|server| Ok(Client::python(server, count(), 4)?.close())).map(drop)
}

#[test]
fn https_of_a_client_is_joined_with_a_server_of_another_library() -> Result<()> {
    let server = Server::nginx(true)?;
    let (mut urls, mut done) = (Vec::new(), Vec::new());
    for number in 0..count() {
        let path = format!("/static/{}.txt", number % 8);
        urls.push(format!("{}{path}?q=secret-{number}\n", server.target()));
        let file = server.directory().join(path.trim_start_matches('/'));
        done.push(Done {
            method: "GET".to_owned(),
            path,
            status: 200,
            request_size: 0,
            request_sha256: None,
            response_size: fs::metadata(file).context("look at a file")?.len(),
            response_sha256: None,
            port: None,
        });
    }
    let list = server.directory().join("urls");
    fs::write(&list, urls.concat()).context("write the addresses")?;
    let mut args = vec![list.into()];
    args.extend(server.command().iter().cloned());
    let calls = Options::new()?.script(SCRIPT, args)?.finish()?;
    let seen: Vec<Done> =
        calls.iter().map(|call| call.done().without_port().without_hashes()).collect();
    compare(&done, &seen)?;
    all_both_ends(&calls)?;
    proof::whole("GnuTLS", "wget, client", &calls)
}
