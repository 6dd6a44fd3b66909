//! The registers that a system call left in `pt_regs`, by architecture.
//!
//! At the exit of a call they still hold its arguments: one hook suffices, and
//! nothing needs to be kept from the entry.

use aya_ebpf::programs::ProbeContext;

use crate::kernel::{read, read_user};

/// Number and arguments of the system call that is returning.
pub(crate) struct Syscall {
    pub(crate) number: u32,
    pub(crate) first: u64,
    pub(crate) second: u64,
    pub(crate) third: u64,
    /// Made through the 32-bit table, whose numbers mean other calls.
    pub(crate) compat: bool,
}

#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    //! `struct pt_regs`, arch/x86/include/asm/ptrace.h: bx and below at 0 to 48,
    //! r10 at 56, r9, r8 at 72, ax, cx, dx at 96, si, di, `orig_ax`, ip, cs at 136.

    use super::{ProbeContext, Syscall, read, read_user};

    /// dx to cs.
    #[repr(C)]
    struct Tail {
        dx: u64,
        si: u64,
        di: u64,
        orig_ax: u64,
        ip: u64,
        cs: u64,
    }

    /// `__USER_CS`: the segment of 64-bit code.
    const USER_CS: u64 = 0x33;

    #[inline(always)]
    pub(crate) fn syscall(regs: u64) -> Option<Syscall> {
        let tail: Tail = read(regs + 96)?;
        Some(Syscall {
            number: tail.orig_ax as u32,
            first: tail.di,
            second: tail.si,
            third: tail.dx,
            compat: tail.cs & 0xffff != USER_CS,
        })
    }

    #[inline(always)]
    pub(crate) fn fourth(regs: u64) -> u64 {
        read(regs + 56).unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn fifth(regs: u64) -> u64 {
        read(regs + 72).unwrap_or(0)
    }

    /// An argument of the function that is entered; all but the first six are on the stack
    /// (System V ABI, AMD64 supplement, section 3.2.3).
    #[inline(always)]
    pub(crate) fn argument(ctx: &ProbeContext, index: usize) -> Option<u64> {
        if index < 6 {
            return ctx.arg(index);
        }
        // SAFETY: the kernel gives a probe its registers.
        let stack = unsafe { (*ctx.regs).rsp };
        // The return address is on top.
        read_user(stack + 8 * (index as u64 - 5))
    }

    /// Where a function begins its arguments whose result is in memory: the first is its
    /// address.
    pub(crate) const ARGUMENTS: usize = 1;

    /// Where the function that is entered leaves its result, if that is in memory.
    #[inline(always)]
    pub(crate) fn result(ctx: &ProbeContext) -> u64 {
        // SAFETY: the kernel gives a probe its registers.
        unsafe { (*ctx.regs).rdi }
    }

    /// What a Go program keeps the address of its goroutine in: r14.
    #[inline(always)]
    pub(crate) fn goroutine(regs: u64) -> u64 {
        read(regs + 8).unwrap_or(0)
    }

    /// Where the registers lie on a kernel stack: at its end (`task_pt_regs`, arch/x86/
    /// include/asm/processor.h). Its size is `THREAD_SIZE` of kernels without KASAN. Used
    /// before 5.15 only, which has no other layout.
    pub(crate) const ON_STACK: u64 = (16 << 10) - 168;

    /// `arch/x86/entry/syscalls/syscall_64.tbl`
    pub(crate) mod number {
        pub(crate) const READ: u32 = 0;
        pub(crate) const WRITE: u32 = 1;
        pub(crate) const MMAP: u32 = 9;
        pub(crate) const READV: u32 = 19;
        pub(crate) const WRITEV: u32 = 20;
        pub(crate) const SENDFILE: u32 = 40;
        pub(crate) const SENDTO: u32 = 44;
        pub(crate) const RECVFROM: u32 = 45;
        pub(crate) const SENDMSG: u32 = 46;
        pub(crate) const RECVMSG: u32 = 47;
        pub(crate) const SHUTDOWN: u32 = 48;
        pub(crate) const SPLICE: u32 = 275;
        pub(crate) const RECVMMSG: u32 = 299;
        pub(crate) const SENDMMSG: u32 = 307;
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    //! `struct pt_regs`, arch/arm64/include/asm/ptrace.h: x0 to x30 at 0, sp at
    //! 248, pc, pstate at 264, `orig_x0` at 272, syscallno at 280.

    use super::{ProbeContext, Syscall, read, read_user};

    /// `PSR_MODE32_BIT`
    const MODE32: u64 = 0x10;

    #[inline(always)]
    pub(crate) fn syscall(regs: u64) -> Option<Syscall> {
        let [second, third]: [u64; 2] = read(regs + 8)?;
        let [pstate, first]: [u64; 2] = read(regs + 264)?;
        let number: u32 = read(regs + 280)?;
        Some(Syscall { number, first, second, third, compat: pstate & MODE32 != 0 })
    }

    #[inline(always)]
    pub(crate) fn fourth(regs: u64) -> u64 {
        read(regs + 24).unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn fifth(regs: u64) -> u64 {
        read(regs + 32).unwrap_or(0)
    }

    /// An argument of the function that is entered; all but the first eight are on the
    /// stack (Procedure Call Standard for the Arm 64-bit Architecture, section 6.8.2).
    #[inline(always)]
    pub(crate) fn argument(ctx: &ProbeContext, index: usize) -> Option<u64> {
        if index < 8 {
            return ctx.arg(index);
        }
        // SAFETY: the kernel gives a probe its registers.
        let stack = unsafe { (*ctx.regs).sp };
        read_user(stack + 8 * (index as u64 - 8))
    }

    /// Where a function begins its arguments whose result is in memory.
    pub(crate) const ARGUMENTS: usize = 0;

    /// Where the function that is entered leaves its result, if that is in memory: x8.
    #[inline(always)]
    pub(crate) fn result(ctx: &ProbeContext) -> u64 {
        // SAFETY: the kernel gives a probe its registers.
        unsafe { (*ctx.regs).regs[8] }
    }

    /// What a Go program keeps the address of its goroutine in: x28.
    #[inline(always)]
    pub(crate) fn goroutine(regs: u64) -> u64 {
        read(regs + 28 * 8).unwrap_or(0)
    }

    /// Where the registers lie on a kernel stack: its size depends on that of pages. Before
    /// 6.0, where the helper is, no function of a kernel can be hooked here anyway.
    pub(crate) const ON_STACK: u64 = 0;

    /// include/uapi/asm-generic/unistd.h
    pub(crate) mod number {
        pub(crate) const READ: u32 = 63;
        pub(crate) const WRITE: u32 = 64;
        pub(crate) const READV: u32 = 65;
        pub(crate) const WRITEV: u32 = 66;
        pub(crate) const SENDFILE: u32 = 71;
        pub(crate) const SPLICE: u32 = 76;
        pub(crate) const SENDTO: u32 = 206;
        pub(crate) const RECVFROM: u32 = 207;
        pub(crate) const SHUTDOWN: u32 = 210;
        pub(crate) const SENDMSG: u32 = 211;
        pub(crate) const RECVMSG: u32 = 212;
        pub(crate) const MMAP: u32 = 222;
        pub(crate) const RECVMMSG: u32 = 243;
        pub(crate) const SENDMMSG: u32 = 269;
    }
}

pub(crate) use arch::{
    ARGUMENTS, ON_STACK, argument, fifth, fourth, goroutine, number, result, syscall,
};
