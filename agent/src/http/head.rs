//! Message heads: where one begins, where it ends, what it says.

use std::{mem::MaybeUninit, ops::Range, sync::Arc};

use bytes::Bytes;
use httparse::{Error, Header, ParserConfig, Status};
use memchr::{memchr, memchr_iter, memrchr};

use super::{Headers, Notes, Version, lenient, method};

/// Fields that are parsed without an allocation.
const FIELDS: usize = 64;

/// Most fields of a head.
const FIELDS_MAX: usize = 2048;

/// Which of the two a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Request,
    Response,
}

/// A message without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) line: Line,
    pub(super) version: Version,
    pub(super) headers: Headers,
    pub(super) notes: Notes,
}

/// The first line of a message.
#[derive(Debug)]
pub(super) enum Line {
    Request { method: Arc<str>, target: Arc<str> },
    Response { status: u16 },
}

/// What bytes look like that may be the start of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// No message begins so.
    No,
    /// More bytes are needed to tell.
    Maybe,
    /// A message begins so: its first line is whole.
    Is(Kind),
}

/// Looks at `bytes` for a message of the `wanted` kind, or of either. A `strict`
/// look takes common methods only, so that the tail of something else is hardly
/// ever taken for a message.
pub(super) fn look(bytes: &[u8], wanted: Option<Kind>, strict: bool) -> Look {
    let line = memchr(b'\n', bytes).and_then(|end| bytes.get(..end));
    let line = line.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut seen = Look::No;
    if wanted != Some(Kind::Request) {
        seen = look_response(bytes, line);
    }
    if seen == Look::No && wanted != Some(Kind::Response) {
        seen = look_request(bytes, line, strict);
    }
    seen
}

fn look_response(bytes: &[u8], line: Option<&[u8]>) -> Look {
    // As long as the shortest line that says all.
    const PATTERN: &[u8; 12] = b"HTTP/1.d ddd";
    let text = line.unwrap_or(bytes);
    let fits = |(byte, pattern): (&u8, &u8)| match pattern {
        b'd' => byte.is_ascii_digit(),
        _ => byte == pattern,
    };
    // A CR may be the end of a line that is not whole yet.
    let goes_on = |&byte: &u8| byte == b' ' || (byte == b'\r' && line.is_none());
    if !text.iter().zip(PATTERN).all(fits) || !text.get(12).is_none_or(goes_on) {
        return Look::No;
    }
    match line {
        Some(line) if line.len() < PATTERN.len() => Look::No,
        Some(_) => Look::Is(Kind::Response),
        None => Look::Maybe,
    }
}

fn look_request(bytes: &[u8], line: Option<&[u8]>, strict: bool) -> Look {
    let text = line.unwrap_or(bytes);
    let start = text.get(..method::LONGEST + 1).unwrap_or(text);
    let Some(space) = memchr(b' ', start) else {
        let may = line.is_none()
            && text.len() <= method::LONGEST
            && text.iter().all(|&byte| is_token(byte))
            && (!strict || method::begins_known(text));
        return if may { Look::Maybe } else { Look::No };
    };
    let name = text.get(..space).unwrap_or_default();
    let named = if strict {
        method::known(name)
    } else {
        !name.is_empty() && name.iter().all(|&byte| is_token(byte))
    };
    let Some(line) = line.filter(|_| named) else {
        return if named { Look::Maybe } else { Look::No };
    };
    let line = line.trim_ascii_end();
    let last = memrchr(b' ', line).unwrap_or_default();
    let version = line.get(last + 1..).unwrap_or_default();
    let is = last > space && matches!(version, b"HTTP/1.1" | b"HTTP/1.0");
    if is { Look::Is(Kind::Request) } else { Look::No }
}

/// RFC 9110 `tchar`.
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// Finds the end of a head that comes in pieces, the empty line, each byte once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Scan {
    /// Within a line that is not empty.
    #[default]
    Line,
    /// At the start of a line.
    Start,
    /// Behind CR at the start of a line.
    Cr,
}

impl Scan {
    /// Reads the next piece; where the head ends in it, if it does.
    pub(super) fn end(&mut self, piece: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let byte = piece.get(at)?;
            match (*self, byte) {
                (Self::Line, _) => {
                    at += memchr(b'\n', piece.get(at..)?)? + 1;
                    *self = Self::Start;
                }
                (Self::Start | Self::Cr, b'\n') => return Some(at + 1),
                (Self::Start, b'\r') => {
                    at += 1;
                    *self = Self::Cr;
                }
                (Self::Start | Self::Cr, _) => *self = Self::Line,
            }
        }
    }
}

