//! Content codings (RFC 9110 section 8.4.1), undone as far as the bytes go.
//!
//! The input may be a prefix: what it decodes to comes out, with the reason why
//! it is not more. A decoder never makes more than its caller allows.

use std::io::Read as _;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use smallvec::SmallVec;
use zstd::{
    stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer},
    zstd_safe::DParameter,
};

use super::{BodyState, Headers};

/// Output over input from where a body counts as a bomb. Deflate reaches 1032;
/// what people send stays under 100.
const RATIO_MAX: usize = 256;

/// Output that is never taken for a bomb: small bodies of one repeated byte.
const RATIO_FLOOR: usize = 64 * 1024;

/// Most codings on one body. More than two are not seen in earnest.
const CODINGS_MAX: usize = 4;

/// Most members of one gzip body: each costs a fresh decoder.
const MEMBERS_MAX: usize = 256;

/// Largest zstd window, as a power of two: RFC 9659 allows 8 MiB on the web.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Decoded bytes made in one go.
const STEP: usize = 8 * 1024;

/// A content coding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    Unknown,
}

/// Codings of a message in the order they were applied.
pub(super) type Codings = SmallVec<[Coding; CODINGS_MAX]>;

/// Reads the codings that the header fields name: content codings, then transfer
/// codings, which were applied after them. `chunked` is not among them.
pub(super) fn of(headers: &Headers) -> Codings {
    let mut codings = Codings::new();
    for field in ["content-encoding", "transfer-encoding"] {
        let names = headers.get_all(field).flat_map(|value| value.split(|&byte| byte == b','));
        for name in names.map(<[u8]>::trim_ascii) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let coding = if name.is_empty() || is("identity") || is("chunked") {
                continue;
            } else if is("gzip") || is("x-gzip") {
                Coding::Gzip
            } else if is("deflate") {
                Coding::Deflate
            } else if is("br") {
                Coding::Brotli
            } else if is("zstd") {
                Coding::Zstd
            } else {
                Coding::Unknown
            };
            // One more than can be decoded is enough to know that.
            if codings.len() <= CODINGS_MAX {
                codings.push(coding);
            }
        }
    }
    codings
}

/// Undoes `codings`, the last one first. `state` tells what `input` is; the state
/// that comes back tells what the output is. At most `limit` bytes come out.
pub(super) fn decode(
    codings: &[Coding],
    input: Bytes,
    state: BodyState,
    limit: usize,
) -> (Bytes, BodyState) {
    if codings.len() > CODINGS_MAX {
        return (Bytes::new(), BodyState::Corrupt);
    }
    let mut bytes = input;
    let mut state = state;
    for &coding in codings.iter().rev() {
        // A body of nothing is one that was never coded.
        if bytes.is_empty() && coding != Coding::Unknown {
            break;
        }
        let mut output = Output::new(bytes.len(), limit);
        let end = match coding {
            Coding::Gzip => gzip(&bytes, &mut output),
            Coding::Deflate => deflate(&bytes, &mut output),
            Coding::Brotli => brotli(&bytes, &mut output),
            Coding::Zstd => zstd(&bytes, &mut output),
            Coding::Unknown => End::Corrupt,
        };
        bytes = output.bytes.into();
        state = match end {
            End::Full => BodyState::Capped,
            End::Corrupt => BodyState::Corrupt,
            End::Input if state == BodyState::Complete => BodyState::Corrupt,
            End::Input | End::Stream => state,
        };
    }
    if bytes.len() > limit {
        bytes.truncate(limit);
        state = BodyState::Capped;
    }
    (bytes, state)
}

/// Why a decoder stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The coded stream ended.
    Stream,
    /// The input ended first.
    Input,
    /// The output is full.
    Full,
    /// The coded stream is damaged.
    Corrupt,
}

/// Decoded bytes, up to a limit of size and of ratio.
struct Output {
    bytes: Vec<u8>,
    room: usize,
}

