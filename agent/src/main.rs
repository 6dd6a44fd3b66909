//! The program: parse, start logging, run, exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use apiscope::{
    cli::{Cli, Command, DoctorArgs},
    doctor,
    inspect::Inspector,
    log, run,
};
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something went wrong; of `run -- CMD`, CMD's status takes its place.
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start();
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Record(args) => run::record::record(&args),
        Command::Replay(args) => run::replay::replay(&args).map(|()| 0),
        Command::Inventory(args) => run::read::inventory(&args).map(|()| 0),
        Command::Findings(args) => run::read::findings(&args).map(|()| 0),
        Command::Openapi(args) => run::read::openapi(&args).map(|()| 0),
        Command::Doctor(args) => diagnose(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nothing is left to tell it to if this fails.
            drop(writeln!(io::stderr(), "apiscope: {error:#}"));
            ExitCode::from(FAILURE)
        }
    }
}

fn diagnose(args: &DoctorArgs) -> anyhow::Result<u8> {
    // Before anything else is started.
    let mut inspector = Inspector::start()?;
    let mut checks = doctor::host();
    if args.load {
        checks.extend(doctor::load());
    }
    for &pid in &args.pid {
        checks.extend(doctor::process(pid, &mut inspector));
    }
    checks.extend(doctor::coverage(&args.state));
    let (text, works) = doctor::render(&checks);
    io::stdout().write_all(text.as_bytes())?;
    Ok(if works { 0 } else { FAILURE })
}
