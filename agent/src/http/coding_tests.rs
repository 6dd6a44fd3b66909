use std::io::Write as _;

use flate2::{Compression, write};

use super::*;

const LIMIT: usize = 1024 * 1024;

/// Text that does not compress to nothing, of more than one block of any coding.
fn text() -> Vec<u8> {
    let mut state = 7_u32;
    let words = (0..30_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{{\"id\":{}}},", state >> 12)
    });
    words.collect::<Vec<_>>().concat().into_bytes()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = write::GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

/// Brotli of meta-blocks that are not compressed: no encoder is at hand.
fn brotli_stored(bytes: &[u8]) -> Vec<u8> {
    let mut bits = Bits::default();
    // WBITS of 16 is one zero bit.
    bits.put(0, 1);
    for piece in bytes.chunks(1 << 16) {
        // ISLAST 0, MNIBBLES 4, MLEN - 1, ISUNCOMPRESSED 1.
        bits.put(0, 1);
        bits.put(0, 2);
        bits.put(u32::try_from(piece.len() - 1).unwrap(), 16);
        bits.put(1, 1);
        bits.align();
        bits.bytes.extend_from_slice(piece);
    }
    // ISLAST 1, ISEMPTY 1.
    bits.put(0b11, 2);
    bits.align();
    bits.bytes
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self) {
        if self.count > 0 {
            self.put(0, 8 - self.count);
        }
    }
}

fn each() -> Vec<(Coding, Vec<u8>)> {
    let text = text();
    vec![
        (Coding::Gzip, gzipped(&text)),
        (Coding::Deflate, zlib(&text)),
        (Coding::Deflate, raw(&text)),
        (Coding::Brotli, brotli_stored(&text)),
        (Coding::Zstd, zstandard(&text)),
    ]
}

fn whole(codings: &[Coding], input: Vec<u8>) -> (Bytes, BodyState) {
    decode(codings, input.into(), BodyState::Complete, LIMIT)
}

#[test]
fn every_coding_is_undone() {
    for (coding, coded) in each() {
        let (bytes, state) = whole(&[coding], coded);
        assert_eq!((bytes == text(), state), (true, BodyState::Complete), "{coding:?}");
    }
}

#[test]
fn a_prefix_decodes_to_a_prefix() {
    let text = text();
    for (coding, coded) in each() {
        let mut most = 0;
        for len in (0..coded.len()).step_by(coded.len() / 60).chain([coded.len() - 1]) {
            let input = Bytes::copy_from_slice(&coded[..len]);
            let (bytes, state) = decode(&[coding], input, BodyState::Truncated, LIMIT);
            assert!(text.starts_with(&bytes), "{coding:?} at {len}");
            assert_eq!(state, BodyState::Truncated, "{coding:?} at {len}");
            most = most.max(bytes.len());
        }
        assert!(most > text.len() / 2, "{coding:?} gave {most}");
        // All of a message that is not all of its stream is damaged.
        let (_, state) = whole(&[coding], coded[..coded.len() / 2].to_vec());
        assert_eq!(state, BodyState::Corrupt, "{coding:?}");
    }
}

#[test]
fn members_of_gzip_are_joined_and_padding_is_passed() {
    let mut coded = gzipped(b"one ");
    coded.extend(gzipped(b"two"));
    coded.extend([0; 100]);
    assert_eq!(whole(&[Coding::Gzip], coded), (Bytes::from("one two"), BodyState::Complete));
    let many: Vec<u8> = std::iter::repeat_n(gzipped(b""), 2 * MEMBERS_MAX).flatten().collect();
    assert_eq!(whole(&[Coding::Gzip], many).1, BodyState::Capped);
}

#[test]
fn stacked_codings_are_undone_in_reverse() {
    let coded = zstandard(&gzipped(b"stacked"));
    let headers = Headers::from_pairs([("content-encoding", "gzip, ZSTD")]);
    let (bytes, state) = whole(&of(&headers), coded);
    assert_eq!((&bytes[..], state), (&b"stacked"[..], BodyState::Complete));
}

#[test]
fn transfer_codings_come_after_content_codings() {
    let headers = Headers::from_pairs([
        ("transfer-encoding", "deflate, chunked"),
        ("content-encoding", "x-gzip"),
        ("content-encoding", "identity, br"),
    ]);
    assert_eq!(of(&headers)[..], [Coding::Gzip, Coding::Brotli, Coding::Deflate]);
    let many = Headers::from_pairs([("content-encoding", "gzip,gzip,gzip,gzip,gzip,gzip,gzip")]);
    assert_eq!(whole(&of(&many), gzipped(b"x")).1, BodyState::Corrupt);
}

#[test]
fn bombs_are_capped_by_ratio_and_size() {
    let zeros = vec![0; 64 * 1024 * 1024];
    for (coding, bomb) in [(Coding::Gzip, gzipped(&zeros)), (Coding::Zstd, zstandard(&zeros))] {
        let len = bomb.len();
        let (bytes, state) = decode(&[coding], bomb.into(), BodyState::Complete, usize::MAX);
        assert_eq!((bytes.len(), state), ((len * RATIO_MAX).max(RATIO_FLOOR), BodyState::Capped));
    }
    for (coding, coded) in each() {
        let (bytes, state) = decode(&[coding], coded.into(), BodyState::Complete, 1000);
        assert_eq!((&bytes[..], state), (&text()[..1000], BodyState::Capped));
    }
}

#[test]
fn codings_that_are_not_known_give_nothing() {
    let headers = Headers::from_pairs([("content-encoding", "compress")]);
    let (bytes, state) = whole(&of(&headers), b"abc".to_vec());
    assert_eq!((bytes.len(), state), (0, BodyState::Corrupt));
}

#[test]
fn damage_is_told_and_never_panics() {
    for (coding, coded) in each() {
        for at in (0..coded.len()).step_by(coded.len() / 60) {
            let mut damaged = coded.clone();
            damaged[at] ^= 0x55;
            whole(&[coding], damaged);
        }
        let (_, state) = whole(&[coding], b"\x1f\x8b not what it says".to_vec());
        assert_eq!(state, BodyState::Corrupt, "{coding:?}");
    }
}
