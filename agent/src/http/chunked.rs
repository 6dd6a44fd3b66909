//! The chunked transfer coding (RFC 9112 section 7.1), resumable at every byte.

use memchr::memchr;

use super::Notes;

/// Longest chunk extension, and longest trailer section. Nobody who means well
/// sends more; it bounds what is read before framing is given up.
const LINE_MAX: u32 = 16 * 1024;

/// Where in the coding the next byte is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the digits of a size; whether there was one.
    Size { digits: bool },
    /// Behind the size: white space or an extension.
    Extension,
    /// In the data of a chunk.
    Data,
    /// Behind the data of a chunk: CR or LF.
    DataEnd,
    /// Behind CR: LF.
    DataEndLf,
    /// At the start of a trailer line.
    Trailer,
    /// In a trailer line.
    TrailerLine,
    /// Behind CR at the start of a trailer line: LF.
    TrailerLf,
}

/// A decoder of the chunked coding.
#[derive(Debug)]
pub(super) struct Chunked {
    place: Place,
    /// In `Size` the number so far, in `Data` the bytes left.
    left: u64,
    /// Bytes of extension or trailers so far.
    line: u32,
    /// The byte before was a CR.
    after_cr: bool,
    /// What was odd.
    pub(super) notes: Notes,
}

/// What comes next in the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// So many bytes are part of the coding.
    Coding(usize),
    /// So many bytes are data of the body.
    Data(usize),
    /// So many bytes are part of the coding, and the body ends with them.
    End(usize),
    /// This is not the chunked coding.
    Bad,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            place: Place::Size { digits: false },
            left: 0,
            line: 0,
            after_cr: false,
            notes: Notes::default(),
        }
    }
}

impl Chunked {
    /// Reads on; `bytes` is not empty, and no step is of no bytes.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        if self.place == Place::Data {
            let len = self.within(bytes.len());
            return Step::Data(len);
        }
        for (at, &byte) in bytes.iter().enumerate() {
            match self.byte(byte) {
                Next::Go => {}
                Next::Data => return Step::Coding(at + 1),
                Next::End => return Step::End(at + 1),
                Next::Bad => return Step::Bad,
            }
            // Trailers may be long, and only their ends matter.
            if self.place == Place::TrailerLine
                && let Some(rest) = bytes.get(at + 1..)
                && !rest.is_empty()
            {
                let len = memchr(b'\n', rest).unwrap_or(rest.len());
                return if self.count(len) { Step::Coding(at + 1 + len) } else { Step::Bad };
            }
        }
        Step::Coding(bytes.len())
    }

    /// Passes over `len` bytes that were not captured. `false` when a chunk may
    /// begin or end in them: where the next one is can not be told then.
    pub(super) fn skip(&mut self, len: u64) -> bool {
        if self.place != Place::Data || len > self.left {
            return false;
        }
        self.left -= len;
        if self.left == 0 {
            self.place = Place::DataEnd;
        }
        true
    }

    /// Bytes of the current chunk's data that are still to come.
    pub(super) fn data_left(&self) -> u64 {
        if self.place == Place::Data { self.left } else { 0 }
    }

    /// Takes up to `available` bytes of the current chunk's data.
    fn within(&mut self, available: usize) -> usize {
        let len = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= len as u64;
        if self.left == 0 {
            self.place = Place::DataEnd;
        }
        len
    }

    /// Counts bytes of a line whose length has no meaning; `false` over the limit.
    fn count(&mut self, len: usize) -> bool {
        self.line = self.line.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.line <= LINE_MAX
    }

    fn byte(&mut self, byte: u8) -> Next {
        match (self.place, byte) {
            (Place::Size { .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                // Eight bits to spare: sizes up to 2^60 are read.
                if self.left >> 56 != 0 {
                    return Next::Bad;
                }
                self.left = self.left << 4 | u64::from(digit);
                self.place = Place::Size { digits: true };
                // A size of many zeros is a line like any other.
                if !self.count(1) {
                    return Next::Bad;
                }
            }
            (Place::Size { digits: true }, b';' | b' ' | b'\t' | b'\r') => {
                self.place = Place::Extension;
                self.after_cr = byte == b'\r';
            }
            (Place::Size { digits: true } | Place::Extension, b'\n') => {
                if !self.after_cr {
                    self.notes.insert(Notes::BARE_LF);
                }
                return self.size_read();
            }
            (Place::Extension, _) => {
                // A CR that no LF follows could be read as the end by another.
                if self.after_cr || !self.count(1) {
                    return Next::Bad;
                }
                self.after_cr = byte == b'\r';
            }
            (Place::DataEnd, b'\r') => self.place = Place::DataEndLf,
            (Place::DataEnd | Place::DataEndLf, b'\n') => {
                if self.place == Place::DataEnd {
                    self.notes.insert(Notes::BARE_LF);
                }
                self.left = 0;
                self.place = Place::Size { digits: false };
            }
            (Place::Trailer | Place::TrailerLf, b'\n') => return Next::End,
            (Place::Trailer, b'\r') => self.place = Place::TrailerLf,
            (Place::Trailer, _) => {
                self.notes.insert(Notes::TRAILERS);
                self.place = Place::TrailerLine;
            }
            (Place::TrailerLine, b'\n') => self.place = Place::Trailer,
            (Place::TrailerLine, _) => {
                if !self.count(1) {
                    return Next::Bad;
                }
            }
            _ => return Next::Bad,
        }
        Next::Go
    }

    fn size_read(&mut self) -> Next {
        self.line = 0;
        self.after_cr = false;
        if self.left == 0 {
            self.place = Place::Trailer;
            return Next::Go;
        }
        self.place = Place::Data;
        Next::Data
    }
}

