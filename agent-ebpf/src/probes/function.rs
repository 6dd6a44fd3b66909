//! The functions of the kernel that send and receive on sockets: the bytes, whatever brought
//! them there, a system call or `io_uring`.
//!
//! A program at the exit alone. It gets the arguments too, and the message's iterator stands
//! behind the bytes that were moved by then, so that where they are is found by going back.
//! What was asked for is an argument: it proves that the iterator has passed just the bytes
//! that the function says it moved.
//!
//! These functions are above TLS in the kernel (kTLS), which replaces those of the protocol
//! below (`tls_sw_sendmsg`): what passes here is what the process sent.

use core::ffi::c_void;

use agent_common::{record::Direction, scope::ScopeMode};
use aya_ebpf::{EbpfContext as _, macros::fexit, programs::FExitContext};

use super::{
    flag::{ERRQUEUE, OOB, PEEK},
    transfer::{self, Task},
};
use crate::{
    capture::{Iovec, Source, Work},
    kernel::{current_task, read},
    maps::{WORK, work},
    settings,
    settings::offset,
    socket,
};

/// `PF_KTHREAD`, include/linux/sched.h
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Buffers that are gone back over: as many as one message can have (`UIO_MAXIOV`,
/// include/uapi/linux/uio.h).
const VECTORS_MAX: u32 = 1024;

/// `int inet_sendmsg(struct socket *, struct msghdr *, size_t)`: TCP and UDP.
#[fexit(function = "inet_sendmsg")]
fn inet_send(ctx: FExitContext) -> i32 {
    sent(&ctx, work::INET_SEND);
    0
}

/// `int inet6_sendmsg(struct socket *, struct msghdr *, size_t)`
#[fexit(function = "inet6_sendmsg")]
fn inet6_send(ctx: FExitContext) -> i32 {
    sent(&ctx, work::INET6_SEND);
    0
}

/// `int unix_stream_sendmsg(struct socket *, struct msghdr *, size_t)`
#[fexit(function = "unix_stream_sendmsg")]
fn unix_send(ctx: FExitContext) -> i32 {
    sent(&ctx, work::UNIX_SEND);
    0
}

/// `int inet_recvmsg(struct socket *, struct msghdr *, size_t, int flags)`
#[fexit(function = "inet_recvmsg")]
fn inet_receive(ctx: FExitContext) -> i32 {
    received(&ctx, work::INET_RECEIVE);
    0
}

/// `int inet6_recvmsg(struct socket *, struct msghdr *, size_t, int flags)`
#[fexit(function = "inet6_recvmsg")]
fn inet6_receive(ctx: FExitContext) -> i32 {
    received(&ctx, work::INET6_RECEIVE);
    0
}

/// `int unix_stream_recvmsg(struct socket *, struct msghdr *, size_t, int flags)`
#[fexit(function = "unix_stream_recvmsg")]
fn unix_receive(ctx: FExitContext) -> i32 {
    received(&ctx, work::UNIX_RECEIVE);
    0
}

/// `ssize_t sock_splice_read(struct file *, loff_t *, struct pipe_inode_info *, size_t,
/// unsigned int)`: from a socket into a pipe.
#[fexit(function = "sock_splice_read")]
fn splice_receive(ctx: FExitContext) -> i32 {
    if let Some(task) = task(&ctx) {
        spliced(&task, ctx.arg(0), ctx.arg(5));
    }
    0
}

/// `ssize_t inet_sendpage(struct socket *, struct page *, int, size_t, int)`: from a pipe or
/// a file into a socket, before 6.5; since then these are messages.
#[fexit(function = "inet_sendpage")]
fn inet_sendpage(ctx: FExitContext) -> i32 {
    if let Some(task) = task(&ctx) {
        inet_page(&task, ctx.arg(0), ctx.arg(5));
    }
    0
}

/// `ssize_t unix_stream_sendpage(struct socket *, struct page *, int, size_t, int)`
#[fexit(function = "unix_stream_sendpage")]
fn unix_sendpage(ctx: FExitContext) -> i32 {
    if let Some(task) = task(&ctx) {
        page(&task, ctx.arg(0), ctx.arg(5));
    }
    0
}

/// The current task, if it is in scope and a process's.
#[inline(always)]
fn task(ctx: &FExitContext) -> Option<Task> {
    let task = transfer::task(ctx.as_ptr())?;
    // Threads of the kernel's own are in scope with others only. Before 5.12 some of them
    // work for `io_uring`, and whose request it is cannot be told.
    if settings::scope_mode() != ScopeMode::MAP
        && read::<u32>(current_task() + offset!(task_flags))? & KERNEL_THREAD != 0
    {
        return None;
    }
    Some(task)
}

#[inline(always)]
fn sent(ctx: &FExitContext, index: u32) {
    take(ctx.as_ptr(), ctx.arg(3), 0, index);
}

#[inline(always)]
fn received(ctx: &FExitContext, index: u32) {
    take(ctx.as_ptr(), ctx.arg(4), ctx.arg(3), index);
}

/// Takes the bytes of a message: `returned` of them, by a call with `flags`. `index` is the
/// program's entry of [`WORK`]. Not inlined: six programs have it in common.
#[inline(never)]
fn take(context: *mut c_void, returned: i32, flags: u32, index: u32) {
    let ctx = FExitContext::new(context);
    let Some(task) = task(&ctx) else { return };
    // The first arguments of all of them.
    let (socket, message, size): (u64, u64, u64) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let direction = if index < work::INET_RECEIVE { Direction::EGRESS } else { Direction::INGRESS };
    if direction == Direction::EGRESS {
        if returned <= 0 {
            return;
        }
        let Some(flags) = read::<u32>(message + offset!(msghdr_flags)) else { return };
        if u64::from(flags) & OOB != 0 {
            return;
        }
    } else if returned < 0 || u64::from(flags) & (PEEK | ERRQUEUE | OOB) != 0 {
        return;
    }
    let Some(socket) = socket::of_socket(socket) else { return };
    let Some(work) = WORK.get_ptr_mut(index) else { return };
    if returned > 0 && passed(message, size, returned as u32, work).is_none() {
        // In pages of the kernel (`sendfile`, registered buffers of `io_uring`), or thrown
        // away (`MSG_TRUNC`).
        transfer::moved(&task, &socket, direction, returned.into());
    } else {
        // SAFETY: the map returned it.
        unsafe { (*work).owner = [index.into(), socket.sock] };
        transfer::transfer(&task, 0, &socket, direction, returned.into(), size > 0, work);
    }
}

/// Writes to `work` where the bytes are that an iterator has passed; `None` when they are
/// not in user memory, or others than those that were moved.
#[inline(always)]
fn passed(message: u64, size: u64, moved: u32, work: *mut Work) -> Option<()> {
    let iterator = message + offset!(msghdr_iter);
    let left: u64 = read(iterator + offset!(iter_count))?;
    if left.wrapping_add(u64::from(moved)) != size {
        return None;
    }
    let kind = u32::from(read::<u8>(iterator + offset!(iter_type))?) & offset!(iter_mask) as u32;
    let at: u64 = read(iterator + offset!(iter_pointer))?;
    let skip: u64 = read(iterator + offset!(iter_offset))?;
    // SAFETY: the caller has it from a map.
    let source = unsafe { &raw mut (*work).source };
    if kind == offset!(iter_ubuf) as u32 {
        let buffer = at.wrapping_add(skip).wrapping_sub(u64::from(moved));
        // SAFETY: as above.
        unsafe {
            source.write(Source {
                buffer,
                len: u64::from(moved),
                next: 0,
                vectors: 0,
                in_kernel: 0,
            });
        }
        return Some(());
    }
    if kind != offset!(iter_iovec) as u32 {
        return None;
    }
    back(at, skip, moved, work)
}

/// Goes back over vectors to where the first of the bytes is: `skip` of them are in the
/// vector at `at`.
#[inline(always)]
fn back(at: u64, skip: u64, moved: u32, work: *mut Work) -> Option<()> {
    // SAFETY: the caller has it from a map. Volatile, so that all rounds are one to the
    // verifier.
    unsafe {
        let left = &raw mut (*work).left;
        let source = &raw mut (*work).source;
        let next = &raw mut (*source).next;
        let len = &raw mut (*source).len;
        let vectors = &raw mut (*source).vectors;
        left.write_volatile(moved);
        next.write_volatile(at);
        len.write_volatile(skip);
        vectors.write_volatile(0);
        let mut round = 0;
        while round < VECTORS_MAX {
            round += 1;
            let here = len.read_volatile();
            let missing = u64::from(left.read_volatile());
            if missing <= here {
                break;
            }
            left.write_volatile((missing - here) as u32);
            let before = next.read_volatile() - size_of::<Iovec>() as u64;
            next.write_volatile(before);
            len.write_volatile(read::<Iovec>(before)?.len);
            vectors.write_volatile(vectors.read_volatile() + 1);
        }
        let here = len.read_volatile();
        let missing = u64::from(left.read_volatile());
        if missing > here {
            return None;
        }
        let first = next.read_volatile();
        let base = read::<Iovec>(first)?.base;
        (*source).buffer = base + (here - missing);
        (*source).len = missing;
        (*source).next = first + size_of::<Iovec>() as u64;
        (*source).in_kernel = 1;
    }
    Some(())
}

#[inline(always)]
fn spliced(task: &Task, file: u64, returned: i64) -> Option<()> {
    if returned <= 0 {
        return None;
    }
    let socket = socket::of_file(file)?;
    let operations: u64 = read(socket.socket + offset!(socket_ops))?;
    // Without one of its own, the socket was read by a message.
    if read::<u64>(operations + offset!(ops_splice_read))? == 0 {
        return None;
    }
    transfer::moved(task, &socket, Direction::INGRESS, returned)
}

#[inline(always)]
fn inet_page(task: &Task, address: u64, returned: i64) -> Option<()> {
    let sock: u64 = read(address + offset!(socket_sk))?;
    let protocol: u64 = read(sock + offset!(sock_prot))?;
    // Without one of its own (`sock_no_sendpage`), it became a message.
    if read::<u64>(protocol + offset!(proto_sendpage))? == 0 {
        return None;
    }
    page(task, address, returned)
}

#[inline(always)]
fn page(task: &Task, address: u64, returned: i64) -> Option<()> {
    if returned <= 0 {
        return None;
    }
    transfer::moved(task, &socket::of_socket(address)?, Direction::EGRESS, returned)
}
