//! Header compression (RFC 7541), joined at any time.
//!
//! Indices of the dynamic table count from its newest entry. So what is inserted after joining
//! is named right by every later index, whatever was in the table before, and an index beyond
//! that is of an entry that nobody saw inserted: unknown, and the block goes on behind it.
//! What the peer evicted meanwhile can only be at the old end, where no index leads any more.

use std::collections::VecDeque;

use httlib_huffman::DecoderSpeed;

use super::fields::Fields;

/// Bytes of entries that are kept, in the measure of RFC 7541 section 4.1: what browsers allow,
/// and 16 times what is allowed by default. What is older is unknown from then on.
const KEPT_MAX: usize = 64 * 1024;

/// Bytes that one block may insert. Entries may be named by others, so a few bytes may insert
/// many; what is more than the table holds several times is not inserted in earnest.
const INSERTED_MAX: usize = 4 * KEPT_MAX;

/// What an entry costs beside its text (RFC 7541 section 4.1).
const ENTRY: usize = 32;

/// Size of a dynamic table at the start (RFC 9113 section 6.5.2).
const SIZE: usize = 4096;

/// A block that no encoder makes, or one of a table that is not as it is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Damaged;

/// A field of the dynamic table.
#[derive(Debug)]
struct Entry {
    /// Name and value; `None` when the name is that of an entry that is not known.
    field: Option<Box<[u8]>>,
    /// Where the value begins.
    value: usize,
    /// In the measure of RFC 7541 section 4.1; without a name that is not known.
    size: usize,
}

impl Entry {
    fn new(name: Option<&[u8]>, value: &[u8]) -> Self {
        let field = name.map(|name| [name, value].concat().into());
        let name = name.map_or(0, <[u8]>::len);
        Self { field, value: name, size: name + value.len() + ENTRY }
    }

    fn field(&self) -> Option<(&[u8], &[u8])> {
        self.field.as_ref()?.split_at_checked(self.value)
    }
}

/// A name and a value.
type Found<'a> = (&'a [u8], &'a [u8]);

