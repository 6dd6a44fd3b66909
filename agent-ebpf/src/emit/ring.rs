//! Records through a ring buffer.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::{CLASS_SIZES, TLS_RECORD_START},
    record::DataHeader,
    state::FlowState,
};
use aya_ebpf::bindings::{
    BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_RING_SIZE,
};

use super::{Call, Piece, Starts, account, copy, fill, starts_piece};
use crate::{
    kernel::Counters,
    maps::{EVENTS, LIFECYCLE},
    settings,
};

/// Steps that the bytes of one call are taken in.
pub(crate) const SEGMENTS_MAX: u32 = agent_common::limits::SEGMENTS_MAX;

#[repr(C)]
struct Record<const N: usize> {
    header: DataHeader,
    payload: [u8; N],
}

/// How many quarters of the buffer are full.
#[inline(always)]
pub(crate) fn filled() -> u64 {
    // A power of two, at least a page.
    let quarter = EVENTS.query(u64::from(BPF_RB_RING_SIZE)) >> 2;
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    u64::from(waiting >= quarter)
        + u64::from(waiting >= 2 * quarter)
        + u64::from(waiting >= 3 * quarter)
}

/// A wake-up costs more than a record: the agent drains by the clock, and is
/// woken only when much waits.
#[inline(always)]
pub(crate) fn wake() -> u64 {
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) >= settings::wake_bytes() {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

#[inline(always)]
fn class<const N: usize>(state: *const FlowState, call: &Call, piece: &Piece) {
    let Some(mut entry) = EVENTS.reserve::<Record<N>>(0) else {
        account(call, piece, false);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the record was reserved and has N bytes of payload; the state is a
    // map's value.
    unsafe {
        let header = &raw mut (*record).header;
        fill(header, state, call, piece);
        copy(header, (&raw mut (*record).payload).cast(), N as u32, call, piece);
    }
    entry.submit(call.facts().wake);
    account(call, piece, true);
}

/// Makes a data record; whether [`flush`] has to send it. That needs no context here, so it is
/// sent already.
#[inline(always)]
pub(crate) fn make(state: *const FlowState, call: &Call, piece: &Piece) -> bool {
    data(state, call, piece);
    false
}

/// Nothing is left to send.
#[inline(always)]
pub(crate) fn flush(_call: &Call, _piece: &Piece) {}

/// Sends a data record of the smallest class that holds its bytes. Not inlined:
/// there are four copies of the work in it.
#[inline(never)]
pub(crate) fn data(state: *const FlowState, call: &Call, piece: &Piece) {
    let captured = piece.captured as usize;
    if captured <= CLASS_SIZES[0] {
        class::<{ CLASS_SIZES[0] }>(state, call, piece);
    } else if captured <= CLASS_SIZES[1] {
        class::<{ CLASS_SIZES[1] }>(state, call, piece);
    } else if captured <= CLASS_SIZES[2] {
        class::<{ CLASS_SIZES[2] }>(state, call, piece);
    } else {
        class::<{ CLASS_SIZES[3] }>(state, call, piece);
    }
}

/// Sends starts of TLS records.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "payloads begin at a multiple of 8")]
pub(crate) fn tls_records(state: *const FlowState, call: &Call, starts: *const Starts, found: u32) {
    let piece = starts_piece(call);
    let Some(mut entry) = EVENTS.reserve::<Record<{ CLASS_SIZES[0] }>>(0) else {
        account(call, &piece, false);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the record was reserved and is larger than they are.
    unsafe {
        (&raw mut (*record).payload).cast::<Starts>().write(starts.read());
        fill(&raw mut (*record).header, state, call, &piece);
        (*record).header.captured = found * TLS_RECORD_START as u32;
    }
    entry.submit(call.facts().wake);
    account(call, &piece, true);
}

/// Sends a record of fixed size with the data.
#[inline(always)]
pub(crate) fn small<T: 'static>(call: &Call, write: impl FnOnce(*mut T)) {
    if let Some(mut entry) = EVENTS.reserve::<T>(0) {
        write(entry.as_mut_ptr());
        entry.submit(call.facts().wake);
        call.counters.add(Counter::RECORDS, 1);
    } else {
        call.counters.add(Counter::LOST_FULL, 1);
    }
}

/// Sends a lifecycle record. These are rare, and each wakes the agent.
#[inline(always)]
pub(crate) fn lifecycle<T: 'static>(
    _context: *mut c_void,
    counters: Counters,
    write: impl FnOnce(*mut T),
) {
    if let Some(mut entry) = LIFECYCLE.reserve::<T>(0) {
        write(entry.as_mut_ptr());
        entry.submit(u64::from(BPF_RB_FORCE_WAKEUP));
    } else {
        counters.add(Counter::LOST_LIFECYCLE, 1);
    }
}
