//! What becomes of the bytes of one call: classify, budget, cut, send.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::CHUNK_MAX,
    record::{DataFlags, Direction, Layer, Protocol},
    state::FlowState,
};
use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::{
    budget, ciphertext,
    classify::{self, Look},
    emit::{self, Call, Facts, Piece, Starts},
    frames,
    kernel::{read, read_user},
    steps::{MADE, MORE, NOTHING, Steps},
};

/// So many times the budget is captured where it is not known where frames are: what is left
/// out then may be heads.
const UNFRAMED: u32 = 16;

/// How often frames of HTTP/2 are passed over in one call, some at a time. Where the next one
/// begins is not known behind more.
const PASSES_MAX: u32 = emit::SEGMENTS_MAX / 2;

/// Where a call's bytes are in the process's memory.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Source {
    /// Address of the first buffer.
    pub(crate) buffer: u64,
    /// Bytes in the first buffer.
    pub(crate) len: u64,
    /// Address of the `struct iovec` after the first buffer's, or 0.
    pub(crate) next: u64,
    /// Vectors left from `next` on.
    pub(crate) vectors: u32,
    /// 1 when the vectors, but not the buffers, are in the kernel's memory.
    pub(crate) in_kernel: u32,
}

impl Source {
    /// The vector at `next`.
    #[inline(always)]
    pub(crate) fn vector(&self) -> Option<Iovec> {
        if self.in_kernel == 0 { read_user(self.next) } else { read(self.next) }
    }
}

/// A call while its bytes are taken. It lies in a map, where [`Steps`] find it again, and where
/// what one program leaves to the next part of it is all the same to the verifier.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Work {
    pub(crate) facts: Facts,
    pub(crate) source: Source,
    /// By what [`Steps`] find this and the flow again.
    pub(crate) owner: [u64; 2],
    /// Bytes of later messages of the call, which are not read.
    pub(crate) beyond: i64,
    /// Bytes not told yet.
    pub(crate) left: u32,
    /// [`DataFlags`] of the next record.
    pub(crate) flags: u32,
    /// Bytes of the message that may be captured.
    pub(crate) budget: u32,
    /// The next record.
    pub(crate) piece: Piece,
    /// Of HTTP/2: address of the bytes that were captured, and whose frames were not passed yet.
    pub(crate) passed_from: u64,
    /// How many there are.
    pub(crate) passed: u32,
    /// How often frames were passed.
    pub(crate) passes: u32,
    /// Of ciphertext: the records found.
    pub(crate) starts: Starts,
}

/// `struct iovec`
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Iovec {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// Takes the bytes of one call on a flow.
///
/// # Safety
///
/// `state` and `work` are maps' values, the ones that the owner of `work` names, and no other
/// program uses `work`.
#[inline(never)]
pub(crate) unsafe fn bytes<S: Steps>(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        if (*state).protocol == Protocol::IGNORED {
            return;
        }
        if (*state).protocol == Protocol::UNKNOWN && !look(state, call, work) {
            advance(state, call.facts().direction, call.facts().len);
            return;
        }
        if (*state).protocol.is_http() {
            message::<S>(state, call, work);
        } else if (*state).protocol == Protocol::TLS && call.facts().layer == Layer::SOCKET {
            ciphertext::take(state, call, work);
        } else {
            // Known, but not decoded: told once, then left alone.
            let flags = DataFlags((*work).flags as u16);
            unread(state, call, work, call.facts().len, flags);
            (*state).protocol = Protocol::IGNORED;
        }
    }
}

/// Bytes that were never in user memory, or are not read.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(crate) unsafe fn opaque(state: *mut FlowState, call: &Call, flags: DataFlags) {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).protocol.is_http() {
            let &Facts { direction, len, .. } = call.facts();
            turn(state, direction);
            call.counters.add(Counter::OPAQUE, u64::from(len));
            frames::skip(state, direction, len);
            emit::data(state, call, &Piece { source: 0, len, captured: 0, flags });
            advance(state, direction, len);
        } else {
            if (*state).protocol == Protocol::QUIC {
                (*state).window = (*state).window.saturating_add(call.facts().len);
            }
            advance(state, call.facts().direction, call.facts().len);
        }
    }
}

