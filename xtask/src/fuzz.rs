//! `cargo xtask fuzz`: every fuzz target for a short time.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::shell::{cargo, command, find, output, root, run, target as target_folder};

/// Seconds that each target gets: enough to run the corpus and find what is easily found.
const SECONDS: u32 = 15;

/// The start of what looks random, where no time is asked for: a test finds today what it found
/// yesterday. With more time every run tries something else.
const SEED: u32 = 1;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fuzz each target for so long, on other inputs each time; without it a short run on the
    /// same inputs
    #[arg(long)]
    seconds: Option<u32>,
    /// Only this target; may be given several times
    #[arg(long)]
    target: Vec<String>,
}

/// What an input may cost: seconds, and mebibytes of all and of one allocation.
const LIMITS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=512", "-malloc_limit_mb=256"];

/// Pieces that a crate is compiled in: with one, cargo-fuzz's default, all processors but one
/// wait for the agent itself.
const CODEGEN_UNITS: &str = "16";

/// Installs cargo-fuzz unless it is there.
pub(crate) fn tool() -> Result<()> {
    if find("cargo-fuzz").is_some() {
        return Ok(());
    }
    run(cargo().args(["install", "--locked", "--quiet", "cargo-fuzz"]))
}

/// Runs every target.
///
/// With the address sanitizer, cargo-fuzz's default: it sees through the allocator what
/// zstd, which is C, and unsafe code do to the heap.
pub(crate) fn task(args: &Args) -> Result<()> {
    tool()?;
    let (seconds, seed) = args.seconds.map_or((SECONDS, SEED), |seconds| (seconds, 0));
    let directory = root().join("tests/fuzz");
    let target_dir = target_folder().join("fuzz");
    let list = output(command("cargo-fuzz").args(["fuzz", "list"]).current_dir(&directory))?;
    let wanted =
        |target: &&str| args.target.is_empty() || args.target.iter().any(|it| it == target);
    for target in list.split_whitespace().filter(wanted) {
        // What is found goes to the first directory; the seeds are only read.
        let corpus = target_dir.join("corpus").join(target);
        let artifacts = target_dir.join("artifacts").join(target);
        for directory in [&corpus, &artifacts] {
            fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        run(command("cargo-fuzz")
            // The sanitizers' flags are unstable; the compiler is the stable one.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", "--codegen-units", CODEGEN_UNITS, "--target-dir"])
            .arg(&target_dir)
            .arg(target)
            .arg(&corpus)
            .arg(Path::new("seeds").join(target))
            .arg("--")
            // The last one given holds: cargo-fuzz has its own.
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-seed={seed}"))
            .args(LIMITS)
            .current_dir(&directory))?;
    }
    Ok(())
}
