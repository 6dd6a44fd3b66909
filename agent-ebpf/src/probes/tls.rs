//! Calls of TLS libraries: OpenSSL's `SSL_read` and `SSL_write` and what has the same
//! arguments, and their `_ex` forms. Which functions these are, the agent knows.
//!
//! The entry keeps the arguments, the return takes the bytes: only then is it
//! known how many there are. System calls in between tell the socket.
//!
//! Calls of Go are taken the same way; its probes are in `go`.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::{PLACED_IN_PART, placing},
    record::{DataFlags, Direction, FlowId, Layer, Tuple},
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
    kernel::{now, read_user},
    maps::{EMPTY_CALL, IS_PLACING, PLACING, TLS_CALLS},
    probes::session,
    scope, settings,
    steps::OfSessions,
};

/// Who makes a TLS call: a key of `TLS_CALLS`. A call of C returns to the thread that
/// made it, one of Go to the goroutine, on whatever thread that runs by then.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Caller {
    /// The process in the upper half; the thread in the lower, or 0 for a goroutine.
    pub(crate) pid_tgid: u64,
    /// Address of the goroutine's `runtime.g`, or 0 for a thread.
    pub(crate) goroutine: u64,
}

impl Caller {
    #[inline(always)]
    pub(crate) const fn thread(pid_tgid: u64) -> Self {
        Self { pid_tgid, goroutine: 0 }
    }

    #[inline(always)]
    pub(crate) const fn goroutine(pid_tgid: u64, goroutine: u64) -> Self {
        Self { pid_tgid: pid_tgid >> 32 << 32, goroutine }
    }
}

/// The arguments of a TLS call.
pub(super) struct Arguments {
    pub(super) session: u64,
    pub(super) buffer: u64,
    /// Of the `_ex` functions: where the length will be stored; else 0.
    pub(super) len_pointer: u64,
    pub(super) direction: Direction,
    /// The function serves all kinds of descriptors, see [`TlsCall::any`].
    pub(super) any: bool,
    /// The buffer is not one of bytes: they are counted, not read.
    pub(super) opaque: bool,
}

/// A TLS call that has not returned: a value of `TLS_CALLS`.
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
    /// Of a write: how far reads had come when it began.
    pub(crate) read_offset: u64,
    /// Where the ciphertext that is being read will be; else 0.
    pub(crate) transfer: u64,
    /// Of a key of ring: where the result will be; else 0.
    pub(crate) result: u64,
    /// Of a key of ring that opens a record: where the tag is that came; else 0.
    pub(crate) tag: u64,
    /// Of a key: address of the record's additional data; else 0.
    pub(crate) data: u64,
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
    pub(crate) library: u16,
    /// 1 when the function serves all kinds of descriptors: it is a session's only if a
    /// system call on a TLS socket is nested in it, or was in one before it.
    pub(crate) any: u16,
    /// 1 when its bytes are counted, not read.
    pub(crate) opaque: u32,
    /// Of a key: bytes of plaintext in the record, the inner content type included; 0 when
    /// they are no application data.
    pub(crate) plain: u32,
    /// Of a key: 1 when the record has an inner content type.
    pub(crate) inner: u32,
    /// Zero.
    pub(crate) reserved: u32,
}

/// Keeps the kernel from giving a uprobe program a stack per processor (6.13),
/// which a program that preempts it would overwrite: a program with a tail call
/// never gets one (`check_max_stack_depth`, kernel/bpf/verifier.c). The call is
/// never made: its condition is a constant to the verifier.
macro_rules! own_stack {
    ($ctx:expr) => {
        if crate::settings::own_tgid() == u32::MAX {
            // SAFETY: the map holds no program.
            unsafe { crate::maps::NO_PROGRAMS.tail_call(&$ctx, 0) };
        }
    };
}
pub(super) use own_stack;

/// `int SSL_read(SSL *, void *buf, int num)`,
/// `ssize_t gnutls_record_recv(gnutls_session_t, void *data, size_t data_size)`
#[uprobe]
fn tls_read_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter_c(&ctx, Direction::INGRESS, None);
    0
}

/// `int SSL_write(SSL *, const void *buf, int num)`,
/// `ssize_t gnutls_record_send(gnutls_session_t, const void *data, size_t data_size)`
#[uprobe]
fn tls_write_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter_c(&ctx, Direction::EGRESS, None);
    0
}

