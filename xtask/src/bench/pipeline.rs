//! The stages in user space, without a kernel.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::table::Table;
use crate::shell::{command, find, output, say, target};

/// Measures them over generated records.
pub(super) fn measure(table: &mut Table) -> Result<()> {
    say("the pipeline in user space: 1 KiB JSON exchanges");
    let program = target().join("release/examples/pipeline");
    let text = output(command(&program).arg("400000"))?;
    let number = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name} in {text}"))?.trim().parse().context("a number")
    };
    table.row("pipeline, calls/s/core", ">= 200000", format!("{:.0}", number("calls_per_second")?));
    table.row("pipeline, MB/s", "-", format!("{:.0}", number("bytes_per_second")? / 1e6));
    if find("valgrind").is_none() {
        say("valgrind is missing: instructions are not counted");
        return Ok(());
    }
    let count = |calls: u32| -> Result<u64> {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .arg(calls.to_string());
        let result = valgrind.output().context("run valgrind")?;
        let text = String::from_utf8_lossy(&result.stderr).into_owned();
        ensure!(result.status.success(), "valgrind: {}\n{text}", result.status);
        let line = text.lines().find_map(|line| line.split_once("Collected : "));
        let (_, number) = line.with_context(|| format!("no count in {text}"))?;
        number.trim().parse().context("a number of instructions")
    };
    // The difference leaves out the start.
    let (few, many) = (count(2_000)?, count(6_000)?);
    table.row(
        "pipeline, instructions/call, with making its records",
        "-",
        format!("{}", (many - few) / 4_000),
    );
    Ok(())
}
