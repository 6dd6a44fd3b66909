//! Safety: a program that crashes with probes in it gets none, and nobody else loses his.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::Options,
    call::{Call, compare_complete},
    child::{Process, python, python_library},
    client::Client,
    eventually, program,
    server::Server,
};

/// How often the program is started.
const ROUNDS: usize = 16;

/// `$3` is started `$1` times by `$2`, told `$4`, and its exit status written to `$5`; each
/// time curl asks the same server `$6`, which is the rest. All map the library in `$7`.
const SCRIPT: &str = "\
ulimit -c 0
rounds=$1 python=$2 program=$3 when=$4 out=$5 target=$6 LD_LIBRARY_PATH=$7; shift 7
export LD_LIBRARY_PATH
\"$@\" &
server=$!
until curl -sk -o /dev/null \"$target/ready\"; do sleep 0.05; done
sleep 1
for n in $(seq \"$rounds\"); do
    \"$python\" \"$program\" \"$target/api/items/crash-$n\" \"$when\"
    echo $? >> \"$out\"
    curl -sk -o /dev/null \"$target/api/items/well-$n\"
    sleep 0.4
done
kill $server
wait $server";

/// A shell's status of a program that `SIGSEGV` ended.
const CRASHED: u8 = 139;

/// What came of it.
struct Outcome {
    /// Exit status of each process.
    statuses: Vec<u8>,
    calls: Vec<Call>,
    said: Vec<String>,
}

/// A directory with a copy of the library, in which no other test puts its probes.
fn own_library(server: &Server) -> Result<PathBuf> {
    let (library, own) = (PathBuf::from(python_library()?), server.directory().join("own"));
    fs::create_dir(&own).context("make a directory")?;
    let copy = own.join(library.file_name().context("a library has a name")?);
    fs::copy(&library, copy).context("copy the library")?;
    Ok(own)
}

/// Observes nginx, curl, and a program that crashes.
fn crash(when: &str) -> Result<Outcome> {
    let server = Server::nginx(true)?;
    let out = server.directory().join("statuses");
    let own = own_library(&server)?;
    let mut args = vec![
        ROUNDS.to_string().into(),
        python()?.into(),
        program("crash.py").into(),
        when.into(),
        out.clone().into(),
        server.target().into(),
        own.into(),
    ];
    args.extend(server.command().iter().cloned());
    let (calls, said) = Options::new()?.script(SCRIPT, args)?.finish_with_gaps()?;
    let text = fs::read_to_string(&out).context("read how the processes ended")?;
    let statuses = text.lines().map(|line| line.parse().context("parse a status"));
    Ok(Outcome { statuses: statuses.collect::<Result<_>>()?, calls, said })
}

impl Outcome {
    /// nginx was observed all the time: each call from its end, once.
    fn nobody_else_lost_anything(&self) -> Result<()> {
        for name in ["crash", "well"] {
            for n in 1..=ROUNDS {
                let path = format!("/api/items/{name}-{n}");
                let calls = self.calls.iter().filter(|call| {
                    call.text("url.path") == path && call.text("apiscope.role") == "server"
                });
                ensure!(calls.count() == 1, "{path}\n{}", self.said.join("\n"));
            }
        }
        Ok(())
    }

    /// Whether the n-th process of the program was seen from its end.
    fn was_seen(&self, n: usize) -> bool {
        let path = format!("/api/items/crash-{n}");
        let mut calls = self.calls.iter().filter(|call| call.text("url.path") == path);
        calls.any(|call| call.is("apiscope.both_ends") || call.text("apiscope.role") == "client")
    }

    fn was_said(&self, what: &str) -> Result<()> {
        let all = self.said.join("\n");
        let said = self.said.iter().any(|line| line.contains("python") && line.contains(what));
        ensure!(said, "{what} was not said:\n{all}\n{:?}", self.statuses);
        Ok(())
    }
}

#[test]
fn a_program_that_crashes_by_probes_is_spared_and_runs() -> Result<()> {
    let outcome = crash("probed")?;
    outcome.was_said("crashed with probes in it")?;
    outcome.nobody_else_lost_anything()?;
    let statuses = &outcome.statuses;
    ensure!(statuses.len() == ROUNDS && statuses[..2] == [CRASHED; 2], "{statuses:?}");
    // Taking the probes away takes a while.
    ensure!(statuses[ROUNDS - 4..] == [0; 4], "{statuses:?}");
    ensure!(outcome.was_seen(1) && !outcome.was_seen(ROUNDS), "{}", outcome.said.join("\n"));
    outcome.was_said("TLS not readable: it crashed with probes in it, and gets none")
}

#[test]
fn a_program_that_crashes_anyhow_has_its_probes_again() -> Result<()> {
    let outcome = crash("always")?;
    outcome.was_said("crashed with probes in it")?;
    outcome.was_said("crashes without probes too")?;
    outcome.nobody_else_lost_anything()?;
    ensure!(outcome.statuses == [CRASHED; ROUNDS], "{:?}", outcome.statuses);
    ensure!(outcome.was_seen(1) && outcome.was_seen(ROUNDS), "{}", outcome.said.join("\n"));
    Ok(())
}

#[test]
fn of_several_processes_that_bear_no_probes_one_gets_them() -> Result<()> {
    let server = Server::nginx(true)?;
    let own = own_library(&server)?;
    let start = |command: &mut Command| Process::start(command.env("LD_LIBRARY_PATH", &own));
    let (name, args) = server.command().split_first().context("a server is a command")?;
    let nginx = start(Command::new(name).args(args))?;
    server.wait_ready()?;
    let script = program("crash.py");
    // With a dump of its memory, which the kernel makes before it tells of the end.
    let watch = || {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).arg(python()?);
        start(command.arg(&script).args(["", "watch"]).current_dir(server.directory()))
    };
    let mut watching = [watch()?, watch()?, watch()?];
    eventually("programs that watch", || {
        Ok(watching.iter().all(|it| it.stdout().count() > 0).then_some(()))
    })?;

    let pids = watching.iter().map(Process::pid).chain([nginx.pid()]);
    let options = pids.fold(Options::new()?, Options::pid);
    let mut apiscope = options.start()?;
    apiscope.wait_ready()?;
    let client = Client::python(&server, 100, 2)?;
    let done = client.run()?;
    apiscope.settle(done.len())?;
    let alive = watching.iter_mut().filter_map(|it| it.running().ok()).count();
    ensure!(alive == watching.len() - 1, "{alive} are alive\n{}", apiscope.said());
    let metrics = apiscope.metrics()?;
    let spared = ("apiscope_spared_programs".to_owned(), "1".to_owned());
    ensure!(metrics.contains(&spared), "{}", apiscope.said());
    compare_complete(&done, &apiscope.stop()?)
}
