//! Calls of Go's `crypto/tls`.
//!
//! Go moves the stacks of its goroutines, and with them the return address that a
//! return probe would put there. So the returns are ordinary probes, one at each return
//! instruction. A goroutine may leave a thread and go on in another one: its calls are
//! kept by goroutine, not by thread.
//!
//! Registers are those of `ABIInternal` (Go 1.17, src/cmd/compile/abi-internal.md):
//! receiver, pointer and length of a slice in the first three of them, results in the
//! same; one more always holds the goroutine.

use agent_common::record::Direction;
use aya_ebpf::{EbpfContext as _, macros::uprobe, programs::ProbeContext};

use super::{
    session,
    tls::{self, Arguments, own_stack},
};

/// The registers of `ABIInternal` that matter here.
struct Registers {
    first: u64,
    second: u64,
    goroutine: u64,
}

#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn registers(ctx: &ProbeContext) -> Registers {
    // SAFETY: the kernel gives a probe its registers.
    let regs = unsafe { &*ctx.regs };
    Registers { first: regs.rax, second: regs.rbx, goroutine: regs.r14 }
}

#[cfg(bpf_target_arch = "aarch64")]
#[inline(always)]
fn registers(ctx: &ProbeContext) -> Registers {
    // SAFETY: the kernel gives a probe its registers.
    let regs = unsafe { &*ctx.regs };
    let [first, second, ..] = regs.regs;
    Registers { first, second, goroutine: regs.regs[28] }
}

/// `func (c *Conn) Read(b []byte) (int, error)`
#[uprobe]
fn go_read_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::INGRESS);
    0
}

/// `func (c *Conn) Write(b []byte) (int, error)`
#[uprobe]
fn go_write_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::EGRESS);
    0
}

/// A return of either.
#[uprobe]
fn go_exit(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    let registers = registers(&ctx);
    tls::exit(ctx.as_ptr(), registers.goroutine, registers.first as i64);
    0
}

/// `func (c *Conn) Close() error`
#[uprobe]
fn go_end(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    session::end(ctx.as_ptr(), registers(&ctx).first, Direction::BOTH);
    0
}

/// `func (c *Conn) clientHandshake(context.Context) error`, `serverHandshake`: a session
/// that was at this address before and was never closed has been collected.
#[uprobe]
fn go_begin(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    session::begin(ctx.as_ptr(), registers(&ctx).first);
    0
}

#[inline(always)]
fn enter(ctx: &ProbeContext, direction: Direction) {
    let registers = registers(ctx);
    let arguments = Arguments {
        session: registers.first,
        buffer: registers.second,
        len_pointer: 0,
        direction,
        any: false,
        opaque: false,
    };
    tls::enter(ctx.as_ptr(), registers.goroutine, &arguments);
}
