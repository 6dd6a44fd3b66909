//! TLS libraries that are linked into others, with their symbols compressed or gone.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options, call::compare_complete, child::output, client::Client, directory, proof,
    server::Server, tool,
};
use tempfile::TempDir;

use crate::{count, coverage, observe_command};

/// Calls of gRPC, each on a connection of its own.
const CALLS: usize = 8;

/// What is said of BoringSSL.
const WHY: &str = "BoringSSL or a fork is linked in, and its symbols are gone";

/// Makes of the library `$1` one whose symbols are compressed, as GDB's manual tells how:
/// those of functions that are not exported.
const COMPRESS: &str = r#"
set -e
nm -D "$1" --format=posix --defined-only | awk '{ print $1 }' | sort > exported
nm "$1" --format=posix --defined-only |
    awk '$2 == "T" || $2 == "t" || $2 == "D" { print $1 }' | sort > functions
comm -13 exported functions > wanted
objcopy --only-keep-debug "$1" whole
objcopy -S --remove-section .gdb_index --remove-section .comment --keep-symbols=wanted whole mini
strip --strip-all -R .comment "$1"
xz mini
objcopy --add-section .gnu_debugdata=mini.xz "$1"
"#;

/// Takes all symbols from the library `$1`.
const STRIP: &str = r#"strip --strip-all "$1""#;

/// A copy of `curl_cffi`, which is linked with BoringSSL, changed by a script.
fn changed(script: &str) -> Result<TempDir> {
    let copy = directory()?;
    let find = "import os, curl_cffi; print(os.path.dirname(curl_cffi.__file__))";
    let installed = output(Command::new(tool("python")?).args(["-c", find]))?;
    let mut command = Command::new("cp");
    output(command.args(["-r", installed.trim()]).arg(copy.path()))?;
    let library = copy.path().join("curl_cffi/_wrapper.abi3.so");
    ensure!(symbols(&library)?.contains(" SSL_read"), "the package has no symbols to take");
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&library).current_dir(&copy);
    output(&mut command)?;
    ensure!(!symbols(&library)?.contains("SSL_"), "there are symbols left");
    Ok(copy)
}

fn symbols(library: &PathBuf) -> Result<String> {
    output(Command::new("nm").arg("--quiet").arg(library))
}

#[test]
fn https_by_a_library_with_compressed_symbols_is_seen() -> Result<()> {
    let packages = changed(COMPRESS)?;
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let client = Client::wheel("curl_cffi", &server, count())?.packages(packages.path());
    let calls = observe_command(Options::new()?, client.command())?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    proof::whole("BoringSSL, linked statically, with mini debug info", "curl_cffi, client", &calls)
}

#[test]
fn connections_by_a_library_without_symbols_are_opaque_and_counted_exactly() -> Result<()> {
    let packages = changed(STRIP)?;
    let server = coverage::nginx()?;
    let _nginx = server.start()?;
    let client = Client::wheel("curl_cffi", &server, count())?.packages(packages.path());
    let said = Options::new()?.command(client.command())?.finish_said()?;
    let connections = coverage::connections(&server)?;
    ensure!(client.done()?.len() == count(), "it has not asked");
    let python = fs::canonicalize(tool("python")?).context("find Python")?;
    coverage::told_as_opaque(&said, &python, connections, WHY)?;
    let connections = u64::try_from(connections)?;
    proof::opaque("BoringSSL, linked statically, stripped", "curl_cffi, client", connections)
}

#[test]
fn connections_of_a_grpc_client_are_opaque_and_counted_exactly() -> Result<()> {
    let server = Server::grpc()?;
    let _running = server.start()?;
    let said = Options::new()?.command(server.grpc_client(CALLS)?)?.finish_said()?;
    let python = fs::canonicalize(tool("python")?).context("find Python")?;
    coverage::told_as_opaque(&said, &python, CALLS, WHY)?;
    proof::opaque("BoringSSL, linked statically, stripped", "grpcio, client", CALLS as u64)
}

#[test]
fn connections_of_a_grpc_server_are_opaque_and_counted_exactly() -> Result<()> {
    let python = fs::canonicalize(tool("python")?).context("find Python")?;
    let calls = |server: &Server| {
        let command = server.grpc_client(CALLS)?;
        let (name, args) = command.split_first().context("no command")?;
        output(Command::new(name).args(args)).map(drop)
    };
    let server = Server::grpc()?;
    coverage::server_is_opaque(&server, &python, (CALLS, calls), "boringssl_stripped", WHY)?;
    proof::opaque("BoringSSL, linked statically, stripped", "grpcio, server", CALLS as u64)
}
