//! What decodes the bytes of a flow, once it is known what they are.

use agent_common::record::Direction;
use bytes::Bytes;

use super::{
    carrier::Work,
    sniff::{Held, Sniffer, Verdict},
    stream::Span,
};
use crate::{
    call::{Cause, Timestamp},
    http::{self, Decode, Exchange},
    http2,
};

/// Where decoding stands.
#[derive(Debug)]
pub(super) enum Decoder {
    /// Plaintext of a TLS session that is not known yet.
    Sniffing(Sniffer),
    /// HTTP.
    Http {
        connection: Box<dyn Decode>,
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
    /// HTTP.
    Http,
    /// Something else, or it became something else.
    Other,
}

const fn side(direction: Direction) -> usize {
    (direction.0 & 1) as usize
}

impl Decoder {
    /// Of a flow that the kernel side took for HTTP/1.
    pub(super) fn http1(work: &mut Work<'_>) -> Self {
        work.stats.flows.http1 += 1;
        Self::of(Box::new(http::Connection::new(work.limits)))
    }

    /// Of a flow that is HTTP/2.
    pub(super) fn http2(work: &mut Work<'_>) -> Self {
        work.stats.flows.http2 += 1;
        Self::of(Box::new(http2::Connection::new(work.limits)))
    }

    fn of(connection: Box<dyn Decode>) -> Self {
        Self::Http { connection, base: [None; 2], counted: http::Losses::default() }
    }

    pub(super) const fn content(&self) -> Content {
        match self {
            Self::Sniffing(_) => Content::Undecided,
            Self::Http { .. } => Content::Http,
            Self::Done(content) => *content,
        }
    }

    /// Whether bytes that look like a response of HTTP/1 answer no request that was seen.
    pub(super) fn answers_nothing(&self) -> bool {
        match self {
            Self::Http { connection, .. } => !connection.expects_response(),
            Self::Sniffing(sniffer) => sniffer.is_empty(),
            Self::Done(_) => false,
        }
    }

    /// Counts what was lost since the last time, and frees a connection that will say nothing
    /// more.
    pub(super) fn settle(&mut self, work: &mut Work<'_>) {
        let Self::Http { connection, counted, .. } = self else { return };
        let losses = *connection.losses();
        if losses != *counted {
            work.stats.heads_lost += losses.heads - counted.heads;
            work.stats.responses_unpaired += losses.responses - counted.responses;
            work.stats.skipped_bytes += losses.skipped - counted.skipped;
            *counted = losses;
        }
        if connection.finished() {
            *self = Self::Done(Content::Other);
        }
    }

    /// Takes the next bytes of a direction, or takes note that they are missing. `whole` when
    /// the flow is seen from its start.
    pub(super) fn span(
        &mut self,
        direction: Direction,
        (offset, whole): (u64, bool),
        time: Timestamp,
        span: Span<'_>,
        work: &mut Work<'_>,
    ) {
        match span {
            Span::Bytes(bytes) => self.bytes(direction, (offset, whole), time, bytes, work),
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
        (offset, whole): (u64, bool),
        time: Timestamp,
        bytes: &Bytes,
        work: &mut Work<'_>,
    ) {
        match self {
            Self::Http { connection, base, .. } => {
                if note_base(base, direction, offset) && whole && offset == 0 {
                    connection.begins(direction);
                }
                let before = work.out.len();
                connection.bytes(direction, time, bytes, work.out);
                shift(work.out, before, base);
            }
            Self::Sniffing(sniffer) => {
                let next = Held { direction, offset, time, bytes: bytes.clone() };
                let decoder = match sniffer.look(next) {
                    Verdict::More => return,
                    Verdict::Http1 => Self::http1(work),
                    Verdict::Http2 => Self::http2(work),
                    Verdict::Other => {
                        work.stats.flows.ignored += 1;
                        *self = Self::Done(Content::Other);
                        return;
                    }
                };
                let held = sniffer.take();
                *self = decoder;
                for Held { direction, offset, time, bytes } in held {
                    self.bytes(direction, (offset, whole), time, &bytes, work);
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

    /// A direction has ended.
    pub(super) fn end(&mut self, direction: Direction, work: &mut Work<'_>) {
        if let Self::Http { connection, base, .. } = self {
            let before = work.out.len();
            connection.end(direction, work.out);
            shift(work.out, before, base);
        }
    }

    /// The flow is gone: what waits comes out.
    pub(super) fn close(&mut self, work: &mut Work<'_>) {
        let content = self.content();
        if let Self::Http { connection, base, .. } = self {
            let before = work.out.len();
            connection.close(work.out);
            shift(work.out, before, base);
        }
        self.settle(work);
        *self = Self::Done(content);
    }
}

/// Notes where a direction's first byte is; whether this is it.
fn note_base(base: &mut [Option<u64>; 2], direction: Direction, offset: u64) -> bool {
    match base.get_mut(side(direction)) {
        Some(base @ None) => {
            *base = Some(offset);
            true
        }
        _ => false,
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
