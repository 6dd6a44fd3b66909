//! One connection: two directions of bytes in, exchanges out.

use agent_common::record::Direction;
use bytes::Bytes;

use super::{
    Decode, Exchange, Notes,
    body::Framing,
    chunked::Step,
    head::{self, Kind, Look, Parsed},
    pairing::Pairing,
    side::{Side, State},
};
use crate::call::{Cause, Missing, Timestamp};

/// Starts every HTTP/2 connection (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Bytes by which the kind of a message shows, however it goes on.
const START: usize = 64;

/// Bounds on what one connection may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest message head, in bytes.
    pub head_bytes: usize,
    /// Captured body bytes kept per message, before content decoding.
    pub body_bytes: usize,
    /// Decoded body bytes kept per message.
    pub decoded_bytes: usize,
    /// Requests waiting for their response.
    pub pipeline_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            body_bytes: 1024 * 1024,
            decoded_bytes: 1024 * 1024,
            pipeline_depth: 256,
        }
    }
}

/// What a connection carried that no exchange tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Messages whose head was not seen whole or could not be read.
    pub heads: u64,
    /// Final responses that could not be paired with a request.
    pub responses: u64,
    /// Captured bytes that could not be told to belong to a message.
    pub skipped: u64,
    /// Bytes that were not captured and belong to no exchange, by cause.
    pub missing: Missing,
}

/// Decoder of one HTTP/1.x connection, seen from one of its ends.
#[derive(Debug)]
pub struct Connection {
    pub(super) limits: Limits,
    ingress: Side,
    egress: Side,
    /// The direction of requests, once known.
    pub(super) requests: Option<Direction>,
    pub(super) pairing: Pairing,
    pub(super) losses: Losses,
    pub(super) finished: bool,
}

impl Connection {
    /// A connection of which nothing was seen yet; it may be joined midway.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ingress: Side::new(),
            egress: Side::new(),
            requests: None,
            pairing: Pairing::new(limits.pipeline_depth),
            losses: Losses::default(),
            finished: false,
        }
    }

    fn end_one(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        if !one_way(direction) || self.finished || self.side(direction).state == State::Ended {
            return;
        }
        self.lose_partial(direction);
        let kind = self.kind(direction);
        let side = self.side(direction);
        let by_close = side.state == State::Body && matches!(side.framing, Framing::Close);
        side.state = State::Ended;
        match kind {
            Some(Kind::Request) if self.pairing.upload().is_some() => self.sent(false, out),
            Some(Kind::Response) => {
                if let Some(open) = self.pairing.open() {
                    if let Some(response) = open.response.as_mut().filter(|_| by_close) {
                        response.notes.insert(Notes::CLOSE_DELIMITED);
                    }
                    self.answered(by_close, out);
                }
                self.pairing.responses_missed();
                self.emit(out);
            }
            _ => {}
        }
    }

    /// Lets all that waits out; nothing is read from here on.
    pub(super) fn finish(&mut self, out: &mut Vec<Exchange>) {
        if self.pairing.upload().is_some() {
            self.sent(false, out);
        }
        if self.pairing.open().is_some() {
            self.answered(false, out);
        }
        self.pairing.responses_missed();
        self.emit(out);
        self.finished = true;
        self.ingress = Side::new();
        self.egress = Side::new();
    }

    /// What a direction carries, once known.
    pub(super) fn kind(&self, direction: Direction) -> Option<Kind> {
        let requests = self.requests?;
        Some(if requests == direction { Kind::Request } else { Kind::Response })
    }

    pub(super) fn side(&mut self, direction: Direction) -> &mut Side {
        if direction == Direction::INGRESS { &mut self.ingress } else { &mut self.egress }
    }

    /// The side that carries messages of `kind`; the direction must be known.
    pub(super) fn side_of(&mut self, kind: Kind) -> &mut Side {
        let ingress = (self.requests == Some(Direction::INGRESS)) == (kind == Kind::Request);
        if ingress { &mut self.ingress } else { &mut self.egress }
    }

    fn advance(&mut self, direction: Direction, len: u64) {
        let side = self.side(direction);
        side.position = side.position.saturating_add(len);
    }

    /// Reads a head from its first byte on; how many bytes were read.
    fn head(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        at: usize,
        out: &mut Vec<Exchange>,
    ) -> usize {
        let wanted = self.kind(direction);
        let limit = self.limits.head_bytes;
        let len = bytes.len() - at;
        let proven = self.side(direction).state == State::Head;
        if !proven && (at > 0 || !self.may_begin(wanted)) {
            self.skip(direction, len, out);
            return len;
        }
        let rest = bytes.slice(at..);
        let blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if proven && blank > 0 {
            return blank;
        }
        if wanted != Some(Kind::Response) && rest.starts_with(HTTP2_PREFACE) {
            self.finish(out);
            return len;
        }
        let side = self.side(direction);
        let mut seen = head::look(&rest, wanted, !proven);
        // The first thing seen is the start of a call: a message may be of a
        // method that nobody knows, provided that its whole first line is there.
        if seen == Look::No && side.pristine {
            seen = head::look(&rest, wanted, false);
            if seen == Look::Maybe {
                seen = Look::No;
            }
        }
        side.pristine = false;
        side.start = (side.position.saturating_add(at as u64), time);
        let parsed = match seen {
            Look::No => Parsed::Bad,
            Look::Maybe => Parsed::Partial,
            Look::Is(kind) => head::parse(kind, &rest),
        };
        match parsed {
            Parsed::Whole(head, used) if used <= limit => {
                self.begin(direction, time, head, out);
                used
            }
            Parsed::Partial if len <= limit => {
                let kind = if let Look::Is(kind) = seen { Some(kind) } else { None };
                side.stash(&rest, kind);
                len
            }
            Parsed::Whole(..) | Parsed::Partial => {
                self.too_long(direction, len as u64, out);
                len
            }
            Parsed::Bad => {
                self.losses.heads += u64::from(proven);
                self.skip(direction, len, out);
                len
            }
        }
    }

    /// Reads on in a head that came in pieces; how many bytes were read.
    fn head_goes_on(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        at: usize,
        out: &mut Vec<Exchange>,
    ) -> usize {
        let wanted = self.kind(direction);
        let limit = self.limits.head_bytes;
        let side = self.side(direction);
        let rest = bytes.get(at..).unwrap_or_default();
        let end = side.scan.end(rest);
        let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let before = side.partial.len();
        if before + piece.len() > limit {
            side.forget();
            self.too_long(direction, (before + rest.len()) as u64, out);
            return rest.len();
        }
        side.partial.extend_from_slice(piece);
        // A long first line is looked at once more, when it is whole.
        let tells = side.partial.len() <= START || memchr::memchr(b'\n', piece).is_some();
        if side.kind.is_none() && tells {
            let strict = side.state == State::Seek;
            match head::look(&side.partial, wanted, strict) {
                Look::Is(kind) => side.kind = Some(kind),
                Look::Maybe => {}
                Look::No => {
                    // The message may begin with this piece instead.
                    side.forget();
                    self.losses.heads += u64::from(!strict);
                    self.skip(direction, before, out);
                    return 0;
                }
            }
        }
        if end.is_some() {
            let whole = side.partial.split().freeze();
            let parsed = side.kind.map(|kind| head::parse(kind, &whole));
            if let Some(Parsed::Whole(head, _)) = parsed {
                self.begin(direction, time, head, out);
            } else {
                side.forget();
                self.losses.heads += 1;
                self.skip(direction, whole.len(), out);
            }
        }
        piece.len()
    }

    /// Reads on in a body; how many bytes were read.
    fn body(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        at: usize,
        out: &mut Vec<Exchange>,
    ) -> usize {
        let limit = self.limits.body_bytes;
        self.touch(direction, time);
        let side = self.side(direction);
        let rest = bytes.len() - at;
        let (used, data, over) = match &mut side.framing {
            Framing::Length(left) => {
                let len = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                *left -= len as u64;
                (len, true, *left == 0)
            }
            Framing::Close => (rest, true, false),
            Framing::Chunked(chunked) => match chunked.step(bytes.get(at..).unwrap_or_default()) {
                Step::Coding(len) => (len, false, false),
                Step::Data(len) => (len, true, false),
                Step::End(len) => (len, false, true),
                Step::Bad => {
                    side.captured.skip(0);
                    self.skip(direction, rest, out);
                    return rest;
                }
            },
            Framing::None | Framing::Unknown => {
                side.state = State::Seek;
                return 0;
            }
        };
        if data {
            side.captured.take(&bytes.slice(at..at + used), limit);
        }
        if over {
            self.over(direction, out);
        }
        used
    }
}

