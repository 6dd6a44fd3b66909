//! What the handshake of TLS says before it is encrypted.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, all},
    child::output,
    server::Server,
};

use crate::observe;

/// One request by `openssl s_client`; `$1` is the address, the rest are options.
const SCRIPT: &str = "\
address=$1; shift
{ printf 'GET /api/items/1?q=secret-1 HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'; sleep 1; } |
openssl s_client -quiet -connect \"$address\" -servername api.example.test \
    -alpn http/1.1 \"$@\" 2>&1";

fn call(options: &[&str]) -> Result<Call> {
    let server = Server::nginx(true)?;
    let mut apiscope = observe(Options::new()?, &server)?;
    let address = server.address()?.to_string();
    let mut client = Command::new("sh");
    output(client.args(["-c", SCRIPT, "sh", &address]).args(options))?;
    apiscope.settle(1)?;
    let calls = apiscope.stop()?;
    ensure!(calls.len() == 1, "{} calls", calls.len());
    all(&calls, "tls.client.server_name", "api.example.test")?;
    calls.into_iter().next().context("no call")
}

fn is(call: &Call, key: &str, text: &str) -> Result<()> {
    ensure!(call.text(key) == text, "{key} is not {text:?}: {}", call.0);
    Ok(())
}

#[test]
fn version_cipher_and_protocol_of_tls_1_2_are_told() -> Result<()> {
    let call = call(&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"])?;
    is(&call, "tls.protocol.version", "1.2")?;
    is(&call, "tls.cipher", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")?;
    is(&call, "tls.next_protocol", "http/1.1")?;
    // One cipher suite, and the one that asks for secure renegotiation.
    let ja4 = call.text("apiscope.tls.client.ja4");
    ensure!(ja4.len() == 36 && ja4.starts_with("t12d02"), "{ja4}");
    Ok(())
}

#[test]
fn version_and_cipher_of_tls_1_3_are_told() -> Result<()> {
    let options = ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"];
    let call = call(&options)?;
    is(&call, "tls.protocol.version", "1.3")?;
    is(&call, "tls.cipher", "TLS_CHACHA20_POLY1305_SHA256")?;
    // The server's choice is encrypted.
    is(&call, "tls.next_protocol", "")?;
    let ja4 = call.text("apiscope.tls.client.ja4");
    ensure!(ja4.len() == 36 && ja4.starts_with("t13d"), "{ja4}");
    Ok(())
}

/// A request to `$1` by TLS of the version `$2` at most.
const OF_CLIENT: &str = "curl -sk --tls-max \"$2\" -o /dev/null \"$1/api/items/1?q=secret-1\"";

/// Fails unless the call tells the certificate of the tests' servers.
fn has_certificate(call: &Call) -> Result<()> {
    is(call, "tls.server.subject", "CN=localhost")?;
    is(call, "tls.server.issuer", "CN=localhost")?;
    let valid = call.text("tls.server.not_before") < call.text("tls.server.not_after");
    let names = call.0.get("apiscope.tls.server.names");
    let right = names == Some(&serde_json::json!(["localhost", "127.0.0.1"]));
    ensure!(valid && right, "{}", call.0);
    Ok(())
}

#[test]
fn the_certificate_is_told_where_it_is_not_encrypted() -> Result<()> {
    has_certificate(&call(&["-tls1_2"])?)?;
    let new = call(&["-tls1_3"])?;
    ensure!(new.text("tls.server.subject").is_empty(), "{}", new.0);
    // curl reads the header of each record by a system call of its own.
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let calls = Options::new()?.script(OF_CLIENT, [&server.target(), "1.2"])?.finish()?;
    ensure!(calls.len() == 1, "{} calls", calls.len());
    calls.iter().try_for_each(has_certificate)
}
