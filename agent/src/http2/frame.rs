//! Frame headers (RFC 9113 section 4.1).

/// Length of a frame header.
pub(super) const HEADER: usize = 9;

/// Longest payload that is allowed by default.
const USUAL_MAX: u32 = 16 * 1024;

/// Longest payload of a frame that is believed where frames are looked for: what servers and
/// clients are known to allow.
const BELIEVED_MAX: u32 = 1024 * 1024;

/// Frame types (RFC 9113 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension's: to be ignored.
    Other,
}

/// A frame's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Frame {
    /// Length of the payload.
    pub(super) len: u32,
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    /// The reserved bit, which is to be ignored.
    reserved: bool,
}

impl Frame {
    /// Reads a header.
    pub(super) const fn read(header: [u8; HEADER]) -> Self {
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let stream = u32::from_be_bytes(stream);
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let reserved = stream >> 31 != 0;
        let len = u32::from_be_bytes([0, high, middle, low]);
        Self { len, kind, flags, stream: stream & 0x7fff_ffff, reserved }
    }

    /// The message ends with this frame, or with the block that it begins.
    pub(super) const fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & 0x1 != 0
    }

    /// The header block ends with this frame.
    pub(super) const fn ends_headers(self) -> bool {
        self.flags & 0x4 != 0
    }

    /// Padding is around the payload.
    pub(super) const fn is_padded(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise) && self.flags & 0x8 != 0
    }

    /// A priority is before the header block.
    pub(super) const fn has_priority(self) -> bool {
        matches!(self.kind, Kind::Headers) && self.flags & 0x20 != 0
    }

    /// It carries a header block, or a part of one.
    pub(super) const fn has_block(self) -> bool {
        matches!(self.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation)
    }

    /// Whether its length is one that a frame of its type may have; another one ends the
    /// connection (RFC 9113 section 6), or there is no frame here.
    pub(super) const fn is_valid(self) -> bool {
        match self.kind {
            Kind::Data | Kind::Headers if self.stream == 0 => false,
            Kind::Priority => self.len == 5,
            Kind::RstStream | Kind::WindowUpdate => self.len == 4,
            Kind::Settings => self.len.is_multiple_of(6),
            Kind::Ping => self.len == 8,
            Kind::GoAway => self.len >= 8,
            Kind::Other => self.len <= BELIEVED_MAX,
            _ => true,
        }
    }

    /// Whether a peer that keeps to RFC 9113 section 6 sends it. Where it is not known where
    /// frames are, this tells them from other bytes; nobody sends flags that mean nothing.
    pub(super) const fn is_plausible(self) -> bool {
        if self.reserved {
            return false;
        }
        let (allowed, on_stream, len) = match self.kind {
            Kind::Data => (0x09, true, self.len <= BELIEVED_MAX),
            Kind::Headers => (0x2d, true, self.len > 0 && self.len <= USUAL_MAX),
            Kind::Priority => (0, true, self.len == 5),
            Kind::RstStream => (0, true, self.len == 4),
            Kind::Settings if self.flags == 1 => (1, false, self.len == 0),
            Kind::Settings => (0, false, self.len.is_multiple_of(6) && self.len <= 6 * 32),
            Kind::PushPromise => (0x0c, true, self.len > 4 && self.len <= USUAL_MAX),
            Kind::Ping => (0x01, false, self.len == 8),
            Kind::GoAway => (0, false, self.len >= 8 && self.len <= USUAL_MAX),
            Kind::WindowUpdate => (0, self.stream != 0, self.len == 4),
            Kind::Continuation => (0x04, true, self.len <= USUAL_MAX),
            Kind::Other => return false,
        };
        len && self.flags & !allowed == 0 && (self.stream != 0) == on_stream
    }

    /// Whether a connection, or a call on one that is older, is believed to begin with it: one
    /// that only HTTP/2 has there.
    pub(super) const fn begins(self) -> bool {
        self.is_plausible()
            && match self.kind {
                // Streams are numbered from one on: the first byte is 0 for the first 16 million.
                Kind::Headers => self.ends_headers() && self.stream >> 24 == 0,
                Kind::Settings => self.flags == 0 && self.len > 0,
                _ => false,
            }
    }
}

/// Whether `bytes` begin with frames, from a header on to their end, or three of them at least.
/// One alone must be of the kinds that [`Frame::begins`].
pub(super) fn is_chain(bytes: &[u8]) -> bool {
    const ENOUGH: usize = 3;
    let mut rest = bytes;
    let mut begins = false;
    for seen in 0..ENOUGH {
        let Some((header, after)) = rest.split_first_chunk::<HEADER>() else {
            return rest.is_empty() && (begins || seen > 1);
        };
        let frame = Frame::read(*header);
        if !frame.is_plausible() {
            return false;
        }
        begins |= frame.begins();
        match after.get(frame.len as usize..) {
            Some(after) => rest = after,
            // The last one goes on behind these bytes.
            None => return begins || seen > 0,
        }
    }
    true
}
