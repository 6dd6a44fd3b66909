//! Discovery: probes are in a library that nobody mapped before, before it is used.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use support::{
    apiscope::{Apiscope, Options},
    child::{python, python_library},
    eventually, program,
    server::Server,
};

/// Processes, each with a copy of the library that nobody mapped before. Not more, because
/// the kernel takes a second to take the probes of each away again.
const TRIES: usize = 10;

/// Sets another number of tries, of which one in a hundred may be late, and has it told how
/// long the agent took.
const VARIABLE: &str = "APISCOPE_DISCOVERY_TRIES";

/// How many may be faster than the agent on a machine that has no time for it.
const LATE: usize = 1;

/// `$1` processes of the Python `$2` run the program `$3`, two at a time, each with its own
/// copy of the library `$5` in the directory `$6`: it asks `$4`, a moment after it has loaded
/// the library. Then it tells in `$6.done`, and waits to be ended.
const SCRIPT: &str = "\
seq \"$1\" | xargs -P 2 -I{} sh -c 'mkdir \"$5/{}\" && cp \"$4\" \"$5/{}\" &&
    LD_LIBRARY_PATH=\"$5/{}\" \"$1\" \"$2\" \"$3/api/items/{}\" 0.2; rm -r \"$5/{}\"' \
    sh \"$2\" \"$3\" \"$4\" \"$5\" \"$6\"
touch \"$6.done\"
exec sleep 600";

#[test]
fn the_first_call_over_a_library_that_was_never_seen_is_seen() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let copies = server.directory().join("copies");
    fs::create_dir(&copies).context("make a directory")?;
    let asked = env::var(VARIABLE).ok();
    let tries = match &asked {
        Some(tries) => tries.parse().with_context(|| format!("parse {VARIABLE}"))?,
        None => TRIES,
    };
    let late = LATE.max(tries / 100);
    let args = [
        tries.to_string(),
        python()?.to_owned(),
        program("once.py").display().to_string(),
        server.target(),
        python_library()?,
        copies.display().to_string(),
    ];
    let mut apiscope = Options::new()?.script(SCRIPT, args)?;
    apiscope.wait_ready()?;
    let done = copies.with_extension("done");
    eventually("the end of all processes", || Ok(done.exists().then_some(())))?;
    apiscope.settle(tries)?;
    if asked.is_some() {
        let took = |(name, _): &(String, String)| name.contains("time_to_probe");
        for (name, value) in apiscope.metrics()?.into_iter().filter(took) {
            eprintln!("{name} {value}");
        }
    }
    let calls = apiscope.stop()?;
    let mut paths: Vec<_> = calls.iter().map(|call| call.text("url.path")).collect();
    paths.sort_unstable();
    paths.dedup();
    ensure!(paths.len() == calls.len(), "a call was seen twice");
    let missing = tries - paths.len();
    ensure!(missing <= late, "{missing} of {tries} calls were not seen");
    Ok(())
}

/// Containers of one image: each has an overlay of its own over it, in a mount namespace of
/// its own.
const CONTAINERS: usize = 3;

/// `$1` containers, one after the other and all there at the end, with the directory `$2`
/// as image, whose library the Python `$3` runs with when it runs `$4` twice: it asks `$5`.
/// They tell in `$2.done` that they have.
const CONTAINERS_SCRIPT: &str = "\
count=$1; shift
for n in $(seq \"$count\"); do
    unshare --mount sh -c '
        mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work /mnt/root &&
        mount -t overlay -o \"lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work\" o /mnt/root &&
        export LD_LIBRARY_PATH=/mnt/root &&
        \"$2\" \"$3\" \"$4/api/items/first-$5\" && sleep 1 &&
        \"$2\" \"$3\" \"$4/api/items/second-$5\" && echo \"$5\" >> \"$1.done\"
        exec sleep 600' sh \"$1\" \"$2\" \"$3\" \"$4\" \"$n\" > \"$1.said\" 2>&1 &
    until grep -qs \"^$n$\" \"$1.done\"; do sleep 0.1; done
done
exec sleep 600";

#[test]
fn a_file_that_containers_share_is_attached_to_once() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let image = server.directory().join("image");
    fs::create_dir(&image).context("make a directory")?;
    let library = PathBuf::from(python_library()?);
    let name = library.file_name().context("a library has a name")?;
    fs::copy(&library, image.join(name)).context("copy the library")?;
    let args = [
        CONTAINERS.to_string(),
        image.display().to_string(),
        python()?.to_owned(),
        program("once.py").display().to_string(),
        server.target(),
    ];
    let apiscope = Options::new()?.script(CONTAINERS_SCRIPT, args)?;
    let done = image.with_extension("done");
    eventually("calls of all containers", || {
        let text = fs::read_to_string(&done).unwrap_or_default();
        Ok((text.lines().count() == CONTAINERS).then_some(()))
    })?;
    let count = "apiscope_time_to_probe_seconds_count".to_owned();
    eventually("all that was attached to", || {
        Ok(apiscope.metrics()?.contains(&(count.clone(), "1".to_owned())).then_some(()))
    })?;
    ensure!(apiscope.kernel_counter("tls_orphans")? == 0, "a probe is there twice");
    let (calls, said) = apiscope.stop_with_gaps()?;
    for n in 1..=CONTAINERS {
        let path = format!("/api/items/second-{n}");
        let seen = calls.iter().filter(|call| call.text("url.path") == path).count();
        ensure!(seen == 1, "{path}: {seen}\n{}", said.join("\n"));
    }
    Ok(())
}

