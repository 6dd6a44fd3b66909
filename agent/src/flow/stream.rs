//! One direction of a flow: records in, bytes in order and located holes out.

use agent_common::record::DataFlags;
use bytes::{Buf as _, Bytes};

use crate::call::{Cause, Timestamp};

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

impl Piece {
    /// Its place among the records of both directions: all bytes before it.
    pub const fn place(&self) -> u64 {
        self.offset.saturating_add(self.other_offset)
    }
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
    } else if flags.contains(DataFlags::SHED) {
        Cause::Shed
    } else if flags.contains(DataFlags::BUDGET) {
        Cause::Budget
    } else {
        Cause::Agent
    }
}

/// One direction: what comes next. Records come in order, or what lay between them is
/// lost.
#[derive(Debug, Default)]
pub struct Stream {
    /// Position of the next byte; `None` before the first record.
    next: Option<u64>,
    ended: bool,
    late: u64,
}

impl Stream {
    /// Takes a record. The first one says where the direction starts: the flow may
    /// have been joined midway.
    pub fn push(&mut self, mut piece: Piece, sink: &mut impl Sink) {
        if piece.len == 0 {
            return;
        }
        if self.ended {
            self.late += piece.len;
            return;
        }
        let next = *self.next.get_or_insert(piece.offset);
        if piece.offset > next {
            sink.span(next, piece.time, Span::Missing(piece.offset - next, Cause::Transport));
            self.next = Some(piece.offset);
        }
        let next = next.max(piece.offset);
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

    /// The direction ends at `last`. `whole` says that all of it should have been
    /// seen, so that bytes of which no record came are lost and not before time.
    pub fn end(&mut self, last: u64, whole: bool, time: Timestamp, sink: &mut impl Sink) {
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
        if self.ended {
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

    /// Stream bytes that came again, or after they were given up; cleared by asking.
    pub const fn take_late(&mut self) -> u64 {
        std::mem::replace(&mut self.late, 0)
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
    fn what_lies_between_two_records_is_lost() {
        let (mut stream, mut given) = (Stream::default(), Given::default());
        stream.push(piece(0, 0, 1, b"a"), &mut given);
        stream.push(piece(5, 3, 1, b"d"), &mut given);
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

    proptest! {
        #[test]
        fn any_loss_gives_the_bytes_or_located_holes(
            lens in prop::collection::vec(1u64..9, 1..40),
            captured in prop::collection::vec(0u64..9, 40),
            lost in prop::collection::vec(prop::bool::weighted(0.2), 40),
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
                    pieces.push(piece(0, offset, len, &payload));
                }
            }
            let (mut stream, mut given) = (Stream::default(), Given(Vec::new(), base));
            for piece in pieces {
                stream.push(piece, &mut given);
            }
            stream.end(base + expected.len() as u64, false, Timestamp(0), &mut given);
            prop_assert_eq!(given.0, expected);
            prop_assert_eq!(stream.take_late(), 0);
        }
    }
}