/// `int SSL_read_ex(SSL *, void *buf, size_t num, size_t *readbytes)`
#[uprobe]
fn tls_read_ex_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter_c(&ctx, Direction::INGRESS, Some(3));
    0
}

/// `int SSL_write_ex(SSL *, const void *buf, size_t num, size_t *written)`
#[uprobe]
fn tls_write_ex_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter_c(&ctx, Direction::EGRESS, Some(3));
    0
}

/// `int SSL_write_ex2(SSL *, const void *buf, size_t num, uint64_t flags, size_t *written)`
#[uprobe]
fn tls_write_ex2_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    enter_c(&ctx, Direction::EGRESS, Some(4));
    0
}

/// `ossl_ssize_t SSL_sendfile(SSL *, int fd, off_t offset, size_t size, int flags)`: of a file
/// that the kernel encrypts and sends (kTLS), and no buffer has the bytes.
#[uprobe]
fn tls_sendfile_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    if let Some(session) = ctx.arg(0) {
        let arguments = Arguments {
            session,
            buffer: 0,
            len_pointer: 0,
            direction: Direction::EGRESS,
            any: false,
            opaque: true,
        };
        enter(ctx.as_ptr(), 0, &arguments);
    }
    0
}

/// The return of any of them.
#[uretprobe]
fn tls_exit(ctx: RetProbeContext) -> u32 {
    own_stack!(ctx);
    let returned: i32 = ctx.ret();
    exit(ctx.as_ptr(), 0, i64::from(returned));
    0
}

/// `void SSL_free(SSL *)`, `void gnutls_deinit(gnutls_session_t)`: the session is gone.
#[uprobe]
fn tls_end(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    if let Some(session) = ctx.arg(0) {
        session::end(ctx.as_ptr(), session, Direction::BOTH);
    }
    0
}

/// `int SSL_shutdown(SSL *)`, `int gnutls_bye(gnutls_session_t, how)`: this end will write
/// no more.
#[uprobe]
fn tls_shutdown(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    if let Some(session) = ctx.arg(0) {
        session::end(ctx.as_ptr(), session, Direction::EGRESS);
    }
    0
}

/// `len_pointer` is which argument says where the length will be stored.
#[inline(always)]
fn enter_c(ctx: &ProbeContext, direction: Direction, len_pointer: Option<usize>) -> Option<()> {
    let arguments = Arguments {
        session: ctx.arg(0)?,
        buffer: ctx.arg(1)?,
        len_pointer: if let Some(index) = len_pointer { ctx.arg(index)? } else { 0 },
        direction,
        any: false,
        opaque: false,
    };
    enter(ctx.as_ptr(), 0, &arguments)
}

/// Keeps the arguments of a call; `goroutine` is 0 for a call of C.
#[inline(always)]
pub(super) fn enter(context: *mut c_void, goroutine: u64, arguments: &Arguments) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let library = if settings::has_cookie() {
        // SAFETY: it takes the context that the program was given.
        (unsafe { bpf_get_attach_cookie(context) }) as u16
    } else {
        0
    };
    if library != 0 && is_placed_in_part((pid_tgid >> 32) as u32, library) {
        return None;
    }
    let caller = caller(pid_tgid, goroutine);
    let again = again(&caller, arguments);
    let empty = EMPTY_CALL.get(0)?;
    if TLS_CALLS.insert(&caller, empty, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
        return None;
    }
    let call = TLS_CALLS.get_ptr_mut(&caller)?;
    if arguments.direction == Direction::EGRESS {
        let key = session::key(pid_tgid, arguments.session);
        let state =
            if arguments.any { session::known(&key) } else { session::state(&key, counters) };
        if let Some(state) = state {
            // SAFETY: the maps returned them.
            unsafe {
                (*call).read_offset = emit::other_offset(state, Direction::EGRESS);
                if !again {
                    (*state).writers += 1;
                }
            }
        }
    }
    // SAFETY: the map returned it.
    unsafe {
        (*call).session = arguments.session;
        (*call).buffer = arguments.buffer;
        (*call).len_pointer = arguments.len_pointer;
        (*call).entered_ns = now();
        (*call).direction = arguments.direction;
        (*call).any = u16::from(arguments.any);
        (*call).opaque = u32::from(arguments.opaque);
        (*call).library = library;
    }
    Some(())
}

