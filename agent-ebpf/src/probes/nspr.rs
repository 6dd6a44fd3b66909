//! Calls of NSPR, by which programs use NSS.
//!
//! TLS is a layer of a descriptor there, and its functions are not exported. What is
//! exported reads and writes every descriptor, so a call counts only when a system call on
//! a TLS socket is nested in it, or was in one before it.

use agent_common::record::Direction;
use aya_ebpf::{EbpfContext as _, macros::uprobe, programs::ProbeContext};

use super::tls::{self, Arguments, own_stack};

/// `PR_MSG_PEEK`, nspr/prio.h
const PEEK: u64 = 2;

/// `PRInt32 PR_Read(PRFileDesc *, void *buf, PRInt32 amount)`
#[uprobe]
fn nspr_read_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::INGRESS, false);
    0
}

/// `PRInt32 PR_Recv(PRFileDesc *, void *buf, PRInt32 amount, PRIntn flags, PRIntervalTime)`
#[uprobe]
fn nspr_recv_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    if let Some(flags) = ctx.arg::<u64>(3)
        && flags & PEEK == 0
    {
        enter(&ctx, Direction::INGRESS, false);
    }
    0
}

/// `PRInt32 PR_Write(PRFileDesc *, const void *buf, PRInt32 amount)`, `PR_Send`
#[uprobe]
fn nspr_write_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::EGRESS, false);
    0
}

/// `PRInt32 PR_Writev(PRFileDesc *, const PRIOVec *, PRInt32 iov_size, PRIntervalTime)`:
/// hardly anybody uses it on TLS.
#[uprobe]
fn nspr_writev_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::EGRESS, true);
    0
}

#[inline(always)]
fn enter(ctx: &ProbeContext, direction: Direction, opaque: bool) -> Option<()> {
    let arguments = Arguments {
        session: ctx.arg(0)?,
        buffer: ctx.arg(1)?,
        len_pointer: 0,
        direction,
        any: true,
        opaque,
    };
    tls::enter(ctx.as_ptr(), 0, &arguments)
}
