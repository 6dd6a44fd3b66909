//! HTTP/3: hypercorn as a server, niquests as a client. It is not decoded, and each end
//! counts exactly the connections that there were, and nothing else that goes over UDP.

use std::{ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    child::{Process, output},
    directory, eventually, net, program, proof,
    server::certificate,
    tool,
};
use tempfile::TempDir;

use crate::observe_command;

/// Connections of the client, requests on each, bytes of each body.
const CONNECTIONS: u64 = 5;
const REQUESTS: u64 = 4;
const BODY: u64 = 20_000;

/// Bytes of bodies: every other request has one too.
const BODIES: [u64; 2] = [CONNECTIONS * REQUESTS / 2 * BODY, CONNECTIONS * REQUESTS * BODY];

/// A server and a client of HTTP/3, as commands.
struct Pair {
    server: Vec<OsString>,
    client: Vec<OsString>,
    _directory: TempDir,
}

impl Pair {
    fn new() -> Result<Self> {
        let directory = directory()?;
        let (certificate, key) = certificate(directory.path())?;
        let port = net::free_port()?;
        let bind = format!("127.0.0.1:{port}");
        let python = || -> Result<Vec<OsString>> { Ok(vec![tool("python")?.into(), "-B".into()]) };
        let mut server = python()?;
        server.extend(["-m", "hypercorn", "--bind", &bind, "--quic-bind", &bind].map(Into::into));
        server.extend(["--certfile".into(), certificate.into(), "--keyfile".into(), key.into()]);
        server.push(program("http3_app.py").into());
        let mut client = python()?;
        client.push(program("http3_client.py").into());
        let numbers = [u64::from(port), CONNECTIONS, REQUESTS, BODY];
        client.extend(numbers.map(|number| number.to_string().into()));
        Ok(Self { server, client, _directory: directory })
    }

    fn command(words: &[OsString]) -> Result<Command> {
        let (program, args) = words.split_first().context("an empty command")?;
        let mut command = Command::new(program);
        command.args(args);
        Ok(command)
    }
}

/// Path of the interpreter, which both programs are to the kernel.
fn interpreter() -> Result<PathBuf> {
    fs::canonicalize(tool("python")?).context("find the interpreter")
}

#[test]
fn the_server_of_http_3_has_exactly_the_connections_of_its_clients() -> Result<()> {
    let pair = Pair::new()?;
    let apiscope = observe_command(Options::new()?, &pair.server)?;
    let said = output(&mut Pair::command(&pair.client)?)?;
    ensure!(said.trim() == format!("{CONNECTIONS} {}", BODIES[1]), "the client did {said}");
    let wanted = format!("program=\"{}\"", interpreter()?.display());
    let quic = |name: &str, more: &str| -> Result<Option<u64>> {
        let found = apiscope.metrics()?.into_iter().find(|(series, _)| {
            series.starts_with(name)
                && [&wanted, "fate=\"opaque\",reason=\"quic\"", more]
                    .iter()
                    .all(|part| series.contains(part))
        });
        found.map(|(_, value)| value.parse().context("parse a count")).transpose()
    };
    // The last that moved over an open socket may not be told of.
    let untold = 16 * 1024;
    eventually("all connections in the ledger", || {
        let bytes = |direction| quic("apiscope_coverage_bytes", direction);
        let all = quic("apiscope_coverage_connections", "")? == Some(CONNECTIONS)
            && bytes("ingress")? >= Some(BODIES[0] - untold)
            && bytes("egress")? >= Some(BODIES[1] - untold);
        Ok(all.then_some(()))
    })?;
    // No connection of another kind, and none of the other UDP.
    let others: Vec<_> = apiscope
        .metrics()?
        .into_iter()
        .filter(|(series, value)| {
            series.starts_with("apiscope_coverage_connections")
                && !series.contains("reason=\"quic\"")
                && !series.contains("fate=\"unused\"")
                && value != "0"
        })
        .collect();
    ensure!(others.is_empty(), "{others:?}");
    ensure!(apiscope.kernel_counter("quic_skipped")? == 0, "Initials were not looked at");
    proof::opaque("QUIC (HTTP/3)", "Hypercorn", CONNECTIONS)?;
    apiscope.stop().map(drop)
}

#[test]
fn the_client_of_http_3_is_told_with_its_server_and_bytes_and_its_dns_is_not() -> Result<()> {
    let pair = Pair::new()?;
    let mut server = Process::start(&mut Pair::command(&pair.server)?)?;
    let said = Options::new()?.command(&pair.client)?.finish_said()?;
    server.running()?;
    let all = said.join("\n");
    let program = interpreter()?;
    let lines: Vec<_> = said.iter().filter(|line| line.contains("not read: ")).collect();
    ensure!(lines.len() == 1, "{all}");
    let start = format!("not read: {}: {CONNECTIONS} connections, ", program.display());
    ensure!(lines[0].contains(&start), "{all}");
    let why = "QUIC not readable: HTTP/3, encrypted in the process; among the servers: localhost";
    ensure!(lines[0].ends_with(why), "{all}");
    let warning = format!(
        "QUIC of {} is not readable: HTTP/3, encrypted in the process (a server: localhost) \
         (a client by JA4: q13d",
        program.display()
    );
    ensure!(said.iter().filter(|line| line.contains(&warning)).count() == 1, "{all}");
    let bytes = lines[0].split(&start).nth(1).and_then(|rest| rest.split(" in and ").next());
    let kib = bytes.and_then(|bytes| bytes.strip_suffix(" KiB")).context("KiB of ingress")?;
    // All of it: the client has closed its sockets.
    ensure!(kib.parse::<f64>()? * 1024.0 >= BODIES[1] as f64, "{all}");
    proof::opaque("QUIC (HTTP/3)", "niquests, client", CONNECTIONS)
}