impl Decode for Connection {
    fn bytes(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        out: &mut Vec<Exchange>,
    ) {
        if !one_way(direction) {
            return;
        }
        let mut at = 0;
        while at < bytes.len() && !self.finished {
            let rest = bytes.len() - at;
            let side = self.side(direction);
            at += match &mut side.state {
                State::Body => self.body(direction, time, bytes, at, out),
                State::Head | State::Seek if side.partial.is_empty() => {
                    self.head(direction, time, bytes, at, out)
                }
                State::Head | State::Seek => self.head_goes_on(direction, time, bytes, at, out),
                State::Tunnel(skipped) => {
                    *skipped = skipped.saturating_add(rest as u64);
                    rest
                }
                State::Ended => rest,
            };
        }
        self.advance(direction, bytes.len() as u64);
    }

    fn missing(
        &mut self,
        direction: Direction,
        time: Timestamp,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    ) {
        if !one_way(direction) || self.finished || len == 0 {
            return;
        }
        let mut rest = len;
        if self.side(direction).state == State::Body {
            rest -= self.missing_body(direction, time, len, cause, out);
        }
        if rest > 0 {
            self.missing_head(direction, rest, cause, out);
        }
        self.advance(direction, len);
    }

    fn end(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        if direction == Direction::BOTH {
            self.end_one(Direction::INGRESS, out);
            self.end_one(Direction::EGRESS, out);
        } else {
            self.end_one(direction, out);
        }
    }

    fn close(&mut self, out: &mut Vec<Exchange>) {
        if self.finished {
            return;
        }
        self.lose_partial(Direction::INGRESS);
        self.lose_partial(Direction::EGRESS);
        self.finish(out);
    }

    fn finished(&self) -> bool {
        self.finished
    }

    fn expects_response(&self) -> bool {
        self.pairing.outstanding() || self.pairing.expects_unknown()
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

/// Whether `direction` is one of the two.
fn one_way(direction: Direction) -> bool {
    direction == Direction::INGRESS || direction == Direction::EGRESS
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