enum Next {
    Go,
    Data,
    End,
    Bad,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"4;name=\"v;w\"\r\nWiki\r\n005 \r\npedia\nA\n0123456789\r\n0\r\nTrailer: x\r\nB: y\r\n\r\n";

    /// Decodes pieces; what is left over, or nothing when it is not chunked.
    fn decode<'a, P: IntoIterator<Item = &'a [u8]>>(pieces: P) -> Option<(Vec<u8>, bool)> {
        let mut chunked = Chunked::default();
        let mut data = Vec::new();
        let mut ended = false;
        for mut piece in pieces {
            while !piece.is_empty() {
                assert!(!ended, "bytes after the end");
                let len = match chunked.step(piece) {
                    Step::Coding(len) => len,
                    Step::Data(len) => {
                        data.extend_from_slice(&piece[..len]);
                        len
                    }
                    Step::End(len) => {
                        ended = true;
                        len
                    }
                    Step::Bad => return None,
                };
                assert!(len > 0);
                piece = &piece[len..];
            }
        }
        Some((data, ended))
    }

    #[test]
    fn every_split_gives_the_same_data() {
        let whole = (b"Wikipedia0123456789".to_vec(), true);
        for at in 0..BODY.len() {
            let (head, tail) = BODY.split_at(at);
            assert_eq!(decode([head, tail]), Some(whole.clone()), "split at {at}");
        }
        assert_eq!(decode(BODY.chunks(1)), Some(whole));
    }

    #[test]
    fn every_prefix_waits_for_more() {
        for len in 0..BODY.len() {
            assert!(decode([&BODY[..len]]).is_some_and(|(_, ended)| !ended), "at {len} bytes");
        }
    }

    #[test]
    fn sizes_that_are_no_sizes_are_refused() {
        for bad in
            ["\r\n", "g\r\n", "-1\r\n", "0x5\r\n", "1\r1\r\n", "10000000000000000\r\n", "1\r\nab"]
        {
            assert_eq!(decode([bad.as_bytes()]), None, "{bad:?}");
        }
    }

    #[test]
    fn lines_without_end_are_given_up() {
        let zeros = vec![b'0'; 40_000];
        let text = vec![b'x'; 40_000];
        let extension = [b"5;".as_slice(), &text].concat();
        let trailer = [b"0\r\n".as_slice(), &text].concat();
        for bad in [zeros, extension, trailer] {
            assert_eq!(decode([&bad[..]]), None);
            assert_eq!(decode(bad.chunks(7)), None);
        }
    }

    #[test]
    fn a_hole_within_the_data_of_a_chunk_is_passed() {
        let mut chunked = Chunked::default();
        assert_eq!(chunked.step(b"a\r\n"), Step::Coding(3));
        assert_eq!(chunked.step(b"012"), Step::Data(3));
        assert_eq!(chunked.data_left(), 7);
        assert!(!chunked.skip(8));
        assert!(chunked.skip(7));
        assert_eq!(chunked.step(b"\r\n0\r\n\r\n"), Step::End(7));
    }
}
