//! A flow that carries, or may carry, HTTP: its two streams and its decoder.

use std::collections::VecDeque;

use agent_common::record::{DataFlags, Direction};
use bytes::Bytes;

use super::{
    Stats,
    session::SessionFacts,
    sniff::{Held, Sniffer, Verdict},
    stream::{self, Piece, Sink, Span, Stream},
};
use crate::{
    call::{Cause, Missing, Timestamp},
    event::{Data, End},
    http::{self, Exchange},
};

/// Where decoding stands.
#[derive(Debug)]
enum Decoder {
    /// Plaintext of a TLS session that is not known yet.
    Sniffing(Sniffer),
    /// HTTP/1.
    Http {
        connection: Box<http::Connection>,
        /// Position of the first byte that the decoder was given, per direction.
        base: [Option<u64>; 2],
        /// What was counted of the connection's losses.
        counted: http::Losses,
    },
    /// Nothing more is decoded; what was there.
    Done(Content),
}

/// What a flow carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// Too little was seen.
    Undecided,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something else, or it became something else.
    Other,
}

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
    /// A plaintext flow that the kernel side took for HTTP/1.
    pub(super) fn http(work: &mut Work<'_>) -> Self {
        work.stats.flows.http1 += 1;
        let connection = Box::new(http::Connection::new(work.limits));
        Self {
            streams: Default::default(),
            parked: VecDeque::new(),
            decoder: Decoder::of(connection),
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
        self.from_start
            && piece.payload.starts_with(b"HTTP/1.")
            && match &self.decoder {
                Decoder::Http { connection, .. } => !connection.expects_response(),
                Decoder::Sniffing(sniffer) => sniffer.is_empty(),
                Decoder::Done(_) => false,
            }
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
                decoder.span(direction, offset, time, span, work);
            });
            // A flow that is gone ended orderly only in the direction that its own
            // process ended by closing it.
            let orderly =
                end.direction == direction || (direction == Direction::EGRESS && end.tgid != 0);
            if let Decoder::Http { connection, base, .. } = decoder
                && orderly
            {
                let before = work.out.len();
                connection.end(direction, end.time, work.out);
                shift(work.out, before, base);
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
        stream.reach(offset, *from_start, time, &mut |offset, time, span: Span<'_>| {
            decoder.span(direction, offset, time, span, work);
        });
    }

    /// The flow is gone: what waits comes out.
    pub(super) fn close(&mut self, time: Timestamp, work: &mut Work<'_>) {
        self.expire(None, work);
        if let Decoder::Http { connection, base, .. } = &mut self.decoder {
            let before = work.out.len();
            connection.close(time, work.out);
            shift(work.out, before, base);
        }
        self.decoder.count(work);
        self.decoder = Decoder::Done(self.content());
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
        self.decoder.count(work);
        if let Decoder::Http { connection, .. } = &self.decoder
            && connection.finished()
        {
            self.decoder = Decoder::Done(Content::Other);
        }
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
            other.reach(reached, *whole, time, &mut |offset, time, span: Span<'_>| {
                decoder.span(opposite, offset, time, span, work);
            });
        } else {
            decoder.span(*direction, offset, time, span, work);
        }
    }
}

impl Decoder {
    fn of(connection: Box<http::Connection>) -> Self {
        Self::Http { connection, base: [None; 2], counted: http::Losses::default() }
    }

    const fn content(&self) -> Content {
        match self {
            Self::Sniffing(_) => Content::Undecided,
            Self::Http { .. } => Content::Http1,
            Self::Done(content) => *content,
        }
    }

    /// Counts what was lost since the last time.
    fn count(&mut self, work: &mut Work<'_>) {
        let Self::Http { connection, counted, .. } = self else { return };
        let losses = *connection.losses();
        if losses == *counted {
            return;
        }
        work.stats.heads_lost += losses.heads - counted.heads;
        work.stats.responses_unpaired += losses.responses - counted.responses;
        work.stats.skipped_bytes += losses.skipped - counted.skipped;
        *counted = losses;
    }

    fn span(
        &mut self,
        direction: Direction,
        offset: u64,
        time: Timestamp,
        span: Span<'_>,
        work: &mut Work<'_>,
    ) {
        match span {
            Span::Bytes(bytes) => self.bytes(direction, offset, time, bytes, work),
            Span::Missing(len, cause) => {
                if let Some(lost) = work.stats.lost.get_mut(side(direction)) {
                    lost.add(cause, len);
                }
                work.lost.add(cause, len);
                self.missing(direction, offset, time, len, cause, work);
            }
            Span::Other(_) => {}
        }
    }

    fn bytes(
        &mut self,
        direction: Direction,
        offset: u64,
        time: Timestamp,
        bytes: &Bytes,
        work: &mut Work<'_>,
    ) {
        match self {
            Self::Http { connection, base, .. } => {
                note_base(base, direction, offset);
                let before = work.out.len();
                connection.bytes(direction, time, bytes, work.out);
                shift(work.out, before, base);
            }
            Self::Sniffing(sniffer) => {
                let next = Held { direction, offset, time, bytes: bytes.clone() };
                match sniffer.look(next) {
                    Verdict::More => {}
                    Verdict::Http1 => {
                        let held = sniffer.take();
                        work.stats.flows.http1 += 1;
                        let connection = Box::new(http::Connection::new(work.limits));
                        *self = Self::of(connection);
                        for Held { direction, offset, time, bytes } in held {
                            self.bytes(direction, offset, time, &bytes, work);
                        }
                    }
                    Verdict::Http2 => {
                        work.stats.flows.http2 += 1;
                        *self = Self::Done(Content::Http2);
                    }
                    Verdict::Other => {
                        work.stats.flows.ignored += 1;
                        *self = Self::Done(Content::Other);
                    }
                }
            }
            Self::Done(_) => {}
        }
    }

    fn missing(
        &mut self,
        direction: Direction,
        offset: u64,
        time: Timestamp,
        len: u64,
        cause: Cause,
        work: &mut Work<'_>,
    ) {
        match self {
            Self::Http { connection, base, .. } => {
                note_base(base, direction, offset);
                let before = work.out.len();
                connection.missing(direction, time, len, cause, work.out);
                shift(work.out, before, base);
            }
            Self::Sniffing(sniffer) => sniffer.lost(direction),
            Self::Done(_) => {}
        }
    }
}

fn note_base(base: &mut [Option<u64>; 2], direction: Direction, offset: u64) {
    if let Some(base @ None) = base.get_mut(side(direction)) {
        *base = Some(offset);
    }
}

/// The decoder counts from the first byte that it was given; calls count from the
/// start of the flow.
fn shift(out: &mut [Exchange], from: usize, base: &[Option<u64>; 2]) {
    for exchange in out.get_mut(from..).unwrap_or_default() {
        let base = base.get(side(exchange.request_direction)).copied().flatten();
        exchange.request_offset = exchange.request_offset.saturating_add(base.unwrap_or(0));
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
