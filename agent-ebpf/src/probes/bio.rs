//! What OpenSSL moves between a session and the buffers that it works on: `BIO_read` and
//! `BIO_write` (include/openssl/bio.h).
//!
//! A program that gives its sessions buffers in memory moves the ciphertext itself, at another
//! time and maybe in another thread. What passes here within a call of a session are its
//! records, byte for byte as they go over the socket, and the first of them are told: by that
//! the agent knows the socket. The agent attaches these programs only to processes with
//! sessions of that kind.

use agent_common::{
    counter::Counter,
    limits::{TLS_RECORD_HEADER, TLS_RECORD_START},
    record::{DataFlags, Direction},
    state::FlowState,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};

use crate::{
    ciphertext::APPLICATION_DATA,
    classify,
    kernel::Counters,
    maps::TLS_CALLS,
    probes::{Caller, TlsCall, session, tls::own_stack},
    scope, settings,
};

/// Bytes that are compared of a record behind its header.
const BODY: usize = TLS_RECORD_START - TLS_RECORD_HEADER;

/// The five bytes of a header in a word.
const HEADER: u64 = (1 << (8 * TLS_RECORD_HEADER)) - 1;

/// `int BIO_write(BIO *, const void *data, int dlen)`
#[uprobe]
fn bio_write_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    write(&ctx);
    0
}

/// `int BIO_read(BIO *, void *data, int dlen)`
#[uprobe]
fn bio_read_enter(ctx: ProbeContext) -> u32 {
    own_stack!(ctx);
    if let (Some((_, call)), Some(buffer)) = (within(), ctx.arg(1)) {
        // SAFETY: the map returned it.
        unsafe { (*call).transfer = buffer };
    }
    0
}

/// Its return.
#[uretprobe]
fn bio_read_exit(ctx: RetProbeContext) -> u32 {
    own_stack!(ctx);
    read(&ctx);
    0
}

/// The call of a session that the thread is within, if none of its system calls has shown its
/// socket.
#[inline(always)]
fn within() -> Option<(Counters, *mut TlsCall)> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    if settings::empty() {
        return None;
    }
    let call = TLS_CALLS.get_ptr_mut(&Caller::thread(pid_tgid))?;
    // SAFETY: the map returned it.
    let other = unsafe { (*call).flags.contains(DataFlags::NESTED) || (*call).any != 0 };
    (!other).then_some((counters, call))
}

/// Looks at what a session is about to write.
#[inline(always)]
fn write(ctx: &ProbeContext) -> Option<()> {
    let (counters, call) = within()?;
    let (data, len): (u64, i32) = (ctx.arg(1)?, ctx.arg(2)?);
    if len < TLS_RECORD_START as i32 {
        return None;
    }
    let session = Session::new(counters, call)?;
    // SAFETY: the map returned the call.
    unsafe { session.read_start(call, data) }?;
    session.tell(ctx.as_ptr(), call, Direction::EGRESS);
    Some(())
}

/// Looks at what a session has read: a record, or its header alone and then the rest.
#[inline(always)]
fn read(ctx: &RetProbeContext) -> Option<()> {
    let (counters, call) = within()?;
    let returned: i32 = ctx.ret();
    // SAFETY: the map returned the call.
    let buffer = unsafe { core::mem::take(&mut (*call).transfer) };
    if buffer == 0 || returned <= 0 {
        return None;
    }
    let session = Session::new(counters, call)?;
    let header = session.take_header();
    // SAFETY: the map returned the call; its starts have room for what is read.
    unsafe {
        if header != 0 {
            if returned < BODY as i32 || !is_application_data(header) {
                return None;
            }
            let start = (&raw mut (*call).work.starts).cast::<u64>();
            start.write(header);
            let body = start.cast::<u8>().add(TLS_RECORD_HEADER);
            session.counters.add(Counter::BYTES_READ, BODY as u64);
            if bpf_probe_read_user(body.cast(), BODY as u32, buffer as *const _) != 0 {
                return None;
            }
        } else if returned >= TLS_RECORD_START as i32 {
            session.read_start(call, buffer)?;
        } else if returned == TLS_RECORD_HEADER as i32 {
            let mut word = 0_u64;
            session.counters.add(Counter::BYTES_READ, TLS_RECORD_HEADER as u64);
            let to = (&raw mut word).cast();
            if bpf_probe_read_user(to, TLS_RECORD_HEADER as u32, buffer as *const _) == 0
                && is_application_data(word)
            {
                session.keep_header(word);
            }
            return None;
        } else {
            return None;
        }
    }
    session.tell(ctx.as_ptr(), call, Direction::INGRESS);
    Some(())
}

/// Whether a record that starts with these bytes holds application data.
#[inline(always)]
fn is_application_data(word: u64) -> bool {
    word as u8 == APPLICATION_DATA && classify::tls_record(word & HEADER).is_some()
}

/// A session whose ciphertext may still be told.
struct Session {
    counters: Counters,
    state: *mut FlowState,
    start_ns: u64,
}

impl Session {
    #[inline(always)]
    fn new(counters: Counters, call: *const TlsCall) -> Option<Self> {
        // SAFETY: the map returned the call.
        let key = session::key(bpf_get_current_pid_tgid(), unsafe { (*call).session });
        let state = session::state(&key, counters)?;
        // SAFETY: the map returned the state.
        let nested = unsafe { (*state).flags.contains(DataFlags::NESTED) };
        let told = session::ciphertext_told(state);
        (!nested && !told).then_some(Self { counters, state, start_ns: key.start_ns })
    }

    /// Reads the start of a record with application data.
    ///
    /// # Safety
    ///
    /// `call` is a map's value.
    #[inline(always)]
    unsafe fn read_start(&self, call: *mut TlsCall, from: u64) -> Option<()> {
        // SAFETY: promised by the caller; the helper refuses addresses that are not readable.
        unsafe {
            let start = (&raw mut (*call).work.starts).cast::<u64>();
            self.counters.add(Counter::BYTES_READ, TLS_RECORD_START as u64);
            let read = bpf_probe_read_user(start.cast(), TLS_RECORD_START as u32, from as *const _);
            (read == 0 && is_application_data(*start)).then_some(())
        }
    }

    #[inline(always)]
    fn tell(&self, context: *mut core::ffi::c_void, call: *mut TlsCall, direction: Direction) {
        // SAFETY: both are maps' values.
        unsafe {
            session::tell_ciphertext(
                context,
                self.counters,
                self.start_ns,
                self.state,
                call,
                direction,
            );
        }
    }

    /// A header that was read by itself; what follows it is read next.
    #[inline(always)]
    fn keep_header(&self, word: u64) {
        // SAFETY: the map returned the state.
        unsafe { (*self.state).record_left = [word as u32, (word >> 32) as u32] };
    }

    #[inline(always)]
    fn take_header(&self) -> u64 {
        // SAFETY: the map returned the state.
        unsafe {
            let [low, high] = (*self.state).record_left;
            (*self.state).record_left = [0, 0];
            u64::from(high) << 32 | u64::from(low)
        }
    }
}
