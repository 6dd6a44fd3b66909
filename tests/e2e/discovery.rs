//! Discovery: probes are in a library that nobody mapped before, before it is used.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use support::{apiscope::Options, child::python, eventually, program, server::Server};

/// Processes, each with a copy of the library that nobody mapped before. Not more, because
/// the kernel takes a second to take the probes of each away again.
const TRIES: usize = 10;

/// How many may be faster than the agent on a machine that has no time for it.
const LATE: usize = 1;

/// `$1` processes of the Python `$2` run the program `$3`, two at a time, each with its own
/// copy of the library `$5` in the directory `$6`: it asks `$4`. Then it waits to be ended.
const SCRIPT: &str = "\
seq \"$1\" | xargs -P 2 -I{} sh -c 'mkdir \"$5/{}\" && cp \"$4\" \"$5/{}\" &&
    LD_LIBRARY_PATH=\"$5/{}\" \"$1\" \"$2\" \"$3/api/items/{}\"; rm -r \"$5/{}\"' \
    sh \"$2\" \"$3\" \"$4\" \"$5\" \"$6\"
exec sleep 600";

/// The library that Python's `ssl` is linked with.
fn library() -> Result<String> {
    let script = "import _ssl; print([line.split()[-1] for line in open('/proc/self/maps') \
                  if 'libssl.so' in line][0])";
    let mut command = std::process::Command::new(python()?);
    Ok(support::child::output(command.args(["-c", script]))?.trim().to_owned())
}

#[test]
fn the_first_call_over_a_library_that_was_never_seen_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let copies = server.directory().join("copies");
    fs::create_dir(&copies).context("make a directory")?;
    let tries = TRIES;
    let args = [
        tries.to_string(),
        python()?.to_owned(),
        program("once.py").display().to_string(),
        server.target(),
        library()?,
        copies.display().to_string(),
    ];
    let mut apiscope = Options::new()?.script(SCRIPT, args)?;
    apiscope.wait_ready()?;
    eventually("a probe in each copy", || {
        let metrics = apiscope.metrics()?;
        let count =
            metrics.iter().find(|(series, _)| series == "apiscope_time_to_probe_seconds_count");
        let (_, count) = count.context("no histogram")?;
        Ok((count.parse::<usize>()? >= tries).then_some(()))
    })?;
    apiscope.settle(tries)?;
    let calls = apiscope.stop()?;
    let mut paths: Vec<_> = calls.iter().map(|call| call.text("url.path")).collect();
    paths.sort_unstable();
    paths.dedup();
    ensure!(paths.len() == calls.len(), "a call was seen twice");
    let missing = tries - paths.len();
    ensure!(missing <= LATE, "{missing} of {tries} calls were not seen");
    Ok(())
}
