//! Attaching to tracepoints, and trying to.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{Program, ProgramError, RawTracePoint, TracePoint},
    util::KernelVersion,
};

use super::{
    Settings, Transport, layout, load,
    sockets::{self, Sockets},
};
use agent_common::layout::Layout;

/// Raw tracepoints: program, and the tracepoint it belongs to.
pub(super) const RAW_TRACEPOINTS: &[(&str, &str)] = &[
    // First those that keep the scope, so that no child is missed.
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("process_exit", "sched_process_exit"),
    ("tcp_state", "inet_sock_set_state"),
    ("tcp_destroy", "tcp_destroy_sock"),
];

/// Trace events: program, category, name.
pub(super) const TRACE_EVENTS: &[(&str, &str, &str)] =
    &[("close_enter", "syscalls", "sys_enter_close")];

/// Completions of `io_uring`, a trace event like these.
pub(super) const URING: (&str, &str, &str) = ("uring_complete", "io_uring", "io_uring_complete");

/// The exit of system calls as a raw tracepoint, and as a trace event. One is used.
pub(super) const SYS_EXIT: &str = "sys_exit";
pub(super) const SYS_EXIT_EVENT: &str = "sys_exit_event";

/// Whether the kernel tells of what `io_uring` moves: since 5.19.
pub const fn tells_of_uring(layout: &Layout) -> bool {
    layout.uring_complete_req != 0
}

/// Whether programs of raw tracepoints can be preempted, and are left out as long.
pub(super) fn preempts() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(7, 0, 0))
}

/// What this kernel can do.
#[derive(Clone, Copy, Debug)]
pub struct Support;

impl Support {
    /// It has ring buffers.
    pub fn ring_buffer() -> Result<bool> {
        Ok(Transport::Auto.choose()? == Transport::Ring)
    }

    /// Functions of sockets can be hooked; otherwise the reason why not.
    pub fn functions() -> Result<()> {
        let layout = layout::read(Path::new(layout::KERNEL_BTF))?;
        sockets::supported(&layout)
    }
}

/// Loads every program without attaching any, for each transport that the kernel
/// has, and tells what the kernel said of each.
///
/// Those on functions of sockets belong to it where the kernel lets functions be hooked.
pub fn try_load() -> Vec<(String, Result<()>)> {
    let mut results = Vec::new();
    let sockets = if Support::functions().is_ok() { Sockets::Function } else { Sockets::Syscall };
    for transport in [Transport::Ring, Transport::Perf] {
        if transport == Transport::Ring && !Support::ring_buffer().unwrap_or(false) {
            continue;
        }
        let loaded = layout::read(Path::new(layout::KERNEL_BTF)).and_then(|layout| {
            Ok((load(&Settings::default(), transport, sockets, &layout)?, layout))
        });
        let (mut ebpf, layout) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                results.push((format!("{} object", transport.as_str()), Err(error)));
                continue;
            }
        };
        let unused = if preempts() { SYS_EXIT } else { SYS_EXIT_EVENT };
        for (name, program) in ebpf.programs_mut().filter(|(name, _)| *name != unused) {
            let result = match program {
                Program::RawTracePoint(program) => program.load(),
                Program::TracePoint(program) => program.load(),
                Program::UProbe(program) => program.load(),
                _ => continue,
            };
            results.push((format!("{name} ({})", transport.as_str()), result.map_err(verifier)));
        }
        // With perf buffers they would need more stack than there is.
        if sockets == Sockets::Function && transport == Transport::Ring {
            for (name, result) in sockets::try_load(&mut ebpf, &layout) {
                results.push((format!("{name} ({})", transport.as_str()), result));
            }
        }
    }
    results
}

pub(super) fn attach_raw(ebpf: &mut Ebpf, program: &str, tracepoint: &str) -> Result<()> {
    let found: &mut RawTracePoint = ebpf
        .program_mut(program)
        .with_context(|| format!("the object has no program {program}"))?
        .try_into()?;
    found.load().map_err(verifier).with_context(|| format!("load {program}"))?;
    found.attach(tracepoint).with_context(|| format!("attach {program} to {tracepoint}"))?;
    Ok(())
}

pub(super) fn attach_event(
    ebpf: &mut Ebpf,
    program: &str,
    category: &str,
    name: &str,
) -> Result<()> {
    let found: &mut TracePoint = ebpf
        .program_mut(program)
        .with_context(|| format!("the object has no program {program}"))?
        .try_into()?;
    found.load().map_err(verifier).with_context(|| format!("load {program}"))?;
    found.attach(category, name).with_context(|| {
        format!(
            "attach {program} to {category}:{name}; \
             if tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing"
        )
    })?;
    Ok(())
}

/// Cuts the verifier's log to its end, where the reason is.
pub(super) fn verifier(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
            anyhow::anyhow!("{io_error}; the verifier said:\n{}", tail.join("\n"))
        }
        error => error.into(),
    }
}
