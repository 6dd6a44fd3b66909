//! Completions of `io_uring` on sockets: bytes that no system call moves, and whose number
//! alone is known.

use core::ffi::c_void;

use agent_common::{
    record::{DataFlags, Direction, Protocol},
    state::FlowState,
};
use aya_ebpf::{EbpfContext as _, macros::tracepoint, programs::TracePointContext};

use super::transfer::{self, Task};
use crate::{
    capture,
    emit::{self, Call, Piece},
    kernel::read,
    settings,
    settings::offset,
    socket,
};

/// `enum io_uring_op`, `include/uapi/linux/io_uring.h`
mod operation {
    pub(super) const READV: u8 = 1;
    pub(super) const WRITEV: u8 = 2;
    pub(super) const READ_FIXED: u8 = 4;
    pub(super) const WRITE_FIXED: u8 = 5;
    pub(super) const SENDMSG: u8 = 9;
    pub(super) const RECVMSG: u8 = 10;
    pub(super) const READ: u8 = 22;
    pub(super) const WRITE: u8 = 23;
    pub(super) const SEND: u8 = 26;
    pub(super) const RECV: u8 = 27;
    pub(super) const SEND_ZC: u8 = 47;
    pub(super) const SENDMSG_ZC: u8 = 48;
    pub(super) const READ_MULTISHOT: u8 = 49;
    pub(super) const RECV_ZC: u8 = 58;
}

/// `trace_io_uring_complete`, `include/trace/events/io_uring.h`: in the thread that made the
/// request, in one that the kernel gave its process for such work, or in one that polls for
/// it. The request is told since 5.19.
#[tracepoint]
fn uring_complete(ctx: TracePointContext) -> u32 {
    if let Some(task) = transfer::task(ctx.as_ptr()) {
        complete(&task, ctx.as_ptr());
    }
    0
}

#[inline(always)]
fn complete(task: &Task, record: *mut c_void) -> Option<()> {
    let record = record as u64;
    let moved: i32 = read(record + offset!(uring_complete_res))?;
    let request: u64 = read(record + offset!(uring_complete_req))?;
    if moved <= 0 || request == 0 {
        return None;
    }
    let opcode = read(request + offset!(uring_request_opcode))?;
    // All others went through the functions of the socket.
    if settings::by_function() && opcode != operation::RECV_ZC {
        return None;
    }
    let direction = direction(opcode)?;
    let socket = socket::of_file(read(request + offset!(uring_request_file))?)?;
    let (state, first) = socket::connection(&socket, task.counters)?;
    let facts = transfer::facts(task, state, direction, i64::from(moved));
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(task.context, task.counters, &raw const facts) };
    let flags = if first { DataFlags::OPAQUE.union(DataFlags::FIRST) } else { DataFlags::OPAQUE };
    // SAFETY: the state is a map's value.
    unsafe {
        if (*state).protocol == Protocol::UNKNOWN {
            tell(state, &call, flags);
        } else {
            capture::opaque(state, &call, flags);
        }
    }
    Some(())
}

/// Tells of a connection that is used this way, once.
#[inline(always)]
unsafe fn tell(state: *mut FlowState, call: &Call, flags: DataFlags) {
    // SAFETY: promised by the caller.
    unsafe {
        (*state).protocol = Protocol::URING;
        let piece = Piece { source: 0, len: call.facts().len, captured: 0, flags };
        emit::data(state, call, &piece);
        capture::advance(state, call.facts().direction, call.facts().len);
    }
}

#[inline(always)]
fn direction(opcode: u8) -> Option<Direction> {
    match opcode {
        operation::READV
        | operation::READ_FIXED
        | operation::RECVMSG
        | operation::READ
        | operation::RECV
        | operation::READ_MULTISHOT
        | operation::RECV_ZC => Some(Direction::INGRESS),
        operation::WRITEV
        | operation::WRITE_FIXED
        | operation::SENDMSG
        | operation::WRITE
        | operation::SEND
        | operation::SEND_ZC
        | operation::SENDMSG_ZC => Some(Direction::EGRESS),
        _ => None,
    }
}
