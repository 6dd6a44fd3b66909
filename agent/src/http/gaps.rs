//! Bytes that were not captured, or in which no message can be told.

use agent_common::record::Direction;

use super::{
    Connection, Exchange,
    body::Framing,
    head::{self, Kind},
    side::State,
};
use crate::call::{Cause, Timestamp};

/// A hole of fewer bytes may be the empty lines that old clients send after a body.
const HEAD_MIN: u64 = 14;

impl Connection {
    /// A hole that begins in a body; how many bytes of it are in the message.
    pub(super) fn missing_body(
        &mut self,
        direction: Direction,
        time: Timestamp,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    ) -> u64 {
        self.touch(direction, time);
        let side = self.side(direction);
        let mut over = false;
        let mut lost = false;
        let within = match &mut side.framing {
            Framing::Length(left) => {
                let within = len.min(*left);
                *left -= within;
                over = *left == 0;
                side.captured.skip(within);
                within
            }
            Framing::Chunked(chunked) => {
                let known = len.min(chunked.data_left());
                side.captured.skip(known);
                lost = !chunked.skip(len);
                len
            }
            Framing::Close | Framing::None | Framing::Unknown => {
                side.captured.skip(len);
                len
            }
        };
        if lost {
            side.state = State::Seek;
        }
        if let Some(missing) = self.missing_of(direction) {
            missing.add(cause, within);
        }
        if lost {
            self.gap(direction, len, false, out);
        }
        if over {
            self.over(direction, out);
        }
        within
    }

    /// A hole where a head is, or may be.
    pub(super) fn missing_head(
        &mut self,
        direction: Direction,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    ) {
        self.begin_cut(direction, out);
        let side = self.side(direction);
        match &mut side.state {
            State::Tunnel(skipped) => *skipped = skipped.saturating_add(len),
            State::Ended => {}
            State::Head | State::Seek | State::Body => {
                let proven = side.state == State::Head;
                side.state = State::Seek;
                side.pristine = false;
                let begun = self.lose_partial(direction);
                match self.missing_of(direction) {
                    Some(missing) => missing.add(cause, len),
                    None => self.losses.missing.add(cause, len),
                }
                let certain = proven && (begun > 0 || len >= HEAD_MIN);
                self.losses.heads += u64::from(certain && begun == 0);
                self.gap(direction, len.saturating_add(begun), certain, out);
            }
        }
    }

    /// A head that ends in a hole begins its message all the same, when its first line is
    /// there: calls are counted whatever else is missing of them.
    fn begin_cut(&mut self, direction: Direction, out: &mut Vec<Exchange>) {
        let side = self.side(direction);
        let Some(kind) = side.kind.filter(|_| !side.partial.is_empty()) else { return };
        let Some(head) = head::parse_cut(kind, &side.partial) else { return };
        let possibly_answered = side.possibly_answered;
        side.forget();
        side.possibly_answered = possibly_answered;
        let time = side.start.1;
        self.begin(direction, time, head, out);
        // Where the message goes on is behind the hole.
        let side = self.side(direction);
        if side.state == State::Head {
            side.state = State::Seek;
        }
    }

    /// Forgets a head that did not come whole; how long it was.
    pub(super) fn lose_partial(&mut self, direction: Direction) -> u64 {
        let len = self.side(direction).forget() as u64;
        self.losses.heads += u64::from(len > 0);
        self.losses.skipped += len;
        len
    }

    /// A head is over the limit.
    pub(super) fn too_long(&mut self, direction: Direction, len: u64, out: &mut Vec<Exchange>) {
        self.side(direction).state = State::Seek;
        self.losses.heads += 1;
        self.losses.missing.add(Cause::Agent, len);
        self.gap(direction, len, true, out);
    }

    /// Passes over bytes in which no message could be told.
    pub(super) fn skip(&mut self, direction: Direction, len: usize, out: &mut Vec<Exchange>) {
        self.side(direction).state = State::Seek;
        self.losses.skipped += len as u64;
        self.gap(direction, len as u64, false, out);
    }

    /// Draws the consequences of bytes that were not read; a head was among them
    /// when `certain`.
    pub(super) fn gap(
        &mut self,
        direction: Direction,
        len: u64,
        certain: bool,
        out: &mut Vec<Exchange>,
    ) {
        match self.kind(direction) {
            Some(Kind::Request) => {
                if certain {
                    self.close_lost_response(out);
                }
                self.pairing.requests_missed(len, certain);
            }
            Some(Kind::Response) => {
                self.pairing.responses_missed();
                self.emit(out);
                // Whether the tunnel came about will not be known.
                let requests = self.side_of(Kind::Request);
                if let State::Tunnel(_) = requests.state {
                    requests.state = State::Seek;
                }
            }
            None => {
                let side = self.side(direction);
                side.unread = side.unread.saturating_add(len);
            }
        }
    }
}
