//! The system calls of the process that forks workers, and of the workers.

use std::{collections::BTreeMap, os::fd::RawFd};

use anyhow::Result;
use seccompiler::{SeccompAction, SeccompRule};

use crate::run::confine::calls::{EPERM, any_of, compile};

/// What an allocator and the runtime need, and what ends a process.
const MEMORY: &[libc::c_long] = &[
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What it takes to fork a worker, hear of its end, and confine it.
const FORKING: &[libc::c_long] = &[
    libc::SYS_pipe2,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigprocmask,
    libc::SYS_restart_syscall,
    libc::SYS_prlimit64,
    libc::SYS_setitimer,
    libc::SYS_seccomp,
];

/// `alarm` is a call of its own on x86-64 alone.
#[cfg(target_arch = "x86_64")]
const ALARM: &[libc::c_long] = &[libc::SYS_alarm];
#[cfg(not(target_arch = "x86_64"))]
const ALARM: &[libc::c_long] = &[];

/// Options of prctl(2).
const PDEATHSIG: u32 = 1;
const NO_NEW_PRIVS: u32 = 38;
const VMA_NAME: u32 = 0x5356_4d41;

/// The flags of fork(2) in the C library: the child's number is written down in it, and
/// its end is told by a signal. No namespace, nothing shared.
const FORK: libc::c_int = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Leaves this process what it takes to serve a socket by workers.
pub(super) fn process(socket: RawFd) -> Result<()> {
    let mut rules = any(&[MEMORY, FORKING, ALARM]);
    let flags = [FORK.unsigned_abs()];
    rules.insert(libc::SYS_clone, any_of(0, &flags)?);
    // For workers, whose answers go into pipes; it has no other files.
    rules.insert(libc::SYS_write, Vec::new());
    rules.insert(libc::SYS_lseek, Vec::new());
    rules.insert(libc::SYS_prctl, any_of(0, &[PDEATHSIG, NO_NEW_PRIVS, VMA_NAME])?);
    for call in [libc::SYS_recvmsg, libc::SYS_sendmsg] {
        rules.insert(call, any_of(0, &[u32::try_from(socket)?])?);
    }
    apply(rules)
}

/// Leaves this process what it takes to read one file and write to one pipe.
pub(super) fn worker(file: RawFd, writer: RawFd) -> Result<()> {
    let mut rules = any(&[MEMORY]);
    for (call, of) in [(libc::SYS_read, file), (libc::SYS_lseek, file), (libc::SYS_write, writer)] {
        rules.insert(call, any_of(0, &[u32::try_from(of)?])?);
    }
    rules.insert(libc::SYS_prctl, any_of(0, &[VMA_NAME])?);
    apply(rules)
}

fn any(lists: &[&[libc::c_long]]) -> Rules {
    lists.iter().flat_map(|list| list.iter()).map(|&call| (call, Vec::new())).collect()
}

fn apply(rules: Rules) -> Result<()> {
    let program = compile(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow)?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
