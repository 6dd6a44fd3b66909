//! Return probes, and what is done where they may do harm: probes at the instructions by
//! which functions return.

use std::ffi::OsString;

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{all, all_both_ends, all_by_library, compare_complete},
    child::python,
    client::{Client, TOGETHER, together},
    program,
    server::Server,
};

use crate::{V4, both_in_scope, count, observe_command, wheels};

fn without() -> Result<Options> {
    Ok(Options::new()?.args(["--no-return-probes"]))
}

#[test]
fn https_by_openssl_is_seen_without_return_probes() -> Result<()> {
    let python = Server::python("threading", V4, true)?;
    let client = Client::python(&python, count(), 4)?;
    all_by_library(&both_in_scope(without()?, &python, &client)?, "libssl.so")?;
    for suite in ["bullseye", "trixie", "sid"] {
        let server = Server::python_of(suite, "threading")?;
        let client = Client::python_of(suite, &server, count() / 2, 4)?;
        let calls = both_in_scope(without()?, &server, &client)?;
        all(&calls, "apiscope.binding", "nested_syscall")?;
    }
    Ok(())
}

#[test]
fn https_by_nginx_is_seen_without_return_probes() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::python(&server, count(), 4)?.with("--static");
    both_in_scope(without()?, &server, &client).map(drop)
}

#[test]
fn https_by_libraries_of_packages_is_seen_without_return_probes() -> Result<()> {
    for package in ["pycurl", "curl_cffi", "pyqwest"] {
        let server = Server::nginx(true)?;
        wheels::client_of(without()?, &server, package).context(package)?;
    }
    Ok(())
}

#[test]
fn https_by_ring_is_seen_without_return_probes() -> Result<()> {
    let server = Server::ring()?;
    let client = Client::reqwest(&server, count() / 2, 4)?;
    both_in_scope(without()?, &server, &client)?;
    let server = Server::granian()?;
    both_in_scope(without()?, &server, &Client::python(&server, count() / 2, 4)?).map(drop)
}

/// A request to the port `$1` by NSS and one by GnuTLS.
const OTHERS: &str = "\
printf 'GET /static/1.txt HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' > \"$2\"
timeout 5 tstclnt -D -o -h 127.0.0.1 -p \"$1\" -A \"$2\" > /dev/null 2>&1
wget -q --no-check-certificate -O /dev/null https://127.0.0.1:\"$1\"/static/1.txt";

/// Functions of NSPR and GnuTLS jump to others, and return from there.
#[test]
fn libraries_that_do_not_show_their_returns_are_left_alone_and_told() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let port = server.address()?.port().to_string();
    let request = server.directory().join("request").display().to_string();
    let (calls, said) = without()?.script(OTHERS, [port, request])?.finish_with_gaps()?;
    let said = said.join("\n");
    ensure!(calls.is_empty(), "{calls:?}");
    for name in ["tstclnt", "wget"] {
        let told = |line: &str| {
            line.contains(name)
                && line.contains("1 connection,")
                && line.contains("probes in its TLS library may do harm on this kernel")
        };
        ensure!(said.lines().any(told), "{name}:\n{said}");
    }
    Ok(())
}

/// Where the kernel kills for return probes, the agent makes none; elsewhere it does.
#[test]
fn programs_with_a_seccomp_filter_live_and_are_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::python(&server, count(), 4)?;
    let mut command: Vec<OsString> = vec![python()?.into(), program("filtered.py").into()];
    command.extend(["sh", "-c", TOGETHER, "sh"].map(Into::into));
    command.extend(together(&server, &client));
    let calls = observe_command(Options::new()?, command)?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    all_both_ends(&calls)
}
