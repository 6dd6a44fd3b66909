//! Records out: reserve, fill, submit; what does not fit is counted.

#[cfg(feature = "perf")]
#[path = "perf.rs"]
mod transport;
#[cfg(not(feature = "perf"))]
#[path = "ring.rs"]
mod transport;

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::{TLS_RECORD_START, TLS_RECORDS_MAX},
    record::{DataFlags, DataHeader, Direction, FlowId, Layer, RecordKind, Tuple},
    state::FlowState,
};

use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::kernel::Counters;

pub(crate) use transport::{
    SEGMENTS_MAX, data, filled, flush, lifecycle, make, small, tls_records, wake,
};

/// What all records of one system or TLS call have in common.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Facts {
    /// Flags of a submission, see [`wake`].
    pub(crate) wake: u64,
    pub(crate) time_ns: u64,
    /// Taken before the time: what another thread moved before that has an earlier
    /// time, and its record comes first.
    pub(crate) other_offset: u64,
    pub(crate) pid_tgid: u64,
    pub(crate) start_ns: u64,
    pub(crate) len: u32,
    pub(crate) direction: Direction,
    pub(crate) layer: Layer,
    pub(crate) library: u16,
}

/// One system or TLS call, and the means to tell of it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    /// The program's context; the perf transport needs it.
    pub(crate) context: *mut c_void,
    pub(crate) counters: Counters,
    /// Apart from the pointers, because these may lie in a map.
    facts: *const Facts,
}

impl Call {
    /// # Safety
    ///
    /// `facts` outlives the call.
    #[inline(always)]
    pub(crate) const unsafe fn new(
        context: *mut c_void,
        counters: Counters,
        facts: *const Facts,
    ) -> Self {
        Self { context, counters, facts }
    }

    #[inline(always)]
    pub(crate) const fn facts(&self) -> &Facts {
        // SAFETY: promised when it was made.
        unsafe { &*self.facts }
    }
}

/// One record's share of a call.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Piece {
    /// Where the bytes are in the process's memory.
    pub(crate) source: u64,
    /// Stream bytes that the record stands for.
    pub(crate) len: u32,
    /// Bytes to copy; at most [`agent_common::limits::CHUNK_MAX`].
    pub(crate) captured: u32,
    /// Facts beside those of the flow.
    pub(crate) flags: DataFlags,
}

/// Fills a record's header from the flow's state.
///
/// # Safety
///
/// `header` is valid for writes, `state` for reads.
#[inline(always)]
unsafe fn fill(header: *mut DataHeader, state: *const FlowState, call: &Call, piece: &Piece) {
    // SAFETY: promised by the caller.
    unsafe {
        (*header).kind = RecordKind::DATA;
        (*header).captured = piece.captured;
        (*header).time_ns = call.facts().time_ns;
        (*header).pid_tgid = call.facts().pid_tgid;
        (*header).flow = (*state).flow;
        (*header).socket = if call.facts().layer == Layer::TLS {
            (*state).socket
        } else {
            FlowId { id: 0, generation: 0 }
        };
        (*header).offset = offset(state, call.facts().direction);
        (*header).other_offset = call.facts().other_offset;
        (*header).len = piece.len;
        (*header).call_len = call.facts().len;
        (*header).direction = call.facts().direction;
        (*header).layer = call.facts().layer;
        (*header).protocol = (*state).protocol;
        (*header).reserved = 0;
        (*header).flags = DataFlags((*state).flags.0 | piece.flags.0);
        (*header).library = call.facts().library;
        copy_tuple(&raw mut (*header).tuple, &raw const (*state).tuple);
        (*header).start_ns = call.facts().start_ns;
    }
}