/// Classifies a flow by the first bytes of a call. True when it is known now.
#[inline(always)]
unsafe fn look(state: *mut FlowState, call: &Call, work: *mut Work) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).last != call.facts().direction {
            (*state).last = call.facts().direction;
            (*state).looked = 0;
        }
        // Messages start where the direction turns. A second look, because some
        // programs read the head of a frame by itself; more would be paid for
        // every read of a long download that was joined midway.
        if (*state).looked >= 2 && !half(state) {
            return false;
        }
        (*state).looked += 1;
        if (*state).looks == 0 {
            call.counters.add(Counter::IGNORED, 1);
            (*state).protocol = Protocol::IGNORED;
            unread(state, call, work, call.facts().len, DataFlags(0));
            return false;
        }
        (*state).looks -= 1;
        let Some(look) = peek(call, &(*work).source) else { return false };
        let protocol = classify::protocol(look);
        if protocol == Protocol::UNKNOWN {
            return false;
        }
        (*state).protocol = protocol;
        true
    }
}

/// The first bytes of a call.
#[inline(always)]
pub(crate) fn peek(call: &Call, source: &Source) -> Option<Look> {
    let len = if source.len > 8 { 8 } else { source.len as u32 };
    if len == 0 {
        return None;
    }
    let mut word = 0_u64;
    // SAFETY: `word` has 8 bytes, `len` is at most that, and the helper refuses
    // addresses that are not readable.
    let result = unsafe {
        bpf_probe_read_user((&raw mut word).cast::<c_void>(), len, source.buffer as *const c_void)
    };
    if result != 0 {
        call.counters.add(Counter::FAULTS, 1);
        return None;
    }
    call.counters.add(Counter::BYTES_READ, u64::from(len));
    Some(Look { word, len })
}

/// Notes a change of direction: what follows is another message, with a budget
/// of its own. Not where frames tell where one begins: peers that take much in tell the other
/// one all the time that it may go on.
#[inline(always)]
unsafe fn turn(state: *mut FlowState, direction: Direction) {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).last != direction {
            (*state).last = direction;
            if !frames::is_aligned(state, direction) {
                (*state).window = 0;
            }
        }
    }
}

/// Whether all bytes of a flow go one way.
#[inline(always)]
unsafe fn half(state: *const FlowState) -> bool {
    // SAFETY: promised by the caller.
    unsafe { (*state).flags.contains(DataFlags::HALF) }
}

/// Moves a direction on.
#[inline(always)]
pub(crate) unsafe fn advance(state: *mut FlowState, direction: Direction, len: u32) {
    // SAFETY: promised by the caller. Two fields, not an index: the verifier
    // cannot bound a byte from a map.
    unsafe {
        if direction == Direction::INGRESS {
            (*state).offsets[0] += u64::from(len);
        } else {
            (*state).offsets[1] += u64::from(len);
        }
    }
}

/// Tells of bytes that are not read. The record is in the map, for the stack is full with the
/// perf transport.
#[inline(always)]
unsafe fn unread(state: *mut FlowState, call: &Call, work: *mut Work, len: u32, flags: DataFlags) {
    // SAFETY: promised by the caller.
    unsafe {
        let piece = &raw mut (*work).piece;
        piece.write(Piece { source: 0, len, captured: 0, flags });
        emit::data(state, call, &*piece);
    }
}

/// Copies a call's bytes within the budget of the message, a record per buffer
/// or part of one.
#[inline(always)]
unsafe fn message<S: Steps>(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        turn(state, call.facts().direction);
        let budget = budget::of_process((call.facts().pid_tgid >> 32) as u32);
        (*work).budget = budget;
        if (*state).protocol == Protocol::HTTP2 {
            if !frames::is_aligned(state, call.facts().direction)
                && let Some(look) = peek(call, &(*work).source)
            {
                frames::align(state, call.facts().direction, look);
            }
        } else if ((*state).window.saturating_add(call.facts().len) > budget || half(state))
            && let Some(look) = peek(call, &(*work).source)
            && look.len >= 7
            && classify::message_start(look)
        {
            // Pipelined, or of a flow that never turns: another message.
            (*state).window = 0;
        }
        (*work).left = call.facts().len;
        (*work).passed = 0;
        (*work).passes = 0;
        let [first, second] = (*work).owner;
        let mut segment = 0;
        while segment < emit::SEGMENTS_MAX {
            segment += 1;
            let next = S::step(first, second);
            if next & MADE != 0 {
                emit::flush(call, &(*work).piece);
            }
            if next & MORE == 0 {
                break;
            }
        }
        if (*work).passed > 0 {
            frames::lose(state, call.facts().direction);
        }
        let left = (*work).left;
        if left > 0 {
            call.counters.add(Counter::SPLIT, u64::from(left));
            let flags = DataFlags((*work).flags as u16).union(DataFlags::SPLIT);
            frames::skip(state, call.facts().direction, left);
            unread(state, call, work, left, flags);
            advance(state, call.facts().direction, left);
        }
    }
}

