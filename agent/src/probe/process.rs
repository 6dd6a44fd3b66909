//! Facts about processes, from /proc.

use std::{fs, sync::Arc, time::Duration};

use crate::{call::Process, event::decode::Lifecycle};

/// What /proc tells of a process; `None` when it is gone.
pub fn look(pid: u32) -> Option<Process> {
    let stat = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    let executable = fs::read_link(format!("/proc/{pid}/exe"))
        .map(|path| path.to_string_lossy().trim_end_matches(" (deleted)").to_owned())
        .unwrap_or_default();
    let ticks = procfs::ticks_per_second().max(1);
    Some(Process {
        pid,
        start_ns: stat.starttime.saturating_mul(1_000_000_000 / ticks),
        comm: stat.comm,
        executable,
        container_id: container_id(pid),
    })
}

/// Whether a process ends: it is no more, or its memory is being written down, which takes a
/// while, and only then the kernel tells of its end.
pub fn is_ending(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    match procfs::process::Process::new(pid).and_then(|process| process.status()) {
        Ok(status) => {
            // A thread that ended as the first one leaves the others alive.
            let ended = status.threads <= 1 && status.state.starts_with(['Z', 'X', 'x']);
            ended || status.core_dumping == Some(true)
        }
        Err(error) => matches!(error, procfs::ProcError::NotFound(_)),
    }
}

/// A start time as /proc tells it, in whole clock ticks: with this precision the
/// kernel's records and /proc name the same process.
pub fn whole_ticks(start_ns: u64) -> u64 {
    let tick = 1_000_000_000 / procfs::ticks_per_second().max(1);
    start_ns - start_ns % tick.max(1)
}

/// A process of which only the kernel's record tells.
pub fn from_record(record: &Lifecycle) -> Process {
    Process {
        pid: record.tgid,
        start_ns: whole_ticks(record.start_ns),
        comm: record.comm.clone(),
        executable: record.filename.clone(),
        container_id: None,
    }
}

/// A forked child: its parent's program under another id.
pub fn child(parent: &Arc<Process>, pid: u32, start_ns: u64) -> Process {
    Process { pid, start_ns: whole_ticks(start_ns), ..Process::clone(parent) }
}

/// Container id in the cgroup path of a process.
fn container_id(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(container_of)
}

/// The 64 hexadecimal digits that docker, containerd, cri-o and podman name cgroups
/// by: alone, or as `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID.scope`.
fn container_of(line: &str) -> Option<String> {
    let last = line.rsplit('/').next()?;
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let id = last.rsplit(['-', ':']).next()?;
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Nanoseconds of `CLOCK_BOOTTIME`, as starts of processes are told.
pub fn boot_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_facts() {
        let process = look(std::process::id()).unwrap();
        assert_eq!(process.executable, std::env::current_exe().unwrap().to_str().unwrap());
        assert!(process.start_ns > 0);
        assert_eq!(look(u32::MAX), None);
    }

    #[test]
    fn container_ids_are_found_in_the_usual_paths() {
        let id = "0123456789abcdef".repeat(4);
        for line in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("12:pids:/docker/{id}"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/kubepods/besteffort/pod1/{id}"),
            format!("0::/machine.slice/libpod-{id}.scope"),
            format!("0::/kubepods/crio-{id}.scope"),
            format!("0::/system.slice/containerd.service/kubepods:cri-containerd:{id}"),
        ] {
            assert_eq!(container_of(&line).as_deref(), Some(id.as_str()), "{line}");
        }
        for line in ["0::/", "0::/user.slice/user-0.slice/session-1.scope", ""] {
            assert_eq!(container_of(line), None, "{line}");
        }
    }
}
