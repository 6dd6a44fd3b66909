//! `cargo xtask matrix`: which TLS stack is captured on which kernel, as the end-to-end
//! tests prove it, here and in a guest for each other kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use self::table::{Proof, Table};
use crate::{
    shell::{cargo, command, quote, root, run, say, target as target_folder},
    test::{Target, WORKSPACE},
    vm,
};

mod table;

/// The document that the table is in.
const DOCUMENT: &str = "ARCHITECTURE.md";

/// The test program, and those of its tests that tell proofs.
const PROGRAM: &str = "e2e";
const TESTS: &[&str] = &[
    "asyncio::https_on_kept",
    "coverage::connections_of_a_program_with_its_own_tls",
    "curl::",
    "gnutls::https_of",
    "go::a_reverse_proxy",
    "go::https_of_clients",
    "go::https_of_servers",
    "java::",
    "ktls::",
    "languages::",
    "nginx::every_call_over_tls",
    "nginx::every_https_call_on_kept",
    "node::https_of_a_client",
    "node::https_of_a_server_is_seen",
    "nss::https_of_a_client",
    "openssl::",
    "python::https_over_ipv4",
    "python::sessions_at",
    "quic::",
    "rustls::https_of",
    "rustls::connections",
    "servers::",
    "stripped::",
    "uring::",
    "wheels::",
];

/// Of these, what `cargo xtask test` runs in a guest: one of each kind of library that has
/// names, where one end alone is observed.
const FEW: &[&str] = &[
    "asyncio::https_on_kept",
    "gnutls::https_of_a_reverse_proxy",
    "go::https_of_servers",
    "languages::https_of_a_ruby_server",
    "node::https_of_a_server_is_seen",
    "nss::https_of_a_client",
    "wheels::https_by_rustls_that",
];

/// An emulated machine makes so many times fewer calls.
const DIVISOR: u32 = 50;

/// How long the tests may take in a guest.
const GUEST_TIMEOUT: Duration = Duration::from_mins(40);

/// How the lines begin in which a guest tells its proofs.
const TOLD: &str = "proof: ";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One kernel: here, 5.10, 6.1, 6.12 or sid. Without it all of them.
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Only tests whose names contain this; may be given again.
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Write the table into ARCHITECTURE.md. Kernels that did not run keep their column; with
    /// --only, also what other tests told is kept.
    #[arg(long)]
    write: bool,
}

pub(crate) fn task(args: &Args) -> Result<()> {
    run(cargo().arg("build").args(WORKSPACE).arg("--all-targets"))?;
    let program = program()?;
    let wanted = |name: &str| args.kernel.as_deref().is_none_or(|kernel| kernel == name);
    let only: Vec<&str> = args.only.iter().map(String::as_str).collect();
    let tests = if only.is_empty() { TESTS } else { &only };
    let mut proofs = Vec::new();
    let mut failed = Vec::new();
    if wanted(HERE) {
        let (found, passed) = here(&program, tests)?;
        proofs.extend(found);
        failed.extend((!passed).then_some(HERE));
    }
    for kernel in vm::kernel::all().filter(|kernel| wanted(kernel.name)) {
        let (found, passed) = guest(kernel, &program, tests)?;
        proofs.extend(found);
        failed.extend((!passed).then_some(kernel.name));
    }
    ensure!(!proofs.is_empty(), "nothing ran: there is no kernel {:?}", args.kernel);
    let mut table = Table::default();
    table.add(&proofs);
    println!("{table}");
    if args.write {
        let text = document()?;
        let mut whole = Table::parse(&text)?;
        if only.is_empty() {
            whole.replace(&proofs);
        } else {
            whole.add(&proofs);
        }
        let path = root().join(DOCUMENT);
        fs::write(&path, whole.into_document(&text)?)
            .with_context(|| format!("write {}", path.display()))?;
        say(&format!("the table is in {DOCUMENT}"));
    }
    ensure!(failed.is_empty(), "tests failed on: {}", failed.join(", "));
    Ok(())
}

/// The name of this machine's kernel.
const HERE: &str = "here";

/// Where the tests that run on this machine tell their proofs.
pub(crate) fn file() -> Result<PathBuf> {
    let path = target_folder().join("proofs");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// The variable that names the file to the tests.
pub(crate) const VARIABLE: &str = "APISCOPE_PROOFS";

/// Fails unless the table in the document says of this machine's kernel what all tests
/// have just proven. A kernel that is not in the table is told, and no failure.
pub(crate) fn check(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    agree(&parse(&text)?, true)
}

/// Runs a few of the tests in a guest, and compares them with the table.
pub(crate) fn check_guest(kernel: vm::kernel::Kernel) -> Result<()> {
    let (proofs, passed) = guest(kernel, &program()?, FEW)?;
    ensure!(passed, "the end-to-end tests failed");
    agree(&proofs, false)
}

/// Runs all of the tests in a guest, and fails unless they prove whatever the table says of
/// its kernel; how much that is.
pub(crate) fn check_guest_whole(kernel: vm::kernel::Kernel) -> Result<String> {
    let (proofs, passed) = guest(kernel, &program()?, TESTS)?;
    let mut table = Table::default();
    table.add(&proofs);
    println!("{table}");
    agree(&proofs, true)?;
    let failed = if passed { "" } else { "; tests failed of which the table says nothing" };
    Ok(format!("{} programs as the table says{failed}", table.rows()))
}

fn agree(proofs: &[Proof], all: bool) -> Result<()> {
    ensure!(!proofs.is_empty(), "no test has proven anything");
    let problems = Table::parse(&document()?)?.problems(proofs, all);
    ensure!(
        problems.is_empty(),
        "{DOCUMENT} says otherwise (cargo xtask matrix --write): {}",
        problems.join("; ")
    );
    Ok(())
}

fn document() -> Result<String> {
    let path = root().join(DOCUMENT);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Proof>> {
    text.lines().map(|line| serde_json::from_str(line).context("read a proof")).collect()
}

fn program() -> Result<PathBuf> {
    let found = crate::test::targets()?.into_iter().find(|target| target.name == PROGRAM);
    found.map(|Target { executable, .. }| executable).context("there is no test e2e")
}

/// What the tests prove on this machine, and whether all passed.
fn here(program: &Path, tests: &[&str]) -> Result<(Vec<Proof>, bool)> {
    let file = file()?;
    let passed = run(command(program).args(tests).env(VARIABLE, &file)).is_ok();
    let text = fs::read_to_string(&file).unwrap_or_default();
    Ok((parse(&text)?, passed))
}

/// What the tests prove in a guest, and whether all passed.
fn guest(kernel: vm::kernel::Kernel, program: &Path, tests: &[&str]) -> Result<(Vec<Proof>, bool)> {
    let script = format!(
        "export {VARIABLE}=/run/proofs APISCOPE_CALLS_DIVISOR={DIVISOR}\n\
         {} --test-threads=1 {}\nstatus=$?\n\
         sed 's/^/{TOLD}/' /run/proofs\nexit $status\n",
        quote(&program.to_string_lossy()),
        tests.join(" ")
    );
    let guest =
        vm::Guest { smp: 1, memory: 3072, cgroup: vm::Cgroup::V2, timeout: GUEST_TIMEOUT, script };
    let ended = guest.run(kernel, Some(TOLD))?;
    Ok((parse(&ended.told.join("\n"))?, ended.status == 0))
}
