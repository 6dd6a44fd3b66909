//! The coverage ledger: what cannot be read is told, with its program and the reason.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use support::{
    apiscope::{Apiscope, Options, binary},
    child::output,
    eventually, proof,
    server::Server,
    tool,
};

use crate::observe;

/// How long a connection that stays open may go unmentioned.
const SOON: Duration = Duration::from_secs(30);

/// Packages that are asked for.
const PACKAGES: usize = 40;

/// uv with the directory `$1` for what it keeps, asking the index `$2` for packages by the
/// list `$3`. It finds none, and fails.
const UV: &str = "\
\"$0\" pip compile --quiet --no-config --no-python-downloads --cache-dir \"$1/cache\" \
    --index-url \"$2\" --allow-insecure-host localhost --output-file \"$1/locked\" \"$3\" \
    > \"$1/said\" 2>&1
exit 0";

/// Requests of [`CURL`], each on a connection of its own.
const COUNT: usize = 8;

/// Requests to `$1`, and one that curl does not make, for it does not trust the server.
const CURL: &str = "\
for n in 1 2 3 4 5 6 7 8; do curl -sk -o /dev/null \"$1/api/items/$n\" || exit 1; done
curl -s -o /dev/null \"$1/api/items/refused\"; exit 0";

/// What is said of uv, which has rustls and AWS-LC in it.
const WHY: &str = "rustls with AWS-LC is linked in, and its symbols are gone";

/// nginx that writes down the connection of each request, and has pages that take two
/// seconds, so that uv does not end before it can be looked at, and a minute.
pub(crate) fn nginx() -> Result<Server> {
    let server = Server::nginx(true)?;
    let path = server.directory().join("nginx.conf");
    let text = fs::read_to_string(&path).context("read nginx.conf")?;
    let directory = server.directory().display();
    let log = format!("log_format one '$connection'; access_log {directory}/requests one;");
    let slow = |path, rate| {
        format!(
            "location {path} {{ default_type text/html; limit_rate {rate}; root {directory}; \
             try_files /static/7.txt =404; }}"
        )
    };
    let slow = [&slow("/slow/", 500), &slow("/paced/", 20_000), "location /static/"].join("\n");
    let text = text.replace("access_log off;", &log).replace("location /static/", &slow);
    fs::write(&path, text).context("write nginx.conf")?;
    Ok(server)
}

/// Connections over which nginx got requests.
pub(crate) fn connections(server: &Server) -> Result<usize> {
    let text = fs::read_to_string(server.directory().join("requests"))?;
    Ok(text.lines().collect::<BTreeSet<_>>().len())
}

/// Observes uv alone while it asks `server` under a path for packages.
fn uv(
    options: Options,
    script: &str,
    server: &Server,
    path: &str,
    packages: usize,
) -> Result<Apiscope> {
    let list = server.directory().join("packages");
    let names: Vec<_> = (0..packages).map(|number| format!("package-{number}\n")).collect();
    fs::write(&list, names.concat()).context("write the names")?;
    let index = format!("https://localhost:{}{path}", server.address()?.port());
    let (uv, directory) = (tool("uv")?, server.directory());
    let target = server.target();
    let command = ["sh".as_ref(), "-c".as_ref(), script.as_ref(), uv.as_os_str()];
    let args = [directory.as_os_str(), index.as_ref(), list.as_os_str(), target.as_ref()];
    options.command(command.into_iter().chain(args))
}

/// Fails unless a run told, of a program and no other, that so many connections were not
/// readable, and why: in a warning and at the end. The line at the end.
pub(crate) fn told_as_opaque<'a>(
    said: &'a [String],
    program: &Path,
    count: usize,
    why: &str,
) -> Result<&'a str> {
    let all = said.join("\n");
    let lines: Vec<_> = said.iter().filter(|line| line.contains("not read: ")).collect();
    let plural = if count == 1 { "" } else { "s" };
    let start = format!("not read: {}: {count} connection{plural}, ", program.display());
    let [line] = lines[..] else { bail!("not one line: {all}") };
    ensure!(line.contains(&start), "{count}: {all}");
    ensure!(line.contains(&format!("TLS not readable: {why}")), "{all}");
    let warning = format!("TLS of {} is not readable: {why}", program.display());
    ensure!(said.iter().filter(|line| line.contains(&warning)).count() == 1, "{all}");
    Ok(line)
}

/// Requests by curl, each on a connection of its own.
pub(crate) fn by_curl(count: usize) -> (usize, impl FnOnce(&Server) -> Result<()>) {
    let requests = move |server: &Server| {
        for number in 0..count {
            let url = format!("{}/api/items/{number}", server.target());
            output(Command::new("curl").args(["-sk", "--http1.1", "-o", "/dev/null", &url]))?;
        }
        Ok(())
    };
    (count, requests)
}

