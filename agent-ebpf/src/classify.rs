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
    // The connection preface, RFC 9113 section 3.4.
    if look.len >= 5 && look.word & 0xff_ffff_ffff == 0x2a_2049_5250 {
        return Protocol::HTTP2; // "PRI *"
    }
    if message_start(look) { Protocol::HTTP1 } else { Protocol::UNKNOWN }
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
