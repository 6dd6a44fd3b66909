//! What has to work on every kernel: runs on this machine, and in guests with others.
//!
//! Needs root, curl and python3.

use std::{fs, net::Ipv4Addr, process::Command};

use anyhow::{Result, ensure};
use support::{
    apiscope::{Options, binary},
    call::{Call, Done, all, compare_complete},
    child::python,
    directory, net,
};

mod layout;

/// `$1` is Python, `$2` a directory, `$3` a port: three files are requested, one of
/// which is not there.
const SCRIPT: &str = "\
\"$1\" -m http.server --bind 127.0.0.1 --directory \"$2\" \"$3\" >/dev/null 2>&1 &
server=$!
curl -sS --retry 300 --retry-delay 1 --retry-connrefused -o /dev/null http://127.0.0.1:$3/a.txt &&
curl -sS -o /dev/null http://127.0.0.1:$3/b.txt &&
curl -sS -o /dev/null http://127.0.0.1:$3/missing?q=secret-1
status=$?
kill $server
wait $server
exit $status";

#[test]
fn every_kernel_program_loads() -> Result<()> {
    let output = Command::new(binary()?).args(["doctor", "--load"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}\n{text}{said}", output.status);
    ensure!(text.contains("programs"), "nothing is said of programs:\n{text}");
    Ok(())
}

#[test]
fn a_server_and_its_client_make_exactly_the_calls_that_are_seen() -> Result<()> {
    check(Options::new()?)
}

#[test]
fn a_perf_event_array_works_everywhere() -> Result<()> {
    check(Options::new()?.args(["--transport", "perf"]))
}

fn check(options: Options) -> Result<()> {
    let files = directory()?;
    fs::write(files.path().join("a.txt"), "the first file\n")?;
    fs::write(files.path().join("b.txt"), "the second file\n".repeat(500))?;
    let port = net::free_port()?.to_string();
    let args = [python()?.as_ref(), files.path().as_os_str(), port.as_ref()];
    let calls = options.script(SCRIPT, args)?.finish()?;

    let mut seen: Vec<Done> = calls.iter().map(|call| call.done().without_port()).collect();
    seen.sort();
    let told: Vec<_> = seen.iter().map(|call| (&*call.path, call.status)).collect();
    ensure!(told == [("/a.txt", 200), ("/b.txt", 200), ("/missing", 404)], "{seen:?}");
    let sizes: Vec<_> = seen.iter().map(|call| call.response_size).collect();
    ensure!(matches!(sizes[..], [15, 8000, missing] if missing > 0), "{sizes:?}");
    // Complete, and the same from both ends.
    compare_complete(&calls.iter().map(Call::done).collect::<Vec<_>>(), &calls)?;
    all(&calls, "http.request.method", "GET")?;
    all(&calls, "apiscope.role", "server")?;
    all(&calls, "server.address", &Ipv4Addr::LOCALHOST.to_string())?;
    ensure!(calls.iter().all(|call| call.is("apiscope.both_ends")), "one end alone");
    Ok(())
}
