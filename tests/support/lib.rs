//! What the tests share: the agent as a process, the programs that it watches, and
//! the comparison of what it saw with what was done.

pub mod apiscope;
pub mod call;
pub mod child;
pub mod client;
pub mod go;
pub mod net;
pub mod proof;
pub mod server;
pub mod status;

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// How long anything may take before a test fails. Far more than any of it takes: an
/// emulated machine is 10 to 30 times slower.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Divides the number of calls that tests make: an emulated machine makes fewer.
const DIVISOR: &str = "APISCOPE_CALLS_DIVISOR";

/// Calls that a test makes at least.
const CALLS_MIN: usize = 10;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer, for at most [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().with_context(|| format!("wait for {what}"))? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        thread::park_timeout(LOOK_EVERY);
    }
}

/// So many calls, or as many fewer as this run is told to make.
pub fn scaled(calls: usize) -> usize {
    let divisor = env::var(DIVISOR).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (calls / divisor).max(CALLS_MIN.min(calls))
}

/// Fails on anything but a guest of `cargo xtask vm`.
pub fn ensure_guest() -> Result<()> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("read the host's name")?;
    let command_line = fs::read_to_string("/proc/cmdline").context("read the command line")?;
    ensure!(
        name.trim() == "guest" && command_line.contains("panic=-1"),
        "runs in a guest alone: cargo xtask vm"
    );
    Ok(())
}

/// A directory that goes away with the test.
pub fn directory() -> Result<TempDir> {
    tempfile::Builder::new().prefix("apiscope-test-").tempdir().context("make a directory")
}

/// A program of the Python environment that `cargo xtask setup` makes.
pub fn tool(name: &str) -> Result<PathBuf> {
    installed(&Path::new("venv/bin").join(name))
}

/// The server of `tests/programs/rustls` with AWS-LC, which `cargo xtask setup` builds.
pub fn rustls_server() -> Result<PathBuf> {
    installed(Path::new("rustls/release/rustls-server"))
}

/// A program of `tests/programs/rustls` with ring, which `cargo xtask setup` builds.
pub fn ring_program(name: &str) -> Result<PathBuf> {
    installed(&Path::new("rustls/ring/release").join(name))
}

fn installed(path: &Path) -> Result<PathBuf> {
    let test = env::current_exe().context("find the test")?;
    let target = test.ancestors().nth(3).context("find the target directory")?;
    let path = target.join(path);
    ensure!(path.is_file(), "{} is not there: cargo xtask setup --tests", path.display());
    Ok(path)
}

/// A program of `tests/programs`.
pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}
