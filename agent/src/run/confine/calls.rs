//! seccomp: the system calls that a run makes once everything is opened. All others
//! answer EPERM.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// System calls with any arguments, of all architectures.
const CALLS: &[libc::c_long] = &[
    // Files: reading everywhere, writing where `files` allows it. SQLite makes its log
    // anew, keeps the owner and mode of the database on it, and removes it at the end.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_unlinkat,
    // Memory: the allocator, the kernel's buffers, SQLite's index of its log.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_getcpu,
    // Threads and signals. The C library makes threads by clone3 and, where the kernel
    // does not have it, by clone: see `old_kernel`.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // The metrics endpoint, whose socket listens already.
    libc::SYS_accept4,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    // Facts.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Attaching to TLS libraries that are mapped later.
    libc::SYS_perf_event_open,
    // Giving up more, in threads that start later. None of them gives anything back.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
];

/// Older forms of the same, which the C library and SQLite still use.
#[cfg(target_arch = "x86_64")]
const OLDER: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_dup2,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
    libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// Commands of bpf(2): maps and programs that are there already, and how long these take. No program is loaded,
/// no map is made. include/uapi/linux/bpf.h
const BPF_COMMANDS: [u32; 7] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    28, // BPF_LINK_CREATE
    32, // BPF_ENABLE_STATS
];

/// Requests of ioctl(2): of perf events, of sockets, and of a terminal. Not TIOCSTI,
/// which types into the terminal of whoever started the run.
const IOCTLS: [u32; 14] = [
    0x2400,      // PERF_EVENT_IOC_ENABLE
    0x2401,      // PERF_EVENT_IOC_DISABLE
    0x4004_2408, // PERF_EVENT_IOC_SET_BPF
    0x5401,      // TCGETS
    0x5402,      // TCSETS
    0x5403,      // TCSETSW
    0x5404,      // TCSETSF
    0x802c_542a, // TCGETS2
    0x402c_542b, // TCSETS2
    0x402c_542c, // TCSETSW2
    0x402c_542d, // TCSETSF2
    0x5413,      // TIOCGWINSZ
    0x541b,      // FIONREAD
    0x5421,      // FIONBIO
];

/// Options of prctl(2): names of threads and of memory, and what gives up more.
const PRCTLS: [u32; 6] = [
    15,          // PR_SET_NAME
    16,          // PR_GET_NAME
    23,          // PR_CAPBSET_READ
    38,          // PR_SET_NO_NEW_PRIVS
    47,          // PR_CAP_AMBIENT
    0x5356_4d41, // PR_SET_VMA
];

/// What opens a file for more than reading. `O_WRONLY` and `O_RDWR` are bits here.
const OPEN_TO_WRITE: [libc::c_int; 4] =
    [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];

/// A filter: what it names with any of the conditions, or with any arguments.
type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Confines all threads to the calls of a run. Gives how many there are.
pub(super) fn limit_all_threads() -> Result<usize> {
    seccompiler::apply_filter_all_threads(&old_kernel()?)?;
    let rules = allowed(std::process::id())?;
    let count = rules.len();
    let program = compile(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow)?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(count)
}

/// Keeps this thread from opening files for writing and from changing folders. Threads
/// that it starts later are kept from it too.
pub(super) fn forbid_writing() -> Result<()> {
    let program = compile(writing()?, SeccompAction::Allow, SeccompAction::Errno(EPERM))?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// Whether the kernel has filters: `SECCOMP_GET_ACTION_AVAIL` of the one that is used.
pub fn available() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the action lives for the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    result == 0
}

/// `EPERM` as filters have it.
pub(crate) const EPERM: u32 = libc::EPERM.unsigned_abs();

pub(crate) fn compile(
    rules: Rules,
    other: SeccompAction,
    named: SeccompAction,
) -> Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, other, named, architecture)
        .and_then(BpfProgram::try_from)
        .context("compile the filter")
}

/// Says that there is no clone3, whose flags are behind a pointer, where a filter cannot
/// see them: among them is the one that gives a child all privileges in a world of its own.
fn old_kernel() -> Result<BpfProgram> {
    let rules = [(libc::SYS_clone3, Vec::new())].into();
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))
}

/// What all threads may do.
fn allowed(own: u32) -> Result<Rules> {
    let mut rules: Rules = CALLS.iter().chain(OLDER).map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, any_of(0, &BPF_COMMANDS)?);
    rules.insert(libc::SYS_ioctl, any_of(1, &IOCTLS)?);
    rules.insert(libc::SYS_prctl, any_of(0, &PRCTLS)?);
    // A thread of this process, and nothing else.
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let thread = (SeccompCmpOp::MaskedEq(thread), libc::CLONE_THREAD.unsigned_abs());
    rules.insert(libc::SYS_clone, self::rules(0, [thread].into_iter())?);
    // To end a command, and to end itself by abort().
    rules.insert(libc::SYS_kill, any_of(1, &[libc::SIGTERM.unsigned_abs()])?);
    rules.insert(libc::SYS_tgkill, any_of(0, &[own])?);
    // The live view wakes itself by a pair of sockets.
    rules.insert(libc::SYS_socketpair, any_of(0, &[libc::AF_UNIX.unsigned_abs()])?);
    // Limits may be read: the new ones are at no address.
    let read = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![read])?]);
    Ok(rules)
}

