//! Records through a perf event array, for kernels before 5.8.

use core::{ffi::c_void, mem::size_of};

use agent_common::{
    counter::Counter,
    limits::{CHUNK_MAX, TLS_RECORD_START},
    record::{DataHeader, RecordKind},
    state::FlowState,
};
use aya_ebpf::{
    bindings::BPF_F_CURRENT_CPU,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_perf_event_output},
    maps::PerfEventByteArray,
};

use super::{Call, Piece, Starts, account, copy, fill, starts_piece};
use crate::{
    kernel::Counters,
    maps::{EMPTY_SCRATCH, EVENTS, LIFECYCLE, SCRATCH, Scratch},
};

/// Steps that the bytes of one call are taken in: fewer, for each sends a record in a way of its
/// own to the verifier.
pub(crate) const SEGMENTS_MAX: u32 = agent_common::limits::SEGMENTS_MAX_PERF;

/// The agent drains perf buffers by the clock.
#[inline(always)]
pub(crate) fn wake() -> u64 {
    0
}

/// What waits in a perf buffer is not told to programs.
#[inline(always)]
pub(crate) fn filled() -> u64 {
    0
}

#[inline(always)]
fn thread() -> u64 {
    // SAFETY: takes nothing, touches nothing.
    unsafe { bpf_get_current_pid_tgid() }
}

/// This thread's place to build a record in.
#[inline(always)]
fn scratch(counters: Counters) -> Option<*mut Scratch> {
    let thread = thread();
    if let Some(scratch) = SCRATCH.get_ptr_mut(&thread) {
        return Some(scratch);
    }
    let empty = EMPTY_SCRATCH.get(0)?;
    if SCRATCH.insert(&thread, empty, 0).is_err() {
        counters.add(Counter::MAP_FULL, 1);
        return None;
    }
    SCRATCH.get_ptr_mut(&thread)
}

#[inline(always)]
fn output(
    map: &'static PerfEventByteArray,
    context: *mut c_void,
    data: *mut c_void,
    len: u64,
) -> bool {
    // SAFETY: `data` is a map's value of at least `len` bytes, which the
    // verifier checks. The map is passed by address, as the helper wants it.
    let result = unsafe {
        bpf_perf_event_output(
            context,
            core::ptr::from_ref(map).cast_mut().cast(),
            BPF_F_CURRENT_CPU,
            data,
            len,
        )
    };
    result == 0
}

/// Sends a data record. Not inlined: it is called from many places.
#[inline(never)]
pub(crate) fn data(state: *const FlowState, call: &Call, piece: &Piece) {
    if make(state, call, piece) {
        flush(call, piece);
    }
}

/// Makes a data record; whether [`flush`] has to send it.
#[inline(always)]
pub(crate) fn make(state: *const FlowState, call: &Call, piece: &Piece) -> bool {
    let Some(record) = scratch(call.counters) else {
        account(call, piece, false);
        return false;
    };
    // SAFETY: the scratch is this thread's and has CHUNK_MAX bytes of payload; the
    // state is a map's value.
    unsafe {
        let header = &raw mut (*record).header;
        fill(header, state, call, piece);
        copy(header, (&raw mut (*record).payload).cast(), CHUNK_MAX as u32, call, piece);
    }
    true
}

/// Sends the record that was made of a piece.
#[inline(always)]
pub(crate) fn flush(call: &Call, piece: &Piece) {
    // It may have been evicted since, or used for a record of another kind by what interrupted
    // this one.
    let made = SCRATCH.get_ptr_mut(&thread()).filter(|record| {
        // SAFETY: the scratch is this thread's.
        unsafe { (**record).header.kind == RecordKind::DATA }
    });
    let Some(record) = made else {
        account(call, piece, false);
        return;
    };
    // SAFETY: as above. Volatile, so that the bound is checked right before it is used.
    let mut captured = unsafe { (&raw const (*record).header.captured).read_volatile() };
    if captured > CHUNK_MAX as u32 {
        captured = CHUNK_MAX as u32;
    }
    let len = size_of::<DataHeader>() as u64 + u64::from(captured);
    let sent = output(&EVENTS, call.context, record.cast(), len);
    account(call, piece, sent);
}

/// Sends starts of TLS records.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "payloads begin at a multiple of 8")]
pub(crate) fn tls_records(state: *const FlowState, call: &Call, starts: *const Starts, found: u32) {
    let piece = starts_piece(call);
    let Some(record) = scratch(call.counters) else {
        account(call, &piece, false);
        return;
    };
    // SAFETY: the scratch is this thread's and larger than they are.
    unsafe {
        (&raw mut (*record).payload).cast::<Starts>().write(starts.read());
        fill(&raw mut (*record).header, state, call, &piece);
        (*record).header.captured = found * TLS_RECORD_START as u32;
    }
    let len = (size_of::<DataHeader>() + size_of::<Starts>()) as u64;
    account(call, &piece, output(&EVENTS, call.context, record.cast(), len));
}

#[inline(always)]
fn fixed<T: 'static>(
    map: &'static PerfEventByteArray,
    context: *mut c_void,
    counters: Counters,
    write: impl FnOnce(*mut T),
) -> bool {
    let Some(record) = scratch(counters) else { return false };
    // Every record of fixed size is smaller than the scratch.
    write(record.cast::<T>());
    output(map, context, record.cast(), size_of::<T>() as u64)
}

/// Sends a record of fixed size with the data.
#[inline(always)]
pub(crate) fn small<T: 'static>(call: &Call, write: impl FnOnce(*mut T)) {
    let sent = fixed(&EVENTS, call.context, call.counters, write);
    call.counters.add(if sent { Counter::RECORDS } else { Counter::LOST_FULL }, 1);
}

/// Sends a lifecycle record.
#[inline(always)]
pub(crate) fn lifecycle<T: 'static>(
    context: *mut c_void,
    counters: Counters,
    write: impl FnOnce(*mut T),
) {
    if !fixed(&LIFECYCLE, context, counters, write) {
        counters.add(Counter::LOST_LIFECYCLE, 1);
    }
}
