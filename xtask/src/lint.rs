//! `cargo xtask lint`: format, clippy for the host and for the kernel, `tidy`.

use anyhow::Result;

use crate::{
    bpf::toolchain,
    shell::{cargo, run, say},
    tidy,
};

pub(crate) fn task() -> Result<()> {
    say("format");
    run(cargo().args(["fmt", "--all", "--check"]))?;
    say("clippy");
    run(cargo()
        .args(["clippy", "--workspace", "--exclude", "agent-ebpf", "--all-targets"])
        .args(["--", "-D", "warnings"]))?;
    kernel_clippy()?;
    tidy::task()
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
    for features in [&[][..], &["perf"]] {
        run(tools.clippy(features)?.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}
