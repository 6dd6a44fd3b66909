//! fork, exec, exit: the scope follows processes, and the agent learns of them.

use agent_common::{
    counter::Counter,
    limits::FILENAME_MAX,
    record::{ProcessRecord, RecordKind},
    scope::{FileKey, ScopeEntry, ScopeFlags, ScopeMode},
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, generated::bpf_probe_read_kernel_str,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};

use crate::{
    budget, emit,
    kernel::{Counters, current_task, now, process_start, read},
    maps::{SCOPE, SCOPE_COMMS, SCOPE_EXES},
    scope, settings,
    settings::offset,
};

/// `sched_process_fork(parent, child)`
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    fork(&ctx);
    0
}

#[inline(always)]
fn fork(ctx: &RawTracePointContext) -> Option<()> {
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: the entry is copied before it can change.
    let entry = unsafe { SCOPE.get(&parent) }.copied();
    let budget = budget::own(parent);
    if entry.is_none() && budget.is_none() {
        return None;
    }
    let child: u64 = ctx.arg(1);
    let tgid: u32 = read(child + offset!(task_tgid))?;
    let tid: u32 = read(child + offset!(task_pid))?;
    if tgid != tid {
        // A thread.
        return None;
    }
    if let Some(budget) = budget {
        budget::give(tgid, budget);
    }
    let entry = entry?;
    if entry.flags.0 & ScopeFlags::FOLLOW.0 == 0 {
        return None;
    }
    let counters = Counters::get()?;
    admit(tgid, entry.flags, counters);
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "process {} of {} comes into scope", tgid, parent);
    let start_ns = read(child + offset!(task_start_boottime))?;
    let task = Task { tgid, parent_tgid: parent, start_ns, ..Task::default() };
    report(ctx, counters, RecordKind::FORK, &task);
    Some(())
}

/// `sched_process_exec(task, old_pid, bprm)`
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(ctx: RawTracePointContext) -> i32 {
    exec(&ctx);
    0
}

#[inline(always)]
fn exec(ctx: &RawTracePointContext) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if settings::scope_match() {
        // SAFETY: the entry is copied before it can change.
        let known = unsafe { SCOPE.get(&tgid) }.copied();
        if matches() {
            if known.is_none() {
                let flags = ScopeFlags(ScopeFlags::FOLLOW.0 | ScopeFlags::MATCHED.0);
                admit(tgid, flags, Counters::get()?);
            }
        } else if known.is_some_and(|entry| entry.flags.0 & ScopeFlags::MATCHED.0 != 0) {
            // Another program now, which nobody asked to observe. A failure means
            // that the entry is gone already.
            SCOPE.remove(&tgid).ok();
        }
    }
    let counters = scope::check(tgid)?;
    let program: u64 = ctx.arg(2);
    let filename: u64 = read(program + offset!(binprm_filename))?;
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "process {} runs another program", tgid);
    let start_ns = process_start(current_task());
    report(ctx, counters, RecordKind::EXEC, &Task { tgid, start_ns, filename, ..Task::default() });
    Some(())
}

/// Whether the current process has a name or a program that was asked for.
#[inline(always)]
fn matches() -> bool {
    if let Ok(comm) = bpf_get_current_comm() {
        // SAFETY: only the presence of the entry is used.
        if unsafe { SCOPE_COMMS.get(&comm) }.is_some() {
            return true;
        }
    }
    let Some(key) = program() else { return false };
    // SAFETY: only the presence of the entry is used.
    unsafe { SCOPE_EXES.get(&key) }.is_some()
}

/// The file that the current process runs.
#[inline(always)]
fn program() -> Option<FileKey> {
    let memory: u64 = read(current_task() + offset!(task_mm))?;
    let file: u64 = read(memory + offset!(mm_exe_file))?;
    let inode: u64 = read(file + offset!(file_inode))?;
    let block: u64 = read(inode + offset!(inode_sb))?;
    Some(FileKey {
        inode: read(inode + offset!(inode_ino))?,
        device: u64::from(read::<u32>(block + offset!(super_block_dev))?),
    })
}

/// `sched_process_exit(task)`
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(ctx: RawTracePointContext) -> i32 {
    exit(&ctx);
    0
}

#[inline(always)]
fn exit(ctx: &RawTracePointContext) -> Option<()> {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let counters = scope::check(tgid)?;
    let task = current_task();
    // Of several threads only the last one ends the process.
    let signal: u64 = read(task + offset!(task_signal))?;
    let live: u32 = read(signal + offset!(signal_live))?;
    if live != 0 {
        return None;
    }
    budget::ended(tgid);
    if settings::scope_mode() != ScopeMode::ALL {
        // A failure means that it was in scope by its cgroup.
        SCOPE.remove(&tgid).ok();
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::debug!(ctx, "process {} ends", tgid);
    let exit_code = read(task + offset!(task_exit_code)).unwrap_or(0);
    let start_ns = process_start(task);
    report(ctx, counters, RecordKind::EXIT, &Task { tgid, start_ns, exit_code, ..Task::default() });
    Some(())
}

#[inline(always)]
fn admit(tgid: u32, flags: ScopeFlags, counters: Counters) {
    if SCOPE.insert(&tgid, &ScopeEntry { flags, reserved: 0 }, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
    }
}

/// What a record tells of a process.
#[derive(Default)]
struct Task {
    tgid: u32,
    parent_tgid: u32,
    start_ns: u64,
    /// Where its file name is in kernel memory, or 0.
    filename: u64,
    exit_code: u32,
}

#[inline(always)]
fn report(ctx: &RawTracePointContext, counters: Counters, kind: RecordKind, task: &Task) {
    emit::lifecycle::<ProcessRecord>(ctx.as_ptr(), counters, |record| {
        // SAFETY: the record was reserved.
        unsafe {
            (*record).kind = kind;
            (*record).tgid = task.tgid;
            (*record).time_ns = now();
            (*record).start_ns = task.start_ns;
            (*record).parent_tgid = task.parent_tgid;
            (*record).filename_len = 0;
            (*record).exit_code = task.exit_code;
            (*record).reserved = 0;
            (*record).comm = bpf_get_current_comm().unwrap_or_default();
            (*record).filename = [0; FILENAME_MAX];
            if task.filename != 0 {
                let len = bpf_probe_read_kernel_str(
                    (&raw mut (*record).filename).cast(),
                    FILENAME_MAX as u32,
                    task.filename as *const core::ffi::c_void,
                );
                // The length counts the NUL at the end.
                (*record).filename_len = if len > 0 { (len - 1) as u32 } else { 0 };
            }
        }
    });
}
