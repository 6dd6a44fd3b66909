//! `sys_exit`: bytes that a process read or wrote.
//!
//! A program at the exit of every system call. The arguments are still in the saved
//! registers, so there is no hook at the entry and nothing kept in between. It costs
//! processes out of scope one look-up.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    record::{
        DataFlags, Direction, Family, FlowRecord, Layer, MappedRecord, Protocol, RecordKind,
        UnixRecord,
    },
    scope::FileKey,
    state::FlowState,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
    },
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use crate::{
    capture::{self, Iovec, Source},
    datagram,
    emit::{self, Call, Facts},
    kernel::{Counters, now, read, read_user},
    maps::{MAPPED_FILES, TLS_CALLS, WORK},
    probes::Caller,
    registers::{self, Syscall, number},
    scope, settings,
    settings::offset,
    socket::{self, Socket},
};

/// `MSG_OOB`, `MSG_PEEK`, `MSG_TRUNC`, `MSG_ERRQUEUE`, include/linux/socket.h
const OOB: u64 = 1;
const PEEK: u64 = 2;
const TRUNC: u64 = 0x20;
const ERRQUEUE: u64 = 0x2000;
/// `PROT_EXEC`
const EXEC: u64 = 4;
/// `SHUT_RD`
const SHUT_RD: u64 = 0;
/// Messages of one recvmmsg or sendmmsg whose bytes are counted: more than libraries of
/// QUIC hand over at once.
const MESSAGES: i64 = 64;
/// Size of `struct mmsghdr`: a `user_msghdr` of 56 bytes, `msg_len`, padding.
const MMSGHDR: u64 = 64;
const MSG_LEN: u64 = 56;

/// Offset of the result in the record of a `raw_syscalls:sys_exit` event:
/// `/sys/kernel/tracing/events/raw_syscalls/sys_exit/format`
const RETURNED: usize = 16;

/// As a raw tracepoint, which costs least.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit(ctx: RawTracePointContext) -> i32 {
    if let Some(task) = task(ctx.as_ptr()) {
        exit(&task, ctx.arg(0), ctx.arg(1));
    }
    0
}

/// As a trace event. Since 7.0 the program of a raw tracepoint can be preempted, and
/// until it goes on, the kernel leaves it out for whatever else happens on that
/// processor (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`); that of a trace event
/// cannot.
#[tracepoint]
fn sys_exit_event(ctx: TracePointContext) -> u32 {
    if let Some(task) = task(ctx.as_ptr())
        // SAFETY: the offset is that of this event's record.
        && let Ok(returned) = unsafe { ctx.read_at(RETURNED) }
    {
        // SAFETY: takes the current task and gives where its registers are saved.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
        exit(&task, registers as u64, returned);
    }
    0
}

/// Who made the call, and where to count.
struct Task {
    context: *mut c_void,
    pid_tgid: u64,
    counters: Counters,
}

/// The current task, if it is in scope.
#[inline(always)]
fn task(context: *mut c_void) -> Option<Task> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    (!settings::empty()).then_some(Task { context, pid_tgid, counters })
}

