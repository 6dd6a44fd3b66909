//! One direction of a flow: records in, bytes in order and located holes out.

use std::collections::VecDeque;

use agent_common::record::DataFlags;
use bytes::{Buf as _, Bytes};

use crate::call::{Cause, Timestamp};

/// How long a later record waits for the one before it, nanoseconds of event
/// time. Records of one direction overtake each other only when threads write it at
/// once: each takes the time first and its position then, microseconds later.
pub const WAIT_NS: u64 = 2_000_000;

/// Records that one direction may hold back.
const PENDING_RECORDS: usize = 64;

/// Payload bytes that one direction may hold back.
const PENDING_BYTES: usize = 256 * 1024;

/// What one record says of a direction.
#[derive(Clone, Debug)]
pub struct Piece {
    /// When.
    pub time: Timestamp,
    /// Position of its first byte.
    pub offset: u64,
    /// How far the other direction had come by then.
    pub other_offset: u64,
    /// Bytes that it stands for; `payload.len()` or more.
    pub len: u64,
    /// Why `payload` is shorter than `len`, when it is.
    pub cause: Cause,
    /// What was captured, from `offset` on.
    pub payload: Bytes,
}

/// The next thing in a direction. Spans of bytes lie end to end.
#[derive(Clone, Copy, Debug)]
pub enum Span<'a> {
    /// Captured bytes.
    Bytes(&'a Bytes),
    /// So many bytes were not captured.
    Missing(u64, Cause),
    /// Nothing yet: the other direction has come to this position.
    Other(u64),
}

/// Receives spans: position, time and what is there.
pub trait Sink {
    /// Takes the next span; `offset` is where it starts.
    fn span(&mut self, offset: u64, time: Timestamp, span: Span<'_>);
}

impl<F: FnMut(u64, Timestamp, Span<'_>)> Sink for F {
    fn span(&mut self, offset: u64, time: Timestamp, span: Span<'_>) {
        self(offset, time, span);
    }
}

/// Why the remainder of a record was not captured, by its flags. Without a reason
/// the agent's own side is to blame.
pub const fn cause(flags: DataFlags) -> Cause {
    if flags.contains(DataFlags::OPAQUE) {
        Cause::Opaque
    } else if flags.contains(DataFlags::FAULT) {
        Cause::Fault
    } else if flags.contains(DataFlags::SPLIT) {
        Cause::Split
    } else if flags.contains(DataFlags::BUDGET) {
        Cause::Budget
    } else {
        Cause::Agent
    }
}

/// One direction: what comes next, and what came too early. Holds back at most 64
/// records and 256 KiB; then, or after [`WAIT_NS`], what they wait for is lost.
#[derive(Debug, Default)]
pub struct Stream {
    /// Position of the next byte; `None` before the first record.
    next: Option<u64>,
    /// Later records, by position.
    pending: VecDeque<Piece>,
    pending_bytes: usize,
    ended: bool,
    late: u64,
}

impl Stream {
    /// Takes a record. The first one says where the direction starts: the flow may
    /// have been joined midway.
    pub fn push(&mut self, piece: Piece, sink: &mut impl Sink) {
        if piece.len == 0 {
            return;
        }
        if self.ended {
            self.late += piece.len;
            return;
        }
        let next = *self.next.get_or_insert(piece.offset);
        if piece.offset > next {
            self.hold(piece);
            if self.pending.len() > PENDING_RECORDS || self.pending_bytes > PENDING_BYTES {
                self.skip(sink);
            }
            return;
        }
        self.deliver(piece, sink);
        if !self.pending.is_empty() {
            self.drain(sink);
        }
    }

    /// Gives up waiting for what later records have waited for since before `now`
    /// less [`WAIT_NS`].
    pub fn expire(&mut self, now: Timestamp, sink: &mut impl Sink) {
        while let Some(first) = self.pending.front()
            && now.nanos_since(first.time) >= WAIT_NS
        {
            self.skip(sink);
        }
    }

    /// Gives up waiting for anything.
    pub fn flush(&mut self, sink: &mut impl Sink) {
        while !self.pending.is_empty() {
            self.skip(sink);
        }
    }

    /// The direction ends at `last`. `whole` says that all of it should have been
    /// seen, so that bytes of which no record came are lost and not before time.
    pub fn end(&mut self, last: u64, whole: bool, time: Timestamp, sink: &mut impl Sink) {
        self.flush(sink);
        if whole && self.next.is_none() {
            self.next = Some(0);
        }
        if let Some(next) = self.next
            && last > next
        {
            sink.span(next, time, Span::Missing(last - next, Cause::Transport));
            self.next = Some(last);
        }
        self.ended = true;
    }

