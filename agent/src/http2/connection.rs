//! One connection: two directions of frames in, exchanges out.

use std::collections::BTreeMap;

use agent_common::record::Direction;
use bytes::Bytes;

use super::{
    reader::{Block, Event, Reader},
    stream::Stream,
};
use crate::{
    call::{Cause, Timestamp},
    http::{Decode, Exchange, Limits, Losses},
};

/// Streams at once, at most. Servers allow 100 to 250 as a rule.
const STREAMS_MAX: usize = 1024;

/// Bytes that the bodies of a connection's streams may have at once, in bodies of the longest.
const BODIES_MAX: usize = 4;

/// What the heads of a connection's streams may take; where it is more, the oldest comes out.
const HEADS_MAX: usize = 1024 * 1024;

/// A request whose response may have been lost is told without it when so many streams have
/// begun after it, in steps of two.
const DOUBT_MAX: u32 = 2 * 128;

/// Bytes in which no frame was found before it is given up, where none ever was.
const SKIPPED_MAX: u64 = 1024 * 1024;

/// Decoder of one HTTP/2 connection, seen from one of its ends.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    ingress: Reader,
    egress: Reader,
    /// The direction of requests, once known.
    requests: Option<Direction>,
    streams: BTreeMap<u32, Stream>,
    /// Bytes of bodies that are kept.
    kept: usize,
    /// What heads take.
    heads: usize,
    /// There may be streams that wait for what was lost.
    doubt: bool,
    /// The highest stream that a request was seen on.
    highest: u32,
    losses: Losses,
    /// A header block was decoded.
    proven: bool,
    finished: bool,
}

