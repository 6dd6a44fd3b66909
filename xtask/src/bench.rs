//! `cargo xtask bench`: what apiscope costs, target and measured side by side.
//!
//! Never part of pass or fail: a shared machine's times mean little by themselves.
//! What is compared is measured in one run, in alternating pairs; the pipeline is
//! also counted in instructions, which repeat.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{cargo, command, find, output, require_root, run, say, target};

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
}

pub(crate) fn task(args: &Args) -> Result<()> {
    say("build with optimisation");
    run(cargo().args(["build", "--release", "--package", "apiscope", "--bin", "apiscope"]))?;
    run(cargo().args(["build", "--release", "--package", "apiscope", "--example", "pipeline"]))?;
    let mut table = Table::default();
    pipeline(&mut table)?;
    if !args.pipeline {
        require_root("watching")?;
        for program in ["nginx", "wrk", "openssl"] {
            ensure!(find(program).is_some(), "{program} is missing: cargo xtask setup --tests");
        }
        for scheme in [Scheme::Http, Scheme::Https] {
            end_to_end(args, scheme, &mut table)?;
        }
    }
    println!("\n{}", table.render());
    Ok(())
}

/// Lines of the report.
#[derive(Default)]
struct Table {
    rows: Vec<[String; 3]>,
}

impl Table {
    fn row(&mut self, what: impl Into<String>, target: impl Into<String>, measured: String) {
        let (what, target) = (what.into(), target.into());
        println!("    {what}: {measured} (target {target})");
        self.rows.push([what, target, measured]);
    }

    fn render(&self) -> String {
        let first = self.rows.iter().map(|[what, ..]| what.len()).max().unwrap_or(0);
        let second = self.rows.iter().map(|[_, target, _]| target.len()).max().unwrap_or(0).max(6);
        let mut text = format!("{:first$}  {:>second$}  measured\n", "", "target");
        for [what, target, measured] in &self.rows {
            // Writing to a string cannot fail.
            _ = writeln!(text, "{what:first$}  {target:>second$}  {measured}");
        }
        text
    }
}

/// The stages in user space over generated records.
fn pipeline(table: &mut Table) -> Result<()> {
    say("the pipeline in user space: 1 KiB JSON exchanges");
    let program = target().join("release/examples/pipeline");
    let text = output(command(&program).arg("400000"))?;
    let number = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name} in {text}"))?.trim().parse().context("a number")
    };
    table.row("pipeline, calls/s/core", ">= 200000", format!("{:.0}", number("calls_per_second")?));
    table.row("pipeline, MB/s", "-", format!("{:.0}", number("bytes_per_second")? / 1e6));
    if find("valgrind").is_none() {
        say("valgrind is missing: instructions are not counted");
        return Ok(());
    }
    let count = |calls: u32| -> Result<u64> {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&program)
            .arg(calls.to_string());
        let result = valgrind.output().context("run valgrind")?;
        let text = String::from_utf8_lossy(&result.stderr).into_owned();
        ensure!(result.status.success(), "valgrind: {}\n{text}", result.status);
        let line = text.lines().find_map(|line| line.split_once("Collected : "));
        let (_, number) = line.with_context(|| format!("no count in {text}"))?;
        number.trim().parse().context("a number of instructions")
    };
    // The difference leaves out the start.
    let (few, many) = (count(2_000)?, count(6_000)?);
    table.row(
        "pipeline, instructions/call, with making its records",
        "-",
        format!("{}", (many - few) / 4_000),
    );
    Ok(())
}

/// Connections that together leave no processor idle.
const CONNECTIONS: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What one load gave.
#[derive(Clone, Copy, Default)]
struct Load {
    per_second: f64,
    p99_ms: f64,
    requests: f64,
}

/// What watching it cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_seconds: f64,
    resident_mib: f64,
    calls: f64,
}

