//! OpenSSL that is linked into a program and has no symbols: its functions are found by what
//! they say when they fail, and what they show is told once its ciphertext has proven it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, all, all_by_library, compare_complete, kernel_version},
    child::output,
    client::Client,
    directory, proof,
    server::Server,
    tool,
};
use tempfile::TempDir;

use crate::{count, coverage, observe_command, server_sees_all};

/// What is said of what is not found for certain, and of what was not proven.
const GONE: &str = "OpenSSL is linked in, and its symbols are gone";
const UNPROVEN: &str =
    "OpenSSL is linked in without symbols, and no ciphertext has proven what was found of it";

/// Connections that cannot be read.
const CONNECTIONS: usize = 20;

/// `cmake` of the Python package index, which is linked with OpenSSL and stripped.
fn cmake() -> Result<PathBuf> {
    let find = "import cmake; print(cmake.CMAKE_BIN_DIR)";
    let folder = output(Command::new(tool("python")?).args(["-c", find]))?;
    let cmake = fs::canonicalize(folder.trim())?.join("cmake");
    let symbols = output(Command::new("nm").args(["--quiet", "-D", "--defined-only"]).arg(&cmake))?;
    ensure!(!symbols.contains("SSL_"), "it has symbols of OpenSSL");
    Ok(cmake)
}

/// The calls of `cmake` to a server, each on a connection of its own: each once, with its port.
/// Kernels before 5.15 do not tell which library a call is of, and nothing can be proven.
fn calls_of_cmake(server: &Server, count: usize) -> Result<Option<Vec<Call>>> {
    let cmake = cmake()?;
    if kernel_version()? < (5, 15) {
        not_read(server, &cmake, GONE)?;
        return Ok(None);
    }
    let _running = server.start()?;
    let client = Client::cmake(&cmake, server, count);
    let calls = observe_command(Options::new()?, client.command())?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    all(&calls, "apiscope.role", "client")?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    all_by_library(&calls, "cmake")?;
    Ok(Some(calls))
}

/// Fails unless nothing of a program's connections to a server is told but how many they are,
/// and why.
fn not_read(server: &Server, program: &Path, why: &str) -> Result<()> {
    let _running = server.start()?;
    let client = Client::cmake(program, server, CONNECTIONS);
    let (calls, said) = Options::new()?.command(client.command())?.finish_with_gaps()?;
    ensure!(client.done()?.len() == CONNECTIONS, "it has not asked");
    ensure!(calls.is_empty(), "{calls:?}");
    coverage::told_as_opaque(&said, program, CONNECTIONS, why).map(drop)
}

#[test]
fn https_by_openssl_without_symbols_is_seen() -> Result<()> {
    let (stack, program) = ("OpenSSL 3.5, linked statically, stripped", "CMake, client");
    match calls_of_cmake(&Server::nginx(true)?, count().min(500))? {
        Some(calls) => proof::whole(stack, program, &calls),
        None => proof::opaque(stack, program, CONNECTIONS as u64),
    }
}

#[test]
fn https_by_openssl_without_symbols_is_seen_over_tls_1_2() -> Result<()> {
    let Some(calls) = calls_of_cmake(&Server::nginx_tls_1_2()?, 50)? else { return Ok(()) };
    all(&calls, "tls.protocol.version", "1.2")
}

/// A copy of the Python package `cryptography`, which is linked with OpenSSL, stripped.
fn cryptography() -> Result<TempDir> {
    let copy = directory()?;
    let find = "import os, cryptography; print(os.path.dirname(cryptography.__file__))";
    let installed = output(Command::new(tool("python")?).args(["-c", find]))?;
    output(Command::new("cp").args(["-r", installed.trim()]).arg(copy.path()))?;
    let library = copy.path().join("cryptography/hazmat/bindings/_rust.abi3.so");
    output(Command::new("strip").arg("--strip-all").arg(&library))?;
    let symbols = output(Command::new("nm").args(["--quiet", "-D"]).arg(&library))?;
    ensure!(!symbols.contains("SSL_"), "there are symbols left");
    Ok(copy)
}

#[test]
fn https_by_openssl_in_a_python_package_without_symbols_is_seen() -> Result<()> {
    if kernel_version()? < (5, 15) {
        return Ok(());
    }
    let packages = cryptography()?;
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let client = Client::wheel("pyopenssl", &server, count())?.packages(packages.path());
    let calls = observe_command(Options::new()?, client.command())?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    all(&calls, "apiscope.role", "client")?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    all_by_library(&calls, "_rust.abi3.so")?;
    let (stack, program) = ("OpenSSL 4.0, linked statically, stripped", "pyOpenSSL, client");
    proof::whole(stack, program, &calls)
}

#[test]
fn https_of_a_server_by_openssl_without_symbols_is_seen() -> Result<()> {
    if kernel_version()? < (5, 15) {
        return Ok(());
    }
    let packages = cryptography()?;
    let server = Server::pyopenssl(packages.path())?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 4)?)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    all_by_library(&calls, "_rust.abi3.so")?;
    proof::whole("OpenSSL 4.0, linked statically, stripped", "pyOpenSSL, server", &calls)
}

/// A copy of `cmake` in which one more function raises errors as `SSL_read`.
fn ambiguous() -> Result<(TempDir, PathBuf)> {
    let (copy, cmake) = (directory()?, cmake()?);
    let mut bytes = fs::read(&cmake).context("read CMake")?;
    let (from, to) = (b"\0SSL_peek\0", b"\0SSL_read\0");
    let windows = bytes.windows(from.len()).enumerate();
    let at: Vec<_> = windows.filter(|(_, text)| text == from).map(|(at, _)| at).collect();
    ensure!(at.len() == 1, "the name is there {} times", at.len());
    let place = at.first().and_then(|at| bytes.get_mut(*at..at + to.len()));
    place.context("no place")?.copy_from_slice(to);
    fs::create_dir(copy.path().join("bin"))?;
    // Its modules lie beside it.
    let share = cmake.ancestors().nth(2).context("no folder")?.join("share");
    symlink(share, copy.path().join("share"))?;
    let changed = copy.path().join("bin/cmake");
    fs::copy(&cmake, &changed)?;
    fs::write(&changed, bytes)?;
    Ok((copy, fs::canonicalize(changed)?))
}

#[test]
fn openssl_whose_functions_are_not_certain_is_left_alone_and_told() -> Result<()> {
    let (_copy, cmake) = ambiguous()?;
    not_read(&Server::nginx(true)?, &cmake, GONE)
}

/// Records of a cipher with padding have no length that their plaintext tells.
#[test]
fn nothing_is_told_of_openssl_without_symbols_that_is_not_proven() -> Result<()> {
    let server = Server::nginx_tls_1_2()?;
    let configuration = server.directory().join("nginx.conf");
    let text = fs::read_to_string(&configuration).context("read nginx.conf")?;
    let ciphers =
        "ssl_ciphers ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256; ssl_protocols TLSv1.2";
    fs::write(&configuration, text.replace("ssl_protocols TLSv1.2", ciphers))?;
    let why = if kernel_version()? < (5, 15) { GONE } else { UNPROVEN };
    not_read(&server, &cmake()?, why)
}
