//! Languages that bind to OpenSSL: Ruby and Perl.

use anyhow::{Result, ensure};
use support::{
    apiscope::Options,
    call::{Done, all, all_both_ends, compare},
    client::{Client, TOGETHER, together},
    proof,
    server::Server,
};

use crate::{count, server_sees_all};

#[test]
fn https_of_a_ruby_server_is_seen() -> Result<()> {
    let server = Server::ruby()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 4)?)?;
    all(&calls, "apiscope.binding", "nested_syscall")?;
    ensure!(calls.iter().all(|call| call.text("process.executable.path").contains("/ruby")));
    proof::whole("OpenSSL 3.0", "Ruby's WEBrick", &calls)
}

#[test]
fn https_of_a_perl_client_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let client = Client::perl(&server, count());
    let calls = Options::new()?.script(TOGETHER, together(&server, &client))?.finish()?;
    let seen: Vec<Done> = calls.iter().map(|call| call.done().without_port()).collect();
    compare(&client.done()?, &seen)?;
    all_both_ends(&calls)?;
    proof::whole("OpenSSL 3.0", "Perl's HTTP::Tiny, client", &calls)
}