impl Cost {
    /// What came after `before`.
    const fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            calls: self.calls - before.calls,
            ..self
        }
    }
}

fn end_to_end(args: &Args, scheme: Scheme, table: &mut Table) -> Result<()> {
    let name = scheme.name();
    say(&format!("{name}: nginx and wrk, alternately without, with empty programs, with apiscope"));
    let server = Nginx::start(scheme)?;
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
    let ratio = |over: &[Load], under: &[Load], value: fn(&Load) -> f64| {
        median(over.iter().zip(under).map(|(over, under)| value(over) / value(under)).collect())
    };
    let rate = |load: &Load| load.per_second;
    table.row(
        format!("{name}, one connection, throughput with / without"),
        if scheme == Scheme::Http { ">= 0.95" } else { "-" },
        format!("{:.3}", ratio(&alone_full, &alone, rate)),
    );
    table.row(
        format!("{name}, requests/s without"),
        "-",
        format!("{:.0}", median(plain.iter().map(rate).collect())),
    );
    let goal = if scheme == Scheme::Http { ">= 0.95" } else { "-" };
    table.row(
        format!("{name}, all processors busy, throughput with / without"),
        goal,
        format!("{:.3}", ratio(&full, &plain, rate)),
    );
    table.row(
        format!("{name}, throughput of empty programs / without"),
        "-",
        format!("{:.3}", ratio(&floor, &plain, rate)),
    );
    let goal = if scheme == Scheme::Https { "<= 1.3" } else { "-" };
    table.row(
        format!("{name}, time per request, apiscope / empty programs"),
        goal,
        format!("{:.3}", 1.0 / ratio(&full, &floor, rate)),
    );
    table.row(
        format!("{name}, p99 with / without"),
        "-",
        format!("{:.2}", ratio(&full, &plain, |load| load.p99_ms)),
    );
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
    // wrk cuts the last requests off without counting them.
    table.row(
        format!("{name}, completeness %"),
        "100",
        format!("{:.3}", (100.0 * seen / made).min(100.0)),
    );
    for (program, nanos) in programs {
        table.row(format!("{name}, ns per run of {program}"), "-", format!("{nanos:.0}"));
    }
    Ok(())
}

/// Nanoseconds per run of each program, by the kernel's own statistics. They cost time
/// themselves, so this load is measured for nothing else.
fn programs(args: &Args, server: &Nginx) -> Result<Vec<(String, f64)>> {
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A web server of our own, one worker, answering 1 KiB of JSON.
struct Nginx {
    child: Child,
    address: SocketAddr,
    scheme: Scheme,
    directory: PathBuf,
}

impl Nginx {
    fn start(scheme: Scheme) -> Result<Self> {
        let directory = target().join("bench");
        fs::create_dir_all(&directory).context("make a directory")?;
        let address = free_address()?;
        let tls = if scheme == Scheme::Https {
            certificate(&directory)?;
            "ssl_certificate cert.pem; ssl_certificate_key key.pem;"
        } else {
            ""
        };
        let listen = if scheme == Scheme::Https { "ssl" } else { "" };
        let body = format!(r#"{{"id":7,"name":"bench","text":"{}"}}"#, "x".repeat(980));
        let text = format!(
            "daemon off; master_process on; worker_processes 1; pid nginx.pid;
             error_log error.log; events {{ worker_connections 1024; }}
             http {{ access_log off; keepalive_requests 1000000000;
               server {{ listen {address} {listen}; {tls}
                 location / {{ default_type application/json; return 200 '{body}'; }} }} }}"
        );
        fs::write(directory.join("nginx.conf"), text).context("write nginx.conf")?;
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&directory)
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .spawn()
            .context("start nginx")?;
        let server = Self { child, address, scheme, directory };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < deadline, "nginx does not answer");
            std::thread::yield_now();
        }
        Ok(server)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn load(&self, seconds: u32, connections: u32) -> Result<Load> {
        let url = format!("{}://{}/items/7", self.scheme.name(), self.address);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "--latency"]);
        wrk.arg(format!("-c{connections}")).arg(format!("-d{seconds}s")).arg(url);
        let text = output(&mut wrk)?;
        let after = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim).with_context(|| format!("no {name} in {text}"))
        };
        let requests = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in "))
            .with_context(|| format!("no requests in {text}"))?
            .0;
        Ok(Load {
            per_second: after("Requests/sec:")?.parse().context("requests a second")?,
            p99_ms: milliseconds(after("99%")?)?,
            requests: requests.parse().context("requests")?,
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        // A server that is gone already is what is wanted.
        drop(Command::new("kill").arg(pid).status());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn milliseconds(text: &str) -> Result<f64> {
    for (unit, factor) in [("us", 0.001), ("ms", 1.0), ("s", 1000.0)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>().context("a time")? * factor);
        }
    }
    bail!("no time: {text}")
}

