//! `cargo xtask lint`: format, clippy for the host and for the kernel, `tidy`.

use anyhow::{Result, ensure};

use crate::{
    bpf::toolchain,
    shell::{cargo, run, say},
    tidy,
};

/// A part of the task, with its name.
type Part = (&'static str, fn() -> Result<()>);

/// Runs every part, whatever the others found, and fails with what failed.
pub(crate) fn task() -> Result<()> {
    let parts: [Part; 4] = [
        ("format", format),
        ("clippy", clippy),
        ("clippy of the kernel programs", kernel_clippy),
        ("tidy", tidy::task),
    ];
    let mut failed = Vec::new();
    for (name, part) in parts {
        if let Err(error) = part() {
            eprintln!("error: {name}: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn format() -> Result<()> {
    say("format");
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    say("clippy");
    run(cargo()
        .args(["clippy", "--workspace", "--exclude", "agent-ebpf", "--all-targets"])
        .args(["--", "-D", "warnings"]))
}

/// The kernel programs are linted for both transports, where their toolchain is.
fn kernel_clippy() -> Result<()> {
    let tools = match toolchain::find() {
        Ok(tools) if tools.has_clippy() => tools,
        Ok(_) => {
            say("kernel programs not linted: their toolchain has no clippy");
            return Ok(());
        }
        Err(error) => {
            say(&format!("kernel programs not linted: {error:#}"));
            return Ok(());
        }
    };
    say("clippy of the kernel programs");
    for features in [&[][..], &["perf"]] {
        run(tools.clippy(features)?.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
