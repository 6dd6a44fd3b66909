//! The ends of TCP connections, from the kernel's own state machine: exact
//! whoever closes, and however often the descriptor was duplicated.
//!
//! These run in whatever context the kernel is in, so there is no process to
//! check; they act only on connections that a process in scope has used.

use agent_common::record::{Direction, FlowRecord, Layer, Protocol, RecordKind};
use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};

use super::transfer::end;
use crate::{
    emit::{self, Call, Facts},
    kernel::{Counters, now},
    maps::CONNECTIONS,
};

/// `TCP_FIN_WAIT1`, `TCP_CLOSE`, `TCP_LAST_ACK`, `include/net/tcp_states.h`
const FIN_WAIT1: i32 = 4;
const CLOSE: i32 = 7;
const LAST_ACK: i32 = 9;

/// This end has sent its FIN, or the connection was reset.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn tcp_state(ctx: RawTracePointContext) -> i32 {
    let new: i32 = ctx.arg(2);
    if new != FIN_WAIT1 && new != LAST_ACK && new != CLOSE {
        return 0;
    }
    let sock: u64 = ctx.arg(0);
    let Some(state) = CONNECTIONS.get_ptr_mut(&sock) else { return 0 };
    let Some(counters) = Counters::get() else { return 0 };
    let facts = facts();
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(ctx.as_ptr(), counters, &raw const facts) };
    end(state, &call, Direction::EGRESS);
    0
}

/// The sock is about to be freed: nothing can be read from it any more.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
fn tcp_destroy(ctx: RawTracePointContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let Some(state) = CONNECTIONS.get_ptr_mut(&sock) else { return 0 };
    let Some(counters) = Counters::get() else { return 0 };
    let facts = facts();
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(ctx.as_ptr(), counters, &raw const facts) };
    // SAFETY: the state is a map's value.
    unsafe {
        let protocol = (*state).protocol;
        if protocol.is_http() || protocol == Protocol::TLS || protocol == Protocol::URING {
            emit::small::<FlowRecord>(&call, |record| {
                record.write(FlowRecord {
                    kind: RecordKind::END,
                    direction: Direction::BOTH,
                    layer: Layer::SOCKET,
                    reserved: 0,
                    time_ns: call.facts().time_ns,
                    pid_tgid: 0,
                    flow: (*state).flow,
                    offsets: (*state).offsets,
                });
            });
        }
    }
    // A failure means that the entry is gone already.
    CONNECTIONS.remove(&sock).ok();
    0
}

#[inline(always)]
fn facts() -> Facts {
    Facts {
        wake: emit::wake(),
        time_ns: now(),
        other_offset: 0,
        pid_tgid: 0,
        start_ns: 0,
        len: 0,
        direction: Direction::EGRESS,
        layer: Layer::SOCKET,
        library: 0,
    }
}
