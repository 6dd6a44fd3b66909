//! What the operator chose to observe, and how that is told to the kernel.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use agent_common::{
    limits::COMM_LEN,
    scope::{Comm, FileKey, ScopeMode},
};
use anyhow::{Context as _, Result, bail, ensure};

/// Processes to observe: the union of all that is set. The agent itself is never
/// observed.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Every process of the host.
    pub all: bool,
    /// These processes.
    pub pids: Vec<u32>,
    /// Every process under this cgroup (version 2).
    pub cgroup: Option<PathBuf>,
    /// Processes with one of these task names.
    pub comms: Vec<String>,
    /// Processes that run one of these programs.
    pub exes: Vec<PathBuf>,
    /// Only the processes themselves, not those that they start.
    pub no_follow: bool,
    /// A command is started and observed; the pid is added once it has one.
    pub command: bool,
}

/// A cgroup, as the kernel side compares it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cgroup {
    /// Inode number of its directory: what `bpf_get_current_cgroup_id` returns.
    pub id: u64,
    /// Depth in the hierarchy; the root is 0.
    pub level: u32,
}

impl Scope {
    /// Nothing was chosen.
    pub fn is_empty(&self) -> bool {
        !self.all
            && !self.command
            && self.pids.is_empty()
            && self.cgroup.is_none()
            && self.comms.is_empty()
            && self.exes.is_empty()
    }

    /// The set of processes never changes, so that probes can be attached to each.
    pub fn is_fixed(&self) -> bool {
        self.no_follow
            && !self.all
            && !self.command
            && self.cgroup.is_none()
            && self.comms.is_empty()
            && self.exes.is_empty()
    }

    /// The mode of the kernel side.
    pub fn mode(&self) -> ScopeMode {
        if self.all {
            ScopeMode::ALL
        } else if self.cgroup.is_some() {
            ScopeMode::CGROUP
        } else {
            ScopeMode::MAP
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        if self.all {
            return "the whole host".into();
        }
        let mut parts = Vec::new();
        if self.command {
            parts.push("the command and its descendants".to_owned());
        }
        parts.extend(self.pids.iter().map(|pid| format!("process {pid}")));
        parts.extend(self.cgroup.iter().map(|path| format!("cgroup {}", path.display())));
        parts.extend(self.comms.iter().map(|comm| format!("processes named {comm}")));
        parts.extend(self.exes.iter().map(|path| format!("processes that run {}", path.display())));
        parts.join(", ")
    }
}

/// A task name as the kernel holds it.
pub fn comm(name: &str) -> Result<Comm> {
    ensure!(!name.is_empty(), "an empty task name matches nothing");
    let mut comm = [0; COMM_LEN];
    // The kernel cuts names to 15 bytes and a NUL.
    let bytes = name.as_bytes();
    let bytes = bytes.get(..COMM_LEN - 1).unwrap_or(bytes);
    for (slot, &byte) in comm.iter_mut().zip(bytes) {
        *slot = byte;
    }
    Ok(comm)
}

/// A file as the kernel names it.
pub fn file_key(path: &Path) -> Result<FileKey> {
    let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
    Ok(key_of(&metadata))
}

/// The same, of a file that was looked at.
pub(super) fn key_of(metadata: &fs::Metadata) -> FileKey {
    FileKey { inode: metadata.ino(), device: kernel_device(metadata.dev()) }
}

/// `s_dev` for a `st_dev`: the kernel keeps major << 20 | minor, stat(2) another
/// encoding of the same.
pub fn kernel_device(device: u64) -> u64 {
    u64::from(rustix::fs::major(device)) << 20 | u64::from(rustix::fs::minor(device))
}

/// Looks a cgroup up by its path, absolute or below the mount point.
pub fn cgroup(path: &Path) -> Result<Cgroup> {
    let mount = cgroup2_mount()?;
    let path =
        if path.starts_with(&mount) { path.to_owned() } else { mount.join(strip_root(path)) };
    let path = fs::canonicalize(&path).with_context(|| {
        format!("find cgroup {}; it must be a directory of cgroup version 2", path.display())
    })?;
    let Ok(below) = path.strip_prefix(&mount) else {
        bail!("cgroup {} is not below {}", path.display(), mount.display());
    };
    let level = u32::try_from(below.components().count()).context("cgroup depth")?;
    let id = fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.ino();
    Ok(Cgroup { id, level })
}

fn strip_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Where the version 2 hierarchy is mounted.
fn cgroup2_mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    mounts
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let path = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
        })
        .context(
            "no cgroup version 2 hierarchy is mounted; \
             mount -t cgroup2 none /sys/fs/cgroup/unified, or choose processes by --pid",
        )
}

/// Descendants of processes, found in /proc; for those that ran before the probes
/// were attached.
pub fn descendants(roots: &[u32]) -> Vec<u32> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let parents: Vec<(u32, u32)> = processes
        .filter_map(|process| {
            let stat = process.ok()?.stat().ok()?;
            Some((u32::try_from(stat.pid).ok()?, u32::try_from(stat.ppid).ok()?))
        })
        .collect();
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        next += 1;
        for &(pid, ppid) in &parents {
            if ppid == parent && !found.contains(&pid) {
                found.push(pid);
            }
        }
    }
    found
}

/// Running processes with one of the names or programs of the scope.
pub fn matching(scope: &Scope) -> Result<Vec<u32>> {
    let mut exes = Vec::new();
    for exe in &scope.exes {
        exes.push(file_key(exe)?);
    }
    let Ok(processes) = procfs::process::all_processes() else { return Ok(Vec::new()) };
    let found = processes.filter_map(|process| {
        let process = process.ok()?;
        let pid = u32::try_from(process.pid()).ok()?;
        let name = process.stat().ok()?.comm;
        let named = scope.comms.iter().any(|comm| comm.get(..15).unwrap_or(comm) == name);
        let runs = || {
            let key = file_key(Path::new(&format!("/proc/{pid}/exe"))).ok();
            key.is_some_and(|key| exes.contains(&key))
        };
        (pid != std::process::id() && (named || (!exes.is_empty() && runs()))).then_some(pid)
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_like_the_kernel_cuts_it() {
        assert_eq!(&comm("a-name-of-nineteen-").unwrap(), b"a-name-of-ninet\0");
        assert_eq!(&comm("nginx").unwrap(), b"nginx\0\0\0\0\0\0\0\0\0\0\0");
        assert!(comm("").is_err());
    }

    #[test]
    fn only_a_set_that_cannot_grow_is_fixed() {
        let mut scope = Scope { pids: vec![1], ..Scope::default() };
        assert!(!scope.is_fixed());
        scope.no_follow = true;
        assert!(scope.is_fixed());
        scope.all = true;
        assert!(!scope.is_fixed());
        assert!(Scope::default().is_empty());
    }
}
