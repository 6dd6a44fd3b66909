//! What `deploy/` ships is checked by the programs that will read it, and
//! against each other: one port, one set of capabilities, one memory limit.
//!
//! Needs `promtool` (Debian: prometheus), `systemd-analyze` (systemd) and
//! `kubectl` (kubernetes-client) or `kustomize`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize as _;
use serde_json::Value;

mod docs;
mod grafana;
mod image;
mod kubernetes;
mod prometheus;
mod promql;
mod unit;

/// Where the metrics are served.
const PORT: u64 = 9464;

/// What the agent may do, in unit and container.
const CAPABILITIES: [&str; 6] =
    ["BPF", "PERFMON", "SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "CHECKPOINT_RESTORE"];

/// Memory that unit and container grant, in MiB.
const MEMORY_MIB: u64 = 512;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of `deploy/`.
fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// The text of a file of `deploy/`.
fn text(name: &str) -> Result<String> {
    let path = deploy(name);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The documents of a YAML text.
fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).context("parse YAML"))
        .collect()
}

/// The only document of a YAML file of `deploy/`.
fn document(name: &str) -> Result<Value> {
    let mut documents = documents(&text(name)?)?;
    ensure!(documents.len() == 1, "{name}: {} documents", documents.len());
    documents.pop().context("no document")
}

/// Runs a program that must succeed; what it printed as output and as messages.
fn output(command: &mut Command) -> Result<(String, String)> {
    let program = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("run {program}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    Ok((stdout, stderr))
}

/// The strings of an array.
fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
