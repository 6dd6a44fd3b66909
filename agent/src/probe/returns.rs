//! Whether return probes do harm on this kernel: tried, in a process of the agent's own.
//!
//! Since 6.11 a function with a return probe returns by a system call, on x86-64, which a
//! process with a seccomp filter was killed for until filters were told to let it pass (in
//! 6.14, and moved back to some before that). From 6.6 to 6.10 the return address that the
//! kernel changes was not changed on the shadow stack too, which ends a process that has
//! one. Which process will have a filter cannot be known when probes are placed, so on such a
//! kernel none gets return probes.

use std::{
    io::{self, Read as _},
    os::fd::{AsRawFd as _, RawFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use aya::util::KernelVersion;
use rustix::process::{Pid, WaitOptions, waitpid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::uprobe::{self, Place};

/// What is known of return probes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReturnProbes {
    /// They do no harm: tried.
    Harmless,
    /// They could not be tried, and no kernel of this age is known to do harm.
    Presumed,
    /// Processes with a seccomp filter are killed.
    Filters,
    /// Processes with a shadow stack crash.
    ShadowStacks,
    /// It could not be tried, and the kernel is of an age at which they may do harm.
    Untried,
    /// The operator wants none.
    Unwanted,
}

impl ReturnProbes {
    /// What comes of them on this kernel.
    pub fn of_this_kernel() -> Self {
        match attempt() {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::debug!("return probes could not be tried: {error:#}");
                let version = KernelVersion::current();
                let at_risk = KernelVersion::new(6, 6, 0)..KernelVersion::new(6, 14, 0);
                let harmless = version.is_ok_and(|version| !at_risk.contains(&version));
                if harmless { Self::Presumed } else { Self::Untried }
            }
        }
    }

    /// Whether functions of C get them.
    pub const fn are_used(self) -> bool {
        matches!(self, Self::Harmless | Self::Presumed)
    }

    /// It for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Harmless => "they do no harm on this kernel: tried",
            Self::Presumed => "no kernel of this age is known to do harm by them",
            Self::Filters => "this kernel kills processes with a seccomp filter for them",
            Self::ShadowStacks => "on this kernel processes with a shadow stack crash by them",
            Self::Untried => "this kernel may kill processes for them, which could not be tried",
            Self::Unwanted => "none are wanted",
        }
    }
}

/// Whether functions get them, which is told if not.
pub(super) fn choose(unwanted: bool) -> ReturnProbes {
    let known = if unwanted { ReturnProbes::Unwanted } else { ReturnProbes::of_this_kernel() };
    if !known.are_used() {
        tracing::warn!(
            "no return probes: {}; functions are probed where they return, which costs more, \
             and libraries where that is not known are not",
            known.text()
        );
    }
    known
}

/// Seconds after which the process that tries gives up.
const PATIENCE: u32 = 5;

/// `int3`, which the kernel puts at the place of a probe.
const BREAKPOINT: u8 = 0xcc;

/// `uretprobe`, `arch/x86/entry/syscalls/syscall_64.tbl`
const URETPROBE: libc::c_long = 335;

/// How it ends: all went well; it did so without shadow stack; there was no probe; the
/// filter was refused.
const DONE: libc::c_int = 0;
const NO_SHADOW_STACK: libc::c_int = 1;
const NO_PROBE: libc::c_int = 2;
const NO_FILTER: libc::c_int = 3;

/// Has a child of this process return from a function with a return probe: under a filter
/// that kills it for what it never does itself, then with a shadow stack.
fn attempt() -> Result<ReturnProbes> {
    if cfg!(not(target_arch = "x86_64")) {
        // Elsewhere functions return by a breakpoint.
        return Ok(ReturnProbes::Harmless);
    }
    let filter = filter(URETPROBE)?;
    let offset = offset_of(arch::probed as *const () as u64)?;
    let (gate_end, gate) = io::pipe().context("make a pipe")?;
    let (mut told, tell) = io::pipe().context("make a pipe")?;
    // SAFETY: the child makes system calls alone, and never returns here: there may be other
    // threads, whose locks it has.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).context("fork"),
        0 => attempt_in_child(gate.as_raw_fd(), gate_end.as_raw_fd(), tell.as_raw_fd(), &filter),
        child => Pid::from_raw(child).context("the child has no number")?,
    };
    drop((gate_end, tell));
    let place = Place {
        file: Path::new("/proc/self/exe"),
        offset,
        at_return: true,
        pid: Some(child.as_raw_nonzero().get().unsigned_abs()),
    };
    let probe = uprobe::open(place);
    // The child goes on when the gate is closed.
    drop(gate);
    let mut passed = Vec::new();
    let read = told.read_to_end(&mut passed);
    let status = waitpid(Some(child), WaitOptions::empty()).context("wait for it")?;
    let (_, status) = status.context("it is not there")?;
    drop(probe.context("attach to it")?);
    read.context("read what it says")?;
    judge(status.exit_status(), status.terminating_signal(), !passed.is_empty())
}

/// What the end of the child says, which told that it got past the filter.
fn judge(exited: Option<i32>, signal: Option<i32>, passed: bool) -> Result<ReturnProbes> {
    match (exited, signal) {
        (Some(DONE | NO_SHADOW_STACK), _) if passed => Ok(ReturnProbes::Harmless),
        // It was told to end.
        (_, Some(libc::SIGALRM | libc::SIGKILL | libc::SIGTERM)) => {
            bail!("the process that tries was ended")
        }
        (_, Some(_)) if passed => Ok(ReturnProbes::ShadowStacks),
        (_, Some(_)) => Ok(ReturnProbes::Filters),
        _ => bail!("the process that tries gave up: {exited:?}"),
    }
}

