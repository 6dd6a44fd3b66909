//! What the program writes of an HTTP archive: JSON lines, inventory, findings,
//! OpenAPI documents and the state.
//!
//! `UPDATE_FIXTURES=1` writes the golden files anew.

#![cfg(test)]

mod golden;
mod openapi;
mod secrets;
mod state;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use support::apiscope::binary;
use tempfile::TempDir;

/// Services of the archive.
const SERVICES: [&str; 3] =
    ["api.shop.example:443", "auth.shop.example:443", "odd.shop.example:8081"];

/// A file of `tests/fixtures`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The archive.
fn archive() -> PathBuf {
    fixture("outputs/shop.har")
}

/// Runs the program, however it ends.
fn apiscope<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Result<Output> {
    let mut command = Command::new(binary()?);
    command.args(args).env_remove("RUST_LOG").env_remove("APISCOPE_STATE");
    command.output().context("run apiscope")
}

/// Runs the program, which must succeed; what it printed.
fn printed<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Result<String> {
    let output = apiscope(args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    String::from_utf8(output.stdout).context("read what apiscope printed")
}

/// The state after the archive was replayed, in a directory that goes with it.
struct State(TempDir);

impl State {
    /// Replays the archive into a new state; what that printed.
    fn new(output: &str) -> Result<(Self, String)> {
        let state = Self(support::directory()?);
        let text = printed([
            OsStr::new("replay"),
            archive().as_os_str(),
            OsStr::new("--body-hash"),
            OsStr::new("--output"),
            OsStr::new(output),
            OsStr::new("--state"),
            state.path().as_os_str(),
        ])?;
        Ok((state, text))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Asks the state, which must succeed; the answer.
    fn ask(&self, args: &[&str]) -> Result<String> {
        let output = self.try_ask(args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{args:?}: {}: {said}", output.status);
        String::from_utf8(output.stdout).context("read the answer")
    }

    fn try_ask(&self, args: &[&str]) -> Result<Output> {
        let mut all: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        all.extend([OsStr::new("--state"), self.path().as_os_str()]);
        apiscope(all)
    }

    /// Everything that can be asked of the state, by the words that ask it.
    fn answers(&self) -> Result<Vec<(String, String)>> {
        let mut questions: Vec<Vec<&str>> = Vec::new();
        for format in ["table", "json"] {
            questions.push(vec!["inventory", "--output", format]);
            questions.push(vec!["findings", "--output", format]);
            for service in SERVICES {
                questions.push(vec!["findings", "--output", format, "--service", service]);
            }
        }
        for service in SERVICES {
            for format in ["yaml", "json"] {
                questions.push(vec!["openapi", "--service", service, "--format", format]);
            }
        }
        questions.iter().map(|words| Ok((words.join(" "), self.ask(words)?))).collect()
    }
}
