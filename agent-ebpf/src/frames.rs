//! Frames of HTTP/2 (RFC 9113 section 4.1) in the bytes of a call. Where they are is kept up with
//! so that, once the budget of a message is used up, bodies are left out and nothing else is:
//! a head that is missing would make those after it unknown, which are compressed by it.

use agent_common::{counter::Counter, limits::CHUNK_MAX, record::Direction, state::FlowState};

use crate::{
    capture::Work,
    classify::{self, Look},
    emit::Call,
    kernel::{Counters, read_user},
};

/// Length of a frame's header.
const HEADER: u32 = 9;

/// Frames that are passed at once.
const FRAMES_AT_ONCE: u32 = 4;

/// Longest frame that is believed.
const FRAME_MAX: u32 = 1024 * 1024;

/// Longest frame with a head, or a part of one, that is captured beyond the budget: as much as
/// the agent reads of one.
const HEAD_MAX: u32 = 64 * 1024;

/// Beside the bytes until the next frame: they are of a head.
const IN_HEAD: u32 = 1 << 31;

/// Frame types.
const DATA: u32 = 0;
const HEADERS: u32 = 1;
const PUSH_PROMISE: u32 = 5;
const CONTINUATION: u32 = 9;

/// What a flow's state has of a direction: bytes until the next frame, and one, with
/// [`IN_HEAD`]; or 0 when that is not known.
#[inline(always)]
unsafe fn left(state: *const FlowState, direction: Direction) -> u32 {
    // SAFETY: promised by the caller. Two fields, not an index: the verifier cannot bound a
    // byte from a map.
    unsafe {
        if direction == Direction::INGRESS {
            (*state).frame_left[0]
        } else {
            (*state).frame_left[1]
        }
    }
}

#[inline(always)]
unsafe fn set(state: *mut FlowState, direction: Direction, left: u32) {
    // SAFETY: as above.
    unsafe {
        if direction == Direction::INGRESS {
            (*state).frame_left[0] = left;
        } else {
            (*state).frame_left[1] = left;
        }
    }
}

/// Length, type and flags of the frame that begins at an address.
#[inline(always)]
fn header(counters: Counters, address: u64) -> Option<(u32, u32, u32)> {
    let word: u64 = read_user(address)?;
    counters.add(Counter::BYTES_READ, 8);
    let len = (word as u32 & 0xff_ffff).swap_bytes() >> 8;
    let kind = (word >> 24) as u32 & 0xff;
    let flags = (word >> 32) as u32 & 0xff;
    (len <= FRAME_MAX).then_some((len, kind, flags))
}

/// Takes note of where frames are if a call begins with one that is told from all else, or with
/// the preface of a client.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(crate) unsafe fn align(state: *mut FlowState, direction: Direction, look: Look) {
    /// The preface is not framed (RFC 9113 section 3.4).
    const PREFACE: u32 = 24;
    // SAFETY: promised by the caller.
    unsafe {
        if look.len < 8 {
            return;
        }
        if classify::begins_frames(look.word) {
            set(state, direction, 1);
        } else if classify::is_preface(look) {
            set(state, direction, PREFACE + 1);
        }
    }
}

/// Whether it is known where the next frame of a direction begins.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(crate) unsafe fn is_aligned(state: *const FlowState, direction: Direction) -> bool {
    // SAFETY: promised by the caller.
    unsafe { left(state, direction) != 0 }
}

/// It is not known any more.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(crate) unsafe fn lose(state: *mut FlowState, direction: Direction) {
    // SAFETY: promised by the caller.
    unsafe { set(state, direction, 0) };
}

/// Goes on behind bytes that are not looked at.
///
/// # Safety
///
/// `state` is a map's value.
#[inline(always)]
pub(crate) unsafe fn skip(state: *mut FlowState, direction: Direction, len: u32) {
    // SAFETY: promised by the caller.
    unsafe {
        let left = left(state, direction);
        let after = (left & !IN_HEAD).saturating_sub(len);
        set(state, direction, if after == 0 { 0 } else { after | left & IN_HEAD });
    }
}

/// What there is behind the start of a frame, in the form of a flow's state.
#[inline(always)]
const fn behind(frame: u32, kind: u32) -> u32 {
    let left = HEADER + frame + 1;
    if is_head(frame, kind) { left | IN_HEAD } else { left }
}

/// Whether a frame carries a head, or a part of one, and is not longer than heads are.
#[inline(always)]
const fn is_head(frame: u32, kind: u32) -> bool {
    (kind == HEADERS || kind == PUSH_PROMISE || kind == CONTINUATION) && frame <= HEAD_MAX
}

/// Goes on behind the next frames of the bytes that were captured last.
///
/// # Safety
///
/// `state` and `work` are maps' values, and no other program uses `work`.
#[inline(never)]
pub(crate) unsafe fn pass(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let direction = call.facts().direction;
        let mut frames = 0;
        while frames < FRAMES_AT_ONCE {
            frames += 1;
            let len = (*work).passed;
            let left = left(state, direction) & !IN_HEAD;
            if left == 0 || left > len {
                skip(state, direction, len);
                (*work).passed = 0;
                return;
            }
            // From the next frame on, whose header may be in two parts.
            let from = (*work).passed_from + u64::from(left) - 1;
            let len = len - left + 1;
            let found = if len < HEADER { None } else { header(call.counters, from) };
            let Some((frame, kind, _)) = found else {
                lose(state, direction);
                (*work).passed = 0;
                return;
            };
            if kind == HEADERS {
                // Another message, with a budget of its own.
                (*state).window = 0;
            }
            (*work).passed_from = from;
            (*work).passed = len;
            set(state, direction, behind(frame, kind));
        }
    }
}

/// How much of the next bytes of a call is captured where the budget of the message is used up:
/// what is no body, and of a body the header of its frame. How many bytes that stands for is put
/// into the next record.
///
/// # Safety
///
/// `state` and `work` are maps' values, and no other program uses `work`. The first buffer has
/// `room` bytes, one at least.
#[inline(never)]
pub(crate) unsafe fn beyond(state: *mut FlowState, call: &Call, work: *mut Work, room: u32) -> u32 {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let direction = call.facts().direction;
        let before = left(state, direction);
        let left = before & !IN_HEAD;
        // Nothing is known: all of the call is left out.
        let (mut len, mut captured, mut after) = ((*work).left, 0, 0);
        if left > 1 {
            len = if left - 1 < room { left - 1 } else { room };
            if before & IN_HEAD != 0 {
                if len > CHUNK_MAX as u32 {
                    len = CHUNK_MAX as u32;
                }
                captured = len;
            }
            after = before - len;
        } else if left == 1 && room < HEADER {
            (len, captured) = (room, room);
        } else if left == 1
            && let Some((frame, kind, flags)) = header(call.counters, (*work).source.buffer)
        {
            let whole = HEADER + frame;
            len = if whole < room { whole } else { room };
            if kind == DATA || frame > HEAD_MAX {
                // With the length of its padding.
                captured = HEADER + (flags >> 3 & 1);
            } else {
                if len > CHUNK_MAX as u32 {
                    len = CHUNK_MAX as u32;
                }
                captured = len;
                if kind == HEADERS {
                    // Another message.
                    (*state).window = 0;
                }
            }
            if captured > len {
                captured = len;
            }
            after = behind(frame, kind) - len;
        }
        set(state, direction, after);
        (*work).piece.len = len;
        captured
    }
}