/// Copies a record's payload and returns how much of it there is: none when the
/// memory is not readable, which the header tells then.
///
/// # Safety
///
/// `header` was filled, `payload` has room for `room` bytes.
#[inline(always)]
unsafe fn copy(
    header: *mut DataHeader,
    payload: *mut c_void,
    room: u32,
    call: &Call,
    piece: &Piece,
) -> u32 {
    // SAFETY: promised by the caller; the helper refuses addresses that are not
    // readable.
    unsafe {
        // Read back, so that the bound is checked right before it is used: kernels
        // before 5.12 forget what they know of a number that lay on the stack.
        let mut captured = (&raw const (*header).captured).read_volatile();
        if captured == 0 {
            return 0;
        }
        if captured > room {
            captured = room;
        }
        let result = bpf_probe_read_user(payload, captured, piece.source as *const c_void);
        if result != 0 {
            call.counters.add(Counter::FAULTS, 1);
            call.counters.add(Counter::LOST_FAULT, u64::from(piece.captured));
            (*header).captured = 0;
            (*header).flags = (*header).flags.union(DataFlags::FAULT);
            return 0;
        }
        call.counters.add(Counter::BYTES_READ, u64::from(piece.captured));
        piece.captured
    }
}

/// Copies a tuple by words. An assignment becomes a call that copies by bytes, which
/// the verifier walks byte by byte.
///
/// # Safety
///
/// `to` is valid for writes, `from` for reads.
#[inline(always)]
pub(crate) unsafe fn copy_tuple(to: *mut Tuple, from: *const Tuple) {
    let to = to.cast::<u64>();
    let from = from.cast::<u64>();
    // SAFETY: promised by the caller; a tuple is five aligned words.
    unsafe {
        to.write_volatile(from.read_volatile());
        to.add(1).write_volatile(from.add(1).read_volatile());
        to.add(2).write_volatile(from.add(2).read_volatile());
        to.add(3).write_volatile(from.add(3).read_volatile());
        to.add(4).write_volatile(from.add(4).read_volatile());
    }
}

/// Position of a direction.
#[inline(always)]
pub(crate) unsafe fn offset(state: *const FlowState, direction: Direction) -> u64 {
    // SAFETY: promised by the caller. Two fields, not an index: the verifier
    // cannot bound a byte from a map.
    unsafe {
        if direction == Direction::INGRESS { (*state).offsets[0] } else { (*state).offsets[1] }
    }
}

/// Position of the direction opposite to `direction`.
#[inline(always)]
pub(crate) unsafe fn other_offset(state: *const FlowState, direction: Direction) -> u64 {
    // SAFETY: promised by the caller. Volatile, so that it is read where it is written
    // down: before the time is taken.
    unsafe {
        let offsets = &raw const (*state).offsets;
        if direction == Direction::INGRESS {
            (&raw const (*offsets)[1]).read_volatile()
        } else {
            (&raw const (*offsets)[0]).read_volatile()
        }
    }
}

/// Counts what a record carries, or its loss.
#[inline(always)]
fn account(call: &Call, piece: &Piece, sent: bool) {
    if sent {
        call.counters.add(Counter::RECORDS, 1);
        call.counters.add(Counter::BYTES, u64::from(piece.captured));
        return;
    }
    call.counters.add(Counter::LOST_FULL, 1);
    let counter = if call.facts().direction == Direction::INGRESS {
        Counter::LOST_FULL_INGRESS
    } else {
        Counter::LOST_FULL_EGRESS
    };
    call.counters.add(counter, u64::from(piece.len));
}

/// The start of a TLS record. Words, so that it is copied by words.
pub(crate) type Start = [u64; TLS_RECORD_START / 8];

/// Starts of TLS records, one after the other.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Starts(pub(crate) [Start; TLS_RECORDS_MAX]);

/// The piece that a record of starts of TLS records stands for: all of the call.
#[inline(always)]
fn starts_piece(call: &Call) -> Piece {
    let flags = DataFlags::TLS_RECORDS;
    Piece { source: 0, len: call.facts().len, captured: 0, flags }
}