/// apiscope, watching one process.
struct Agent {
    child: Child,
    address: SocketAddr,
}

impl Agent {
    fn start(pid: u32, empty: bool) -> Result<Self> {
        let address = free_address()?;
        let mut agent = Command::new(target().join("release/apiscope"));
        agent
            .args(["run", "--output", "none", "--no-state", "--pid"])
            .arg(pid.to_string())
            .arg("--listen")
            .arg(address.to_string())
            .stdin(Stdio::null());
        if empty {
            agent.arg("--empty-programs");
        }
        let child = agent.spawn().context("start apiscope")?;
        let agent = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !agent.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(Instant::now() < deadline, "apiscope does not get ready");
            std::thread::yield_now();
        }
        Ok(agent)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Sums of the samples of a metric, by name and part of a label set.
    fn metric(&self, start: &str) -> Result<f64> {
        let text = self.get("/metrics")?;
        let values = text.lines().filter(|line| line.starts_with(start));
        Ok(values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    fn cost(&self) -> Result<Cost> {
        // What was captured is counted within a second.
        let mut calls = self.metric("apiscope_http_requests_total")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let wait = Instant::now() + Duration::from_millis(1200);
            while Instant::now() < wait {
                std::thread::yield_now();
            }
            let later = self.metric("apiscope_http_requests_total")?;
            if (later - calls).abs() < 0.5 || Instant::now() > deadline {
                break;
            }
            calls = later;
        }
        Ok(Cost {
            cpu_seconds: self.metric("process_cpu_seconds_total")?,
            resident_mib: self.metric("process_resident_memory_bytes")? / f64::from(1 << 20),
            calls,
        })
    }

    /// Nanoseconds per run of each program, while the kernel keeps count.
    fn programs(&self) -> Result<Vec<(String, f64)>> {
        let text = self.get("/metrics")?;
        let samples = |metric: &str| -> Vec<(String, f64)> {
            let start = format!("apiscope_kernel_program_{metric}{{program=\"");
            text.lines()
                .filter_map(|line| {
                    let (program, rest) = line.strip_prefix(&start)?.split_once('"')?;
                    Some((program.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
                })
                .collect()
        };
        let runs = samples("runs_total");
        Ok(samples("seconds_total")
            .into_iter()
            .filter_map(|(program, seconds)| {
                let (_, runs) = runs.iter().find(|(name, _)| *name == program)?;
                (*runs > 0.0).then(|| (program, seconds * 1e9 / runs))
            })
            .collect())
    }

    fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        run(Command::new("kill").arg(pid))?;
        self.child.wait().context("wait for apiscope")?;
        Ok(())
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    listener.local_addr().context("read the port")
}

fn certificate(directory: &Path) -> Result<()> {
    output(
        Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost"])
            .arg("-keyout")
            .arg(directory.join("key.pem"))
            .arg("-out")
            .arg(directory.join("cert.pem")),
    )?;
    Ok(())
}
