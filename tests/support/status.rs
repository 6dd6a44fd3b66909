//! What a thread may do, as the kernel tells it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Of `/proc/PID/task/TID/status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Capabilities: effective, permitted, inheritable, ambient, bounding.
    pub effective: u64,
    /// What it can make effective.
    pub permitted: u64,
    /// What a program that it executes may inherit.
    pub inheritable: u64,
    /// What any program that it executes inherits.
    pub ambient: u64,
    /// What no program that it executes can exceed.
    pub bounding: u64,
    /// Whether programs that it executes gain nothing.
    pub no_new_privileges: bool,
    /// 2 when its system calls are filtered.
    pub seccomp: u64,
}

impl Status {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let number = |name: &str, radix| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let value = line.with_context(|| format!("{} has no {name}", path.display()))?;
            u64::from_str_radix(value.trim(), radix).with_context(|| format!("parse {name}"))
        };
        Ok(Self {
            effective: number("CapEff", 16)?,
            permitted: number("CapPrm", 16)?,
            inheritable: number("CapInh", 16)?,
            ambient: number("CapAmb", 16)?,
            bounding: number("CapBnd", 16)?,
            no_new_privileges: number("NoNewPrivs", 10)? == 1,
            seccomp: number("Seccomp", 10)?,
        })
    }

    /// That of every thread of a process, its first thread first.
    pub fn of_threads(pid: u32) -> Result<Vec<Self>> {
        let path = format!("/proc/{pid}/task");
        let mut threads = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("read {path}"))? {
            let name = entry?.file_name();
            let thread: u32 = name.to_string_lossy().parse().context("parse a thread's id")?;
            threads.push(thread);
        }
        threads.sort_by_key(|&thread| (thread != pid, thread));
        let read = |thread| Self::read(Path::new(&format!("{path}/{thread}/status")));
        threads.into_iter().map(read).collect()
    }
}