    /// The other direction has told that this one has come to `offset`. What did not
    /// come until now is lost; `whole` says that all of it should have been seen.
    pub fn reach(&mut self, offset: u64, whole: bool, time: Timestamp, sink: &mut impl Sink) {
        // While records wait, what they wait for is not lost yet.
        if self.ended || self.waits() {
            return;
        }
        // Of a flow that was joined midway it tells where this direction starts.
        let next = *self.next.get_or_insert(if whole { 0 } else { offset });
        if offset > next {
            sink.span(next, time, Span::Missing(offset - next, Cause::Transport));
            self.next = Some(offset);
        }
    }

    /// Position of the next byte; `None` before the first record.
    pub const fn next(&self) -> Option<u64> {
        self.next
    }

    /// Payload bytes held back.
    pub const fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether records are held back.
    pub fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Stream bytes that came again, or after they were given up; cleared by asking.
    pub const fn take_late(&mut self) -> u64 {
        std::mem::replace(&mut self.late, 0)
    }

    /// Keeps a record that came too early, by position.
    fn hold(&mut self, piece: Piece) {
        let at = self.pending.partition_point(|held| held.offset <= piece.offset);
        self.pending_bytes += piece.payload.len();
        self.pending.insert(at, piece);
    }

    /// Declares what is missing before the first record held back, and goes on.
    fn skip(&mut self, sink: &mut impl Sink) {
        if let (Some(first), Some(next)) = (self.pending.front(), self.next)
            && first.offset > next
        {
            sink.span(next, first.time, Span::Missing(first.offset - next, Cause::Transport));
            self.next = Some(first.offset);
        }
        self.drain(sink);
    }

    /// Delivers records whose turn has come.
    fn drain(&mut self, sink: &mut impl Sink) {
        while let (Some(first), Some(next)) = (self.pending.front(), self.next)
            && first.offset <= next
        {
            let Some(piece) = self.pending.pop_front() else { return };
            self.pending_bytes = self.pending_bytes.saturating_sub(piece.payload.len());
            self.deliver(piece, sink);
        }
    }

