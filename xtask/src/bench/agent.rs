//! The agent that is measured.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::server::free_address;
use crate::shell::{run, target};

/// What watching it cost.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) resident_mib: f64,
    pub(super) calls: f64,
}

impl Cost {
    /// What came after `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
            calls: self.calls - before.calls,
            ..self
        }
    }
}

/// apiscope, watching one process.
pub(super) struct Agent {
    child: Child,
    address: SocketAddr,
}

impl Agent {
    pub(super) fn start(pid: u32, empty: bool) -> Result<Self> {
        let address = free_address()?;
        let mut agent = Command::new(target().join("release/apiscope"));
        agent
            .args(["run", "--output", "none", "--no-state", "--cpu-budget", "off", "--pid"])
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

    pub(super) fn cost(&self) -> Result<Cost> {
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
    pub(super) fn programs(&self) -> Result<Vec<(String, f64)>> {
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

    pub(super) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        run(Command::new("kill").arg(pid))?;
        self.child.wait().context("wait for apiscope")?;
        Ok(())
    }
}
