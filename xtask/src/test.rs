//! `cargo xtask test`: everything that CI checks, in CI's order.
//!
//! Every step runs, whatever happened before it, so that one run says all that is
//! wrong; the summary at the end has a line for each.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    bpf, lint, matrix, setup,
    shell::{cargo, command, find, output, quote, root, run, say, target as target_folder},
    vm,
};

/// Targets of the `tests` package that run in guests: `kernel` also on this
/// machine, those that begin with `vm` nowhere else, because they observe all that
/// runs.
const KERNEL: &str = "kernel";
const GUEST_ONLY: &str = "vm";

/// The kernel whose guest also captures TLS of several libraries: the oldest, which lacks
/// most.
const CAPTURE_KERNEL: &str = "5.10";

/// What every build is of: with another choice of packages cargo would unify features
/// otherwise, and compile dependencies again.
const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];

/// Seconds that each fuzz target gets: enough to run the corpus and find what is
/// easily found.
const FUZZ_SECONDS: u32 = 15;

/// What an input may cost: seconds, and mebibytes of all and of one allocation.
const FUZZ_LIMITS: [&str; 3] = ["-timeout=5", "-rss_limit_mb=512", "-malloc_limit_mb=256"];

/// How long the tests may take in a guest, which is 10 to 30 times slower.
const GUEST_TIMEOUT: Duration = Duration::from_mins(7);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only what needs neither fuzzing nor virtual machines.
    #[arg(long)]
    quick: bool,
    /// Leave the virtual machines out.
    #[arg(long)]
    no_vm: bool,
}

/// What became of a step that did not fail.
enum Outcome {
    Passed,
    Skipped(String),
}

pub(crate) fn task(args: &Args) -> Result<()> {
    let guests = !(args.quick || args.no_vm);
    let mut steps = Steps::default();
    steps.run("set-up", || passed(setup(guests, !args.quick)));
    steps.run("lint", || passed(lint::task()));
    steps.run("kernel programs", || passed(bpf::check()));
    steps.run("build", || passed(run(cargo().arg("build").args(WORKSPACE).arg("--all-targets"))));
    steps.run("unit tests", || {
        passed(run(cargo().arg("test").args(WORKSPACE).args(["--lib", "--bins"])))
    });
    steps.run("tests on this machine", host_tests);
    steps.run("fuzz", || if args.quick { Ok(Outcome::Skipped("--quick".into())) } else { fuzz() });
    for kernel in vm::kernel::all() {
        steps.run(&format!("tests on kernel {}", kernel.name), || {
            if guests {
                guest_tests(kernel)
            } else {
                Ok(Outcome::Skipped(if args.quick { "--quick" } else { "--no-vm" }.into()))
            }
        });
    }
    steps.summary()
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

/// The steps that ran.
#[derive(Default)]
struct Steps {
    lines: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Steps {
    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) {
        eprintln!();
        say(&format!("step: {name}"));
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f32();
        let line = match result {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                format!("passed   {seconds:>6.1} s  {name}")
            }
            Ok(Outcome::Skipped(reason)) => format!("skipped  {seconds:>6.1} s  {name}: {reason}"),
            Err(error) => {
                self.failed += 1;
                eprintln!("error: {name}: {error:#}");
                format!("FAILED   {seconds:>6.1} s  {name}: {error:#}")
            }
        };
        self.lines.push(line);
    }

    fn summary(&self) -> Result<()> {
        println!("\nsummary");
        for line in &self.lines {
            println!("{line}");
        }
        println!("{}", self.counts());
        // The counts are the last line, so the error is said by the status alone.
        if self.failed > 0 {
            return Err(crate::Reported.into());
        }
        Ok(())
    }

    fn counts(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failed)
    }
}

fn setup(vm: bool, bpf: bool) -> Result<()> {
    setup::task(&setup::Args { bpf, vm, tests: true })
}

/// A test program of the `tests` package.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
}

/// Compiles the test programs and says where they are.
pub(crate) fn targets() -> Result<Vec<Target>> {
    let mut build = cargo();
    build.arg("test").args(WORKSPACE).args(["--tests", "--no-run", "--quiet"]);
    let messages = output(build.arg("--message-format=json"))?;
    messages
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).context("read cargo's messages"))
        .filter_map(|message| message.map(|message: Value| target(&message)).transpose())
        .collect()
}

