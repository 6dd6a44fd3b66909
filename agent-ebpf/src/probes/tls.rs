//! Calls of TLS libraries: OpenSSL's `SSL_read` and `SSL_write` and what has the same
//! arguments, and their `_ex` forms. Which functions these are, the agent knows.
//!
//! The entry keeps the arguments, the return takes the bytes: only then is it
//! known how many there are. System calls in between tell the socket.

use agent_common::{
    counter::Counter,
    limits::LOOKS_MAX,
    record::{DataFlags, Direction, FlowId, FlowRecord, Layer, Protocol, RecordKind, Tuple},
    state::{FlowState, SessionKey},
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_attach_cookie},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    capture::{self, Source, Work},
    emit::{self, Call, Facts},
    kernel::{Counters, current_task, now, process_start, read_user},
    maps::{EMPTY_CALL, EMPTY_FLOW, NO_PROGRAMS, SESSIONS, TLS_CALLS},
    scope, settings,
};

/// A TLS call that has not returned: a value of `TLS_CALLS`, by thread.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct TlsCall {
    /// Address of the session's object.
    pub(crate) session: u64,
    /// The caller's buffer.
    pub(crate) buffer: u64,
    /// Of the `_ex` functions: where the length will be stored; else 0.
    pub(crate) len_pointer: u64,
    /// When it began.
    pub(crate) entered_ns: u64,
    /// Socket seen in a nested system call.
    pub(crate) socket: FlowId,
    /// Its ends.
    pub(crate) tuple: Tuple,
    /// What is needed once it has returned.
    pub(crate) work: Work,
    /// Which way.
    pub(crate) direction: Direction,
    /// [`DataFlags::NESTED`], [`DataFlags::CONFLICT`].
    pub(crate) flags: DataFlags,
    /// Index of the attached library.
    pub(crate) library: u32,
}

/// Keeps the kernel from giving a uprobe program a stack per processor (6.13),
/// which a program that preempts it would overwrite: a program with a tail call
/// never gets one (`check_max_stack_depth`, kernel/bpf/verifier.c). The call is
/// never made: its condition is a constant to the verifier.
macro_rules! own_stack {
    ($ctx:expr) => {
        if settings::own_tgid() == u32::MAX {
            // SAFETY: the map holds no program.
            unsafe { NO_PROGRAMS.tail_call(&$ctx, 0) };
        }
    };
}

/// `int SSL_read(SSL *, void *buf, int num)`,
/// `ssize_t gnutls_record_recv(gnutls_session_t, void *data, size_t data_size)`
#[uprobe]
fn tls_read_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::INGRESS, false);
    0
}

/// `int SSL_write(SSL *, const void *buf, int num)`,
/// `ssize_t gnutls_record_send(gnutls_session_t, const void *data, size_t data_size)`
#[uprobe]
fn tls_write_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::EGRESS, false);
    0
}

/// `int SSL_read_ex(SSL *, void *buf, size_t num, size_t *readbytes)`
#[uprobe]
fn tls_read_ex_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::INGRESS, true);
    0
}

/// `int SSL_write_ex(SSL *, const void *buf, size_t num, size_t *written)`
#[uprobe]
fn tls_write_ex_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter(&ctx, Direction::EGRESS, true);
    0
}

/// The return of any of them.
#[uretprobe]
fn tls_exit(ctx: RetProbeContext) -> u32 {
    own_stack!(ctx);
    exit(&ctx);
    0
}

/// `void SSL_free(SSL *)`, `void gnutls_deinit(gnutls_session_t)`: the session is gone.
#[uprobe]
fn tls_end(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    end(&ctx, Direction::BOTH);
    0
}

/// `int SSL_shutdown(SSL *)`, `int gnutls_bye(gnutls_session_t, how)`: this end will write
/// no more.
#[uprobe]
fn tls_shutdown(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    end(&ctx, Direction::EGRESS);
    0
}

#[inline(always)]
fn enter(ctx: &ProbeContext, direction: Direction, ex: bool) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let empty = EMPTY_CALL.get(0)?;
    if TLS_CALLS.insert(&pid_tgid, empty, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
        return None;
    }
    let call = TLS_CALLS.get_ptr_mut(&pid_tgid)?;
    // SAFETY: the map returned it.
    unsafe {
        (*call).session = ctx.arg(0)?;
        (*call).buffer = ctx.arg(1)?;
        (*call).len_pointer = if ex { ctx.arg(3)? } else { 0 };
        (*call).entered_ns = now();
        (*call).direction = direction;
        if settings::has_cookie() {
            (*call).library = bpf_get_attach_cookie(ctx.as_ptr()) as u32;
        }
    }
    Some(())
}

