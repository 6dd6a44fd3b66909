//! What a flow is, from the first bytes of a call.

use agent_common::record::Protocol;

/// The first bytes of a call as a little-endian word, zero where there are fewer.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) word: u64,
    /// Valid bytes, 1 to 8.
    pub(crate) len: u32,
}

impl Look {
    #[inline(always)]
    fn byte(self, index: u32) -> u8 {
        (self.word >> (8 * index)) as u8
    }
}

/// A method's first four bytes as they are compared.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}

/// Whether a method starts with these four bytes (RFC 9110, RFC 5789, RFC 4918,
/// RFC 3253, RFC 5323), and the byte that must follow: 0 for any, 255 for none.
/// Not inlined, and one comparison after the other: the verifier would follow every
/// combination of their results.
#[inline(never)]
fn after_method(start: u32) -> u32 {
    const GET: u32 = word(*b"GET ");
    const POST: u32 = word(*b"POST");
    const PUT: u32 = word(*b"PUT ");
    const HEAD: u32 = word(*b"HEAD");
    const DELETE: u32 = word(*b"DELE");
    const PATCH: u32 = word(*b"PATC");
    const OPTIONS: u32 = word(*b"OPTI");
    const CONNECT: u32 = word(*b"CONN");
    const TRACE: u32 = word(*b"TRAC");
    const PROP: u32 = word(*b"PROP");
    const MKCOL: u32 = word(*b"MKCO");
    const MKCALENDAR: u32 = word(*b"MKCA");
    const COPY: u32 = word(*b"COPY");
    const MOVE: u32 = word(*b"MOVE");
    const LOCK: u32 = word(*b"LOCK");
    const UNLOCK: u32 = word(*b"UNLO");
    const REPORT: u32 = word(*b"REPO");
    const SEARCH: u32 = word(*b"SEAR");
    const PURGE: u32 = word(*b"PURG");
    const MERGE: u32 = word(*b"MERG");
    const QUERY: u32 = word(*b"QUER");
    const LINK: u32 = word(*b"LINK");
    let next = match start {
        GET | PUT | PROP => 0,
        POST | HEAD | COPY | MOVE | LOCK | LINK => b' ',
        CONNECT | TRACE | PURGE | MERGE => b'E',
        DELETE => b'T',
        PATCH => b'H',
        OPTIONS => b'O',
        MKCOL | MKCALENDAR => b'L',
        UNLOCK | SEARCH => b'C',
        REPORT => b'R',
        QUERY => b'Y',
        _ => 255,
    };
    u32::from(next)
}

/// Whether an HTTP/1 message starts here. A look too short to tell is taken for
/// one when it could become one.
#[inline(always)]
pub(crate) fn message_start(look: Look) -> bool {
    if look.len < 4 {
        // A program that moves a few bytes at a time.
        return look.byte(0).is_ascii_uppercase();
    }
    let start = look.word as u32;
    if start == word(*b"HTTP") {
        return look.len < 7 || (look.word >> 32) & 0xff_ffff == 0x2e_312f; // "/1."
    }
    let next = after_method(start);
    next == 0 || (next != 255 && (look.len < 5 || u32::from(look.byte(4)) == next))
}

/// What a flow is; [`Protocol::UNKNOWN`] when the bytes do not tell.
#[inline(always)]
pub(crate) fn protocol(look: Look) -> Protocol {
    if look.len >= 5 && tls_record(look.word).is_some() {
        return Protocol::TLS;
    }
    if is_preface(look) {
        return Protocol::HTTP2;
    }
    if look.len >= 8 && begins_frames(look.word) {
        return Protocol::HTTP2;
    }
    if message_start(look) { Protocol::HTTP1 } else { Protocol::UNKNOWN }
}

/// Whether a client's preface begins here (RFC 9113 section 3.4).
#[inline(always)]
pub(crate) fn is_preface(look: Look) -> bool {
    look.len >= 5 && look.word & 0xff_ffff_ffff == 0x2a_2049_5250 // "PRI *"
}

/// Whether a word is the header, but for its last byte, of a frame of HTTP/2 that a message or
/// a connection begins with (RFC 9113 section 4.1): length in three bytes, type, flags, stream.
/// HEADERS that end their block, on one of the first 16 million streams, or SETTINGS.
#[inline(always)]
pub(crate) fn begins_frames(word: u64) -> bool {
    const HEADERS: u64 = 1;
    const SETTINGS: u64 = 4;
    /// `END_STREAM`, `PADDED` and `PRIORITY`.
    const OPTIONAL: u64 = 0x29;
    const END_HEADERS: u64 = 4;
    /// 16 KiB and more, or not on one of these streams.
    const NEVER: u64 = 0x0000_ff00_0000_c0ff;
    let kind = word >> 24 & 0xff;
    let flags = word >> 32 & 0xff;
    if kind == HEADERS {
        flags & !OPTIONAL == END_HEADERS && word & NEVER == 0 && word & 0xff_ff00 != 0
    } else {
        // Some of them, on no stream.
        let len = word >> 16 & 0xff;
        kind == SETTINGS && word & !0xffff_0000 == 0 && (6..=32 * 6).contains(&len)
    }
}

/// What a datagram is, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Datagram(u32);

impl Datagram {
    /// Not known to be QUIC: its packets with a short header have nothing to tell them by.
    pub(crate) const OTHER: Self = Self(0);
    /// QUIC, a packet with a long header.
    pub(crate) const LONG: Self = Self(1);
    /// QUIC, an Initial.
    pub(crate) const INITIAL: Self = Self(2);
}

/// Header form, fixed bit and packet type of a long header (RFC 9000 section 17.2).
const FORM: u8 = 0xc0;
const KIND: u8 = 0x30;

/// A version, as the bytes of the word after the first.
const fn version(number: u32) -> u64 {
    number.swap_bytes() as u64
}

/// Tells QUIC from whatever else is sent over UDP: the version decides, for the first byte
/// may be a DNS query's too. Version 1 (RFC 9000) and 2 (RFC 9369), whose Initials have
/// another type; drafts are not spoken any more.
#[inline(always)]
pub(crate) fn datagram(look: Look) -> Datagram {
    const V1: u64 = version(1);
    const V2: u64 = version(0x6b33_43cf);
    if look.len < 8 || look.byte(0) & FORM != FORM {
        return Datagram::OTHER;
    }
    let kind = look.byte(0) & KIND;
    match look.word >> 8 & 0xffff_ffff {
        V1 if kind == 0 => Datagram::INITIAL,
        V2 if kind == 0x10 => Datagram::INITIAL,
        V1 | V2 => Datagram::LONG,
        _ => Datagram::OTHER,
    }
}

/// Length of the TLS record that a header announces (RFC 8446 section 5.1): type,
/// version, length in the low five bytes; `None` when it is none.
#[inline(always)]
pub(crate) fn tls_record(word: u64) -> Option<u32> {
    let kind = word as u8;
    let major = (word >> 8) as u8;
    let minor = (word >> 16) as u8;
    let len = u32::from((word >> 24) as u8) << 8 | u32::from((word >> 32) as u8);
    ((20..=24).contains(&kind) && major == 3 && minor <= 4 && len <= 16384 + 2048 && len > 0)
        .then_some(len)
}
