//! What a test has proven of a TLS stack, for the table in ARCHITECTURE.md.

use std::{env, fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::call::Call;

/// Names the file that proofs are added to, a JSON object each. `cargo xtask matrix` and
/// `cargo xtask test` set it.
const FILE: &str = "APISCOPE_PROOFS";

/// Every call of a program was seen, exactly once, with its right peer: the test compared
/// them with what was done, ports included, or saw both ends of each.
pub fn whole(stack: &str, program: &str, calls: &[Call]) -> Result<()> {
    tell(stack, program, calls.len() as u64, "yes")
}

/// Every call of a program was seen, exactly once; its peer is known, and right, where its
/// session was bound to its socket by inference.
pub fn in_part(stack: &str, program: &str, calls: &[Call]) -> Result<()> {
    tell(stack, program, calls.len() as u64, "peer in part")
}

/// No call of a program can be seen, and its connections were reported with the reason.
pub fn opaque(stack: &str, program: &str, connections: u64) -> Result<()> {
    tell(stack, program, connections, "reported")
}

fn tell(stack: &str, program: &str, count: u64, seen: &str) -> Result<()> {
    ensure!(count > 0, "nothing is proven by no calls");
    let Some(path) = env::var_os(FILE) else { return Ok(()) };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let proof = json!({
        "stack": stack, "program": program, "kernel": kernel, "seen": seen,
    });
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).context("open proofs")?;
    // One write, so that tests side by side do not mix their lines.
    file.write_all(format!("{proof}\n").as_bytes()).context("write a proof")
}
