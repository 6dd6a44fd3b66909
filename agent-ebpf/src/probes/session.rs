//! TLS sessions: when they begin, what socket they use, when they end.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::LOOKS_MAX,
    record::{DataFlags, Direction, FlowId, FlowRecord, Layer, RecordKind},
    state::{FlowState, SessionKey},
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::{
    emit::{self, Call, Facts},
    kernel::{Counters, current_task, now, process_start},
    maps::{EMPTY_FLOW, SESSIONS},
    probes::TlsCall,
    scope, settings,
};

/// A session, or a key, is told of with ciphertext so often: the agent knows its socket then,
/// or never will.
const TOLD_MAX: u32 = 8;

/// The name of a session of the current process.
#[inline(always)]
pub(super) fn key(pid_tgid: u64, session: u64) -> SessionKey {
    SessionKey { session, start_ns: process_start(current_task()), tgid: pid_tgid >> 32 }
}

/// A write has returned. Another goroutine may have ended the session meanwhile.
#[inline(always)]
pub(super) fn written(context: *mut c_void, counters: Counters, pid_tgid: u64, key: &SessionKey) {
    let Some(state) = known(key) else { return };
    // SAFETY: the map returned it.
    unsafe {
        if (*state).writers > 0 {
            (*state).writers -= 1;
        }
        if (*state).writers == 0 && (*state).closing != 0 {
            gone(context, counters, pid_tgid, state, key);
        }
    }
}

/// A session's state, if there is one.
#[inline(always)]
pub(super) fn known(key: &SessionKey) -> Option<*mut FlowState> {
    SESSIONS.get_ptr_mut(key)
}

/// A session's state, made when it is first seen.
#[inline(always)]
pub(super) fn state(key: &SessionKey, counters: Counters) -> Option<*mut FlowState> {
    if let Some(state) = known(key) {
        return Some(state);
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
    Some(state)
}

/// Remembers the socket that a session was seen to use.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(super) unsafe fn bind(state: *mut FlowState, call: &TlsCall) {
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

/// Whether so much ciphertext of a session, or a key, was told that more would not help.
#[inline(always)]
pub(super) fn ciphertext_told(state: *const FlowState) -> bool {
    // SAFETY: the map returned it.
    unsafe { (*state).hello_left[0] >= TOLD_MAX }
}

/// Tells the start of a record of a session, or a key, as it goes over the wire: it lies in the
/// starts of the call. `start_ns` is the start of the process.
///
/// # Safety
///
/// `state` and `kept` are maps' values.
#[inline(always)]
pub(super) unsafe fn tell_ciphertext(
    context: *mut c_void,
    counters: Counters,
    start_ns: u64,
    state: *mut FlowState,
    kept: *mut TlsCall,
    direction: Direction,
) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        (*state).hello_left[0] += 1;
        let work = &raw mut (*kept).work;
        (*work).facts = Facts {
            wake: emit::wake(),
            time_ns: now(),
            other_offset: 0,
            pid_tgid: bpf_get_current_pid_tgid(),
            start_ns,
            len: (*kept).plain,
            direction,
            layer: Layer::TLS,
            library: (*kept).library,
        };
        let call = Call::new(context, counters, &raw const (*work).facts);
        emit::tls_records(state, &call, &raw const (*work).starts, 1);
    }
}

/// A session or a direction of it ends.
#[inline(always)]
pub(super) fn end(context: *mut c_void, session: u64, direction: Direction) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (counters, key, state) = current(pid_tgid, session)?;
    // SAFETY: the map returned it.
    unsafe {
        if direction == Direction::BOTH {
            if (*state).writers > 0 {
                (*state).closing = 1;
            } else {
                gone(context, counters, pid_tgid, state, &key);
            }
        } else {
            tell_end(context, counters, pid_tgid, state, direction);
        }
    }
    Some(())
}

/// A direction of a session ends, whose key is known.
#[inline(always)]
pub(super) fn half_closed(
    context: *mut c_void,
    counters: Counters,
    pid_tgid: u64,
    key: &SessionKey,
    direction: Direction,
) {
    let Some(state) = known(key) else { return };
    // SAFETY: the map returned it.
    unsafe { tell_end(context, counters, pid_tgid, state, direction) };
}

/// A session begins. What was at this address before, and moved bytes, is gone.
#[inline(always)]
pub(super) fn begin(context: *mut c_void, session: u64) -> Option<()> {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (counters, key, state) = current(pid_tgid, session)?;
    // SAFETY: the map returned it.
    unsafe {
        if (*state).told != 0 {
            gone(context, counters, pid_tgid, state, &key);
        }
    }
    Some(())
}

/// The state of a session of the current process, if it is in scope and there is one.
#[inline(always)]
fn current(pid_tgid: u64, session: u64) -> Option<(Counters, SessionKey, *mut FlowState)> {
    let tgid = (pid_tgid >> 32) as u32;
    let counters = scope::check(tgid)?;
    if settings::empty() {
        return None;
    }
    let key = key(pid_tgid, session);
    let state = known(&key)?;
    Some((counters, key, state))
}

/// Tells of the end of a session and forgets it.
///
/// # Safety
///
/// `state` is a map's value, under `key`.
#[inline(always)]
unsafe fn gone(
    context: *mut c_void,
    counters: Counters,
    pid_tgid: u64,
    state: *mut FlowState,
    key: &SessionKey,
) {
    // SAFETY: promised by the caller.
    unsafe { tell_end(context, counters, pid_tgid, state, Direction::BOTH) };
    // A failure means that it was evicted.
    SESSIONS.remove(key).ok();
}

/// Tells that a session that carries HTTP, or a direction of it, has ended.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
unsafe fn tell_end(
    context: *mut c_void,
    counters: Counters,
    pid_tgid: u64,
    state: *mut FlowState,
    direction: Direction,
) {
    // SAFETY: promised by the caller.
    if !unsafe { (*state).protocol }.is_http() {
        return;
    }
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
