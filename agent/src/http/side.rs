//! One direction of a connection: where in its messages the next byte is.

use bytes::BytesMut;

use super::{
    Notes,
    body::{Captured, Framing},
    head::{Kind, Scan},
};
use crate::call::Timestamp;

/// Where the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not known: the next message is looked for at the start of each piece.
    Seek,
    /// At the start of a message, or in its head.
    Head,
    /// In a body.
    Body,
    /// Behind a CONNECT that has not been answered; so many bytes came since.
    Tunnel(u64),
    /// There are no more.
    Ended,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) state: State,
    /// Bytes of this direction so far, captured or not.
    pub(super) position: u64,
    /// Nothing was seen of it.
    pub(super) pristine: bool,
    /// Bytes that were not read before it was known what the direction carries.
    pub(super) unread: u64,
    /// A response came out of turn while the current head was coming in.
    pub(super) possibly_answered: bool,
    /// Where the current message began.
    pub(super) start: (u64, Timestamp),
    /// The current head as far as it came, when it came in pieces.
    pub(super) partial: BytesMut,
    /// What the partial head is, once its first line is whole.
    pub(super) kind: Option<Kind>,
    /// Looks for the end of the partial head.
    pub(super) scan: Scan,
    /// Where the current body ends.
    pub(super) framing: Framing,
    /// What there is of it.
    pub(super) captured: Captured,
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            state: State::Seek,
            position: 0,
            pristine: true,
            unread: 0,
            possibly_answered: false,
            start: (0, Timestamp(0)),
            partial: BytesMut::new(),
            kind: None,
            scan: Scan::default(),
            framing: Framing::None,
            captured: Captured::default(),
        }
    }

    /// Keeps the start of a head until the rest of it comes.
    pub(super) fn stash(&mut self, bytes: &[u8], kind: Option<Kind>) {
        self.scan = Scan::default();
        // It has no end here, or it would have been parsed.
        _ = self.scan.end(bytes);
        self.kind = kind;
        self.partial.extend_from_slice(bytes);
    }

    /// The body so far, with what was odd about its framing; the next one is new.
    pub(super) fn take_body(&mut self) -> (Captured, Notes) {
        let notes = match &self.framing {
            Framing::Chunked(chunked) => chunked.notes,
            _ => Notes::default(),
        };
        self.framing = Framing::None;
        (std::mem::take(&mut self.captured), notes)
    }

    /// Forgets the partial head; how long it was.
    pub(super) fn forget(&mut self) -> usize {
        let len = self.partial.len();
        self.partial = BytesMut::new();
        self.kind = None;
        self.possibly_answered = false;
        len
    }
}
