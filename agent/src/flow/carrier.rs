//! A flow that carries, or may carry, HTTP: its two streams and its decoder.

use std::collections::VecDeque;

use agent_common::record::{DataFlags, Direction};

use super::{
    Stats,
    decoder::{Content, Decoder},
    session::SessionFacts,
    sniff::Sniffer,
    stream::{self, Piece, Sink, Span, Stream},
};
use crate::{
    call::{Missing, Timestamp},
    event::{Data, End},
    http::{self, Exchange},
};

/// How long a record waits for those before it, nanoseconds of event time. Records
/// overtake each other when a program is interrupted between taking the time and
/// handing over its record, on a busy processor for many milliseconds.
pub(super) const WAIT_NS: u64 = 100_000_000;

/// Records that a flow holds back, at most.
const PARKED_MAX: usize = 64;

/// A flow that carries HTTP.
#[derive(Debug)]
pub(super) struct Carrier {
    streams: [Stream; 2],
    /// Records that wait for one before them, in either direction, in their order across
    /// both, which is how a decoder gets them. After
    /// [`WAIT_NS`], or when they are too many, what they wait for is lost.
    parked: VecDeque<(Direction, Piece)>,
    decoder: Decoder,
    /// The first record of the flow was seen: positions count from its start.
    pub(super) from_start: bool,
    /// Its directions are flows of their own to the kernel side, and none tells how far the
    /// other had come.
    half: bool,
    /// Of a TLS session.
    pub(super) session: Option<Box<SessionFacts>>,
}

/// What the decoding of a record needs beside the flow.
pub(super) struct Work<'a> {
    pub(super) limits: http::Limits,
    pub(super) stats: &'a mut Stats,
    pub(super) out: &'a mut Vec<Exchange>,
    /// Bytes that the flow has lost.
    pub(super) lost: &'a mut Missing,
}

const fn side(direction: Direction) -> usize {
    (direction.0 & 1) as usize
}

const SIDES: [Direction; 2] = [Direction::INGRESS, Direction::EGRESS];

impl Carrier {
    /// A plaintext flow that the kernel side took for HTTP.
    pub(super) fn http(decoder: Decoder) -> Self {
        Self {
            streams: Default::default(),
            parked: VecDeque::new(),
            decoder,
            from_start: false,
            half: false,
            session: None,
        }
    }

    /// The plaintext of a TLS session.
    pub(super) fn session(facts: SessionFacts) -> Self {
        Self {
            streams: Default::default(),
            parked: VecDeque::new(),
            decoder: Decoder::Sniffing(Sniffer::default()),
            from_start: false,
            half: false,
            session: Some(Box::new(facts)),
        }
    }

    /// HTTP is decoded here.
    pub(super) const fn decodes(&self) -> bool {
        matches!(self.decoder, Decoder::Http { .. })
    }

    /// What it carries, as far as that is known.
    pub(super) const fn content(&self) -> Content {
        self.decoder.content()
    }

    /// Takes a record.
    pub(super) fn data(&mut self, data: Data, work: &mut Work<'_>) {
        self.from_start |= data.flags.contains(DataFlags::FIRST) && data.offset == 0;
        self.half |= data.flags.contains(DataFlags::HALF);
        if matches!(self.decoder, Decoder::Done(_)) {
            return;
        }
        let piece = Piece {
            time: data.time,
            offset: data.offset,
            other_offset: data.other_offset,
            len: u64::from(data.len).max(data.payload.len() as u64),
            cause: stream::cause(data.flags),
            payload: data.payload,
        };
        if self.waits() {
            self.expire(Some(piece.time), work);
        }
        if self.parked.is_empty() && self.ready(data.direction, &piece) {
            self.push(data.direction, piece, work);
        } else {
            let place = self.parked.partition_point(|(_, held)| held.place() <= piece.place());
            self.parked.insert(place, (data.direction, piece));
            self.unpark(work);
            if self.parked.len() > PARKED_MAX {
                self.expire(None, work);
            }
        }
        self.settle(work);
    }

    /// Nothing is missing before a record in either direction, and no request before a
    /// response.
    fn ready(&self, direction: Direction, piece: &Piece) -> bool {
        let reached = match self.next(Direction(direction.0 ^ 1)) {
            Some(next) => piece.other_offset <= next,
            None => !self.from_start || piece.other_offset == 0,
        };
        reached && self.continues(direction, piece) && !self.answers_nothing(piece)
    }

    /// Position of the next byte of a direction, once one was seen.
    fn next(&self, direction: Direction) -> Option<u64> {
        self.streams.get(side(direction)).and_then(Stream::next)
    }

    fn continues(&self, direction: Direction, piece: &Piece) -> bool {
        self.next(direction).is_none_or(|next| piece.offset <= next)
    }

    /// A response begins to no request that was seen. A thread that writes may be
    /// interrupted after its bytes have left, and another one read the answer before the
    /// record of the request is made.
    fn answers_nothing(&self, piece: &Piece) -> bool {
        self.from_start && piece.payload.starts_with(b"HTTP/1.") && self.decoder.answers_nothing()
    }

