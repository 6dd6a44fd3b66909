//! One direction of a connection: from bytes to what its frames say.

use bytes::{Bytes, BytesMut};

use super::{
    fields::Fields,
    frame::{self, Frame, HEADER, Kind},
    hpack,
};
use crate::call::Timestamp;

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Payload of the frames that are read whole, beside header blocks: the longest is GOAWAY.
const SMALL: usize = 8;

/// Where frames are looked for, so many bytes of a piece are.
const SEARCHED: usize = 16 * 1024;

/// Where the next byte is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// At the start of the connection: so many bytes of the preface came.
    Preface(usize),
    /// In a frame's header, of which so many bytes came.
    Header(usize),
    /// In the payload of DATA: bytes of it that are left, and how many of these are padding,
    /// once that is known.
    Data { frame: Frame, left: u32, padding: Option<u32> },
    /// In a payload that is gathered until it is whole.
    Whole { frame: Frame, left: u32 },
    /// In a payload that says nothing: so many bytes are left.
    Skip(u32),
    /// Nowhere: the next frame is looked for.
    Seek,
}

/// What the bytes up to some place say.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a move is cheaper than an allocation per block")]
pub(super) enum Event {
    /// Nothing yet.
    None,
    /// The direction is that of the client: its preface came.
    Preface,
    /// Bytes of a body, at this place of the piece, may be none; the body ends with them.
    Data { stream: u32, at: usize, len: usize, ends: bool },
    /// A header block.
    Block(Block),
    /// A header block that is none.
    Bad,
    /// The stream is over (`RST_STREAM`).
    Reset(u32),
    /// Streams above this one were not worked on (GOAWAY).
    GoAway(u32),
    /// Bytes in which no frame could be told.
    Skipped(usize),
    /// So many bytes were no frames, or frames that are not to be.
    Lost(usize),
}

/// A header block, decoded.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// The message ends with it.
    pub(super) ends: bool,
    /// The stream that is promised to the client (`PUSH_PROMISE`).
    pub(super) promised: Option<u32>,
    pub(super) fields: Fields,
    /// The end of the block was not seen.
    pub(super) cut: bool,
    /// Where its first frame began.
    pub(super) start: (u64, Timestamp),
}

/// A header block that is coming in.
#[derive(Debug)]
struct Open {
    stream: u32,
    ends: bool,
    promised: Option<u32>,
    start: (u64, Timestamp),
    bytes: BytesMut,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    header: [u8; HEADER],
    /// The payload that is gathered.
    payload: BytesMut,
    /// The block whose end has not come.
    open: Option<Open>,
    hpack: hpack::Decoder,
    /// Bytes so far, captured or not.
    position: u64,
    /// Where the current frame began.
    start: (u64, Timestamp),
    /// Bytes that a block, and its fields, may have.
    limit: usize,
}

impl Reader {
    /// Of a direction that is seen from its start, when `whole`, or joined midway.
    pub(super) fn new(whole: bool, limit: usize) -> Self {
        Self {
            state: if whole { State::Preface(0) } else { State::Seek },
            header: [0; HEADER],
            payload: BytesMut::new(),
            open: None,
            hpack: hpack::Decoder::new(whole),
            position: 0,
            start: (0, Timestamp(0)),
            limit,
        }
    }

    /// Reads on in `piece` from `at`, which is before its end; how many bytes it took, and
    /// what they say.
    pub(super) fn read(&mut self, piece: &Bytes, at: usize, time: Timestamp) -> (usize, Event) {
        let rest = piece.get(at..).unwrap_or_default();
        let (taken, event) = match self.state {
            State::Preface(seen) => self.preface(rest, seen),
            State::Header(seen) => self.frame_header(rest, seen, time),
            State::Data { frame, left, padding } => self.data(frame, left, padding, rest, at),
            State::Whole { frame, left } => self.whole(frame, left, rest),
            State::Skip(left) => {
                let taken = rest.len().min(left as usize);
                self.leave(left - narrow(taken));
                (taken, Event::None)
            }
            State::Seek => self.seek(rest, at),
        };
        self.position = self.position.saturating_add(taken as u64);
        (taken, event)
    }

    fn preface(&mut self, rest: &[u8], seen: usize) -> (usize, Event) {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let taken = rest.len().min(expected.len());
        if rest.get(..taken) != expected.get(..taken) {
            // A server has none.
            self.state = State::Header(0);
            return if seen == 0 { (0, Event::None) } else { self.lose(0) };
        }
        if seen + taken < PREFACE.len() {
            self.state = State::Preface(seen + taken);
            return (taken, Event::None);
        }
        self.state = State::Header(0);
        (taken, Event::Preface)
    }

