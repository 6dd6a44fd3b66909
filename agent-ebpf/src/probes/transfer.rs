//! Bytes that a socket moved, whichever program saw them: what is noted of them, and what
//! is told.

use core::ffi::c_void;

use agent_common::{
    limits::LOCATED_LIBRARIES,
    record::{DataFlags, Direction, Family, FlowRecord, Layer, Protocol, RecordKind, UnixRecord},
    state::FlowState,
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
};

use crate::{
    capture::{self, Work},
    datagram,
    emit::{self, Call, Facts},
    kernel::{Counters, current_task, now, read},
    maps::TLS_CALLS,
    probes::Caller,
    registers, scope, settings,
    settings::offset,
    socket::{self, Socket},
    steps::OfSockets,
};

/// Who made the call, and where to count.
pub(super) struct Task {
    pub(super) context: *mut c_void,
    pub(super) pid_tgid: u64,
    pub(super) counters: Counters,
}

/// The current task, if it is in scope.
#[inline(always)]
pub(super) fn task(context: *mut c_void) -> Option<Task> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    (!settings::empty()).then_some(Task { context, pid_tgid, counters })
}

/// A call's facts.
#[inline(always)]
pub(super) fn facts(
    task: &Task,
    state: *const FlowState,
    direction: Direction,
    returned: i64,
) -> Facts {
    // SAFETY: the state is a map's value.
    let other_offset = unsafe { emit::other_offset(state, direction) };
    Facts {
        wake: emit::wake(),
        time_ns: now(),
        other_offset,
        pid_tgid: task.pid_tgid,
        start_ns: 0,
        len: if returned > i64::from(i32::MAX) { i32::MAX as u32 } else { returned as u32 },
        direction,
        layer: Layer::SOCKET,
        library: 0,
    }
}

/// Bytes that went through user memory, of a call whose source lies in `work` already.
/// `registers` is where those of user space are saved, or 0 when that is not at hand;
/// `asked` is whether a read asked for bytes at all.
#[inline(always)]
pub(super) fn transfer(
    task: &Task,
    registers: u64,
    socket: &Socket,
    direction: Direction,
    returned: i64,
    asked: bool,
    work: *mut Work,
) -> Option<()> {
    let (state, first) = socket::connection(socket, task.counters)?;
    // SAFETY: a map returned `work`, and the program that uses it does not run twice at
    // once on a processor. The facts outlive the call.
    unsafe {
        (*work).facts = facts(task, state, direction, returned);
        (*work).flags = if first { u32::from(DataFlags::FIRST.0) } else { 0 };
        let call = Call::new(task.context, task.counters, &raw const (*work).facts);
        if returned == 0 {
            // A read of nothing is the end of the stream; an empty write is nothing.
            if direction == Direction::INGRESS && asked {
                end(state, &call, direction);
            }
            return None;
        }
        if first {
            introduce(state, &call, socket);
        }
        // Not from within `bytes`: the stack of programs with the perf transport is full.
        if (*state).protocol == Protocol::DATAGRAM || (*state).protocol == Protocol::QUIC {
            datagram::datagram(state, &call, work);
        } else {
            capture::bytes::<OfSockets>(state, &call, work);
        }
        // Now that it is known to carry TLS, if it does.
        nest(state, task.pid_tgid, registers);
    }
    Some(())
}

/// If the thread, or the goroutine that it runs, is within a call of a TLS library, this
/// is its socket.
#[inline(always)]
fn nest(state: *mut FlowState, pid_tgid: u64, registers: u64) {
    // SAFETY: both are maps' values.
    unsafe {
        if (*state).protocol != Protocol::TLS {
            return;
        }
        let mut tls = TLS_CALLS.get_ptr_mut(&Caller::thread(pid_tgid));
        if tls.is_none() {
            let saved = if registers == 0 { user_registers() } else { registers };
            let goroutine = registers::goroutine(saved);
            tls = TLS_CALLS.get_ptr_mut(&Caller::goroutine(pid_tgid, goroutine));
        }
        let Some(tls) = tls else { return };
        if (*tls).flags.contains(DataFlags::NESTED) {
            if (*tls).socket.id != (*state).flow.id {
                (*tls).flags = (*tls).flags.union(DataFlags::CONFLICT);
            }
            return;
        }
        (*tls).socket = (*state).flow;
        emit::copy_tuple(&raw mut (*tls).tuple, &raw const (*state).tuple);
        (*tls).flags = (*tls).flags.union(DataFlags::NESTED);
        // The starts of records are told on where they have to prove the session.
        if (*tls).library < LOCATED_LIBRARIES {
            (*state).bound = 1;
        }
    }
}

