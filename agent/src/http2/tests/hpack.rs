//! Blocks of another implementation's encoder, whole and joined midway.

use loona_hpack::Encoder;
use proptest::prelude::*;

use super::*;

type Field = (String, String);

/// What a block says, its unknown fields counted.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<(Vec<Field>, u32), Damaged> {
    let mut fields = Fields::new(64 * 1024);
    decoder.decode(block, false, &mut fields)?;
    let unknown = fields.unknown;
    let headers = fields.into_headers();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect(), unknown))
}

fn encode(encoder: &mut Encoder<'_>, fields: &[Field]) -> Vec<u8> {
    encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn field(name: &str, value: &str) -> Field {
    (name.into(), value.into())
}

#[test]
fn the_examples_of_the_rfc_are_decoded() {
    // RFC 7541 appendix C.4: requests with Huffman coding, then C.6: responses that evict.
    let requests: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let mut decoder = Decoder::new(true);
    let mut seen = Vec::new();
    for block in requests {
        let mut fields = Fields::new(1024);
        decoder.decode(block, false, &mut fields).unwrap();
        let head = (fields.method.clone().unwrap(), fields.path.clone().unwrap());
        seen.push((head.0.to_string(), head.1.to_string(), fields.into_headers().len()));
    }
    let expected = [("/", 1), ("/", 2), ("/index.html", 2)];
    assert_eq!(seen, expected.map(|(path, len)| ("GET".to_owned(), path.to_owned(), len)));
    assert_eq!(decoder.size, 164);
}

#[test]
fn what_does_not_fit_the_table_empties_it() {
    let mut decoder = Decoder::new(true);
    let big = "x".repeat(5000);
    let mut encoder = Encoder::new();
    let block = encode(&mut encoder, &[field("a", "b"), field("big", &big), field("c", "d")]);
    assert_eq!(decode(&mut decoder, &block).unwrap().0.len(), 3);
    assert_eq!(decoder.entries.len(), 1);
    assert_eq!(decode(&mut decoder, b"\xbe").unwrap(), (vec![field("c", "d")], 0));
    assert_eq!(decode(&mut decoder, b"\xbf"), Err(Damaged));
}

#[test]
fn an_update_of_the_size_evicts() {
    let mut decoder = Decoder::new(true);
    let mut encoder = Encoder::new();
    decode(&mut decoder, &encode(&mut encoder, &[field("a", "b"), field("c", "d")])).unwrap();
    assert_eq!(decode(&mut decoder, b"\x3f\x03\xbe").unwrap().0, [field("c", "d")]);
    assert_eq!(decoder.entries.len(), 1);
}

#[test]
fn joined_midway_older_entries_are_unknown_and_newer_ones_right() {
    let mut encoder = Encoder::new();
    let first = [field("x-old", "1"), field("x-older", "2")];
    encode(&mut encoder, &first);
    let mut decoder = Decoder::new(false);
    let second = [field("x-old", "1"), field("x-new", "3")];
    let block = encode(&mut encoder, &second);
    assert_eq!(decode(&mut decoder, &block).unwrap(), (vec![field("x-new", "3")], 1));
    let block = encode(&mut encoder, &second);
    assert_eq!(decode(&mut decoder, &block).unwrap(), (vec![field("x-new", "3")], 1));
}

#[test]
fn a_value_whose_name_is_unknown_is_not_told() {
    let mut decoder = Decoder::new(false);
    // A literal, inserted, with the name of an entry that was not seen; then that entry.
    assert_eq!(decode(&mut decoder, b"\x7e\x01v\xbe").unwrap(), (vec![], 2));
}

#[test]
fn once_the_table_is_full_of_what_was_seen_nothing_is_unknown() {
    let mut decoder = Decoder::new(false);
    // The peer says that its table has 64 bytes.
    assert_eq!(decode(&mut decoder, b"\x3f\x21\x40\x01a\x01b\xbf").unwrap_err(), Damaged);
    let mut decoder = Decoder::new(false);
    assert_eq!(decode(&mut decoder, b"\x3f\x49\x40\x01a\x01b\xbf").unwrap().1, 1);
}

#[test]
fn a_cut_block_is_read_as_far_as_it_goes() {
    let mut encoder = Encoder::new();
    let block = encode(&mut encoder, &[field("a", "b"), field("name", "value")]);
    for len in 0..block.len() {
        let mut decoder = Decoder::new(true);
        let mut fields = Fields::new(1024);
        decoder.decode(&block[..len], true, &mut fields).unwrap();
        assert!(fields.into_headers().len() < 2);
        // What was to come would have moved it.
        assert!(decoder.entries.is_empty() && decoder.older);
    }
}

#[test]
fn numbers_too_large_are_refused() {
    for block in
        [&b"\xff\xff\xff\xff\xff\xff\x01"[..], b"\x80", b"\x40\x85\xff\xff\xff\xff\xff\x00"]
    {
        assert_eq!(decode(&mut Decoder::new(true), block), Err(Damaged), "{block:?}");
    }
}

#[test]
fn a_block_does_not_insert_without_end() {
    let mut decoder = Decoder::new(false);
    // A name of 60 000 bytes, and then fields that are named by it.
    let name = [&[0x40, 0x7f, 0xe1, 0xd3, 0x03][..], &b"n".repeat(60_000), &[0]].concat();
    let mut fields = Fields::new(1024);
    decoder.decode(&name, false, &mut fields).unwrap();
    assert_eq!(decoder.entries.len(), 1);
    let block = [64 + 62, 0].repeat(1000);
    assert_eq!(decoder.decode(&block, false, &mut fields), Err(Damaged));
    assert!(decoder.inserted <= 2 * INSERTED_MAX);
}

fn blocks() -> impl Strategy<Value = Vec<Vec<Field>>> {
    let name =
        prop::sample::select(vec!["accept", "x-a", "x-b", "x-c", "etag", "user-agent", "te"]);
    let field = (name, "[a-c ]{0,40}").prop_map(|(name, value)| field(name, &value));
    prop::collection::vec(prop::collection::vec(field, 0..8), 1..40)
}

proptest! {
    #[test]
    fn joined_at_any_block_no_field_is_wrong(blocks in blocks(), join in any::<prop::sample::Index>()) {
        let mut encoder = Encoder::new();
        let join = join.index(blocks.len());
        let mut decoder = Decoder::new(join == 0);
        for (at, block) in blocks.iter().enumerate() {
            let wire = encode(&mut encoder, block);
            if at < join {
                continue;
            }
            let (seen, unknown) = decode(&mut decoder, &wire).unwrap();
            prop_assert_eq!(seen.len() + unknown as usize, block.len());
            prop_assert!(join > 0 || unknown == 0);
            // What is seen is, in order, what was sent without what is unknown.
            let mut sent = block.iter();
            for field in &seen {
                prop_assert!(sent.any(|it| it == field), "{:?} of {:?}", field, block);
            }
        }
    }

    #[test]
    fn damaged_blocks_never_panic_and_keep_the_bounds(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
        whole in any::<bool>(),
    ) {
        let mut decoder = Decoder::new(whole);
        for block in blocks {
            let mut fields = Fields::new(100);
            _ = decoder.decode(&block, false, &mut fields);
            prop_assert!(decoder.size <= KEPT_MAX);
            prop_assert!(fields.into_headers().iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= 100);
        }
    }
}