/// The Python `$1` maps the file `$2`. Then somebody writes the library `$3` into it, and
/// with that it runs `$4` twice, which asks `$5`.
const REWRITE: &str = "\
\"$1\" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' \"$2\"
sleep 1
cat \"$3\" > \"$2\"
export LD_LIBRARY_PATH=\"${2%/*}\"
\"$1\" \"$4\" \"$5/api/items/first\"; sleep 1
\"$1\" \"$4\" \"$5/api/items/second\"";

#[test]
fn a_library_that_was_written_into_is_looked_into_again() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let own = server.directory().join("own");
    fs::create_dir(&own).context("make a directory")?;
    let library = PathBuf::from(python_library()?);
    let copy = own.join(library.file_name().context("a library has a name")?);
    // Any other library.
    fs::copy(library.with_file_name("libz.so.1"), &copy).context("copy a library")?;
    let args = [
        python()?.to_owned(),
        copy.display().to_string(),
        library.display().to_string(),
        program("once.py").display().to_string(),
        server.target(),
    ];
    let (calls, said) = Options::new()?.script(REWRITE, args)?.finish_with_gaps()?;
    let seen = calls.iter().filter(|call| call.text("url.path") == "/api/items/second").count();
    ensure!(seen == 1, "{seen}\n{}", said.join("\n"));
    Ok(())
}

/// The Python `$1` runs `$2` with its own copy `$4` of the library `$3`: it asks `$5`, a
/// moment after it has loaded it. Then the copy is removed. Twice, with time for both.
const REMOVED: &str = "\
export LD_LIBRARY_PATH=\"${4%/*}\"
for path in first second; do
    cp \"$3\" \"$4\"
    \"$1\" \"$2\" \"$5/api/items/$path\" 0.5
    touch \"$4.$path\"
    rm \"$4\"
    until [ -e \"$4.seen\" ]; do sleep 0.1; done
done
exec sleep 600";

#[test]
fn a_file_that_is_gone_is_let_go_of() -> Result<()> {
    let server = Server::nginx(true)?;
    let _nginx = server.start()?;
    let own = server.directory().join("own");
    fs::create_dir(&own).context("make a directory")?;
    let library = PathBuf::from(python_library()?);
    let copy = own.join(library.file_name().context("a library has a name")?);
    let args = [
        python()?.to_owned(),
        program("once.py").display().to_string(),
        library.display().to_string(),
        copy.display().to_string(),
        server.target(),
    ];
    let mut apiscope = Options::new()?.script(REMOVED, args)?;
    apiscope.wait_ready()?;
    let probes = |apiscope: &Apiscope| -> Result<usize> {
        let metrics = apiscope.metrics()?;
        let value = metrics.iter().find(|(series, _)| series == "apiscope_probes_attached");
        value.context("no metric of probes")?.1.parse().context("a number")
    };
    let [first, second, seen] = ["first", "second", "seen"].map(|it| marker(&copy, it));
    eventually("the first call", || Ok(first.exists().then_some(())))?;
    apiscope.settle(1)?;
    let with = probes(&apiscope)?;
    eventually("no probes in the copy", || Ok((probes(&apiscope)? + 1 == with).then_some(())))?;
    fs::write(&seen, "").context("write a file")?;
    eventually("the second call", || Ok(second.exists().then_some(())))?;
    apiscope.settle(2)?;
    let calls = apiscope.stop()?;
    let mut paths: Vec<_> = calls.iter().map(|call| call.text("url.path")).collect();
    paths.sort_unstable();
    ensure!(paths == ["/api/items/first", "/api/items/second"], "{paths:?}");
    Ok(())
}

/// A file beside another one.
fn marker(file: &Path, what: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}
