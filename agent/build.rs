//! Hands the compiled kernel programs to `src/probe/object.rs`.
//!
//! They are checked in for each processor, so that the agent builds with a plain
//! toolchain. `APISCOPE_BPF_OBJECT_DIR` names a directory with others, built by
//! `cargo xtask bpf` from the same sources.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const DIRECTORY: &str = "APISCOPE_BPF_OBJECT_DIR";

fn main() -> Result<(), String> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    println!("cargo::rerun-if-env-changed={DIRECTORY}");
    let directory = match env::var_os(DIRECTORY) {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(&variable("CARGO_MANIFEST_DIR")?).join("bpf"),
    };
    let architecture = variable("CARGO_CFG_TARGET_ARCH")?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    for transport in ["ring", "perf"] {
        let object = directory.join(format!("apiscope-{architecture}-{transport}.o"));
        println!("cargo::rerun-if-changed={}", object.display());
        fs::copy(&object, out.join(format!("{transport}.o"))).map_err(|error| {
            format!(
                "kernel programs for {architecture}: copy {}: {error} (`cargo xtask bpf` makes \
                 them; {DIRECTORY} names another directory)",
                object.display()
            )
        })?;
    }
    Ok(())
}