/// Decodes the header blocks of one direction, in their order.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Their size.
    size: usize,
    /// Size of the peer's table at most, where that is known.
    limit: Option<usize>,
    /// There may be entries that were not seen inserted.
    older: bool,
    /// Bytes that the current block has inserted.
    inserted: usize,
    /// Texts that were Huffman-coded, while they are needed.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Of a direction that is seen from its start, when `whole`, or joined midway.
    pub(super) const fn new(whole: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: if whole { Some(SIZE) } else { None },
            older: !whole,
            inserted: 0,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// A block, or a part of one, was not seen: all that was in the table is at another
    /// index now, if it still is.
    pub(super) fn lost(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.limit = None;
        self.older = true;
    }

    /// Decodes a block into `fields`. Of a block that is `cut` only the beginning is there.
    /// After an error the table is as after [`lost`](Self::lost), and `fields` has what came
    /// before.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        cut: bool,
        fields: &mut Fields,
    ) -> Result<(), Damaged> {
        let mut rest = block;
        self.inserted = 0;
        while !rest.is_empty() {
            match self.field(rest, fields) {
                Ok(after) => rest = after,
                Err(short) => {
                    self.lost();
                    return if cut && short == Short::More { Ok(()) } else { Err(Damaged) };
                }
            }
        }
        if cut {
            self.lost();
        }
        Ok(())
    }

    /// Decodes one field, or one update of the size; what is behind it.
    fn field<'a>(&mut self, bytes: &'a [u8], fields: &mut Fields) -> Result<&'a [u8], Short> {
        let first = bytes.first().copied().unwrap_or_default();
        if first & 0x80 != 0 {
            let (index, rest) = integer(bytes, 7)?;
            match self.find(index)? {
                Some((name, value)) => fields.push(name, value),
                None => fields.push_unknown(),
            }
            return Ok(rest);
        }
        if first & 0xe0 == 0x20 {
            let (size, rest) = integer(bytes, 5)?;
            self.resize(size);
            return Ok(rest);
        }
        let indexed = first & 0x40 != 0;
        let (index, rest) = integer(bytes, if indexed { 6 } else { 4 })?;
        let (mut name, mut value) =
            (std::mem::take(&mut self.name), std::mem::take(&mut self.value));
        let result = self.literal(index, rest, indexed, (&mut name, &mut value), fields);
        (self.name, self.value) = (name, value);
        result
    }

    fn literal<'a>(
        &mut self,
        index: usize,
        rest: &'a [u8],
        indexed: bool,
        (name_text, value_text): (&mut Vec<u8>, &mut Vec<u8>),
        fields: &mut Fields,
    ) -> Result<&'a [u8], Short> {
        let (name, rest) = if index == 0 {
            let (name, rest) = string(rest, name_text)?;
            (Some(name), rest)
        } else {
            match self.find(index)? {
                Some((name, _)) if indexed => {
                    // What is inserted may push out the entry that named it.
                    name_text.clear();
                    name_text.extend_from_slice(name);
                    (Some(name_text.as_slice()), rest)
                }
                Some((name, _)) => {
                    let (value, rest) = string(rest, value_text)?;
                    fields.push(name, value);
                    return Ok(rest);
                }
                None => (None, rest),
            }
        };
        let (value, rest) = string(rest, value_text)?;
        match name {
            Some(name) => fields.push(name, value),
            None => fields.push_unknown(),
        }
        if indexed {
            let entry = Entry::new(name, value);
            self.inserted += entry.size;
            if self.inserted > INSERTED_MAX {
                return Err(Short::Damaged);
            }
            self.insert(entry);
        }
        Ok(rest)
    }

    /// The field that an index leads to; `None` when it is not known.
    fn find(&self, index: usize) -> Result<Option<Found<'_>>, Short> {
        let index = index.checked_sub(1).ok_or(Short::Damaged)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok(Some((name.as_bytes(), value.as_bytes())));
        }
        let index = index - STATIC.len();
        match self.entries.get(index) {
            Some(entry) => Ok(entry.field()),
            None if self.may_have(index) => Ok(None),
            None => Err(Short::Damaged),
        }
    }

    /// Whether the peer's table may have an entry there, by its size.
    fn may_have(&self, index: usize) -> bool {
        let room = self.limit.unwrap_or(KEPT_MAX).saturating_sub(self.size);
        self.older && index.saturating_sub(self.entries.len()) < room / ENTRY
    }

    fn insert(&mut self, entry: Entry) {
        self.size += entry.size;
        self.entries.push_front(entry);
        self.evict();
    }

    fn resize(&mut self, size: usize) {
        self.limit = Some(size);
        self.evict();
    }

    fn evict(&mut self) {
        let limit = self.limit.unwrap_or(usize::MAX);
        while self.size > limit.min(KEPT_MAX) {
            let Some(entry) = self.entries.pop_back() else { break };
            // What was older is gone from the peer's table before one that was seen.
            self.older = self.size <= limit;
            self.size -= entry.size;
        }
    }
}

/// Why no field was decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Short {
    /// The block ends before the field does.
    More,
    Damaged,
}

/// An integer with a prefix of so many bits (RFC 7541 section 5.1), and what is behind it.
fn integer(bytes: &[u8], prefix: u32) -> Result<(usize, &[u8]), Short> {
    let (&first, mut rest) = bytes.split_first().ok_or(Short::More)?;
    let mask = (1_usize << prefix) - 1;
    let mut number = usize::from(first) & mask;
    if number < mask {
        return Ok((number, rest));
    }
    // Four bytes are a quarter of a gigabyte more than any header block has.
    for shift in [0, 7, 14, 21] {
        let (&byte, after) = rest.split_first().ok_or(Short::More)?;
        rest = after;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number, rest));
        }
    }
    Err(Short::Damaged)
}

/// A string (RFC 7541 section 5.2), decoded into `text` if it has to be, and what is behind it.
fn string<'a, 'b: 'a>(
    bytes: &'b [u8],
    text: &'a mut Vec<u8>,
) -> Result<(&'a [u8], &'b [u8]), Short> {
    let coded = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let (len, rest) = integer(bytes, 7)?;
    let (string, rest) = rest.split_at_checked(len).ok_or(Short::More)?;
    if !coded {
        return Ok((string, rest));
    }
    text.clear();
    match httlib_huffman::decode(string, text, DecoderSpeed::FourBits) {
        Ok(()) => Ok((text, rest)),
        Err(_) => Err(Short::Damaged),
    }
}

/// The static table (RFC 7541 appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
#[path = "tests/hpack.rs"]
mod tests;
