//! `sys_exit`: bytes that a process read or wrote.
//!
//! A program at the exit of every system call. The arguments are still in the saved
//! registers, so there is no hook at the entry and nothing kept in between. It costs
//! processes out of scope one look-up.

use agent_common::{
    counter::Counter,
    record::{Direction, MappedRecord, RecordKind},
    scope::FileKey,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};

use super::transfer::{self, Task, end, facts, task};
use crate::{
    capture::{Iovec, Source},
    emit::{self, Call},
    kernel::{now, read, read_user},
    maps::{MAPPED_FILES, WORK, work},
    probes::flag::{ERRQUEUE, OOB, PEEK, TRUNC},
    registers::{self, Syscall, number},
    settings,
    settings::offset,
    socket,
};

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

/// As a raw tracepoint, which costs least. Inlined into what the macro makes of it: on 5.10 the
/// stack has no room for another frame.
#[raw_tracepoint(tracepoint = "sys_exit")]
#[inline(always)]
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
#[inline(always)]
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

#[inline(always)]
fn exit(task: &Task, registers: u64, mut returned: i64) -> Option<()> {
    if returned < 0 {
        return None;
    }
    let mut beyond = 0;
    let syscall = registers::syscall(registers)?;
    if settings::by_function()
        && syscall.number != number::SHUTDOWN
        && syscall.number != number::MMAP
    {
        return None;
    }
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
    let socket = socket::socket(syscall.first)?;
    let work = WORK.get_ptr_mut(work::SYSCALL)?;
    // SAFETY: the map returned it, and this program does not run twice at once on a
    // processor. What is needed afterwards lies there as well: else the verifier follows all
    // that comes in between once for each way that led here.
    unsafe {
        (*work).source = source;
        (*work).owner = [u64::from(work::SYSCALL), socket.sock];
        (*work).beyond = beyond;
    }
    let asked = source.len > 0 || source.vectors > 0;
    transfer::transfer(task, registers, &socket, direction, returned, asked, work)?;
    // SAFETY: as above.
    let beyond = unsafe { (&raw const (*work).beyond).read_volatile() };
    if beyond > 0 {
        // SAFETY: as above.
        let direction = unsafe { (&raw const (*work).facts.direction).read_volatile() };
        return transfer::moved(task, &socket, direction, beyond);
    }
    Some(())
}

/// Bytes moved by the kernel, or dropped, on what may be a socket.
#[inline(always)]
fn moved(task: &Task, fd: u64, direction: Direction, returned: i64) -> Option<()> {
    if returned == 0 {
        return None;
    }
    transfer::moved(task, &socket::socket(fd)?, direction, returned)
}

/// Bytes of the messages after the first of a recvmmsg or sendmmsg.
#[inline(always)]
fn others(address: u64, messages: i64) -> Option<i64> {
    // The sum lies in a map, so that all ways out of the loop are one to the verifier.
    let work = WORK.get_ptr_mut(work::SYSCALL)?;
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
    Source { buffer: syscall.second, len, next: 0, vectors: 0, in_kernel: 0 }
}

/// readv, writev: an array of buffers. The first that is not empty comes first,
/// if it is among the first three.
#[inline(always)]
fn vectors(address: u64, count: u64) -> Source {
    let vectors = count as u32 & 0x7fff_ffff;
    let mut source = Source { buffer: 0, len: 0, next: address, vectors, in_kernel: 0 };
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