#[inline(always)]
fn exit(task: &Task, registers: u64, mut returned: i64) -> Option<()> {
    if returned < 0 {
        return None;
    }
    let mut beyond = 0;
    let syscall = registers::syscall(registers)?;
    if syscall.compat {
        task.counters.add(Counter::COMPAT, 1);
        return None;
    }
    let (direction, source) = match syscall.number {
        number::READ => (Direction::INGRESS, single(&syscall, returned)),
        number::WRITE => (Direction::EGRESS, single(&syscall, returned)),
        number::RECVFROM => {
            let flags = registers::fourth(registers);
            if flags & (PEEK | ERRQUEUE | OOB) != 0 {
                return None;
            }
            if flags & TRUNC != 0 {
                // The bytes were thrown away unseen (tcp(7)).
                return moved(task, syscall.first, Direction::INGRESS, returned);
            }
            (Direction::INGRESS, single(&syscall, returned))
        }
        number::SENDTO => {
            if registers::fourth(registers) & OOB != 0 {
                return None;
            }
            (Direction::EGRESS, single(&syscall, returned))
        }
        number::READV => (Direction::INGRESS, vectors(syscall.second, syscall.third)),
        number::WRITEV => (Direction::EGRESS, vectors(syscall.second, syscall.third)),
        number::RECVMSG => {
            if syscall.third & (PEEK | ERRQUEUE | OOB) != 0 {
                return None;
            }
            (Direction::INGRESS, header(syscall.second)?)
        }
        number::SENDMSG => {
            if syscall.third & OOB != 0 {
                return None;
            }
            (Direction::EGRESS, header(syscall.second)?)
        }
        number::RECVMMSG | number::SENDMMSG => {
            if returned == 0 {
                return None;
            }
            // The first is taken like that of sendmsg, the rest as bytes unseen: streams
            // have no use for several messages, and of datagrams little is looked at.
            let direction = if syscall.number == number::RECVMMSG {
                Direction::INGRESS
            } else {
                Direction::EGRESS
            };
            beyond = others(syscall.second, returned)?;
            returned = i64::from(read_user::<u32>(syscall.second + MSG_LEN)?);
            (direction, header(syscall.second)?)
        }
        number::SENDFILE => {
            return moved(task, syscall.first, Direction::EGRESS, returned);
        }
        number::SPLICE => {
            moved(task, syscall.first, Direction::INGRESS, returned);
            return moved(task, syscall.third, Direction::EGRESS, returned);
        }
        number::SHUTDOWN => return shutdown(task, &syscall),
        number::MMAP => {
            if syscall.third & EXEC == 0 {
                return None;
            }
            return mapped(task, registers::fifth(registers), returned);
        }
        _ => return None,
    };
    transfer(task, registers, syscall.first, direction, &source, returned)?;
    if beyond > 0 {
        return moved(task, syscall.first, direction, beyond);
    }
    Some(())
}

/// A call's facts.
#[inline(always)]
fn facts(task: &Task, state: *const FlowState, direction: Direction, returned: i64) -> Facts {
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

/// Bytes that went through user memory.
#[inline(always)]
fn transfer(
    task: &Task,
    registers: u64,
    fd: u64,
    direction: Direction,
    source: &Source,
    returned: i64,
) -> Option<()> {
    let socket = socket::socket(fd)?;
    let (state, first) = socket::connection(&socket, task.counters)?;
    let work = WORK.get_ptr_mut(0)?;
    // SAFETY: the map returned it, and this program does not run twice at once on
    // a processor. The facts outlive the call.
    unsafe {
        (*work).facts = facts(task, state, direction, returned);
        (*work).source = *source;
        (*work).flags = if first { u32::from(DataFlags::FIRST.0) } else { 0 };
        let call = Call::new(task.context, task.counters, &raw const (*work).facts);
        if returned == 0 {
            // A read of nothing is the end of the stream; an empty write is nothing.
            if direction == Direction::INGRESS && wanted(source) {
                end(state, &call, direction);
            }
            return None;
        }
        if first {
            introduce(state, &call, &socket);
        }
        nest(state, task.pid_tgid, registers);
        // Not from within `bytes`: the stack of programs with the perf transport is full.
        if (*state).protocol == Protocol::DATAGRAM || (*state).protocol == Protocol::QUIC {
            datagram::datagram(state, &call, work);
        } else {
            capture::bytes(state, &call, work);
        }
    }
    Some(())
}

/// Whether a read asked for bytes at all.
#[inline(always)]
fn wanted(source: &Source) -> bool {
    source.len > 0 || source.vectors > 0
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
            let goroutine = registers::goroutine(registers);
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
        (*state).bound = 1;
    }
}

/// Bytes moved by the kernel, or dropped: only their number is known.
#[inline(always)]
fn moved(task: &Task, fd: u64, direction: Direction, returned: i64) -> Option<()> {
    if returned == 0 {
        return None;
    }
    let socket = socket::socket(fd)?;
    let (state, first) = socket::connection(&socket, task.counters)?;
    let facts = facts(task, state, direction, returned);
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(task.context, task.counters, &raw const facts) };
    let flags = if first { DataFlags::OPAQUE.union(DataFlags::FIRST) } else { DataFlags::OPAQUE };
    // SAFETY: the state is a map's value.
    unsafe { capture::opaque(state, &call, flags) };
    Some(())
}

