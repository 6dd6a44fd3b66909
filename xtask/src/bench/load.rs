//! What watching a server under load costs.

use std::fs;

use anyhow::{Context as _, Result};

use super::{
    Args,
    agent::{Agent, Cost},
    server::{Load, Program, Server},
    table::{Table, median},
};
use crate::shell::say;

/// Connections that together leave no processor idle.
const CONNECTIONS: u32 = 16;

/// Requests a second of the load that leaves processors idle.
const PACE: u32 = 10_000;

/// Ratios that are aimed at, where there is an aim.
struct Goals {
    throughput: &'static str,
    floor: &'static str,
}

impl Goals {
    const fn of(program: Program) -> Self {
        match program {
            Program::NginxHttp => Self { throughput: ">= 0.95", floor: "-" },
            _ => Self { throughput: "-", floor: "<= 1.3" },
        }
    }
}

/// As many requests as the server answers, alternately without apiscope, with empty
/// programs, and with apiscope.
pub(super) fn full(args: &Args, program: Program, table: &mut Table) -> Result<()> {
    let (name, goals) = (program.name(), Goals::of(program));
    say(&format!("{name}: wrk, alternately without, with empty programs, with apiscope"));
    let server = Server::start(program)?;
    server.load(1, CONNECTIONS)?;
    let (mut plain, mut floor, mut full) = (Vec::new(), Vec::new(), Vec::new());
    let (mut alone, mut alone_full) = (Vec::new(), Vec::new());
    let mut costs = Vec::new();
    for _ in 0..args.rounds {
        plain.push(server.load(args.seconds, CONNECTIONS)?);
        alone.push(server.load(args.seconds, 1)?);
        let agent = Agent::start(server.pid(), true)?;
        floor.push(server.load(args.seconds, CONNECTIONS)?);
        agent.stop()?;
        let agent = Agent::start(server.pid(), false)?;
        let before = agent.cost()?;
        let load = server.load(args.seconds, CONNECTIONS)?;
        costs.push((load, agent.cost()?.since(before)));
        alone_full.push(server.load(args.seconds, 1)?);
        agent.stop()?;
        full.push(load);
    }
    let programs = programs(args, &server)?;
    let rate = |load: &Load| load.per_second;
    table.row(
        format!("{name}, one connection, throughput with / without"),
        goals.throughput,
        format!("{:.3}", ratio(&alone_full, &alone, rate)),
    );
    table.row(
        format!("{name}, requests/s without"),
        "-",
        format!("{:.0}", median(plain.iter().map(rate).collect())),
    );
    table.row(
        format!("{name}, all processors busy, throughput with / without"),
        goals.throughput,
        format!("{:.3}", ratio(&full, &plain, rate)),
    );
    table.row(
        format!("{name}, throughput of empty programs / without"),
        "-",
        format!("{:.3}", ratio(&floor, &plain, rate)),
    );
    table.row(
        format!("{name}, time per request, apiscope / empty programs"),
        goals.floor,
        format!("{:.3}", 1.0 / ratio(&full, &floor, rate)),
    );
    table.row(
        format!("{name}, p99 with / without"),
        "-",
        format!("{:.2}", ratio(&full, &plain, |load| load.p99_ms)),
    );
    cost(name, &costs, table);
    for (program, nanos) in programs {
        table.row(format!("{name}, ns per run of {program}"), "-", format!("{nanos:.0}"));
    }
    Ok(())
}

/// A load that the server has time for, alternately without and with apiscope.
pub(super) fn paced(args: &Args, program: Program, table: &mut Table) -> Result<()> {
    let name = format!("{} at {PACE} requests/s", program.name());
    say(&format!("{name}: hey, alternately without and with apiscope"));
    let server = Server::start(program)?;
    server.paced(1, CONNECTIONS, PACE)?;
    let (mut plain, mut full, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        plain.push(server.paced(args.seconds, CONNECTIONS, PACE)?);
        let agent = Agent::start(server.pid(), false)?;
        let before = agent.cost()?;
        let load = server.paced(args.seconds, CONNECTIONS, PACE)?;
        costs.push((load, agent.cost()?.since(before)));
        agent.stop()?;
        full.push(load);
    }
    let reached = median(full.iter().map(|load| load.per_second).collect());
    table.row(format!("{name}, reached with apiscope"), "-", format!("{reached:.0}"));
    table.row(
        format!("{name}, p99 with / without"),
        "-",
        format!("{:.2}", ratio(&full, &plain, |load| load.p99_ms)),
    );
    let share =
        |(load, cost): &(Load, Cost)| 100.0 * cost.cpu_seconds * load.per_second / load.requests;
    table.row(
        format!("{name}, agent CPU, % of a processor"),
        "<= 50",
        format!("{:.1}", median(costs.iter().map(share).collect())),
    );
    cost(&name, &costs, table);
    Ok(())
}

/// What the agent itself cost, and how much it saw.
fn cost(name: &str, costs: &[(Load, Cost)], table: &mut Table) {
    let per_thousand = |&(load, cost): &(Load, Cost)| cost.cpu_seconds * 1e6 / load.requests;
    table.row(
        format!("{name}, agent CPU ms per 1,000 requests"),
        "-",
        format!("{:.1}", median(costs.iter().map(per_thousand).collect())),
    );
    table.row(
        format!("{name}, resident MiB"),
        "<= 64",
        format!("{:.1}", costs.iter().map(|(_, cost)| cost.resident_mib).fold(0.0, f64::max)),
    );
    let seen: f64 = costs.iter().map(|(_, cost)| cost.calls).sum();
    let made: f64 = costs.iter().map(|(load, _)| load.requests).sum();
    // The last requests are cut off and not counted by who made them.
    table.row(
        format!("{name}, completeness %"),
        "100",
        format!("{:.3}", (100.0 * seen / made).min(100.0)),
    );
}

/// The median of the ratios of pairs.
fn ratio(over: &[Load], under: &[Load], value: fn(&Load) -> f64) -> f64 {
    median(over.iter().zip(under).map(|(over, under)| value(over) / value(under)).collect())
}

/// Nanoseconds per run of each program, by the kernel's own statistics. They cost time
/// themselves, so this load is measured for nothing else.
fn programs(args: &Args, server: &Server) -> Result<Vec<(String, f64)>> {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    let was = fs::read_to_string(SWITCH).with_context(|| format!("read {SWITCH}"))?;
    fs::write(SWITCH, "1").with_context(|| format!("write {SWITCH}"))?;
    let measured = Agent::start(server.pid(), false).and_then(|agent| {
        server.load(args.seconds, CONNECTIONS)?;
        agent.cost()?;
        let programs = agent.programs()?;
        agent.stop()?;
        Ok(programs)
    });
    fs::write(SWITCH, was.trim()).with_context(|| format!("write {SWITCH}"))?;
    measured
}
