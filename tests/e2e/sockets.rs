//! What happens to descriptors: reused, duplicated, inherited, passed to a child; and how the
//! bytes of one call may lie.

use anyhow::{Result, ensure};
use support::{client::Client, server::Server};

use crate::{V4, server_sees_all};

#[test]
fn descriptors_that_are_reused_under_load_keep_calls_apart() -> Result<()> {
    let server = Server::python("threading", V4, false)?;
    let client = Client::python(&server, 1500, 8)?.close();
    let calls = server_sees_all(&server, &client)?;
    let mut connections: Vec<_> =
        calls.iter().map(|call| call.number("apiscope.connection.id")).collect();
    connections.sort_unstable();
    connections.dedup();
    ensure!(connections.len() == calls.len(), "{} connections", connections.len());
    Ok(())
}

#[test]
fn an_answer_on_a_duplicate_of_the_descriptor_is_seen() -> Result<()> {
    let server = Server::python("dup", V4, false)?;
    server_sees_all(&server, &Client::python(&server, 200, 2)?).map(drop)
}

#[test]
fn an_answer_from_many_buffers_is_whole() -> Result<()> {
    let server = Server::python("vectors", V4, false)?;
    // Each buffer is a record of its own: all of them fit into the buffer to the agent.
    server_sees_all(&server, &Client::python(&server, 20, 2)?).map(drop)
}

#[test]
fn a_process_per_connection_is_seen() -> Result<()> {
    let server = Server::python("forking", V4, false)?;
    server_sees_all(&server, &Client::python(&server, 200, 4)?.close()).map(drop)
}

#[test]
fn an_answer_of_a_forked_child_to_what_its_parent_read_is_seen() -> Result<()> {
    let server = Server::python("handoff", V4, false)?;
    server_sees_all(&server, &Client::python(&server, 100, 1)?).map(drop)
}