impl Connection {
    /// A connection of which nothing was seen yet, joined midway.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ingress: Reader::new(false, limits.head_bytes),
            egress: Reader::new(false, limits.head_bytes),
            requests: None,
            streams: BTreeMap::new(),
            kept: 0,
            heads: 0,
            doubt: false,
            highest: 0,
            losses: Losses::default(),
            proven: false,
            finished: false,
        }
    }

    fn reader(&mut self, direction: Direction) -> Option<&mut Reader> {
        match direction {
            Direction::INGRESS => Some(&mut self.ingress),
            Direction::EGRESS => Some(&mut self.egress),
            _ => None,
        }
    }

    fn event(
        &mut self,
        direction: Direction,
        time: Timestamp,
        event: Event,
        bytes: &Bytes,
        out: &mut Vec<Exchange>,
    ) {
        match event {
            Event::None => {}
            Event::Preface => self.requests = Some(direction),
            Event::Data { stream, at, len, ends } => {
                self.data(direction, time, stream, &bytes.slice(at..at + len), ends, out);
            }
            Event::Block(block) => self.block(direction, time, block, out),
            Event::Reset(stream) => {
                if let Some(known) = self.streams.get_mut(&stream) {
                    known.reset = true;
                }
                self.over(stream, out);
            }
            Event::Bad => self.losses.heads += 1,
            Event::GoAway(last) => self.go_away(direction, last, out),
            Event::Skipped(len) => {
                self.losses.skipped = self.losses.skipped.saturating_add(len as u64);
                if !self.proven && self.losses.skipped > SKIPPED_MAX {
                    self.close(out);
                }
            }
            Event::Lost(len) => {
                self.losses.skipped = self.losses.skipped.saturating_add(len as u64);
                self.losses.heads += 1;
                self.lose(direction, out);
            }
        }
    }

    fn block(
        &mut self,
        direction: Direction,
        time: Timestamp,
        block: Block,
        out: &mut Vec<Exchange>,
    ) {
        self.proven = true;
        if self.requests.is_none() {
            let fields = &block.fields;
            // Servers alone promise.
            let promise = block.promised.is_some();
            let is_request = !promise && (fields.method.is_some() || fields.path.is_some());
            if !promise && !is_request && fields.status.is_none() {
                self.losses.heads += 1;
                return;
            }
            let ingress = (direction == Direction::INGRESS) == is_request;
            self.requests = Some(if ingress { Direction::INGRESS } else { Direction::EGRESS });
        }
        let request = self.requests == Some(direction);
        let (stream, promised) = (block.stream, block.promised);
        match promised {
            // The request that a server answers unasked.
            Some(promised) if !request => {
                let block = Block { ends: true, ..block };
                if !self.change(promised, time, out, |pushed| pushed.on_request(block, time)) {
                    self.losses.heads += 1;
                    self.tell(promised, out);
                }
                self.over(promised, out);
            }
            Some(_) => self.losses.heads += 1,
            None if request => {
                let is_known = self.streams.get(&stream).is_some_and(Stream::is_requested);
                // Clients number their streams in odd numbers that ascend (RFC 9113 section
                // 5.1.1); else these are trailer fields, of a request that was missed.
                let is_next = stream % 2 == 1 && stream > self.highest;
                if !is_known && !is_next {
                    self.losses.heads += 1;
                    return;
                }
                if self.change(stream, time, out, |stream| stream.on_request(block, time)) {
                    self.highest = self.highest.max(stream);
                } else {
                    self.losses.heads += 1;
                    self.tell(stream, out);
                }
                self.over(stream, out);
                self.doubtful(out);
            }
            None => {
                // Of a request that was missed, or is over: a client has reset it, maybe.
                if stream <= self.highest && !self.streams.contains_key(&stream) {
                    self.losses.responses += u64::from(block.fields.status.is_some_and(is_final));
                    return;
                }
                self.change(stream, time, out, |stream| stream.on_response(block, time));
                self.over(stream, out);
            }
        }
    }

    fn data(
        &mut self,
        direction: Direction,
        time: Timestamp,
        stream: u32,
        bytes: &Bytes,
        ends: bool,
        out: &mut Vec<Exchange>,
    ) {
        self.proven |= self.requests.is_some();
        let upload = self.requests == Some(direction);
        let room = (self.limits.body_bytes * BODIES_MAX).saturating_sub(self.kept);
        let known = self.streams.get_mut(&stream).filter(|_| self.requests.is_some());
        let Some(known) = known else {
            self.losses.skipped = self.losses.skipped.saturating_add(bytes.len() as u64);
            return;
        };
        let limit = if room >= bytes.len() { self.limits.body_bytes } else { 0 };
        self.kept += known.on_data(upload, bytes, ends, time, limit);
        self.over(stream, out);
    }

    /// Gives a stream, made when it is first seen, a head. Where there are too many, or they
    /// take too much, the oldest comes out as it is.
    fn change<T>(
        &mut self,
        stream: u32,
        time: Timestamp,
        out: &mut Vec<Exchange>,
        change: impl FnOnce(&mut Stream) -> T,
    ) -> T {
        let is_new = !self.streams.contains_key(&stream);
        while (is_new && self.streams.len() >= STREAMS_MAX) || self.heads > HEADS_MAX {
            let Some((&oldest, _)) = self.streams.first_key_value() else { break };
            self.tell(oldest, out);
        }
        let state = self.streams.entry(stream).or_insert_with(|| Stream::new(time));
        let before = state.head();
        let result = change(state);
        self.heads += state.head() - before;
        self.doubt |= !state.is_requested();
        result
    }

    /// Lets a stream out if it is over.
    fn over(&mut self, stream: u32, out: &mut Vec<Exchange>) {
        let Some(known) = self.streams.get(&stream).filter(|known| known.is_over()) else { return };
        // Its request may be on its way here: another thread sent it.
        if known.is_requested() || stream <= self.highest {
            self.tell(stream, out);
        }
    }

    /// Lets a stream out as it is.
    fn tell(&mut self, stream: u32, out: &mut Vec<Exchange>) {
        let Some(known) = self.streams.remove(&stream) else { return };
        self.kept = self.kept.saturating_sub(known.kept());
        self.heads = self.heads.saturating_sub(known.head());
        let Some(direction) = self.requests else { return };
        match known.finish(direction, &self.limits) {
            Some(exchange) => out.push(exchange),
            None => self.losses.responses += 1,
        }
    }

    /// Frames of a direction were lost.
    fn lose(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        let upload = self.requests == Some(direction);
        self.doubt = true;
        let mut over = Vec::new();
        for (&id, stream) in &mut self.streams {
            stream.lose(upload);
            if stream.is_over() {
                over.push(id);
            }
        }
        for stream in over {
            self.tell(stream, out);
        }
    }

    /// Lets requests out of which nobody knows whether a response will come, once many others
    /// have come after them.
    fn doubtful(&mut self, out: &mut Vec<Exchange>) {
        if !self.doubt {
            return;
        }
        let doubtful = |stream: &Stream| stream.doubt || !stream.is_requested();
        self.doubt = self.streams.values().any(doubtful);
        let before = self.highest.saturating_sub(DOUBT_MAX);
        let old = self.streams.range(..before).filter(|(_, stream)| doubtful(stream));
        for stream in old.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.tell(stream, out);
        }
    }

    /// A peer goes away, and says which of the other one's streams it will not answer.
    fn go_away(&mut self, direction: Direction, last: u32, out: &mut Vec<Exchange>) {
        if self.requests.is_none() || self.requests == Some(direction) {
            return;
        }
        let refused: Vec<u32> = match last.checked_add(1) {
            Some(first) => self.streams.range(first..).map(|(&id, _)| id).collect(),
            None => return,
        };
        for stream in refused.into_iter().filter(|id| id % 2 == 1) {
            self.tell(stream, out);
        }
    }

    fn finish_streams(&mut self, out: &mut Vec<Exchange>) {
        while let Some((&stream, _)) = self.streams.first_key_value() {
            self.tell(stream, out);
        }
    }
}

