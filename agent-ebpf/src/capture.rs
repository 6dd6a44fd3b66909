//! What becomes of the bytes of one call: classify, budget, cut, send.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::{
        CHUNK_MAX, SEGMENTS_MAX, TLS_HELLO, TLS_RECORD_HEADER, TLS_RECORD_START, TLS_RECORDS_MAX,
    },
    record::{DataFlags, Direction, Layer, Protocol},
    state::FlowState,
};
use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::{
    budget,
    classify::{self, Look},
    emit::{self, Call, Facts, Piece, Start, Starts},
    kernel::{read, read_user},
};

/// Content types of TLS records (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// Type of the handshake message with the server's hello.
const SERVER_HELLO: u8 = 2;

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

/// A call while its bytes are taken. It lies in a map, so that what one round of
/// [`message`] leaves to the next is all the same to the verifier: it follows each
/// round once, not once for each way through those before.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Work {
    pub(crate) facts: Facts,
    pub(crate) source: Source,
    /// Bytes not told yet.
    pub(crate) left: u32,
    /// [`DataFlags`] of the next record.
    pub(crate) flags: u32,
    /// Bytes of the message that may be captured.
    pub(crate) budget: u32,
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
/// `state` and `work` are maps' values, and no other program uses `work`.
#[inline(never)]
pub(crate) unsafe fn bytes(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        if (*state).protocol == Protocol::IGNORED {
            return;
        }
        let source = &(*work).source;
        if (*state).protocol == Protocol::UNKNOWN && !look(state, call, source) {
            advance(state, call.facts().direction, call.facts().len);
            return;
        }
        if (*state).protocol == Protocol::HTTP1 {
            message(state, call, work);
        } else if (*state).protocol == Protocol::TLS && call.facts().layer == Layer::SOCKET {
            ciphertext(state, call, work);
        } else {
            // Known, but not decoded: told once, then left alone.
            let flags = DataFlags((*work).flags as u16);
            let piece = Piece { source: 0, len: call.facts().len, captured: 0, flags };
            emit::data(state, call, &piece);
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
        if (*state).protocol == Protocol::HTTP1 {
            turn(state, call.facts().direction);
            call.counters.add(Counter::OPAQUE, u64::from(call.facts().len));
            piece(state, call, call.facts().len, 0, 0, flags);
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
unsafe fn look(state: *mut FlowState, call: &Call, source: &Source) -> bool {
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
            let piece =
                Piece { source: 0, len: call.facts().len, captured: 0, flags: DataFlags(0) };
            emit::data(state, call, &piece);
            return false;
        }
        (*state).looks -= 1;
        let Some(look) = peek(call, source) else { return false };
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
/// of its own.
#[inline(always)]
unsafe fn turn(state: *mut FlowState, direction: Direction) {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).last != direction {
            (*state).last = direction;
            (*state).window = 0;
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

/// Sends one record for `len` bytes of which `captured` are copied, and moves on.
#[inline(always)]
unsafe fn piece(
    state: *mut FlowState,
    call: &Call,
    len: u32,
    captured: u32,
    source: u64,
    flags: DataFlags,
) {
    emit::data(state, call, &Piece { source, len, captured, flags });
    // SAFETY: promised by the caller.
    unsafe { advance(state, call.facts().direction, len) };
}

/// Copies a call's bytes within the budget of the message, a record per buffer
/// or part of one.
#[inline(always)]
unsafe fn message(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        turn(state, call.facts().direction);
        let budget = budget::of_process((call.facts().pid_tgid >> 32) as u32);
        (*work).budget = budget;
        let beyond = (*state).window.saturating_add(call.facts().len) > budget;
        if (beyond || half(state))
            && let Some(look) = peek(call, &(*work).source)
            && look.len >= 7
            && classify::message_start(look)
        {
            // Pipelined, or of a flow that never turns: another message.
            (*state).window = 0;
        }
        (*work).left = call.facts().len;
        let mut segment = 0;
        while segment < SEGMENTS_MAX {
            segment += 1;
            if round(state, call, work) == 0 {
                break;
            }
        }
        let left = (*work).left;
        if left > 0 {
            call.counters.add(Counter::SPLIT, u64::from(left));
            let flags = DataFlags((*work).flags as u16).union(DataFlags::SPLIT);
            piece(state, call, left, 0, 0, flags);
        }
    }
}

/// Sends one record of a message, or steps to the next buffer. 0 when there is no
/// more to do.
#[inline(never)]
unsafe fn round(state: *mut FlowState, call: &Call, work: *mut Work) -> u32 {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let left = (*work).left;
        if left == 0 {
            return 0;
        }
        let source = &mut (*work).source;
        let flags = DataFlags((*work).flags as u16);
        if source.len == 0 {
            if source.vectors == 0 {
                return 0;
            }
            let Some(vector) = source.vector() else {
                call.counters.add(Counter::FAULTS, 1);
                (*work).flags |= u32::from(DataFlags::FAULT.0);
                return 0;
            };
            source.buffer = vector.base;
            source.len = vector.len;
            source.next += 16;
            source.vectors -= 1;
            return 1;
        }
        let mut len = left;
        if u64::from(len) > source.len {
            len = source.len as u32;
        }
        if len > CHUNK_MAX as u32 {
            len = CHUNK_MAX as u32;
        }
        let budget = (*work).budget;
        let used = (*state).window;
        let room = budget.saturating_sub(used);
        if len > room {
            let (beyond, counter) = budget::beyond(budget);
            call.counters.add(counter, u64::from(left - room));
            (*work).left = 0;
            (*state).window = used + room;
            piece(state, call, left, room, source.buffer, flags.union(beyond));
            return 0;
        }
        (*state).window = used + len;
        (*work).flags = 0;
        (*work).left = left - len;
        let buffer = source.buffer;
        source.buffer += u64::from(len);
        source.len -= u64::from(len);
        piece(state, call, len, len, buffer, flags);
        1
    }
}

/// Takes ciphertext: what is not encrypted of the handshake, and as long as no TLS session
/// was seen to use the socket, the starts of its records for the agent to bind by.
#[inline(always)]
unsafe fn ciphertext(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let source = &(*work).source;
        let first = DataFlags((*work).flags as u16);
        let ingress = call.facts().direction == Direction::INGRESS;
        let bound = (*state).bound != 0;
        let lefts = (&raw mut (*state).hello_left).cast::<u32>();
        let (left, other) = (lefts.add(usize::from(!ingress)), lefts.add(usize::from(ingress)));
        let offset = emit::offset(state, call.facts().direction);
        if offset > 0 && *left == 0 {
            // Whoever speaks again has all that is read of the other one's handshake. Of a
            // socket whose TLS the kernel does, plaintext follows.
            *other = 0;
        } else if let Some(look) = peek(call, source) {
            *left = handshake(call, source, &look, offset, *left);
        }
        let mut captured = *left;
        if captured > 0 {
            if captured > call.facts().len {
                captured = call.facts().len;
            }
            if u64::from(captured) > source.len {
                captured = source.len as u32;
            }
            *left -= captured;
            let flags = first.union(DataFlags::BUDGET);
            let len = call.facts().len;
            let piece = Piece { source: source.buffer, len, captured, flags };
            emit::data(state, call, &piece);
        }
        if !bound {
            records(state, call, work);
        }
        advance(state, call.facts().direction, call.facts().len);
    }
}

/// How many bytes are taken of a direction from here on for its handshake, of which `left` were
/// left: those that are not encrypted, which is the client's hello, and of a server, up to TLS
/// 1.2, all as far as its certificate. And a header behind these, so that their end is told.
#[inline(always)]
fn handshake(call: &Call, source: &Source, look: &Look, offset: u64, left: u32) -> u32 {
    let most = TLS_HELLO as u32;
    let header = TLS_RECORD_HEADER as u32;
    let kind = look.word as u8;
    // The message begins behind the header of its record, which programs may read alone.
    let server = |word: u64| word as u8 == SERVER_HELLO;
    match classify::tls_record(look.word) {
        Some(len) if offset == 0 && kind == HANDSHAKE => {
            let record = header + len;
            let mut wanted = record;
            if look.len > header && server(look.word >> 40) {
                wanted = most;
                if u64::from(record) < source.len
                    && record < call.facts().len
                    && let Some(next) = read_user::<u8>(source.buffer + u64::from(record))
                    && is_encrypted(next)
                {
                    wanted = record + header;
                }
            }
            if wanted > most { most } else { wanted }
        }
        _ if offset == 0 => 0,
        _ if offset == TLS_RECORD_HEADER as u64 && server(look.word) => most - header,
        Some(_) if is_encrypted(kind) && left > header => header,
        _ => left,
    }
}

/// Whether a record of a type is encrypted in a handshake, or all that follow it are.
#[inline(always)]
const fn is_encrypted(kind: u8) -> bool {
    kind == CHANGE_CIPHER_SPEC || kind == APPLICATION_DATA
}

/// Starts of the TLS records that begin in a call's first buffer.
#[inline(always)]
unsafe fn records(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let side = &raw mut (*state).record_left;
        let mut position = u64::from(if call.facts().direction == Direction::INGRESS {
            (*side)[0]
        } else {
            (*side)[1]
        });
        let total = u64::from(call.facts().len);
        let source = &(*work).source;
        let starts = (&raw mut (*work).starts).cast::<Start>();
        let mut found = 0;
        while found < TLS_RECORDS_MAX {
            let mut room = source.len.saturating_sub(position);
            if room > total.saturating_sub(position) {
                room = total.saturating_sub(position);
            }
            let read = if room >= TLS_RECORD_START as u64 {
                TLS_RECORD_START as u32
            } else if room >= TLS_RECORD_HEADER as u64 {
                TLS_RECORD_HEADER as u32
            } else {
                break;
            };
            let start = starts.add(found);
            start.write([0; TLS_RECORD_START / 8]);
            let from = source.buffer + position;
            if bpf_probe_read_user(start.cast::<c_void>(), read, from as *const c_void) != 0 {
                break;
            }
            call.counters.add(Counter::BYTES_READ, u64::from(read));
            let Some(len) = classify::tls_record((*start)[0]) else {
                // Out of step; the next call may start with a record again.
                position = total;
                break;
            };
            found += 1;
            position += TLS_RECORD_HEADER as u64 + u64::from(len);
        }
        let left = position.saturating_sub(total) as u32;
        if call.facts().direction == Direction::INGRESS {
            (*side)[0] = left;
        } else {
            (*side)[1] = left;
        }
        if found > 0 {
            emit::tls_records(state, call, &raw const (*work).starts, found as u32);
        }
    }
}
