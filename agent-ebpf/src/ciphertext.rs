//! TLS on a socket: what its handshake says before it is encrypted, and where its records are.

use core::ffi::c_void;

use agent_common::{
    counter::Counter,
    limits::{TLS_HELLO, TLS_RECORD_HEADER, TLS_RECORD_START, TLS_RECORDS_MAX},
    record::{DataFlags, Direction},
    state::FlowState,
};
use aya_ebpf::helpers::generated::bpf_probe_read_user;

use crate::{
    capture::{Source, Work, advance, peek},
    classify::{self, Look},
    emit::{self, Call, Piece, Start},
    kernel::read_user,
};

/// Content types of TLS records (RFC 8446 section 5.1, RFC 5246 section 6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
pub(crate) const APPLICATION_DATA: u8 = 23;

/// Type of the handshake message with the server's hello.
const SERVER_HELLO: u8 = 2;

/// Takes ciphertext: what is not encrypted of the handshake, and as long as no TLS session
/// was seen to use the socket, the starts of its records for the agent to bind by.
///
/// # Safety
///
/// `state` and `work` are maps' values, and no other program uses `work`.
#[inline(always)]
pub(crate) unsafe fn take(state: *mut FlowState, call: &Call, work: *mut Work) {
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
            let piece = &raw mut (*work).piece;
            piece.write(Piece { source: source.buffer, len, captured, flags });
            emit::data(state, call, &*piece);
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
