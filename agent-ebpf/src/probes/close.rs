//! `sys_enter_close`: the end of unix connections and of QUIC sockets, which have no
//! tracepoint of their own. At the exit of close the descriptor is gone already.

use agent_common::{
    record::{Direction, Family, FlowRecord, Layer, Protocol, RecordKind},
    state::FlowState,
};
use aya_ebpf::{
    EbpfContext as _, helpers::bpf_get_current_pid_tgid, macros::tracepoint,
    programs::TracePointContext,
};

use super::transfer::end;
use crate::{
    emit::{self, Call, Facts},
    kernel::now,
    maps::CONNECTIONS,
    scope, settings, socket,
};

/// Offset of the first argument in the record of a `sys_enter_*` tracepoint:
/// `/sys/kernel/tracing/events/syscalls/sys_enter_close/format`.
const FD: usize = 16;

#[tracepoint]
fn close_enter(ctx: TracePointContext) -> u32 {
    enter(&ctx);
    0
}

#[inline(always)]
fn enter(ctx: &TracePointContext) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    // SAFETY: the offset is that of this tracepoint's record.
    let fd: u64 = unsafe { ctx.read_at(FD) }.ok()?;
    let socket = socket::socket(fd)?;
    let state = CONNECTIONS.get_ptr_mut(&socket.sock)?;
    // SAFETY: the state is a map's value.
    let (unix, quic) = unsafe {
        let known = (*state).flow.id == socket.inode;
        (
            known && (*state).tuple.family == Family::UNIX,
            known && (*state).protocol == Protocol::QUIC,
        )
    };
    if unix || quic {
        let facts = Facts {
            wake: emit::wake(),
            time_ns: now(),
            other_offset: 0,
            pid_tgid,
            start_ns: 0,
            len: 0,
            direction: Direction::EGRESS,
            layer: Layer::SOCKET,
            library: 0,
        };
        // SAFETY: the facts outlive the call.
        let call = unsafe { Call::new(ctx.as_ptr(), counters, &raw const facts) };
        if unix {
            end(state, &call, Direction::EGRESS);
        } else {
            end_quic(state, &call);
        }
    }
    Some(())
}

/// Tells how many bytes went over a QUIC socket. It may be open elsewhere, and then the
/// agent meets it again.
#[inline(always)]
fn end_quic(state: *mut FlowState, call: &Call) {
    emit::small::<FlowRecord>(call, |record| {
        // SAFETY: the record was reserved, and the state is a map's value.
        unsafe {
            record.write(FlowRecord {
                kind: RecordKind::END,
                direction: Direction::BOTH,
                layer: Layer::SOCKET,
                reserved: 0,
                time_ns: call.facts().time_ns,
                pid_tgid: call.facts().pid_tgid,
                flow: (*state).flow,
                offsets: (*state).offsets,
            });
        }
    });
}
