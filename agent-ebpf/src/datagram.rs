//! Calls on UDP sockets: whether QUIC goes over them, its Initials, and how many bytes.

use agent_common::{
    counter::Counter,
    limits::{
        DATAGRAM_LOOK_EVERY, QUIC_INITIAL, QUIC_INITIALS_MAX, QUIC_PERIOD_SHIFT, QUIC_UNTOLD,
    },
    record::{DataFlags, Direction, Protocol},
    state::FlowState,
};

use crate::{
    capture::{Work, advance, peek},
    classify::{self, Datagram},
    emit::{self, Call, Piece},
};

/// Takes a call on a UDP socket. Of several datagrams in one call the first is looked at
/// and copied with the next, and all are counted.
///
/// # Safety
///
/// `state` and `work` are maps' values, and no other program uses `work`.
#[inline(never)]
pub(crate) unsafe fn datagram(state: *mut FlowState, call: &Call, work: *mut Work) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let known = (*state).protocol == Protocol::QUIC;
        if known || may_be_quic(state) {
            let look = peek(call, &(*work).source);
            // What was received may be shorter than the buffer.
            let whole = look.filter(|look| call.facts().len >= look.len);
            let found = whole.map_or(Datagram::OTHER, classify::datagram);
            if !known && found != Datagram::OTHER {
                (*state).protocol = Protocol::QUIC;
                (*state).looked = 0;
                call.counters.add(Counter::CONNECTIONS, 1);
            }
            if known || found != Datagram::OTHER {
                quic(state, call, work, found);
            }
        }
        advance(state, call.facts().direction, call.facts().len);
    }
}

/// Whether a socket that is not known to be QUIC's is worth a look.
#[inline(always)]
unsafe fn may_be_quic(state: *mut FlowState) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        if (*state).looks > 0 {
            (*state).looks -= 1;
            return true;
        }
        (*state).looked = (*state).looked.wrapping_add(1);
        (*state).looked & (DATAGRAM_LOOK_EVERY - 1) == 0
    }
}

/// Copies an Initial, or tells how many bytes have moved when that is due.
#[inline(always)]
unsafe fn quic(state: *mut FlowState, call: &Call, work: *mut Work, found: Datagram) {
    // SAFETY: promised by the caller, here and below.
    unsafe {
        let period = (call.facts().time_ns >> QUIC_PERIOD_SHIFT) as u32;
        let due = (*state).looked != period;
        if due {
            (*state).looked = period;
            (*state).hello_left = [QUIC_INITIALS_MAX; 2];
        }
        let egress = call.facts().direction == Direction::EGRESS;
        // What comes in anyone may send, to a server of DNS too: only when the process
        // answers is this QUIC, and its bytes are told.
        if egress && found != Datagram::OTHER {
            (*state).bound = 1;
        }
        let len = call.facts().len;
        let source = &(*work).source;
        let mut captured = 0;
        if found == Datagram::INITIAL {
            let left = (&raw mut (*state).hello_left).cast::<u32>().add(usize::from(egress));
            if *left == 0 {
                call.counters.add(Counter::QUIC_SKIPPED, 1);
            } else {
                *left -= 1;
                captured = if len > QUIC_INITIAL as u32 { QUIC_INITIAL as u32 } else { len };
                if u64::from(captured) > source.len {
                    captured = source.len as u32;
                }
            }
        }
        (*state).window = (*state).window.saturating_add(len);
        let tell = (*state).bound != 0 && (due || (*state).window >= QUIC_UNTOLD);
        if captured == 0 && !tell {
            return;
        }
        (*state).window = 0;
        let flags = DataFlags((*work).flags as u16).union(DataFlags::BUDGET);
        emit::data(state, call, &Piece { source: source.buffer, len, captured, flags });
        // With segmentation offload each datagram may have a buffer of its own.
        if captured > 0
            && captured < len
            && u64::from(captured) == source.len
            && source.vectors > 0
            && let Some(vector) = source.vector()
        {
            let mut more = len - captured;
            if more > QUIC_INITIAL as u32 {
                more = QUIC_INITIAL as u32;
            }
            if u64::from(more) > vector.len {
                more = vector.len as u32;
            }
            let flags = DataFlags(0);
            let piece = Piece { source: vector.base, len: more, captured: more, flags };
            emit::data(state, call, &piece);
        }
    }
}