    /// Delivers a record that starts at or before the next byte.
    fn deliver(&mut self, mut piece: Piece, sink: &mut impl Sink) {
        let next = self.next.unwrap_or(piece.offset);
        let again = next.saturating_sub(piece.offset).min(piece.len);
        if again > 0 {
            self.late += again;
            piece.len -= again;
            let cut = usize::try_from(again).unwrap_or(usize::MAX).min(piece.payload.len());
            piece.payload.advance(cut);
        }
        if piece.len == 0 {
            return;
        }
        sink.span(next, piece.time, Span::Other(piece.other_offset));
        let captured = piece.payload.len() as u64;
        if captured > 0 {
            sink.span(next, piece.time, Span::Bytes(&piece.payload));
        }
        if let Some(rest @ 1..) = piece.len.checked_sub(captured) {
            let at = next.saturating_add(captured);
            sink.span(at, piece.time, Span::Missing(rest, piece.cause));
        }
        self.next = Some(next.saturating_add(piece.len));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a stream gave: each byte, or the cause for which it is missing.
    #[derive(Default)]
    struct Given(Vec<Result<u8, Cause>>, u64);

    impl Sink for Given {
        fn span(&mut self, offset: u64, _: Timestamp, span: Span<'_>) {
            assert_eq!(offset, self.1 + self.0.len() as u64, "spans lie end to end");
            match span {
                Span::Bytes(bytes) => self.0.extend(bytes.iter().copied().map(Ok)),
                Span::Missing(len, cause) => self.0.extend((0..len).map(|_| Err(cause))),
                Span::Other(_) => {}
            }
        }
    }

    fn piece(time: u64, offset: u64, len: u64, payload: &[u8]) -> Piece {
        let payload = Bytes::copy_from_slice(payload);
        let (time, cause) = (Timestamp(time), Cause::Budget);
        Piece { time, offset, other_offset: 0, len, cause, payload }
    }

    fn text(given: &Given) -> String {
        let letter = |byte: &Result<u8, Cause>| match byte {
            Ok(byte) => char::from(*byte),
            Err(Cause::Transport) => '?',
            Err(_) => '-',
        };
        given.0.iter().map(letter).collect()
    }

    #[test]
    fn what_was_not_captured_follows_what_was() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 5, b"abc"), &mut given);
        stream.push(piece(0, 5, 2, b"fg"), &mut given);
        assert_eq!(text(&given), "abc--fg");
    }

    #[test]
    fn a_record_that_overtook_waits_for_the_one_before() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 1, b"a"), &mut given);
        stream.push(piece(1, 3, 1, b"d"), &mut given);
        stream.push(piece(2, 2, 1, b"c"), &mut given);
        assert_eq!(text(&given), "a");
        assert!(stream.waits());
        stream.push(piece(3, 1, 1, b"b"), &mut given);
        assert_eq!(text(&given), "abcd");
        assert!(!stream.waits() && stream.pending_bytes() == 0);
    }

    #[test]
    fn a_lost_record_becomes_a_hole_after_a_while() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 1, b"a"), &mut given);
        stream.push(piece(5, 3, 1, b"d"), &mut given);
        stream.expire(Timestamp(4 + WAIT_NS), &mut given);
        assert_eq!(text(&given), "a");
        stream.expire(Timestamp(5 + WAIT_NS), &mut given);
        assert_eq!(text(&given), "a??d");
        stream.push(piece(6, 1, 2, b"bc"), &mut given);
        assert_eq!((text(&given).as_str(), stream.take_late()), ("a??d", 2));
    }

    #[test]
    fn bytes_that_come_again_are_counted_and_dropped() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 3, b"abc"), &mut given);
        stream.push(piece(0, 1, 6, b"bcde"), &mut given);
        stream.push(piece(0, 0, 3, b"abc"), &mut given);
        assert_eq!((text(&given).as_str(), stream.take_late()), ("abcde--", 5));
    }

    #[test]
    fn the_end_says_how_much_was_lost_before_it() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 1, b"a"), &mut given);
        stream.push(piece(0, 2, 1, b"c"), &mut given);
        stream.end(5, false, Timestamp(1), &mut given);
        assert_eq!(text(&given), "a?c??");
        stream.push(piece(0, 5, 1, b"f"), &mut given);
        assert_eq!((text(&given).len(), stream.take_late()), (5, 1));
    }

    #[test]
    fn a_direction_without_records_is_lost_only_when_it_should_have_been_seen() {
        for (whole, expected) in [(true, "???"), (false, "")] {
            let (mut stream, mut given) = (Stream::default(), Given::default());
            stream.end(3, whole, Timestamp(1), &mut given);
            assert_eq!(text(&given), expected);
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 1, b"a"), &mut given);
        for number in 0..10_000 {
            stream.push(piece(0, 2 + number * 20_000, 16384, &[7; 16384]), &mut given);
            assert!(stream.pending_bytes() <= PENDING_BYTES);
            assert!(stream.pending.len() <= PENDING_RECORDS);
        }
    }

    proptest! {
        #[test]
        fn any_order_and_loss_gives_the_bytes_or_located_holes(
            lens in prop::collection::vec(1u64..9, 1..40),
            captured in prop::collection::vec(0u64..9, 40),
            lost in prop::collection::vec(prop::bool::weighted(0.2), 40),
            keys in prop::collection::vec(0usize..6, 40),
            base in 0u64..1000,
        ) {
            let mut pieces = Vec::new();
            let mut expected = Vec::new();
            for (number, len) in lens.iter().copied().enumerate() {
                let offset = base + expected.len() as u64;
                let kept = captured[number].min(len);
                let payload: Vec<u8> = (offset..offset + kept).map(|at| (at % 251) as u8).collect();
                let gone = number > 0 && lost[number];
                for at in 0..usize::try_from(len).unwrap() {
                    expected.push(match payload.get(at) {
                        _ if gone => Err(Cause::Transport),
                        Some(byte) => Ok(*byte),
                        None => Err(Cause::Budget),
                    });
                }
                if !gone {
                    pieces.push((if number == 0 { 0 } else { number + keys[number] }, piece(0, offset, len, &payload)));
                }
            }
            // Records move by a few places; the first stays, for it sets the base.
            pieces.sort_by_key(|(key, _)| *key);
            let (mut stream, mut given) = (Stream::default(), Given(Vec::new(), base));
            for (_, piece) in pieces {
                stream.push(piece, &mut given);
            }
            stream.end(base + expected.len() as u64, false, Timestamp(0), &mut given);
            prop_assert_eq!(given.0, expected);
            prop_assert_eq!(stream.take_late(), 0);
            prop_assert_eq!(stream.pending_bytes(), 0);
        }
    }
}
