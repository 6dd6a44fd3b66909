//! The project's tasks: `cargo xtask TASK`.
//!
//! A task says what it is about to do, and shows every command that it runs, so
//! that a person can do the same by hand.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a task talks to the person who ran it"
)]

use std::{error::Error, fmt, process::ExitCode};

use clap::Parser;

mod bench;
mod bpf;
mod demo;
mod fuzz;
mod guests;
mod lint;
mod matrix;
mod python;
mod setup;
mod shell;
mod suite;
mod test;
mod tidy;
mod vm;

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Task {
    /// Installs what the other tasks need (Debian 12, as root); does nothing twice.
    Setup(setup::Args),
    /// Compiles the kernel programs, or checks the compiled ones.
    Bpf(bpf::Args),
    /// Format, clippy and `tidy`.
    Lint,
    /// The project's own rules: file length, fixtures, metrics in the README.
    Tidy,
    /// Runs the fuzz targets, each for a short time, on the same inputs, or for longer.
    Fuzz(fuzz::Args),
    /// Runs a command as root in a virtual machine with another kernel; without one, the tests.
    Vm(vm::Args),
    /// Shows which TLS stack is captured on which kernel, by the tests that prove it.
    Matrix(matrix::Args),
    /// Everything that CI checks, in CI's order.
    Test(test::Args),
    /// Watches a small API under the traffic of a few clients and shows what is seen.
    Demo(demo::Args),
    /// Measures what apiscope costs; never part of pass or fail.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Setup(args) => setup::task(&args),
        Task::Bpf(args) => bpf::task(&args),
        Task::Lint => lint::task(),
        Task::Tidy => tidy::task(),
        Task::Fuzz(args) => fuzz::task(&args),
        Task::Vm(args) => return vm::task(&args),
        Task::Matrix(args) => matrix::task(&args),
        Task::Test(args) => test::task(&args),
        Task::Demo(args) => demo::task(&args),
        Task::Bench(args) => bench::task(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is::<Reported>() {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The error of a task that has already said what is wrong.
#[derive(Debug)]
struct Reported;

impl fmt::Display for Reported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("reported above")
    }
}

impl Error for Reported {}