/// The integration test that a message of cargo is about.
fn target(message: &Value) -> Option<Target> {
    let target = message.get("target")?;
    let is_test = target.get("kind")?.as_array()?.iter().any(|kind| kind == "test");
    let executable = message.get("executable")?.as_str()?;
    let name = target.get("name")?.as_str()?;
    is_test.then(|| Target { name: name.to_owned(), executable: executable.into() })
}

fn host_tests() -> Result<Outcome> {
    let mut test = cargo();
    test.arg("test").args(WORKSPACE).arg("--no-fail-fast");
    for target in targets()?.iter().filter(|target| !target.name.starts_with(GUEST_ONLY)) {
        test.args(["--test", &target.name]);
    }
    let proofs = matrix::file()?;
    run(test.env(matrix::VARIABLE, &proofs))?;
    passed(matrix::check(&proofs))
}

fn guest_tests(kernel: vm::kernel::Kernel) -> Result<Outcome> {
    let mut programs = Vec::new();
    for target in targets()? {
        if target.name == KERNEL || target.name.starts_with(GUEST_ONLY) {
            programs.push(quote(&target.executable.to_string_lossy()));
        }
    }
    if programs.is_empty() {
        return Ok(Outcome::Skipped("no test program is for a guest".into()));
    }
    let script = format!(
        "failed=0\nfor program in {}; do\n\
         echo \"$program\"\n\"$program\" --test-threads=1 || failed=1\n\
         done\nexit $failed\n",
        programs.join(" ")
    );
    let guest = vm::Guest { smp: 1, memory: 2048, timeout: GUEST_TIMEOUT, script };
    let status = guest.run(kernel, None)?.status;
    ensure!(status == 0, "the tests ended with status {status}");
    if kernel.name == CAPTURE_KERNEL {
        matrix::check_guest(kernel)?;
    }
    Ok(Outcome::Passed)
}

/// Runs every fuzz target for a short time.
///
/// With the address sanitizer, cargo-fuzz's default: a first build takes 11 minutes
/// of processor time instead of 7, a later one 90 seconds for the agent alone, and it
/// sees through the allocator what zstd, which is C, and unsafe code do to the heap.
fn fuzz() -> Result<Outcome> {
    let directory = root().join("tests/fuzz");
    if !directory.join("Cargo.toml").is_file() {
        return Ok(Outcome::Skipped("there is no tests/fuzz".into()));
    }
    if find("cargo-fuzz").is_none()
        && let Err(error) = run(cargo().args(["install", "--locked", "--quiet", "cargo-fuzz"]))
    {
        return Ok(Outcome::Skipped(format!("no cargo-fuzz: {error:#}")));
    }
    let target_dir = target_folder().join("fuzz");
    let list = output(command("cargo-fuzz").args(["fuzz", "list"]).current_dir(&directory))?;
    for target in list.split_whitespace() {
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
            .args(["fuzz", "run", "--target-dir"])
            .arg(&target_dir)
            .arg(target)
            .arg(&corpus)
            .arg(Path::new("seeds").join(target))
            .arg("--")
            // The last one given holds: cargo-fuzz has its own.
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(format!("-max_total_time={FUZZ_SECONDS}"))
            .args(FUZZ_LIMITS)
            .current_dir(&directory))?;
    }
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_step_does_not_keep_the_next_from_running() {
        let mut steps = Steps::default();
        steps.run("first", || bail!("no"));
        steps.run("second", || Ok(Outcome::Passed));
        steps.run("third", || Ok(Outcome::Skipped("why".into())));
        assert_eq!(steps.counts(), "1 passed, 1 failed");
        assert!(steps.summary().is_err());
    }

    #[test]
    fn an_integration_test_is_told_from_other_artifacts() {
        let message = |kind: &str, executable: Value| {
            serde_json::json!({
                "reason": "compiler-artifact",
                "target": { "kind": [kind], "name": "kernel" },
                "executable": executable,
            })
        };
        let found = target(&message("test", "/target/kernel-1".into())).unwrap();
        assert_eq!(found.name, "kernel");
        assert!(target(&message("lib", "/target/support-1".into())).is_none());
        assert!(target(&message("test", Value::Null)).is_none());
    }
}