#[inline(always)]
fn exit(ctx: &RetProbeContext) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let counters = scope::check(tgid)?;
    if settings::empty() {
        return None;
    }
    counters.add(Counter::TLS_CALLS, 1);
    let Some(kept) = TLS_CALLS.get_ptr_mut(&pid_tgid) else {
        counters.add(Counter::TLS_ORPHANS, 1);
        return None;
    };
    let returned: i32 = ctx.ret();
    // SAFETY: the map returned it, and nothing else removes a thread's entry.
    unsafe {
        if returned == 0 && (*kept).direction == Direction::INGRESS && (*kept).len_pointer == 0 {
            // The peer's close_notify, or the end of the transport.
            let start_ns = process_start(current_task());
            let key = SessionKey { session: (*kept).session, start_ns, tgid: u64::from(tgid) };
            if let Some(state) = SESSIONS.get_ptr_mut(&key)
                && (*state).protocol == Protocol::HTTP1
            {
                tell_end(ctx.as_ptr(), counters, pid_tgid, state, Direction::INGRESS);
            }
        }
        if returned > 0 {
            let len = if (*kept).len_pointer == 0 {
                returned as u32
            } else {
                read_user::<u64>((*kept).len_pointer).unwrap_or(0) as u32
            };
            let start_ns = process_start(current_task());
            let key = SessionKey { session: (*kept).session, start_ns, tgid: u64::from(tgid) };
            if let Some((state, first)) = session(&key, counters) {
                if (*kept).flags.contains(DataFlags::NESTED) {
                    bind(state, &*kept);
                }
                // A session is used by one thread at a time: the other direction stands
                // where it stood when the call began.
                let other_offset = emit::other_offset(state, (*kept).direction);
                let work = &raw mut (*kept).work;
                (*work).facts = Facts {
                    wake: emit::wake(),
                    // What was written has left before the call returns: the peer may
                    // have answered by then.
                    time_ns: if (*kept).direction == Direction::EGRESS {
                        (*kept).entered_ns
                    } else {
                        now()
                    },
                    other_offset,
                    pid_tgid,
                    start_ns,
                    len,
                    direction: (*kept).direction,
                    layer: Layer::TLS,
                    library: (*kept).library as u16,
                };
                (*work).source =
                    Source { buffer: (*kept).buffer, len: u64::from(len), next: 0, vectors: 0 };
                (*work).flags = if first { u32::from(DataFlags::FIRST.0) } else { 0 };
                if len > 0 {
                    let call = Call::new(ctx.as_ptr(), counters, &raw const (*work).facts);
                    capture::bytes(state, &call, work);
                }
            }
        }
    }
    // A failure means that it was evicted.
    TLS_CALLS.remove(&pid_tgid).ok();
    Some(())
}

/// A session's state, made when it is first seen; the flag says that it was.
#[inline(always)]
fn session(key: &SessionKey, counters: Counters) -> Option<(*mut FlowState, bool)> {
    if let Some(state) = SESSIONS.get_ptr_mut(key) {
        return Some((state, false));
    }
    let empty = EMPTY_FLOW.get(0)?;
    if SESSIONS.insert(key, empty, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
        return None;
    }
    let state = SESSIONS.get_ptr_mut(key)?;
    // SAFETY: the map returned it.
    unsafe {
        (*state).flow = FlowId { id: key.session, generation: now() };
        (*state).looks = LOOKS_MAX;
        (*state).last = Direction::BOTH;
    }
    Some((state, true))
}

/// Remembers the socket that a session was seen to use.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
unsafe fn bind(state: *mut FlowState, call: &TlsCall) {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).flags.contains(DataFlags::NESTED) && (*state).socket.id != call.socket.id {
            (*state).flags = (*state).flags.union(DataFlags::CONFLICT);
        }
        (*state).socket = call.socket;
        emit::copy_tuple(&raw mut (*state).tuple, &raw const call.tuple);
        (*state).flags = (*state).flags.union(call.flags);
    }
}

#[inline(always)]
fn end(ctx: &ProbeContext, direction: Direction) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let counters = scope::check(tgid)?;
    if settings::empty() {
        return None;
    }
    let key = SessionKey {
        session: ctx.arg(0)?,
        start_ns: process_start(current_task()),
        tgid: u64::from(tgid),
    };
    let state = SESSIONS.get_ptr_mut(&key)?;
    // SAFETY: the map returned it.
    unsafe {
        if (*state).protocol == Protocol::HTTP1 {
            tell_end(ctx.as_ptr(), counters, pid_tgid, state, direction);
        }
    }
    if direction == Direction::BOTH {
        // A failure means that it was evicted.
        SESSIONS.remove(&key).ok();
    }
    Some(())
}

/// Tells that a session or a direction of it has ended.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
unsafe fn tell_end(
    context: *mut core::ffi::c_void,
    counters: Counters,
    pid_tgid: u64,
    state: *mut FlowState,
    direction: Direction,
) {
    let facts = Facts {
        wake: emit::wake(),
        time_ns: now(),
        other_offset: 0,
        pid_tgid,
        start_ns: 0,
        len: 0,
        direction,
        layer: Layer::TLS,
        library: 0,
    };
    // SAFETY: the facts outlive the call.
    let call = unsafe { Call::new(context, counters, &raw const facts) };
    emit::small::<FlowRecord>(&call, |record| {
        // SAFETY: the record was reserved; the rest is promised by the caller.
        unsafe {
            record.write(FlowRecord {
                kind: RecordKind::END,
                direction,
                layer: Layer::TLS,
                reserved: 0,
                time_ns: call.facts().time_ns,
                pid_tgid,
                flow: (*state).flow,
                offsets: (*state).offsets,
            });
        }
    });
}
