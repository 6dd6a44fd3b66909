//! What the plaintext of a TLS session is, by its first bytes.

use agent_common::record::Direction;
use bytes::Bytes;

use crate::{
    call::Timestamp,
    http2::{self, Look},
};

/// Messages looked at before a session is given up.
const LOOKS_MAX: u8 = 32;

/// Longest marker, and so the most bytes that are looked at.
const MARKER_MAX: usize = 14;

/// Status lines and request lines start with these (RFC 9110 section 9, RFC 5789,
/// and the methods of `WebDAV` and of caches that APIs are known to use).
const HTTP1: [&[u8]; 20] = [
    b"HTTP/1.",
    b"GET ",
    b"POST ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"PURGE ",
];

/// What bytes are the start of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Too few bytes to say.
    More,
    /// An HTTP/1 message.
    Http1,
    /// Frames of HTTP/2, or what a client sends before them.
    Http2,
    /// Neither.
    Other,
}

/// Says what `bytes` are the start of.
pub fn classify(bytes: &[u8]) -> Verdict {
    let http2 = http2::look(bytes);
    if http2 == Look::Yes {
        return Verdict::Http2;
    }
    if HTTP1.iter().any(|marker| bytes.starts_with(marker)) {
        return Verdict::Http1;
    }
    let may_become = |marker: &[u8]| marker.starts_with(bytes);
    if http2 == Look::Maybe || HTTP1.iter().any(|marker| may_become(marker)) {
        return Verdict::More;
    }
    Verdict::Other
}

/// Bytes of a session that nobody has decoded yet.
#[derive(Clone, Debug)]
pub struct Held {
    /// Which way they went.
    pub direction: Direction,
    /// Their position.
    pub offset: u64,
    /// When.
    pub time: Timestamp,
    /// They.
    pub bytes: Bytes,
}

/// Looks at the first bytes of messages until one is known or it gives up. Holds
/// back less than a marker of each direction.
#[derive(Debug, Default)]
pub struct Sniffer {
    held: Vec<Held>,
    looks: u8,
}

impl Sniffer {
    /// Nothing is held that a message may start with.
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Looks at the next bytes. Once the verdict is a version of HTTP, `take` has what is
    /// to be decoded; [`Verdict::Other`] is final.
    pub fn look(&mut self, next: Held) -> Verdict {
        let mut start = [0; MARKER_MAX];
        let mut len = 0;
        let before = self.held.iter().filter(|held| held.direction == next.direction);
        for byte in before.chain([&next]).flat_map(|held| held.bytes.iter()) {
            let Some(place) = start.get_mut(len) else { break };
            *place = *byte;
            len += 1;
        }
        let direction = next.direction;
        let verdict = classify(start.get(..len).unwrap_or_default());
        match verdict {
            Verdict::More | Verdict::Http1 | Verdict::Http2 => self.held.push(next),
            // Joined midway, maybe: the next bytes may start a message.
            Verdict::Other => {
                self.lost(direction);
                self.looks += 1;
                if self.looks < LOOKS_MAX {
                    return Verdict::More;
                }
            }
        }
        verdict
    }

    /// Bytes of `direction` were lost: what is held of it leads nowhere.
    pub fn lost(&mut self, direction: Direction) {
        self.held.retain(|held| held.direction != direction);
    }

    /// What was held back, in order of arrival.
    pub fn take(&mut self) -> Vec<Held> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0";
    /// HEADERS that end a request on stream 3.
    const HEADERS: &[u8] = b"\0\0\x05\x01\x05\0\0\0\x03";

    fn held(direction: Direction, bytes: &'static [u8]) -> Held {
        let bytes = Bytes::from_static(bytes);
        Held { direction, offset: 0, time: Timestamp(0), bytes }
    }

    #[test]
    fn every_prefix_of_a_marker_waits_for_more() {
        for marker in HTTP1.into_iter().chain([PREFACE]) {
            for len in 0..marker.len() {
                assert_eq!(classify(&marker[..len]), Verdict::More, "{len} of {marker:?}");
            }
            assert_ne!(classify(marker), Verdict::More);
        }
        assert_eq!(classify(b"get / HTTP/1.1"), Verdict::Other);
        assert_eq!(classify(b"HTTP/2"), Verdict::Other);
    }

    #[test]
    fn a_request_that_comes_in_crumbs_is_known_and_kept() {
        let mut sniffer = Sniffer::default();
        assert_eq!(sniffer.look(held(Direction::INGRESS, b"G")), Verdict::More);
        assert_eq!(sniffer.look(held(Direction::EGRESS, b"HT")), Verdict::More);
        assert_eq!(sniffer.look(held(Direction::INGRESS, b"ET /")), Verdict::Http1);
        assert_eq!(sniffer.take().len(), 3);
    }

    #[test]
    fn a_session_joined_midway_is_known_at_its_next_message() {
        let mut sniffer = Sniffer::default();
        assert_eq!(sniffer.look(held(Direction::EGRESS, b"half a body")), Verdict::More);
        assert_eq!(sniffer.look(held(Direction::INGRESS, b"GET / HTTP/1.1")), Verdict::Http1);
        assert_eq!(sniffer.take().len(), 1);
    }

    #[test]
    fn after_some_looks_it_gives_up() {
        let mut sniffer = Sniffer::default();
        for _ in 1..LOOKS_MAX {
            assert_eq!(sniffer.look(held(Direction::EGRESS, b"\x01\0")), Verdict::More);
        }
        assert_eq!(sniffer.look(held(Direction::EGRESS, b"\x01\0")), Verdict::Other);
    }

    #[test]
    fn http2_is_told_apart() {
        let mut sniffer = Sniffer::default();
        assert_eq!(sniffer.look(held(Direction::INGRESS, b"PRI * ")), Verdict::More);
        assert_eq!(sniffer.look(held(Direction::INGRESS, b"HTTP/2.0\r\n")), Verdict::Http2);
        assert_eq!(sniffer.take().len(), 2);
    }

    #[test]
    fn http2_joined_midway_is_known_by_a_frame_that_begins_a_call() {
        let mut sniffer = Sniffer::default();
        assert_eq!(sniffer.look(held(Direction::EGRESS, b"\0\0\x08\0\0\0\0\0\x01")), Verdict::More);
        for len in 0..HEADERS.len() {
            assert_eq!(classify(&HEADERS[..len]), Verdict::More, "{len}");
        }
        assert_eq!(sniffer.look(held(Direction::INGRESS, HEADERS)), Verdict::Http2);
    }
}