    /// The record that goes next: one that is ready. Or, where a response waits for its
    /// request, that request, though its record says that the response had been read by
    /// then: of a socket it tells of the moment when the system call returned.
    fn choose(&mut self) -> Option<(Direction, Piece)> {
        let ready = self.parked.iter().position(|(way, piece)| self.ready(*way, piece));
        if let Some(ready) = ready
            && let Some(orphan) = self.orphan_before(ready)
        {
            return self.parked.remove(orphan);
        }
        if ready.is_some() || self.session.is_some() {
            return self.parked.remove(ready?);
        }
        let (answer, _) = self
            .parked
            .iter()
            .find(|(way, piece)| self.continues(*way, piece) && self.answers_nothing(piece))?;
        let (answer, reached) = (*answer, self.next(*answer).unwrap_or(0));
        let request = |(way, piece): &(_, Piece)| *way != answer && self.continues(*way, piece);
        let (direction, mut piece) = self.parked.remove(self.parked.iter().position(request)?)?;
        piece.other_offset = piece.other_offset.min(reached);
        Some((direction, piece))
    }

    /// A response that is older than the record that would go next, and so does not answer
    /// it: its own request came before anything was seen. Only the keys of a session are
    /// joined midway without knowing it, and what they tell has the time of the plaintext: a
    /// request is sealed before its response is opened, and opened before that is sealed.
    fn orphan_before(&self, next: usize) -> Option<usize> {
        let (way, next) = self.parked.get(next).filter(|_| self.half)?;
        self.parked.iter().position(|(other, piece)| {
            other != way
                && piece.time < next.time
                && self.continues(*other, piece)
                && self.answers_nothing(piece)
        })
    }

    fn push(&mut self, direction: Direction, piece: Piece, work: &mut Work<'_>) {
        let Self { streams: [ingress, egress], decoder, from_start, .. } = self;
        let (stream, other) =
            if direction == Direction::INGRESS { (ingress, egress) } else { (egress, ingress) };
        let mut sink = Sides { decoder, work, direction, other, whole: *from_start };
        stream.push(piece, &mut sink);
        work.stats.late_bytes += stream.take_late();
    }

    /// Lets go of records for which nothing has to be waited any more. Not only from the
    /// front: threads that write one direction at once may have seen the other one in
    /// another order.
    fn unpark(&mut self, work: &mut Work<'_>) {
        while let Some((direction, piece)) = self.choose() {
            self.push(direction, piece, work);
        }
    }

    /// One direction has ended, or both.
    pub(super) fn end(&mut self, end: &End, work: &mut Work<'_>) {
        self.expire(None, work);
        let whole = self.from_start;
        let Self { streams, decoder, .. } = self;
        for ((stream, last), direction) in streams.iter_mut().zip(end.offsets).zip(SIDES) {
            if end.direction != direction && end.direction != Direction::BOTH {
                continue;
            }
            stream.end(last, whole, end.time, &mut |offset, time, span: Span<'_>| {
                decoder.span(direction, (offset, whole), time, span, work);
            });
            // A flow that is gone ended orderly only in the direction that its own
            // process ended by closing it.
            let orderly =
                end.direction == direction || (direction == Direction::EGRESS && end.tgid != 0);
            if orderly {
                decoder.end(direction, work);
            }
        }
        self.settle(work);
    }

    /// Gives up waiting for records; all of them, or those due by `now`.
    pub(super) fn expire(&mut self, now: Option<Timestamp>, work: &mut Work<'_>) {
        while let Some(deadline) = self.deadline()
            && now.is_none_or(|now| deadline <= now)
            && let Some((direction, piece)) = self.parked.pop_front()
        {
            // What it waited for is lost.
            self.reach(direction, piece.offset, piece.time, work);
            self.push(direction, piece, work);
            self.unpark(work);
        }
        self.settle(work);
    }

    /// When the first record that is held back has waited long enough.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let (_, first) = self.parked.front()?;
        Some(Timestamp(first.time.0.saturating_add(WAIT_NS)))
    }

    /// What did not come of a direction before `offset` is lost.
    fn reach(&mut self, direction: Direction, offset: u64, time: Timestamp, work: &mut Work<'_>) {
        let Self { streams, decoder, from_start, .. } = self;
        let Some(stream) = streams.get_mut(side(direction)) else { return };
        let whole = *from_start;
        stream.reach(offset, whole, time, &mut |offset, time, span: Span<'_>| {
            decoder.span(direction, (offset, whole), time, span, work);
        });
    }

    /// The flow is gone: what waits comes out.
    pub(super) fn close(&mut self, work: &mut Work<'_>) {
        self.expire(None, work);
        self.decoder.close(work);
    }

    /// Payload bytes held back for order.
    pub(super) fn pending_bytes(&self) -> usize {
        self.parked.iter().map(|(_, piece)| piece.payload.len()).sum()
    }

    /// Whether records are held back for order.
    pub(super) fn waits(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Counts what the decoder lost, and frees one that will say nothing more.
    fn settle(&mut self, work: &mut Work<'_>) {
        self.decoder.settle(work);
        if matches!(self.decoder, Decoder::Done(_)) && self.waits() {
            self.parked = VecDeque::new();
        }
    }
}

/// Hands spans of one direction to the decoder, after the holes of the other that came
/// before them.
struct Sides<'a, 'work> {
    decoder: &'a mut Decoder,
    work: &'a mut Work<'work>,
    direction: Direction,
    other: &'a mut Stream,
    whole: bool,
}

impl Sink for Sides<'_, '_> {
    fn span(&mut self, offset: u64, time: Timestamp, span: Span<'_>) {
        let Self { decoder, work, direction, other, whole } = self;
        if let Span::Other(reached) = span {
            let opposite = Direction(direction.0 ^ 1);
            let whole = *whole;
            other.reach(reached, whole, time, &mut |offset, time, span: Span<'_>| {
                decoder.span(opposite, (offset, whole), time, span, work);
            });
        } else {
            decoder.span(*direction, (offset, *whole), time, span, work);
        }
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
