//! Python packages that bring their own TLS library.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, all, compare_complete},
    client::Client,
    proof,
    server::Server,
};

use crate::{count, observe_command};

/// Calls of a client alone, whose server is not observed: each once, with its own port.
fn client_sees_all(package: &str) -> Result<Vec<Call>> {
    client_of(Options::new()?, &Server::nginx(true)?, package)
}

pub(crate) fn client_of(options: Options, server: &Server, package: &str) -> Result<Vec<Call>> {
    let _running = server.start()?;
    let client = Client::wheel(package, server, count())?;
    let calls = observe_command(options, client.command())?.finish()?;
    compare_complete(&client.done()?, &calls)?;
    all(&calls, "apiscope.role", "client")?;
    Ok(calls)
}

#[test]
fn https_by_a_shared_library_of_a_package_is_seen() -> Result<()> {
    let calls = client_sees_all("pycurl")?;
    let library = |call: &Call| call.text("apiscope.tls.library").to_owned();
    // Kernels before 5.15 do not tell which one it is.
    ensure!(
        calls.iter().all(|call| library(call).starts_with("libssl-") || library(call).is_empty())
    );
    proof::whole("OpenSSL 3.6", "pycurl with a library of its own, client", &calls)
}

#[test]
fn https_by_boringssl_that_is_linked_into_a_package_is_seen() -> Result<()> {
    let calls = client_sees_all("curl_cffi")?;
    proof::whole("BoringSSL, linked statically", "curl_cffi, client", &calls)
}

#[test]
fn https_by_rustls_over_tls_1_2_is_seen() -> Result<()> {
    let calls = client_of(Options::new()?, &Server::nginx_tls_1_2()?, "pyqwest")?;
    all(&calls, "tls.protocol.version", "1.2")?;
    all(&calls, "apiscope.binding", "ciphertext")
}

#[test]
fn https_by_rustls_that_is_linked_into_a_package_is_seen() -> Result<()> {
    let calls = client_sees_all("pyqwest")?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    proof::whole("rustls with AWS-LC", "pyqwest, which is reqwest, client", &calls)
}
