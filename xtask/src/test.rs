//! `cargo xtask test`: everything that CI checks, in CI's order.
//!
//! Every step runs, whatever happened before it, so that one run says all that is
//! wrong; the summary at the end has a line for each.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    num::NonZero,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    bpf, fuzz, guests, lint, matrix, setup,
    shell::{cargo, command, output, run, say, start, target as target_folder},
    vm,
};

/// What every build is of: with another choice of packages cargo would unify features
/// otherwise, and compile dependencies again.
pub(crate) const WORKSPACE: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];

/// Steps at the same time, at most: an emulated machine keeps one processor busy.
const LANES_MAX: usize = 3;

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
pub(crate) enum Outcome {
    Passed,
    /// Passed, and there is something to tell.
    Told(String),
    Skipped(String),
}

pub(crate) fn task(args: &Args) -> Result<()> {
    let in_guests = !(args.quick || args.no_vm);
    let mut steps = Steps::default();
    steps.run("set-up", || passed(setup(in_guests, !args.quick)));
    steps.run("lint", || passed(lint::task()));
    steps.run("kernel programs", || passed(bpf::check()));
    steps.run("build", || passed(run(cargo().arg("build").args(WORKSPACE).arg("--all-targets"))));
    steps.run("unit tests", || {
        passed(run_tests(cargo().arg("test").args(WORKSPACE).args(["--lib", "--bins"])))
    });
    steps.run("tests on this machine", host_tests);
    let left_out = || if args.quick { "--quick" } else { "--no-vm" }.to_owned();
    let mut jobs = vec![Job::new("fuzz", &["fuzz"], (args.quick).then(left_out))];
    if !args.quick
        && let Err(error) = fuzz::tool()
    {
        jobs = vec![Job::new("fuzz", &["fuzz"], Some(format!("no cargo-fuzz: {error:#}")))];
    }
    for kernel in vm::kernel::all() {
        let name = format!("tests on kernel {}", kernel.name);
        let vm = ["vm", "--kernel", kernel.name, "--few"];
        jobs.push(Job::new(&name, &vm, (!in_guests).then(left_out)));
    }
    steps.together(&jobs);
    steps.summary()
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

/// A step that is a task of its own, so that several can run at the same time.
struct Job {
    name: String,
    task: Vec<String>,
    /// Why it does not run.
    left_out: Option<String>,
}

impl Job {
    fn new(name: &str, task: &[&str], left_out: Option<String>) -> Self {
        let task = task.iter().map(|&word| word.to_owned()).collect();
        Self { name: name.to_owned(), task, left_out }
    }

    /// Runs it, and returns what it printed.
    fn run(&self) -> (String, Result<Outcome>) {
        if let Some(reason) = &self.left_out {
            return (String::new(), Ok(Outcome::Skipped(reason.clone())));
        }
        let mut printed = String::new();
        let result = self.run_into(&mut printed);
        (printed, result)
    }

    fn run_into(&self, printed: &mut String) -> Result<Outcome> {
        let directory = target_folder().join("steps");
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let path = directory.join(self.name.replace(' ', "-"));
        let file = fs::File::create(&path).with_context(|| format!("make {}", path.display()))?;
        say(&format!(
            "step: {}: until it ends, what it prints is in {}",
            self.name,
            path.display()
        ));
        // Not by its name: the tests build this program too, and another one has it then.
        let mut command = command("/proc/self/exe");
        // An emulated machine has one processor, and so has each of them here.
        command.args(&self.task).env("CARGO_BUILD_JOBS", "1").stdin(Stdio::null());
        command.stdout(file.try_clone().context("share a file")?).stderr(file);
        let result = run(&mut command);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        *printed = String::from_utf8_lossy(&bytes).into_owned();
        let mut failures = Failures::default();
        printed.lines().for_each(|line| failures.line(line));
        result.with_context(|| format!("failed: {}", failures.0.join(", ")))?;
        Ok(Outcome::Passed)
    }
}

/// The steps that ran.
#[derive(Default)]
pub(crate) struct Steps {
    lines: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Steps {
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) {
        eprintln!();
        say(&format!("step: {name}"));
        let started = Instant::now();
        let result = step();
        self.add(name, started.elapsed(), result);
    }

    /// Runs steps at the same time, as many as there are processors, three at most; what each printed is
    /// shown when it has ended.
    fn together(&mut self, jobs: &[Job]) {
        let lanes = thread::available_parallelism().map_or(1, NonZero::get).min(LANES_MAX);
        let queue = Mutex::new(jobs.iter());
        let (sender, ended) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..lanes {
                let (sender, queue) = (sender.clone(), &queue);
                scope.spawn(move || {
                    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    while let Some(job) = next() {
                        let started = Instant::now();
                        let ran = job.run();
                        if sender.send((job, started.elapsed(), ran)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (job, took, (printed, result)) in ended {
                eprintln!();
                say(&format!("step: {}", job.name));
                print!("{printed}");
                self.add(&job.name, took, result);
            }
        });
    }

    /// Adds a step that has ended.
    fn add(&mut self, name: &str, took: Duration, result: Result<Outcome>) {
        let seconds = took.as_secs_f32();
        let line = match result {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                format!("passed   {seconds:>6.1} s  {name}")
            }
            Ok(Outcome::Told(what)) => {
                self.passed += 1;
                format!("passed   {seconds:>6.1} s  {name}: {what}")
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

    pub(crate) fn summary(&self) -> Result<()> {
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
    for target in targets()?.iter().filter(|target| !target.name.starts_with(guests::GUEST_ONLY)) {
        test.args(["--test", &target.name]);
    }
    // One after the other: an agent that shares two processors with another test's programs
    // places its probes late.
    test.args(["--", "--test-threads=1"]);
    let proofs = matrix::file()?;
    run_tests(test.env(matrix::VARIABLE, &proofs))?;
    passed(matrix::check(&proofs))
}

/// Runs tests, and fails with the names of those that failed: what they said is far above
/// the summary.
fn run_tests(command: &mut Command) -> Result<()> {
    let mut child = start(command.stdout(Stdio::piped()))?;
    let mut failures = Failures::default();
    for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
        let line = line.context("read what the tests say")?;
        println!("{line}");
        failures.line(&line);
    }
    let status = child.wait().context("wait for the tests")?;
    ensure!(status.success(), "{status}; failed: {}", failures.0.join(", "));
    Ok(())
}

/// Names of tests that failed, as the test harness lists them.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn line(&mut self, line: &str) {
        let name = line.strip_prefix("    ").filter(|name| {
            let symbol = |char: char| char.is_alphanumeric() || "_:".contains(char);
            !name.is_empty() && name.chars().all(symbol)
        });
        if let Some(name) = name
            && !self.0.iter().any(|known| known == name)
        {
            self.0.push(name.to_owned());
        }
    }
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
    fn steps_at_the_same_time_are_all_told() {
        let mut steps = Steps::default();
        let left_out = |number| Job::new(&format!("step {number}"), &[], Some("why".into()));
        steps.together(&[1, 2, 3, 4, 5].map(left_out));
        steps.lines.sort_unstable();
        assert_eq!(steps.lines.len(), 5);
        assert!(steps.lines.iter().all(|line| line.starts_with("skipped")), "{:?}", steps.lines);
        assert_eq!(steps.counts(), "0 passed, 0 failed");
    }

    #[test]
    fn tests_that_failed_are_told_by_name() {
        let mut failures = Failures::default();
        let said = "test a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nError: no\n\
                    \n    an indented line\n\nfailures:\n    a::b\n\ntest result: FAILED. 1";
        said.lines().for_each(|line| failures.line(line));
        assert_eq!(failures.0, ["a::b"]);
        let run = |script| run_tests(Command::new("sh").args(["-c", script]));
        assert!(run("echo '    a::b'").is_ok());
        let error = run("echo '    a::b'; exit 1").unwrap_err().to_string();
        assert!(error.ends_with("failed: a::b"), "{error}");
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
