//! rustls in servers and clients: with AWS-LC, whose functions have names, and with ring, whose
//! functions are found by the constants that point to them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, all, compare_complete},
    child::output,
    client::Client,
    directory, proof, ring_program,
    server::Server,
};
use tempfile::TempDir;

use crate::{
    both_in_scope, count,
    coverage::{by_curl, server_is_opaque},
    curl, observe, server_sees_all,
};

/// Connections of the test of what cannot be read.
const COUNT: usize = 8;

/// Bytes that a request with a body sends: several records of TLS.
const BODY: usize = 100_000;

/// For each cipher suite `$1` requests to `$2`, eight at a time, and one that sends `$4`; curl
/// writes down each in `$3`.
const EACH_SUITE: &str = r#"
asks() {
    curl -sk --http1.1 --max-time 60 -o /dev/null \
        -w '%{method} %{url_effective} %{http_code} %{size_download} %{local_port}\n' "$@" |
        sed 's| https://[^/]*| |'
}
count=$1 target=$2 out=$3 body=$4
of_suite() {
    asks "$@" --parallel --parallel-max 8 "$target/api/items/[1-$count]"
    asks "$@" -X PUT --data-binary "@$body" "$target/api/items/0"
}
for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
    of_suite --tls13-ciphers $suite
done > "$out"
for suite in AES128-GCM-SHA256 AES256-GCM-SHA384 CHACHA20-POLY1305; do
    of_suite --tls-max 1.2 --ciphers ECDHE-ECDSA-$suite
done >> "$out"
"#;

/// Cipher suites of [`EACH_SUITE`].
const SUITES: [&str; 6] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Observes a server while requests are made by each cipher suite; every call is seen.
fn each_suite_is_seen(server: &Server) -> Result<Vec<Call>> {
    let out = server.directory().join("curl");
    let body = server.directory().join("body");
    fs::write(&body, "x".repeat(BODY)).context("write a body")?;
    let each = count() / 10;

    let mut apiscope = observe(Options::new()?, server)?;
    let mut script = Command::new("sh");
    script.args(["-c", EACH_SUITE, "sh", &each.to_string(), &server.target()]);
    output(script.arg(&out).arg(&body))?;
    let whole = SUITES.len() * (each + 1);
    apiscope.settle(whole)?;
    let calls = apiscope.stop()?;

    let len = |number: &str| if number == "0" { BODY } else { 0 };
    curl::compare_done(&out, whole, len, &calls)?;
    all(&calls, "apiscope.role", "server")?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    let mut suites: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        *suites.entry(call.text("tls.cipher")).or_default() += 1;
    }
    ensure!(suites == SUITES.map(|suite| (suite, each + 1)).into(), "{suites:?}");
    Ok(calls)
}

/// A server that runs already has probes of its own first, and everyone's beside them for a
/// while; each call is seen once.
fn running_server_is_seen(server: &Server) -> Result<()> {
    let running = server.start()?;
    let mut apiscope = Options::new()?.pid(running.pid()).start()?;
    apiscope.wait_ready()?;
    let done = Client::python(server, count(), 4)?.run()?;
    apiscope.settle(done.len())?;
    let calls = apiscope.stop()?;
    compare_complete(&done, &calls)?;
    all(&calls, "apiscope.binding", "ciphertext")
}

#[test]
fn https_of_hyper_servers_that_run_already_is_seen_once() -> Result<()> {
    running_server_is_seen(&Server::rustls()?)?;
    running_server_is_seen(&Server::ring()?)
}

/// A copy of the server with ring, changed by a command.
fn changed(command: &[&str]) -> Result<(TempDir, PathBuf)> {
    let directory = directory()?;
    let copy = directory.path().join("rustls-server");
    fs::copy(ring_program("rustls-server")?, &copy).context("copy a program")?;
    let (name, args) = command.split_first().context("no command")?;
    output(Command::new(name).args(args).arg(&copy))?;
    Ok((directory, copy))
}

#[test]
fn https_of_a_hyper_server_is_seen() -> Result<()> {
    let server = Server::rustls()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?)?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    proof::whole("rustls with AWS-LC", "hyper, server", &calls)
}

#[test]
fn https_of_a_hyper_server_is_seen_by_each_cipher_suite() -> Result<()> {
    each_suite_is_seen(&Server::rustls()?).map(drop)
}

#[test]
fn https_between_a_hyper_server_and_a_reqwest_client_is_seen_from_both_ends() -> Result<()> {
    let server = Server::rustls()?;
    let client = Client::wheel("pyqwest", &server, count() / 2)?;
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    all(&calls, "apiscope.binding", "ciphertext")
}

#[test]
fn https_of_a_hyper_server_with_ring_is_seen_by_each_cipher_suite() -> Result<()> {
    let calls = each_suite_is_seen(&Server::ring()?)?;
    proof::whole("rustls with ring", "hyper, server", &calls)
}

#[test]
fn https_of_a_stripped_hyper_server_with_ring_is_seen_by_each_cipher_suite() -> Result<()> {
    let (_directory, program) = changed(&["strip", "--strip-all"])?;
    let calls = each_suite_is_seen(&Server::rustls_by(program)?)?;
    proof::whole("rustls with ring, stripped", "hyper, server", &calls)
}

#[test]
fn https_of_a_hyper_server_with_ring_is_seen_on_kept_connections() -> Result<()> {
    let server = Server::ring()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?)?;
    all(&calls, "apiscope.binding", "ciphertext")
}

/// Keys of connections that have ended lie where those of others lie later.
#[test]
fn https_of_a_hyper_server_with_ring_is_seen_on_a_connection_per_request() -> Result<()> {
    let server = Server::ring()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?.close())?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    let ports = calls.iter().map(Call::client_port).collect::<std::collections::BTreeSet<_>>();
    ensure!(ports.len() > calls.len() / 2, "{} connections", ports.len());
    Ok(())
}

#[test]
fn https_of_a_reqwest_client_with_ring_is_seen_from_both_ends() -> Result<()> {
    let mut whole = Vec::new();
    for options in [&[][..], &["--close"], &["--tls-1.2"]] {
        let server = Server::ring()?;
        let client = Client::reqwest(&server, count() / 2, 8)?;
        let client = options.iter().fold(client, |client, option| client.with(option));
        let calls = both_in_scope(Options::new()?, &server, &client)?;
        all(&calls, "apiscope.binding", "ciphertext")?;
        whole.extend(calls);
    }
    proof::whole("rustls with ring", "reqwest, client", &whole)
}

#[test]
fn https_of_granian_with_ring_is_seen() -> Result<()> {
    let server = Server::granian()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?)?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    proof::whole("rustls with ring, stripped", "Granian", &calls)
}

/// Without the table of its functions it is not known where one begins.
#[test]
fn connections_of_a_server_whose_functions_are_not_found_are_opaque_and_counted_exactly()
-> Result<()> {
    let (_directory, program) = changed(&["objcopy", "--rename-section", ".eh_frame_hdr=.other"])?;
    let server = Server::rustls_by(program.clone())?;
    let why = "rustls with ring is linked in, whose functions were not found";
    server_is_opaque(&server, &program, by_curl(COUNT), "rustls_ring", why)
}