/// What a thread that only reads files does not do.
fn writing() -> Result<Rules> {
    let mut rules: Rules =
        [libc::SYS_unlinkat, libc::SYS_fchmod, libc::SYS_fchown, libc::SYS_fallocate]
            .map(|call| (call, Vec::new()))
            .into();
    rules.insert(libc::SYS_openat, to_write(2)?);
    #[cfg(target_arch = "x86_64")]
    {
        rules.insert(libc::SYS_unlink, Vec::new());
        rules.insert(libc::SYS_open, to_write(1)?);
    }
    Ok(rules)
}

/// An argument is one of these.
pub(crate) fn any_of(argument: u8, values: &[u32]) -> Result<Vec<SeccompRule>> {
    rules(argument, values.iter().map(|&value| (SeccompCmpOp::Eq, value)))
}

/// The flags of an open ask for more than reading.
fn to_write(argument: u8) -> Result<Vec<SeccompRule>> {
    let bits = OPEN_TO_WRITE.map(libc::c_int::unsigned_abs);
    rules(argument, bits.iter().map(|&bit| (SeccompCmpOp::MaskedEq(bit.into()), bit)))
}

/// One rule for each comparison of the lower half of an argument.
fn rules(
    argument: u8,
    comparisons: impl Iterator<Item = (SeccompCmpOp, u32)>,
) -> Result<Vec<SeccompRule>> {
    comparisons
        .map(|(operator, value)| {
            let length = SeccompCmpArgLen::Dword;
            let condition = SeccompCondition::new(argument, length, operator, value.into())?;
            Ok(SeccompRule::new(vec![condition])?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, io, thread};

    use super::*;

    #[test]
    fn nothing_that_gains_power_is_among_the_calls() {
        let allowed = allowed(1).unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_move_mount,
            libc::SYS_pivot_root,
            libc::SYS_chroot,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_listen,
            // Their flags are behind a pointer, where a filter cannot see them.
            libc::SYS_openat2,
        ] {
            assert!(!allowed.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn no_call_is_named_twice() {
        let mut calls: Vec<_> = CALLS.iter().chain(OLDER).collect();
        calls.sort_unstable();
        let count = calls.len();
        calls.dedup();
        assert_eq!(calls.len(), count);
    }

    #[test]
    fn numbers_are_those_of_the_headers() {
        for (number, name) in [
            (IOCTLS[3], libc::TCGETS),
            (IOCTLS[7], libc::TCGETS2),
            (IOCTLS[10], libc::TCSETSF2),
            (IOCTLS[11], libc::TIOCGWINSZ),
            (IOCTLS[13], libc::FIONBIO),
        ] {
            assert_eq!(libc::c_ulong::from(number), name as libc::c_ulong);
        }
        for (number, name) in [
            (PRCTLS[0], libc::PR_SET_NAME),
            (PRCTLS[2], libc::PR_CAPBSET_READ),
            (PRCTLS[3], libc::PR_SET_NO_NEW_PRIVS),
            (PRCTLS[4], libc::PR_CAP_AMBIENT),
            (PRCTLS[5], libc::PR_SET_VMA),
        ] {
            assert_eq!(number, name.unsigned_abs());
        }
    }

    /// Tries to make a child with all privileges in a user namespace of its own; the error.
    fn child_in_its_own_world() -> Option<i32> {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: as by fork, the child goes on here, and ends without doing anything.
        let child = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match child {
            // SAFETY: it ends the child, and returns to nothing.
            0 => unsafe { libc::_exit(0) },
            -1 => io::Error::last_os_error().raw_os_error(),
            _ => None,
        }
    }

    #[test]
    fn a_limited_thread_reads_and_neither_opens_to_write_nor_executes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, "x").unwrap();
        let refused = |result: io::Result<()>| {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EPERM));
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                let rules = allowed(std::process::id()).unwrap();
                let all = compile(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow);
                // This thread alone: the other tests go on.
                seccompiler::apply_filter(&old_kernel().unwrap()).unwrap();
                seccompiler::apply_filter(&all.unwrap()).unwrap();
                assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
                assert_eq!(child_in_its_own_world(), Some(libc::EPERM));
                fs::write(&path, "y").unwrap();
                forbid_writing().unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), "y");
                refused(fs::write(&path, "z"));
                refused(fs::OpenOptions::new().read(true).write(true).open(&path).map(drop));
                refused(fs::remove_file(&path));
                refused(std::process::Command::new("/bin/true").status().map(drop));
                refused(std::net::TcpStream::connect("127.0.0.1:9").map(drop));
            });
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "y");
        assert!(available());
    }
}