/// A filter that kills for one system call.
fn filter(call: libc::c_long) -> Result<BpfProgram> {
    let rules = [(call, Vec::new())].into();
    let architecture = std::env::consts::ARCH.try_into()?;
    let (other, named) = (SeccompAction::Allow, SeccompAction::KillProcess);
    let filter = SeccompFilter::new(rules, other, named, architecture)?;
    Ok(filter.try_into()?)
}

/// Where code of this program is in its file.
fn offset_of(address: u64) -> Result<u64> {
    let maps = procfs::process::Process::myself()?.maps()?;
    let map = maps.iter().find(|map| (map.address.0..map.address.1).contains(&address));
    let map = map.context("its own code is nowhere")?;
    Ok(address - map.address.0 + map.offset)
}

fn attempt_in_child(gate: RawFd, gate_end: RawFd, tell: RawFd, filter: &BpfProgram) -> ! {
    let mut byte = [0_u8; 1];
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: these take numbers, and buffers that live for the call; reading is of the first
    // instruction of a function. It is its own process, with one thread.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(PATIENCE);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::close(gate);
        libc::read(gate_end, byte.as_mut_ptr().cast(), 1);
        if (arch::probed as *const u8).read_volatile() != BREAKPOINT {
            libc::_exit(NO_PROBE);
        }
        if seccompiler::apply_filter(filter).is_err() {
            libc::_exit(NO_FILTER);
        }
        arch::probed();
        libc::write(tell, byte.as_ptr().cast(), 1);
        arch::probed_with_shadow_stack()
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{DONE, NO_SHADOW_STACK};

    /// What is probed.
    #[unsafe(naked)]
    pub(super) extern "C" fn probed() {
        core::arch::naked_asm!("nop", "ret")
    }

    /// `ARCH_SHSTK_ENABLE` and `ARCH_SHSTK_SHSTK`, arch/x86/include/uapi/asm/prctl.h
    const ENABLE: u64 = 0x5001;
    const SHADOW_STACK: u64 = 1;

    /// Calls it with a shadow stack, where there are such, and ends the process: the new one
    /// is empty, so that nothing may return that was called before.
    pub(super) unsafe fn probed_with_shadow_stack() -> ! {
        // SAFETY: it makes two system calls and a call that changes no register, and does
        // not return.
        unsafe {
            core::arch::asm!(
                "syscall",
                "mov edi, {no}",
                "test eax, eax",
                "jnz 2f",
                "call {probed}",
                "mov edi, {done}",
                "2:",
                "mov eax, {exit}",
                "syscall",
                "ud2",
                probed = sym probed,
                no = const NO_SHADOW_STACK,
                done = const DONE,
                exit = const libc::SYS_exit_group,
                in("rax") libc::SYS_arch_prctl,
                in("rdi") ENABLE,
                in("rsi") SHADOW_STACK,
                options(noreturn),
            )
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod arch {
    /// Never called.
    pub(super) extern "C" fn probed() {}

    /// Never called.
    pub(super) unsafe fn probed_with_shadow_stack() -> ! {
        // SAFETY: it ends the process.
        unsafe { libc::_exit(super::NO_SHADOW_STACK) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_dies_without_being_told_to_was_harmed() {
        for code in [DONE, NO_SHADOW_STACK] {
            assert_eq!(judge(Some(code), None, true).ok(), Some(ReturnProbes::Harmless));
        }
        for signal in [libc::SIGSYS, libc::SIGSEGV, libc::SIGTRAP, libc::SIGILL] {
            let judge = |passed| judge(None, Some(signal), passed).ok();
            assert_eq!(judge(false), Some(ReturnProbes::Filters));
            assert_eq!(judge(true), Some(ReturnProbes::ShadowStacks));
        }
    }

    #[test]
    fn what_was_not_tried_is_not_known() {
        for signal in [libc::SIGALRM, libc::SIGKILL, libc::SIGTERM] {
            assert!(judge(None, Some(signal), true).is_err());
        }
        for code in [NO_PROBE, NO_FILTER, DONE] {
            assert!(judge(Some(code), None, false).is_err());
        }
    }

    #[test]
    fn the_filter_kills() {
        let filter = filter(libc::SYS_getppid).unwrap();
        // SAFETY: the child makes system calls alone, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let applied = seccompiler::apply_filter(&filter).is_ok();
            // SAFETY: neither takes a pointer.
            unsafe {
                libc::getppid();
                libc::_exit(i32::from(applied))
            }
        }
        let child = Pid::from_raw(child).unwrap();
        let (_, status) = waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGSYS));
    }

    #[test]
    fn a_place_in_this_program_is_found_in_its_file() {
        let address = arch::probed as *const () as u64;
        let file = std::fs::read("/proc/self/exe").unwrap();
        let at = usize::try_from(offset_of(address).unwrap()).unwrap();
        // SAFETY: the function is as long.
        let code = unsafe { std::slice::from_raw_parts(arch::probed as *const u8, 2) };
        assert_eq!(&file[at..at + 2], code);
        assert!(offset_of(0).is_err());
    }
}