impl Decode for Connection {
    fn begins(&mut self, direction: Direction) {
        let limit = self.limits.head_bytes;
        if let Some(reader) = self.reader(direction) {
            *reader = Reader::new(true, limit);
        }
    }

    fn bytes(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        out: &mut Vec<Exchange>,
    ) {
        let mut at = 0;
        while at < bytes.len() && !self.finished {
            let Some(reader) = self.reader(direction) else { return };
            let (taken, event) = reader.read(bytes, at, time);
            at += taken;
            self.event(direction, time, event, bytes, out);
        }
    }

    fn missing(
        &mut self,
        direction: Direction,
        time: Timestamp,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    ) {
        if self.finished || len == 0 {
            return;
        }
        let Some(reader) = self.reader(direction) else { return };
        let unsure = reader.is_padding_unknown();
        let (within, event) = reader.missing(len);
        match event {
            Event::Data { stream, len, ends, .. } => {
                let upload = self.requests == Some(direction);
                let known = self.streams.get_mut(&stream).filter(|_| self.requests.is_some());
                let body = if known.is_some() { len as u64 } else { 0 };
                if let Some(known) = known {
                    known.on_missing(upload, body, cause, ends, time);
                    if unsure {
                        known.missing_unsure(upload);
                    }
                }
                // The rest is padding, or of nobody.
                self.losses.missing.add(cause, within - body);
                self.over(stream, out);
            }
            event => {
                self.losses.missing.add(cause, within);
                self.event(direction, time, event, &Bytes::new(), out);
            }
        }
        let rest = len - within;
        if rest == 0 {
            return;
        }
        self.losses.missing.add(cause, rest);
        let Some(reader) = self.reader(direction) else { return };
        let event = reader.lost(rest);
        self.event(direction, time, event, &Bytes::new(), out);
        self.lose(direction, out);
    }

    fn end(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        // A client that will not send any more may still be answered.
        if direction == Direction::BOTH || self.requests != Some(direction) {
            self.finish_streams(out);
        }
    }

    fn close(&mut self, out: &mut Vec<Exchange>) {
        self.finish_streams(out);
        self.finished = true;
    }

    fn finished(&self) -> bool {
        self.finished
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

/// Whether a status is that of a final response.
const fn is_final(status: u16) -> bool {
    status >= 200
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
