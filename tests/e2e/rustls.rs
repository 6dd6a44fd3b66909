//! rustls in servers: with AWS-LC, whose functions are hooked, and with ring, which has none.

use std::fs;

use anyhow::{Context as _, Result};
use support::{apiscope::Options, call::all, client::Client, proof, server::Server, tool};

use crate::{
    both_in_scope, count,
    coverage::{by_curl, server_is_opaque},
    server_sees_all,
};

/// Connections of the test of what cannot be read.
const COUNT: usize = 8;

#[test]
fn https_of_a_hyper_server_is_seen() -> Result<()> {
    let server = Server::rustls()?;
    let calls = server_sees_all(&server, &Client::python(&server, count(), 8)?)?;
    all(&calls, "apiscope.binding", "ciphertext")?;
    proof::whole("rustls with AWS-LC", "hyper, server", &calls)
}

#[test]
fn https_between_a_hyper_server_and_a_reqwest_client_is_seen_from_both_ends() -> Result<()> {
    let server = Server::rustls()?;
    let client = Client::wheel("pyqwest", &server, count() / 2)?;
    let calls = both_in_scope(Options::new()?, &server, &client)?;
    all(&calls, "apiscope.binding", "ciphertext")
}

#[test]
fn connections_of_a_server_with_ring_are_opaque_and_counted_exactly() -> Result<()> {
    let python = fs::canonicalize(tool("python")?).context("find Python")?;
    let why = "rustls with ring is linked in, which has no function to hook";
    server_is_opaque(&Server::granian()?, &python, by_curl(COUNT), "rustls_ring", why)?;
    proof::opaque("rustls with ring, stripped", "Granian", COUNT as u64)
}
