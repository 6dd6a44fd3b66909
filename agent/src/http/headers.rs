//! Header fields over the bytes they came in.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// Header fields of one message, in order, as slices of its head.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    head: Bytes,
    fields: SmallVec<[(Range<u32>, Range<u32>); 12]>,
}

impl Headers {
    /// Fields over `head`: ranges of name and value. Ranges outside `head` read
    /// as empty.
    pub fn new(head: Bytes, fields: impl IntoIterator<Item = (Range<u32>, Range<u32>)>) -> Self {
        Self { head, fields: fields.into_iter().collect() }
    }

    /// Copies fields from name and value pairs; for messages that did not come
    /// from a wire.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut head = Vec::new();
        let mut fields = SmallVec::new();
        let put = |head: &mut Vec<u8>, text: &str| {
            let start = u32::try_from(head.len()).unwrap_or(u32::MAX);
            head.extend_from_slice(text.as_bytes());
            start..u32::try_from(head.len()).unwrap_or(u32::MAX)
        };
        for (name, value) in pairs {
            let name = put(&mut head, name);
            let value = put(&mut head, value);
            fields.push((name, value));
        }
        Self { head: head.into(), fields }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// No fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Name and value of each field, in order, as sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> + '_ {
        self.fields.iter().map(|(name, value)| {
            (std::str::from_utf8(self.slice(name)).unwrap_or(""), self.slice(value))
        })
    }

    /// Name and value of each field, in order, as bytes.
    pub(super) fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.fields.iter().map(|(name, value)| (self.slice(name), self.slice(value)))
    }

    /// Value of the first field of this name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|(field, _)| self.slice(field).eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| self.slice(value))
    }

    /// Value of the first field of this name when it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Values of all fields of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields
            .iter()
            .filter(move |(field, _)| self.slice(field).eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| self.slice(value))
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.head.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}