    fn frame_header(&mut self, rest: &[u8], seen: usize, time: Timestamp) -> (usize, Event) {
        if seen == 0 {
            self.start = (self.position, time);
        }
        let taken = rest.len().min(HEADER - seen);
        let from = rest.iter().take(taken);
        for (to, byte) in self.header.iter_mut().skip(seen).zip(from) {
            *to = *byte;
        }
        if seen + taken < HEADER {
            self.state = State::Header(seen + taken);
            return (taken, Event::None);
        }
        let frame = Frame::read(self.header);
        if self.open.is_some() != (frame.kind == Kind::Continuation)
            || self.open.as_ref().is_some_and(|open| open.stream != frame.stream)
        {
            // Between the frames of a block there are no others (RFC 9113 section 4.3).
            return self.lose(taken);
        }
        if !frame.is_valid() {
            return self.lose(taken);
        }
        let len = frame.len;
        self.state = match frame.kind {
            Kind::Data => {
                let padding = if frame.is_padded() { None } else { Some(0) };
                State::Data { frame, left: len, padding }
            }
            _ if frame.has_block() => State::Whole { frame, left: len },
            Kind::RstStream | Kind::GoAway => State::Whole { frame, left: len },
            _ => State::Skip(len),
        };
        self.payload.clear();
        // An empty payload has no byte to be read with.
        if len > 0 {
            return (taken, Event::None);
        }
        let event = match self.state {
            State::Data { frame, .. } => {
                self.state = State::Header(0);
                let ends = frame.ends_stream();
                Event::Data { stream: frame.stream, at: 0, len: 0, ends }
            }
            State::Whole { frame, .. } => self.payload_of(frame, &[]),
            _ => {
                self.state = State::Header(0);
                Event::None
            }
        };
        (taken, event)
    }

    fn data(
        &mut self,
        frame: Frame,
        left: u32,
        padding: Option<u32>,
        rest: &[u8],
        at: usize,
    ) -> (usize, Event) {
        let Some(padding) = padding else {
            let padding = u32::from(rest.first().copied().unwrap_or_default());
            if padding >= left {
                // More than the frame has (RFC 9113 section 6.1).
                return self.lose(0);
            }
            let (frame_left, ends) = (left - 1, frame.ends_stream());
            if frame_left == padding {
                self.leave(frame_left);
                return (1, Event::Data { stream: frame.stream, at, len: 0, ends });
            }
            self.state = State::Data { frame, left: frame_left, padding: Some(padding) };
            return (1, Event::None);
        };
        let taken = rest.len().min((left - padding) as usize);
        let left = left - narrow(taken);
        let over = left == padding;
        if over {
            self.leave(left);
        } else {
            self.state = State::Data { frame, left, padding: Some(padding) };
        }
        let ends = over && frame.ends_stream();
        (taken, Event::Data { stream: frame.stream, at, len: taken, ends })
    }

    /// Goes on behind the next `left` bytes.
    const fn leave(&mut self, left: u32) {
        self.state = if left == 0 { State::Header(0) } else { State::Skip(left) };
    }

    fn whole(&mut self, frame: Frame, left: u32, rest: &[u8]) -> (usize, Event) {
        let taken = rest.len().min(left as usize);
        let bytes = rest.get(..taken).unwrap_or_default();
        let after = left - narrow(taken);
        if after == 0 && self.payload.is_empty() {
            return (taken, self.payload_of(frame, bytes));
        }
        let limit = if frame.has_block() { self.limit } else { SMALL };
        let fits = taken.min(limit.saturating_sub(self.payload.len()));
        self.payload.extend_from_slice(bytes.get(..fits).unwrap_or_default());
        if after > 0 {
            self.state = State::Whole { frame, left: after };
            return (taken, Event::None);
        }
        let payload = self.payload.split();
        (taken, self.payload_of(frame, &payload))
    }

    /// A payload is whole, or all of it that will be kept.
    fn payload_of(&mut self, frame: Frame, payload: &[u8]) -> Event {
        self.state = State::Header(0);
        match frame.kind {
            Kind::RstStream => Event::Reset(frame.stream),
            Kind::GoAway => {
                let last = payload.first_chunk().copied().map(u32::from_be_bytes);
                last.map_or(Event::None, |last| Event::GoAway(last & 0x7fff_ffff))
            }
            _ => self.block(frame, payload, payload.len() < frame.len as usize),
        }
    }

