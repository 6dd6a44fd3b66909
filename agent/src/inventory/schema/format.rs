//! Formats of strings, told by their syntax.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::inventory::template::segment;

/// A format of JSON Schema.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// RFC 3339 date and time.
    DateTime,
    /// RFC 3339 date.
    Date,
    /// RFC 9562.
    Uuid,
    /// RFC 5321.
    Email,
    /// RFC 3986, with an authority.
    Uri,
    /// Dotted quad.
    Ipv4,
    /// RFC 4291.
    Ipv6,
}

impl Format {
    /// The word of JSON Schema.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DateTime => "date-time",
            Self::Date => "date",
            Self::Uuid => "uuid",
            Self::Email => "email",
            Self::Uri => "uri",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// Format of a string; `None` when it has none of them.
    pub fn of(text: &str) -> Option<Self> {
        // By length first: most strings are words or sentences, and cost nothing.
        let len = text.len();
        let bytes = text.as_bytes();
        let first = bytes.first()?;
        if first.is_ascii_digit() {
            if len == 10 && segment::is_date(bytes) {
                return Some(Self::Date);
            }
            if (20..=35).contains(&len) && segment::is_date(bytes) && has_offset(bytes) {
                return Some(Self::DateTime);
            }
            if (7..=15).contains(&len) && text.parse::<Ipv4Addr>().is_ok() {
                return Some(Self::Ipv4);
            }
        }
        if len == 36 && segment::is_uuid(bytes) {
            return Some(Self::Uuid);
        }
        if (2..=39).contains(&len)
            && (first.is_ascii_hexdigit() || *first == b':')
            && memchr::memchr(b':', bytes).is_some()
            && text.parse::<Ipv6Addr>().is_ok()
        {
            return Some(Self::Ipv6);
        }
        if !first.is_ascii_alphanumeric() || len > 2048 || memchr::memchr(b' ', bytes).is_some() {
            return None;
        }
        if first.is_ascii_alphabetic()
            && let Some((scheme, rest)) = text.split_once("://")
        {
            let named = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            let valid = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
            return (named && !rest.is_empty() && rest.bytes().all(valid)).then_some(Self::Uri);
        }
        (len <= 254 && memchr::memchr(b'@', bytes).is_some() && segment::is_email(text))
            .then_some(Self::Email)
    }
}

/// `Z` or `+hh:mm` at the end.
fn has_offset(bytes: &[u8]) -> bool {
    match bytes {
        [.., b'Z' | b'z'] => true,
        [.., b'+' | b'-', a, b, b':', c, d] => [a, b, c, d].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_syntax() {
        for (text, format) in [
            ("2024-02-29", Some(Format::Date)),
            ("2024-02-29T10:00:00Z", Some(Format::DateTime)),
            ("2024-02-29T10:00:00.123+02:00", Some(Format::DateTime)),
            ("2024-02-29T10:00:00", None),
            ("550e8400-e29b-41d4-a716-446655440000", Some(Format::Uuid)),
            ("ann@example.com", Some(Format::Email)),
            ("https://example.com/a?b=c", Some(Format::Uri)),
            ("10.0.0.1", Some(Format::Ipv4)),
            ("2001:db8::1", Some(Format::Ipv6)),
            ("::1", Some(Format::Ipv6)),
            ("ann at example", None),
            ("a:b", None),
            ("", None),
            ("2024-13-01", None),
        ] {
            assert_eq!(Format::of(text), format, "{text}");
        }
    }
}