/// Bytes of the messages after the first of a recvmmsg or sendmmsg.
#[inline(always)]
fn others(address: u64, messages: i64) -> Option<i64> {
    // The sum lies in a map, so that all ways out of the loop are one to the verifier.
    let work = WORK.get_ptr_mut(0)?;
    // SAFETY: the map returned it, and this program does not run twice at once on a
    // processor. Volatile, so that it is not kept in a register.
    let sum = unsafe { &raw mut (*work).left };
    // SAFETY: as above.
    unsafe { sum.write_volatile(0) };
    let mut index = 1;
    while index < MESSAGES && index < messages {
        let Some(len) = read_user::<u32>(address + index as u64 * MMSGHDR + MSG_LEN) else { break };
        // SAFETY: as above.
        unsafe { sum.write_volatile(sum.read_volatile().saturating_add(len)) };
        index += 1;
    }
    // SAFETY: as above.
    Some(i64::from(unsafe { sum.read_volatile() }))
}

#[inline(always)]
fn shutdown(task: &Task, syscall: &Syscall) -> Option<()> {
    if syscall.second == SHUT_RD {
        return None;
    }
    let socket = socket::socket(syscall.first)?;
    let (state, _) = socket::connection(&socket, task.counters)?;
    let facts = facts(task, state, Direction::EGRESS, 0);
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(task.context, task.counters, &raw const facts) };
    end(state, &call, Direction::EGRESS);
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
        if (*state).protocol != Protocol::HTTP1 {
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

/// Tells the agent of a file mapped as code, once per file.
#[inline(always)]
fn mapped(task: &Task, fd: u64, address: i64) -> Option<()> {
    let file = socket::file(fd & 0xffff_ffff)?;
    let inode: u64 = read(file + offset!(file_inode))?;
    let block: u64 = read(inode + offset!(inode_sb))?;
    let key = FileKey {
        inode: read(inode + offset!(inode_ino))?,
        device: u64::from(read::<u32>(block + offset!(super_block_dev))?),
    };
    // SAFETY: only the presence of the entry is used.
    if unsafe { MAPPED_FILES.get(&key) }.is_some() {
        return None;
    }
    if MAPPED_FILES.insert(&key, &1, 0).is_err() {
        task.counters.add(Counter::MAP_FULL, 1);
    }
    emit::lifecycle::<MappedRecord>(task.context, task.counters, |record| {
        // SAFETY: the record was reserved.
        unsafe {
            record.write(MappedRecord {
                kind: RecordKind::MAPPED,
                tgid: (task.pid_tgid >> 32) as u32,
                time_ns: now(),
                inode: key.inode,
                device: key.device,
                address: address as u64,
            });
        }
    });
    Some(())
}

/// read, write, recvfrom, sendto: one buffer.
#[inline(always)]
fn single(syscall: &Syscall, returned: i64) -> Source {
    // At the end of a stream, the length that was asked for tells it from a read
    // of nothing.
    let len = if returned == 0 { syscall.third } else { returned as u64 };
    Source { buffer: syscall.second, len, next: 0, vectors: 0 }
}

/// readv, writev: an array of buffers. The first that is not empty comes first,
/// if it is among the first three.
#[inline(always)]
fn vectors(address: u64, count: u64) -> Source {
    let mut source = Source { buffer: 0, len: 0, next: address, vectors: count & 0x7fff_ffff };
    let mut tries = 0;
    while tries < 3 && source.len == 0 && source.vectors > 0 {
        tries += 1;
        let Some(vector) = read_user::<Iovec>(source.next) else { break };
        source.buffer = vector.base;
        source.len = vector.len;
        source.next += 16;
        source.vectors -= 1;
    }
    source
}

/// recvmsg, sendmsg: `msg_iov` and `msg_iovlen` of a `struct user_msghdr`.
#[inline(always)]
fn header(address: u64) -> Option<Source> {
    let [address, count]: [u64; 2] = read_user(address + 16)?;
    Some(vectors(address, count))
}
