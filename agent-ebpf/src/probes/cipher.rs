//! Keys of TLS sessions: where a library shows no more than its ciphers, whose functions seal
//! and open one record each.
//!
//! A TLS session has a key for each direction, and nothing here says which two belong
//! together. So each is a flow of one direction, and the agent unites them over the socket,
//! which it finds by ciphertext: the first records of a key are told with the bytes that
//! went over the wire. These begin behind the nonce that AES-GCM has on the wire in TLS 1.2.
//!
//! The same functions encrypt other things. A TLS record is told by its additional data,
//! which holds its header (RFC 8446 section 5.2, RFC 5246 section 6.2.3.3).

use core::ffi::c_void;

use agent_common::{
    limits::{TLS_RECORD_CIPHERTEXT, TLS_RECORD_HEADER},
    record::{DataFlags, Direction, Layer},
    state::FlowState,
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_attach_cookie, bpf_probe_read_user},
};

use crate::{
    capture::{self, Source, Work},
    ciphertext::APPLICATION_DATA,
    emit::{self, Call, Facts},
    kernel::{Counters, now, read_user},
    maps::{EMPTY_CALL, TLS_CALLS},
    probes::{Caller, TlsCall, session, tls},
    scope, settings,
    steps::OfSessions,
};

/// Stands for the goroutine in the name of a caller: no system call is nested in one of
/// these calls, and none is to be taken for nested.
const CIPHER: u64 = u64::MAX;

/// Length of the tag of every cipher suite of TLS 1.3, and of those of 1.2 that rustls has.
pub(super) const TAG: u64 = 16;

/// A record that is sealed or opened.
pub(super) struct Record {
    /// The key's name.
    pub(super) key: u64,
    /// Where the plaintext is, or will be.
    pub(super) plain: u64,
    /// Where the ciphertext is, or will be.
    pub(super) cipher: u64,
    /// Bytes of plaintext, the inner content type included.
    pub(super) len: u64,
    /// Address and length of the additional data.
    pub(super) data: (u64, u64),
}

/// Whether the content type is the last byte of the plaintext, as in TLS 1.3. `None` when it
/// is no TLS record, or one without application data.
#[inline(always)]
fn inner(record: &Record) -> Option<bool> {
    let (address, len) = record.data;
    if len == 5 {
        // opaque_type, legacy_record_version, length
        let [kind, major, _, high, low] = read_user::<[u8; 5]>(address)?;
        let told = u64::from(high) << 8 | u64::from(low);
        let fits = kind == APPLICATION_DATA && major == 3 && told == record.len + TAG;
        (fits && record.len > 1).then_some(true)
    } else if len == 13 {
        // seq_num, type, version, length
        let [kind, major, _, high, low] = read_user::<[u8; 5]>(address + 8)?;
        let told = u64::from(high) << 8 | u64::from(low);
        let fits = kind == APPLICATION_DATA && major == 3 && told == record.len;
        (fits && record.len > 0).then_some(false)
    } else {
        None
    }
}

/// Keeps a call until it returns. `None` when it is no TLS record with application data, or
/// is not to be taken.
#[inline(always)]
pub(super) fn keep(
    context: *mut c_void,
    pid_tgid: u64,
    record: &Record,
    direction: Direction,
) -> Option<*mut TlsCall> {
    let caller = Caller { pid_tgid, goroutine: CIPHER };
    let Some(inner) = inner(record) else {
        // One whose return was missed is not to be taken at that of this call.
        TLS_CALLS.remove(&caller).ok();
        return None;
    };
    let library = if settings::has_cookie() {
        // SAFETY: it takes the context that the program was given.
        (unsafe { bpf_get_attach_cookie(context) }) as u16
    } else {
        0
    };
    if library != 0 && tls::is_placed_in_part((pid_tgid >> 32) as u32, library) {
        return None;
    }
    // What is sealed is told at once. A process that has probes of its own beside everyone's
    // comes here twice.
    if direction == Direction::EGRESS
        && let Some(before) = TLS_CALLS.get_ptr(&caller)
    {
        // SAFETY: the map returned it.
        let same = unsafe {
            (*before).session == record.key
                && (*before).direction == direction
                && (*before).plain == record.len as u32
                && (*before).data == record.data.0
        };
        if same {
            return None;
        }
    }
    TLS_CALLS.insert(&caller, EMPTY_CALL.get(0)?, 0).ok()?;
    let call = TLS_CALLS.get_ptr_mut(&caller)?;
    // SAFETY: the map returned it.
    unsafe {
        (*call).session = record.key;
        (*call).buffer = record.plain;
        (*call).direction = direction;
        (*call).plain = record.len as u32;
        (*call).inner = u32::from(inner);
        (*call).data = record.data.0;
        (*call).library = library;
    }
    Some(call)
}