/// Whether not all probes of a library are in place yet: a request whose response they do not
/// show would be given the next one.
#[inline(always)]
pub(super) fn is_placed_in_part(tgid: u32, library: u16) -> bool {
    if IS_PLACING.get(0).is_none_or(|any| *any == 0) {
        return false;
    }
    // SAFETY: they are read once.
    unsafe {
        match PLACING.get(&placing(tgid, library)) {
            Some(how) => *how == PLACED_IN_PART,
            None => PLACING.get(&placing(0, library)).is_some(),
        }
    }
}

/// Whether a write is entered that was entered before and has not returned: a function of
/// Go starts again when its stack has been made larger.
#[inline(always)]
fn again(caller: &Caller, arguments: &Arguments) -> bool {
    let Some(before) = TLS_CALLS.get_ptr_mut(caller) else { return false };
    // SAFETY: the map returned it.
    unsafe { (*before).session == arguments.session && (*before).direction == Direction::EGRESS }
}

#[inline(always)]
const fn caller(pid_tgid: u64, goroutine: u64) -> Caller {
    if goroutine == 0 { Caller::thread(pid_tgid) } else { Caller::goroutine(pid_tgid, goroutine) }
}

/// Takes the bytes of a call that returns; `goroutine` is 0 for a call of C.
#[inline(always)]
pub(super) fn exit(context: *mut c_void, goroutine: u64, returned: i64) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    let counters = scope::check(tgid)?;
    if settings::empty() {
        return None;
    }
    counters.add(Counter::TLS_CALLS, 1);
    let caller = caller(pid_tgid, goroutine);
    let Some(kept) = TLS_CALLS.get_ptr_mut(&caller) else {
        counters.add(Counter::TLS_ORPHANS, 1);
        return None;
    };
    // SAFETY: the map returned it, and nothing else removes a caller's entry.
    unsafe {
        let key = session::key(pid_tgid, (*kept).session);
        if returned == 0
            && goroutine == 0
            && (*kept).direction == Direction::INGRESS
            && (*kept).len_pointer == 0
        {
            // The peer's close_notify, or the end of the transport. Go returns nothing
            // also when a deadline passed, and reads on after that.
            session::half_closed(context, counters, pid_tgid, &key, Direction::INGRESS);
        }
        if returned > 0 {
            let len = if (*kept).len_pointer == 0 {
                returned as u32
            } else {
                read_user::<u64>((*kept).len_pointer).unwrap_or(0) as u32
            };
            let nested = (*kept).flags.contains(DataFlags::NESTED);
            let state = if (*kept).any != 0 && !nested {
                session::known(&key)
            } else {
                session::state(&key, counters)
            };
            if let Some(state) = state {
                if nested {
                    session::bind(state, &*kept);
                }
                // What was written has left before the call returns: by then the peer may
                // have answered, and another thread or goroutine have read the answer.
                let egress = (*kept).direction == Direction::EGRESS;
                let other_offset = if egress {
                    (*kept).read_offset
                } else {
                    emit::other_offset(state, Direction::INGRESS)
                };
                let work = &raw mut (*kept).work;
                (*work).facts = Facts {
                    wake: emit::wake(),
                    time_ns: if egress { (*kept).entered_ns } else { now() },
                    other_offset,
                    pid_tgid,
                    start_ns: key.start_ns,
                    len,
                    direction: (*kept).direction,
                    layer: Layer::TLS,
                    library: (*kept).library,
                };
                (*work).source = Source {
                    buffer: (*kept).buffer,
                    len: u64::from(len),
                    next: 0,
                    vectors: 0,
                    in_kernel: 0,
                };
                (*work).flags = 0;
                if len > 0 {
                    if (*state).told == 0 {
                        (*state).told = 1;
                        (*work).flags = u32::from(DataFlags::FIRST.0);
                    }
                    let call = Call::new(context, counters, &raw const (*work).facts);
                    if (*kept).opaque != 0 {
                        let flags = DataFlags((*work).flags as u16);
                        capture::opaque(state, &call, flags.union(DataFlags::OPAQUE));
                    } else {
                        (*work).owner = [caller.pid_tgid, caller.goroutine];
                        capture::bytes::<OfSessions>(state, &call, work);
                    }
                }
            }
        }
        if (*kept).direction == Direction::EGRESS {
            session::written(context, counters, pid_tgid, &key);
        }
    }
    // A failure means that it was evicted.
    TLS_CALLS.remove(&caller).ok();
    Some(())
}