impl Output {
    fn new(input: usize, limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            room: limit.min(input.saturating_mul(RATIO_MAX).max(RATIO_FLOOR)),
        }
    }

    /// Takes decoded bytes; `false` when not all of them fit.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.get(..self.room - self.bytes.len());
        self.bytes.extend_from_slice(fits.unwrap_or(bytes));
        fits.is_none_or(|fits| fits.len() == bytes.len())
    }
}

fn gzip(input: &[u8], output: &mut Output) -> End {
    let mut rest = input;
    let mut step = [0; STEP];
    for _ in 0..MEMBERS_MAX {
        let mut member = GzDecoder::new(rest);
        loop {
            match member.read(&mut step) {
                Ok(0) => break,
                Ok(len) => {
                    if !output.put(step.get(..len).unwrap_or_default()) {
                        return End::Full;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return End::Input;
                }
                Err(_) => return End::Corrupt,
            }
        }
        rest = member.into_inner();
        // What follows the last member and is none itself is padding.
        if !rest.starts_with(&[0x1f]) {
            return End::Stream;
        }
    }
    End::Full
}

/// HTTP's `deflate` is zlib; some servers send the bare stream.
fn deflate(input: &[u8], output: &mut Output) -> End {
    let zlib = match *input {
        [first] => first & 0x0f == 8,
        [first, second, ..] => {
            first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
        }
        [] => false,
    };
    if zlib {
        let end = inflate(Decompress::new(true), input, output);
        if end != End::Corrupt || !output.bytes.is_empty() {
            return end;
        }
    }
    inflate(Decompress::new(false), input, output)
}

fn inflate(mut decoder: Decompress, input: &[u8], output: &mut Output) -> End {
    let mut rest = input;
    let mut step = [0; STEP];
    loop {
        let (read, made) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress(rest, &mut step, FlushDecompress::None);
        let advance = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let read = advance(decoder.total_in(), read);
        let made = advance(decoder.total_out(), made);
        rest = rest.get(read..).unwrap_or_default();
        if !output.put(step.get(..made).unwrap_or_default()) {
            return End::Full;
        }
        match status {
            Ok(Status::StreamEnd) => return End::Stream,
            Ok(_) if read == 0 && made == 0 => return End::Input,
            Ok(_) => {}
            Err(_) => return End::Corrupt,
        }
    }
}

fn brotli(input: &[u8], output: &mut Output) -> End {
    let alloc = StandardAlloc::default;
    // Strict: without the large windows that RFC 7932 does not know, a stream of
    // which makes the decoder allocate a gigabyte.
    let mut decoder = BrotliState::new_strict(alloc(), alloc(), alloc());
    let mut step = [0; STEP];
    let (mut left, mut at, mut total) = (input.len(), 0, 0);
    loop {
        let (mut room, mut made) = (STEP, 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut at,
            input,
            &mut room,
            &mut made,
            &mut step,
            &mut total,
            &mut decoder,
        );
        if !output.put(step.get(..made).unwrap_or_default()) {
            return End::Full;
        }
        match result {
            BrotliResult::ResultSuccess => return End::Stream,
            // The decoder holds output back when a step is full.
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput if made == STEP => {}
            BrotliResult::NeedsMoreInput => return End::Input,
            BrotliResult::NeedsMoreOutput | BrotliResult::ResultFailure => return End::Corrupt,
        }
    }
}

fn zstd(input: &[u8], output: &mut Output) -> End {
    let Ok(mut decoder) = ZstdDecoder::new() else { return End::Full };
    if decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).is_err() {
        return End::Corrupt;
    }
    let mut source = InBuffer::around(input);
    let mut step = [0; STEP];
    loop {
        let before = source.pos();
        let mut sink = OutBuffer::around(step.as_mut_slice());
        let hint = decoder.run(&mut source, &mut sink);
        let made = sink.pos();
        if !output.put(step.get(..made).unwrap_or_default()) {
            return End::Full;
        }
        let Ok(hint) = hint else { return End::Corrupt };
        let stuck = made == 0 && source.pos() == before;
        match (hint, source.pos() == input.len()) {
            (0, true) => return End::Stream,
            (_, true) if made < STEP => return End::Input,
            _ if stuck => return End::Corrupt,
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