/// Where the registers of user space are saved, in the current task.
#[inline(always)]
fn user_registers() -> u64 {
    if settings::has_task_registers() {
        // SAFETY: takes the current task and gives where its registers are saved.
        return unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    }
    let stack: u64 = read(current_task() + offset!(task_stack)).unwrap_or(0);
    stack + registers::ON_STACK
}

/// Bytes moved by the kernel, or dropped: only their number is known.
#[inline(always)]
pub(super) fn moved(
    task: &Task,
    socket: &Socket,
    direction: Direction,
    returned: i64,
) -> Option<()> {
    if returned == 0 {
        return None;
    }
    let (state, first) = socket::connection(socket, task.counters)?;
    let facts = facts(task, state, direction, returned);
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(task.context, task.counters, &raw const facts) };
    let flags = if first { DataFlags::OPAQUE.union(DataFlags::FIRST) } else { DataFlags::OPAQUE };
    // SAFETY: the state is a map's value.
    unsafe { capture::opaque(state, &call, flags) };
    Some(())
}

/// Tells that a direction has ended, once.
#[inline(always)]
pub(super) fn end(state: *mut FlowState, call: &Call, direction: Direction) {
    let bit = if direction == Direction::INGRESS { 1 } else { 2 };
    // SAFETY: the state is a map's value.
    unsafe {
        if (*state).ended & bit != 0 || (*state).protocol == Protocol::IGNORED {
            return;
        }
        (*state).ended |= bit;
        if !(*state).protocol.is_http() {
            return;
        }
        emit::small::<FlowRecord>(call, |record| {
            record.write(FlowRecord {
                kind: RecordKind::END,
                direction,
                layer: call.facts().layer,
                reserved: 0,
                time_ns: call.facts().time_ns,
                pid_tgid: call.facts().pid_tgid,
                flow: (*state).flow,
                offsets: (*state).offsets,
            });
        });
    }
}

/// Tells the path of a unix socket.
#[inline(always)]
fn introduce(state: *mut FlowState, call: &Call, socket: &Socket) {
    // SAFETY: the state is a map's value.
    unsafe {
        if (*state).tuple.family != Family::UNIX {
            return;
        }
        let flow = (*state).flow;
        emit::small::<UnixRecord>(call, |record| {
            (*record).kind = RecordKind::UNIX;
            (*record).time_ns = call.facts().time_ns;
            (*record).flow = flow;
            (*record).reserved = 0;
            (*record).peer_tgid = peer_tgid(socket.sock).unwrap_or(0);
            let peer = read::<u64>(socket.sock + offset!(unix_peer)).unwrap_or(0);
            let mut bound = 1;
            let mut len = path(socket.sock, &raw mut (*record).path);
            if len == 0 && peer != 0 {
                bound = 2;
                len = path(peer, &raw mut (*record).path);
            }
            (*record).path_len = len;
            (*record).bound = if len == 0 { 0 } else { bound };
        });
    }
}

/// Copies the path that a unix sock is bound to; returns its length. What follows
/// the path is whatever follows it in the kernel, and not to be looked at.
///
/// # Safety
///
/// `to` is valid for writes.
#[inline(always)]
unsafe fn path(sock: u64, to: *mut [u8; agent_common::limits::UNIX_PATH_MAX]) -> u32 {
    let Some(address) = read::<u64>(sock + offset!(unix_addr)) else { return 0 };
    if address == 0 {
        return 0;
    }
    // The length counts the family, two bytes before the path (`sockaddr_un`).
    let Some(len) = read::<u32>(address + offset!(unix_address_len)) else { return 0 };
    if len <= 2 || len > 2 + agent_common::limits::UNIX_PATH_MAX as u32 {
        return 0;
    }
    let name = address + offset!(unix_address_name) + 2;
    // SAFETY: promised by the caller; the helper refuses addresses that are not
    // readable, and zeroes what it was to fill.
    let result = unsafe {
        bpf_probe_read_kernel(to.cast(), size_of_val(&*to) as u32, name as *const c_void)
    };
    if result == 0 { len - 2 } else { 0 }
}

/// The process at the other end when the connection was made.
#[inline(always)]
fn peer_tgid(sock: u64) -> Option<u32> {
    let pid: u64 = read(sock + offset!(sock_peer_pid))?;
    if pid == 0 {
        return None;
    }
    read(pid + offset!(pid_nr))
}