/// Fails unless so many connections of clients to a server, of which it is known that it
/// cannot be read, are told with the reason: the word in metrics, and the text.
pub(crate) fn server_is_opaque(
    server: &Server,
    program: &Path,
    (count, clients): (usize, impl FnOnce(&Server) -> Result<()>),
    reason: &str,
    why: &str,
) -> Result<()> {
    let apiscope = observe(Options::new()?, server)?;
    clients(server)?;
    let wanted = format!("reason=\"{reason}\"}} {count}");
    eventually("all connections in the ledger", || {
        let metrics = apiscope.metrics()?;
        let told = metrics.iter().any(|(series, value)| {
            series.starts_with("apiscope_coverage_connections")
                && format!("{series} {value}").ends_with(&wanted)
        });
        Ok(told.then_some(()))
    })?;
    let (_, said) = apiscope.stop_with_gaps()?;
    told_as_opaque(&said, program, count, why).map(drop)
}

#[test]
fn connections_of_a_program_with_its_own_tls_are_opaque_and_counted_exactly() -> Result<()> {
    let server = nginx()?;
    let mut nginx = server.start()?;
    let said = uv(Options::new()?, UV, &server, "/paced/", PACKAGES)?.finish_said()?;
    nginx.running()?;
    let count = connections(&server)?;
    let uv_said = fs::read_to_string(server.directory().join("said"))?;
    ensure!(count > 0, "uv asked nothing: {uv_said}");
    let program = fs::canonicalize(tool("uv")?)?;
    let line = told_as_opaque(&said, &program, count, WHY)?;
    ensure!(line.contains("among the servers: localhost"), "{line}");
    proof::opaque("rustls, stripped", "uv, client", u64::try_from(count)?)
}

#[test]
fn doctor_tells_what_the_latest_run_saw_of_each_program() -> Result<()> {
    let server = nginx()?;
    let _nginx = server.start()?;
    let state = server.directory().join("state");
    let script = format!("curl -sk -o /dev/null \"$4/api/items/1\"\n{UV}");
    let options = Options::new()?.state(&state);
    uv(options, &script, &server, "/paced/", PACKAGES)?.finish_said()?;
    let mut doctor = Command::new(binary()?);
    let said = output(doctor.arg("doctor").arg("--state").arg(&state))?;
    let line = |start: &str, text: &str| {
        said.lines().any(|line| line.starts_with(start) && line.contains(text))
    };
    ensure!(line("ok ", "2 programs with connections"), "{said}");
    ensure!(line("ok ", "/curl") && line("ok ", "1 connection decoded"), "{said}");
    let program = fs::canonicalize(tool("uv")?)?.display().to_string();
    ensure!(line("limited ", &program), "{said}");
    ensure!(line("limited ", &format!("TLS not readable: {WHY}")), "{said}");
    Ok(())
}

#[test]
fn a_connection_that_stays_open_is_told_within_half_a_minute() -> Result<()> {
    let server = nginx()?;
    let _nginx = server.start()?;
    let apiscope = uv(Options::new()?, UV, &server, "/slow/", 1)?;
    let began = Instant::now();
    let program = fs::canonicalize(tool("uv")?)?;
    let wanted = format!("{{program=\"{}\",", program.display());
    let (series, value) = eventually("uv in the ledger", || {
        // Before the agent listens there is no answer.
        let metrics = apiscope.metrics().unwrap_or_default();
        let opaque = |(series, value): &(String, String)| {
            series.starts_with("apiscope_coverage_connections")
                && series.contains(&wanted)
                && series.contains("fate=\"opaque\",reason=\"rustls_aws_lc_stripped\"")
                && value != "0"
        };
        Ok(metrics.into_iter().find(opaque))
    })?;
    let after = began.elapsed();
    ensure!(after < SOON, "{series} after {after:?}");
    ensure!(value == "1", "{series} {value}");
    // nginx writes a request down when it has answered it.
    ensure!(connections(&server)? == 0, "the connection ended before");
    Ok(())
}

#[test]
fn nothing_of_a_program_that_is_read_is_opaque() -> Result<()> {
    let server = nginx()?;
    let _nginx = server.start()?;
    let target = server.target();
    let said = Options::new()?.script(CURL, [&target])?.finish_said()?;
    let opaque = said.iter().find(|line| line.contains("not read"));
    ensure!(opaque.is_none(), "{}", said.join("\n"));
    ensure!(connections(&server)? == COUNT, "curl did not ask");
    Ok(())
}

#[test]
fn connections_that_are_read_are_counted_exactly_and_the_unused_apart() -> Result<()> {
    let server = nginx()?;
    let apiscope = observe(Options::new()?, &server)?;
    let mut curl = Command::new("sh");
    output(curl.args(["-c", CURL, "sh", &server.target()]))?;
    let count = |fate: &str| -> Result<usize> {
        let wanted = format!("fate=\"{fate}\"");
        let series = apiscope.metrics()?.into_iter().filter(|(series, _)| {
            series.starts_with("apiscope_coverage_connections") && series.contains(&wanted)
        });
        series.map(|(_, value)| value.parse::<usize>().context("parse a count")).sum()
    };
    // The test itself opens connections to see whether nginx is there: without a byte.
    eventually("all connections in the ledger", || {
        Ok((count("decoded")? == COUNT && count("unused")? == 1).then_some(()))
    })?;
    ensure!(connections(&server)? == COUNT, "curl did not ask");
    ensure!(count("opaque")? == 0 && count("unattributed")? == 0, "not all was read");
    apiscope.stop().map(drop)
}