    /// A part of a header block; `cut` when it is not all of its frame.
    fn block(&mut self, frame: Frame, payload: &[u8], cut: bool) -> Event {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open {
                stream: frame.stream,
                ends: frame.ends_stream(),
                promised: None,
                start: self.start,
                bytes: BytesMut::new(),
            },
        };
        let Some(fragment) = fragment(frame, payload, cut, &mut open.promised) else {
            self.hpack.lost();
            return Event::Bad;
        };
        let whole = frame.ends_headers() && !cut;
        if whole && open.bytes.is_empty() {
            return self.decode(&open, fragment, false);
        }
        let fits = fragment.len().min(self.limit.saturating_sub(open.bytes.len()));
        let over = fits < fragment.len();
        open.bytes.extend_from_slice(fragment.get(..fits).unwrap_or_default());
        if !frame.ends_headers() && !cut && !over {
            self.open = Some(open);
            return Event::None;
        }
        let bytes = std::mem::take(&mut open.bytes);
        self.decode(&open, &bytes, !whole || over)
    }

    fn decode(&mut self, open: &Open, block: &[u8], cut: bool) -> Event {
        let &Open { stream, ends, promised, start, .. } = open;
        let mut fields = Fields::new(self.limit);
        let cut = self.hpack.decode(block, cut, &mut fields).is_err() || cut || fields.over;
        Event::Block(Block { stream, ends, promised, fields, cut, start })
    }

    /// The next `len` bytes were not captured. How many of them are in the frame at hand, and
    /// what follows from that: of [`Event::Data`], bytes of the body that are missing.
    pub(super) fn missing(&mut self, len: u64) -> (u64, Event) {
        let left = match self.state {
            State::Data { left, .. } | State::Whole { left, .. } | State::Skip(left) => left,
            State::Preface(_) | State::Header(_) | State::Seek => 0,
        };
        let within = u64::from(left).min(len);
        let after = left - u32::try_from(within).unwrap_or(left);
        let event = match self.state {
            State::Data { frame, padding, .. } => {
                let padding = padding.unwrap_or_default();
                // Of the body; the rest of the hole is padding.
                let len = left.saturating_sub(padding).min(left - after) as usize;
                let padding = padding.min(after);
                if after > padding {
                    self.state = State::Data { frame, left: after, padding: Some(padding) };
                } else {
                    self.leave(after);
                }
                let ends = after <= padding && frame.ends_stream();
                Event::Data { stream: frame.stream, at: 0, len, ends }
            }
            State::Whole { frame, .. } => {
                let payload = self.payload.split();
                let event = match frame.kind {
                    Kind::RstStream => Event::Reset(frame.stream),
                    _ => self.payload_of(frame, &payload),
                };
                self.leave(after);
                event
            }
            State::Skip(_) => {
                self.leave(after);
                Event::None
            }
            State::Preface(_) | State::Header(_) | State::Seek => Event::None,
        };
        self.position = self.position.saturating_add(within);
        (within, event)
    }

    /// Whether a body is coming in of which it is not known how much is padding.
    pub(super) const fn is_padding_unknown(&self) -> bool {
        matches!(self.state, State::Data { padding: None, .. })
    }

    /// The next `len` bytes were not captured, and frames began among them: it is not known
    /// where the next one is. The block that was coming in, as far as it came.
    pub(super) fn lost(&mut self, len: u64) -> Event {
        self.position = self.position.saturating_add(len);
        self.state = State::Seek;
        let open = self.open.take();
        let event = open.map_or(Event::None, |mut open| {
            let bytes = std::mem::take(&mut open.bytes);
            self.decode(&open, &bytes, true)
        });
        self.hpack.lost();
        event
    }

    /// What is here is no frame.
    fn lose(&mut self, taken: usize) -> (usize, Event) {
        self.open = None;
        self.hpack.lost();
        self.state = State::Seek;
        (taken, Event::Lost(taken))
    }

    /// Looks for frames: at the start of a piece, as programs write, or further on.
    fn seek(&mut self, rest: &[u8], at: usize) -> (usize, Event) {
        let searched = if at == 0 { rest.len().min(SEARCHED) } else { 0 };
        let found = (0..searched).find(|&from| {
            let bytes = rest.get(from..).unwrap_or_default();
            // Within a piece the first frame must be one that is told from all else.
            let may = bytes.first_chunk().is_some_and(|header| {
                let frame = Frame::read(*header);
                if from == 0 { frame.is_plausible() } else { frame.begins() }
            });
            may && frame::is_chain(bytes)
        });
        match found {
            Some(0) => {
                self.state = State::Header(0);
                (0, Event::None)
            }
            Some(from) => {
                self.state = State::Header(0);
                (from, Event::Skipped(from))
            }
            None => (rest.len(), Event::Skipped(rest.len())),
        }
    }
}

/// The part of a header block that a payload is, without padding and priority; `None` when
/// they are longer than the payload. Of `PUSH_PROMISE`, the stream is put into `promised`.
fn fragment<'a>(
    frame: Frame,
    payload: &'a [u8],
    cut: bool,
    promised: &mut Option<u32>,
) -> Option<&'a [u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if frame.is_padded() {
        let (&first, after) = rest.split_first()?;
        (padding, rest) = (usize::from(first), after);
    }
    if frame.has_priority() {
        rest = rest.get(5..)?;
    }
    if frame.kind == Kind::PushPromise {
        let (stream, after) = rest.split_first_chunk()?;
        *promised = Some(u32::from_be_bytes(*stream) & 0x7fff_ffff);
        rest = after;
    }
    if cut {
        return Some(rest);
    }
    rest.get(..rest.len().checked_sub(padding)?)
}

/// A length that is not above that of a frame.
fn narrow(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