/// What parsing came to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a move is cheaper than an allocation per message")]
pub(super) enum Parsed {
    /// A head of so many bytes.
    Whole(Head, usize),
    /// The head does not end here.
    Partial,
    /// This is no head.
    Bad,
}

/// Parses the head that `bytes` begin with; what follows it does not matter.
pub(super) fn parse(kind: Kind, bytes: &Bytes) -> Parsed {
    match strict(kind, bytes) {
        Ok(Status::Complete((head, len))) => Parsed::Whole(head, len),
        Ok(Status::Partial) => Parsed::Partial,
        // What is not to the letter is rewritten so that it is, once it is whole.
        Err(_) => match Scan::default().end(bytes) {
            None => Parsed::Partial,
            Some(len) => match lenient::rewrite(kind, bytes.get(..len).unwrap_or_default()) {
                Some((copy, notes)) => match strict(kind, &copy.into()) {
                    Ok(Status::Complete((mut head, _))) => {
                        head.notes = notes;
                        Parsed::Whole(head, len)
                    }
                    _ => Parsed::Bad,
                },
                None => Parsed::Bad,
            },
        },
    }
}

fn strict(kind: Kind, bytes: &Bytes) -> httparse::Result<(Head, usize)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    match read(kind, bytes, &mut fields) {
        Err(Error::TooManyHeaders) => {
            let mut fields = vec![MaybeUninit::uninit(); FIELDS_MAX];
            read(kind, bytes, &mut fields)
        }
        result => result,
    }
}

fn read<'a>(
    kind: Kind,
    bytes: &'a Bytes,
    fields: &mut [MaybeUninit<Header<'a>>],
) -> httparse::Result<(Head, usize)> {
    let config = ParserConfig::default();
    let (line, version, fields, len) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut []);
            let status = config.parse_request_with_uninit_headers(&mut request, bytes, fields)?;
            let Status::Complete(len) = status else { return Ok(Status::Partial) };
            let line = Line::Request {
                method: method::intern(request.method.unwrap_or_default()),
                target: request.path.unwrap_or_default().into(),
            };
            (line, request.version, request.headers, len)
        }
        Kind::Response => {
            let mut response = httparse::Response::new(&mut []);
            let status = config.parse_response_with_uninit_headers(&mut response, bytes, fields)?;
            let Status::Complete(len) = status else { return Ok(Status::Partial) };
            let line = Line::Response { status: response.code.unwrap_or_default() };
            (line, response.version, response.headers, len)
        }
    };
    let version = if version == Some(0) { Version::Http10 } else { Version::Http11 };
    let head = bytes.slice(..len);
    let ranges =
        fields.iter().map(|field| (range(&head, field.name.as_bytes()), range(&head, field.value)));
    let headers = Headers::new(head.clone(), ranges);
    let mut notes = Notes::default();
    if bare_lf(&head) {
        notes.insert(Notes::BARE_LF);
    }
    Ok(Status::Complete((Head { line, version, headers, notes }, len)))
}

/// Parses a head of which only the beginning came: as far as its lines are whole, the
/// first one at least.
pub(super) fn parse_cut(kind: Kind, bytes: &[u8]) -> Option<Head> {
    let end = memrchr(b'\n', bytes)? + 1;
    let mut whole = Vec::with_capacity(end + 2);
    whole.extend_from_slice(bytes.get(..end)?);
    whole.extend_from_slice(b"\r\n");
    let Parsed::Whole(mut head, _) = parse(kind, &whole.into()) else { return None };
    head.notes.insert(Notes::HEAD_CUT);
    Some(head)
}

/// Where `part`, a slice of `head`, is in it.
fn range(head: &Bytes, part: &[u8]) -> Range<u32> {
    let start = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    place(start)..place(start.wrapping_add(part.len()))
}

/// Whether a line of `head` ends without CR.
pub(super) fn bare_lf(head: &[u8]) -> bool {
    memchr_iter(b'\n', head).any(|at| at == 0 || head.get(at - 1) != Some(&b'\r'))
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