/// A call has returned: takes what it left, if it did its work.
#[inline(always)]
pub(super) fn exit(
    context: *mut c_void,
    succeeded: impl FnOnce(*const TlsCall) -> Option<bool>,
) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let counters = scope::check((pid_tgid >> 32) as u32)?;
    let caller = Caller { pid_tgid, goroutine: CIPHER };
    // None is there when it was not kept, or when another function did the work.
    let kept = TLS_CALLS.get_ptr_mut(&caller)?;
    // SAFETY: the map returned it, and nothing else removes a caller's entry.
    unsafe {
        if succeeded(kept) == Some(true) {
            let work = &raw mut (*kept).work;
            if (*kept).direction == Direction::EGRESS {
                ciphertext(work, (*kept).buffer, u64::from((*kept).plain));
                tell(context, counters, pid_tgid, kept);
            } else {
                tell(context, counters, pid_tgid, kept);
                plaintext(context, counters, pid_tgid, kept, (*kept).buffer);
            }
        }
    }
    // A failure means that it was evicted.
    TLS_CALLS.remove(&caller).ok();
    Some(())
}

/// Takes the plaintext at an address.
///
/// # Safety
///
/// `kept` is a map's value.
#[inline(always)]
pub(super) unsafe fn plaintext(
    context: *mut c_void,
    counters: Counters,
    pid_tgid: u64,
    kept: *mut TlsCall,
    address: u64,
) -> Option<()> {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let mut len = (*kept).plain;
        let mut padded = false;
        if (*kept).inner != 0 {
            len -= 1;
            let kind: u8 = read_user(address + u64::from(len))?;
            // Zeros may follow it (RFC 8446 section 5.4). Nobody does that.
            padded = kind == 0;
            if kind != APPLICATION_DATA && !padded {
                (*kept).plain = 0;
                return None;
            }
        }
        let (state, start_ns) = half(counters, pid_tgid, kept)?;
        let work = &raw mut (*kept).work;
        (*work).facts = facts(pid_tgid, start_ns, kept, len);
        (*work).source =
            Source { buffer: address, len: u64::from(len), next: 0, vectors: 0, in_kernel: 0 };
        (*work).flags = 0;
        if (*state).told == 0 {
            (*state).told = 1;
            (*work).flags = u32::from(DataFlags::FIRST.0);
        }
        let call = Call::new(context, counters, &raw const (*work).facts);
        if padded {
            let flags = DataFlags((*work).flags as u16);
            capture::opaque(state, &call, flags.union(DataFlags::OPAQUE));
        } else {
            (*work).owner = [pid_tgid, CIPHER];
            capture::bytes::<OfSessions>(state, &call, work);
        }
    }
    Some(())
}

/// Tells what went over the wire, which [`ciphertext`] has read.
///
/// # Safety
///
/// `kept` is a map's value.
#[inline(always)]
unsafe fn tell(
    context: *mut c_void,
    counters: Counters,
    pid_tgid: u64,
    kept: *mut TlsCall,
) -> Option<()> {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        if (*kept).plain == 0 {
            return None;
        }
        let (state, start_ns) = half(counters, pid_tgid, kept)?;
        if session::ciphertext_told(state) {
            return None;
        }
        session::tell_ciphertext(context, counters, start_ns, state, kept, (*kept).direction);
    }
    Some(())
}

/// The state of a key, and the start of its process.
#[inline(always)]
unsafe fn half(
    counters: Counters,
    pid_tgid: u64,
    kept: *mut TlsCall,
) -> Option<(*mut FlowState, u64)> {
    // SAFETY: promised by the caller.
    unsafe {
        let key = session::key(pid_tgid, (*kept).session);
        let state = session::state(&key, counters)?;
        (*state).flags = DataFlags::HALF;
        Some((state, key.start_ns))
    }
}

#[inline(always)]
unsafe fn facts(pid_tgid: u64, start_ns: u64, kept: *mut TlsCall, len: u32) -> Facts {
    // SAFETY: promised by the caller.
    let (direction, library) = unsafe { ((*kept).direction, (*kept).library) };
    Facts {
        wake: emit::wake(),
        time_ns: now(),
        other_offset: 0,
        pid_tgid,
        start_ns,
        len,
        direction,
        layer: Layer::TLS,
        library,
    }
}

/// Reads the start of what goes over the wire; nothing when it is shorter than that.
///
/// # Safety
///
/// `work` is a map's value.
#[inline(always)]
pub(super) unsafe fn ciphertext(work: *mut Work, address: u64, len: u64) {
    if len < TLS_RECORD_CIPHERTEXT as u64 {
        return;
    }
    // SAFETY: promised by the caller; the starts are longer than that.
    unsafe {
        let to = (&raw mut (*work).starts).cast::<u8>().add(TLS_RECORD_HEADER);
        bpf_probe_read_user(
            to.cast::<c_void>(),
            TLS_RECORD_CIPHERTEXT as u32,
            address as *const c_void,
        );
    }
}