/// One step of a message: makes its next record, or goes on to the next buffer.
///
/// # Safety
///
/// As of [`bytes`].
#[inline(always)]
pub(crate) unsafe fn step(state: *mut FlowState, call: &Call, work: *mut Work) -> u32 {
    // SAFETY: promised by the caller.
    unsafe {
        let next = plan(state, call, work);
        if next & MADE == 0 {
            return next;
        }
        let made = if send(state, call, work) { MADE } else { NOTHING };
        let more = (*work).left > 0 || (*work).passed > 0;
        made | if more { MORE } else { NOTHING }
    }
}

/// Finds what the next record of a message carries, which is to be [`MADE`] then, or goes on to
/// the next buffer. What it finds
/// goes by way of `work`, so that a record is sent in one way, however it came about.
#[inline(always)]
unsafe fn plan(state: *mut FlowState, call: &Call, work: *mut Work) -> u32 {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        if (*work).passed > 0 {
            // Frames are many where they are short: then what follows must not be missed.
            (*work).passes += 1;
            if (*work).passes > PASSES_MAX {
                frames::lose(state, call.facts().direction);
                (*work).passed = 0;
            } else {
                frames::pass(state, call, work);
            }
            return MORE;
        }
        let left = (*work).left;
        if left == 0 {
            return NOTHING;
        }
        let framed = (*state).protocol == Protocol::HTTP2;
        let aligned = frames::is_aligned(state, call.facts().direction);
        let mut room = (*work).budget;
        if framed && !aligned {
            room = room.saturating_mul(UNFRAMED);
        }
        room = room.saturating_sub((*state).window);
        let source = &mut (*work).source;
        if source.len == 0 {
            if source.vectors == 0 {
                return NOTHING;
            }
            let Some(vector) = source.vector() else {
                call.counters.add(Counter::FAULTS, 1);
                (*work).flags |= u32::from(DataFlags::FAULT.0);
                return NOTHING;
            };
            source.buffer = vector.base;
            source.len = vector.len;
            source.next += 16;
            source.vectors -= 1;
            if vector.len == 0 {
                return MORE;
            }
        }
        let buffer = source.buffer;
        let mut len = left;
        if u64::from(len) > source.len {
            len = source.len as u32;
        }
        let mut captured;
        if framed && room == 0 {
            captured = frames::beyond(state, call, work, len);
            len = (*work).piece.len;
        } else {
            if len > CHUNK_MAX as u32 {
                len = CHUNK_MAX as u32;
            }
            captured = len;
            if len > room {
                captured = room;
                len = if framed { room } else { left };
            }
        }
        if aligned && room > 0 {
            (*work).passed = len;
            (*work).passed_from = buffer;
        }
        if room > 0 {
            (*state).window += captured;
        }
        let piece = &raw mut (*work).piece;
        (*piece).source = buffer;
        (*piece).len = len;
        (*piece).captured = captured;
        MADE
    }
}

/// Makes the record that was planned; whether it is to be sent by the caller.
#[inline(always)]
unsafe fn send(state: *mut FlowState, call: &Call, work: *mut Work) -> bool {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        // In the map, for the stack is full with the perf transport.
        let piece = &raw mut (*work).piece;
        (*piece).flags = DataFlags((*work).flags as u16);
        if (*piece).captured < (*piece).len {
            let (beyond, counter) = budget::beyond((*work).budget);
            call.counters.add(counter, u64::from((*piece).len - (*piece).captured));
            (*piece).flags = (*piece).flags.union(beyond);
        }
        (*work).flags = 0;
        (*work).left -= (*piece).len;
        let source = &mut (*work).source;
        source.buffer += u64::from((*piece).len);
        source.len = source.len.saturating_sub(u64::from((*piece).len));
        let made = emit::make(state, call, &*piece);
        advance(state, call.facts().direction, (*piece).len);
        made
    }
}
