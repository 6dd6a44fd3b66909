//! `cargo xtask bench`: what apiscope costs, target and measured side by side.
//!
//! Never part of pass or fail: a shared machine's times mean little by themselves.
//! What is compared is measured in one run, in alternating pairs; the pipeline is
//! also counted in instructions, which repeat.

use anyhow::{Result, ensure};

use self::{server::Program, table::Table};
use crate::shell::{cargo, find, require_root, run, say};

mod agent;
mod load;
mod pipeline;
mod server;
mod table;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds of each load.
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Alternating rounds: without, with empty programs, with apiscope.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Only the pipeline in user space, which needs no privileges.
    #[arg(long)]
    pipeline: bool,
    /// Only nginx, not the servers in Go, Node.js and CPython.
    #[arg(long)]
    nginx: bool,
}

pub(crate) fn task(args: &Args) -> Result<()> {
    say("build with optimisation");
    run(cargo().args(["build", "--release", "--package", "apiscope", "--bin", "apiscope"]))?;
    run(cargo().args(["build", "--release", "--package", "apiscope", "--example", "pipeline"]))?;
    let mut table = Table::default();
    pipeline::measure(&mut table)?;
    if !args.pipeline {
        require_root("watching")?;
        for program in ["nginx", "wrk", "hey", "openssl"] {
            ensure!(find(program).is_some(), "{program} is missing: cargo xtask setup --tests");
        }
        load::full(args, Program::NginxHttp, &mut table)?;
        load::paced(args, Program::NginxHttp, &mut table)?;
        load::full(args, Program::NginxHttps, &mut table)?;
        for program in [Program::Go, Program::Node, Program::Python] {
            if !args.nginx {
                load::full(args, program, &mut table)?;
            }
        }
    }
    println!("\n{}", table.render());
    Ok(())
}
