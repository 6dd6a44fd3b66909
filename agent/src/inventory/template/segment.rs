//! What a segment of a path looks like: a fixed word, or a value of some kind.

use std::{borrow::Cow, net::Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Longest segment that is kept as a fixed word.
const WORD_MAX: usize = 64;

/// Shape of the values of a path parameter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Decimal digits.
    Integer,
    /// A decimal number or a pair of coordinates.
    Number,
    /// A UUID, with or without dashes.
    Uuid,
    /// A ULID.
    Ulid,
    /// 24 hexadecimal digits.
    ObjectId,
    /// Eight or more hexadecimal digits.
    Hex,
    /// Random letters and digits, such as base64url.
    Token,
    /// A JSON web token.
    Jwt,
    /// A date, with or without a time.
    Date,
    /// An e-mail address.
    Email,
    /// An IP address.
    Ip,
    /// A prefix and a number or token: `ord_8fj2`, `AB-1234`.
    PrefixedId,
    /// Words with a number: `blue-suede-shoes-42`.
    Slug,
    /// Free words; told from fixed ones by their number only.
    Name,
    /// Of several kinds, or of none that is known.
    Text,
}

impl Kind {
    /// The kind that covers both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            // A level of names stays one, whatever else is among the values: this
            // is what makes a restored template take in new names.
            (Self::Name, _) | (_, Self::Name) => Self::Name,
            _ => Self::Text,
        }
    }
}

/// A segment with a value in it: the text around the value and its kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// Text before the value.
    pub prefix: &'a str,
    /// Text after the value.
    pub suffix: &'a str,
    /// Kind of the value.
    pub kind: Kind,
}

/// Finds the value in a segment; `None` for a fixed word.
pub fn classify(segment: &str) -> Option<Part<'_>> {
    let whole = |kind| Some(Part { prefix: "", suffix: "", kind });
    if let Some(kind) = detect(segment) {
        return whole(kind);
    }
    if let Some(part) = keyed(segment) {
        return Some(part);
    }
    // `7.json`, `7:activate`: the value ends at the last separator.
    let (stem, suffix) = split_ending(segment);
    if !suffix.is_empty()
        && let Some(kind) = detect(stem)
        && kind != Kind::Slug
    {
        return Some(Part { prefix: "", suffix, kind });
    }
    (segment.len() > WORD_MAX).then_some(Part { prefix: "", suffix: "", kind: Kind::Text })
}

/// `Orders(7)`, `Orders('x')`, `Orders(id=7)` and `id='7'` (`OData`).
fn keyed(segment: &str) -> Option<Part<'_>> {
    let mut end = segment.len();
    let mut start = 0;
    if let Some(inner) = segment.strip_suffix(')') {
        let open = inner.find('(').filter(|&at| is_identifier(inner.get(..at).unwrap_or("")))?;
        (start, end) = (open + 1, inner.len());
    }
    let called = start > 0;
    let mut named = false;
    if let Some(equals) = segment.get(start..end)?.find('=')
        && is_identifier(segment.get(start..start + equals)?)
    {
        start += equals + 1;
        named = true;
    }
    let value = segment.get(start..end)?;
    if !(called || named) || value.is_empty() {
        return None;
    }
    let quoted = value.len() >= 2 && value.starts_with('\'') && value.ends_with('\'');
    let kind = if quoted {
        (start, end) = (start + 1, end - 1);
        detect(segment.get(start..end)?).unwrap_or(Kind::Name)
    } else {
        // `limits(seconds)` is a word, `limit=seconds` has a value.
        detect(value).or(named.then_some(Kind::Name))?
    };
    Some(Part { prefix: segment.get(..start)?, suffix: segment.get(end..)?, kind })
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// A segment and its ending (`.json`, `:activate`), which is empty when it has none.
pub fn split_ending(segment: &str) -> (&str, &str) {
    let split = segment.rfind(['.', ':']).and_then(|at| segment.split_at_checked(at));
    let found = split.filter(|(stem, ending)| !stem.is_empty() && is_ending(ending));
    found.unwrap_or((segment, ""))
}

/// `.json`, `.csv`, `:activate`.
fn is_ending(suffix: &str) -> bool {
    let max = if suffix.starts_with('.') { 6 } else { 32 };
    suffix.len() > 1
        && suffix.len() <= max
        && suffix.bytes().skip(1).all(|byte| byte.is_ascii_alphanumeric())
        && suffix.as_bytes().get(1).is_some_and(u8::is_ascii_alphabetic)
}

/// Kind of a whole segment when it looks like a value.
pub fn detect(segment: &str) -> Option<Kind> {
    let decoded: Cow<'_, str> = if segment.contains('%') {
        percent_encoding::percent_decode_str(segment).decode_utf8().ok()?
    } else {
        Cow::Borrowed(segment)
    };
    let text: &str = &decoded;
    let bytes = text.as_bytes();
    let len = bytes.len();
    let first = *bytes.first()?;
    if bytes.iter().all(u8::is_ascii_digit) {
        return Some(Kind::Integer);
    }
    let hex = bytes.iter().all(u8::is_ascii_hexdigit);
    if hex && len >= 8 && (len >= 16 || bytes.iter().any(u8::is_ascii_digit)) {
        return Some(match len {
            24 => Kind::ObjectId,
            32 => Kind::Uuid,
            _ => Kind::Hex,
        });
    }
    if is_uuid(bytes) {
        return Some(Kind::Uuid);
    }
    if is_date(bytes) {
        return Some(Kind::Date);
    }
    if is_number(bytes) {
        return Some(Kind::Number);
    }
    if first.is_ascii_digit() && text.parse::<std::net::Ipv4Addr>().is_ok()
        || bytes.contains(&b':') && text.parse::<Ipv6Addr>().is_ok()
    {
        return Some(Kind::Ip);
    }
    if text.starts_with("eyJ") && memchr::memchr_iter(b'.', bytes).count() == 2 {
        return Some(Kind::Jwt);
    }
    if is_email(text) {
        return Some(Kind::Email);
    }
    if len == 26
        && matches!(first, b'0'..=b'7')
        && bytes.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    {
        return Some(Kind::Ulid);
    }
    if is_prefixed(text) {
        return Some(Kind::PrefixedId);
    }
    if is_slug(text) {
        return Some(Kind::Slug);
    }
    super::token::is_token(text).then_some(Kind::Token)
}

/// A UUID with dashes, with or without braces.
pub fn is_uuid(bytes: &[u8]) -> bool {
    let bytes = match bytes {
        [b'{', inner @ .., b'}'] => inner,
        other => other,
    };
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `YYYY-MM`, `YYYY-MM-DD` or either with a time behind.
pub fn is_date(bytes: &[u8]) -> bool {
    let two = |at: usize| match bytes.get(at..at + 2) {
        Some(&[tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => Some((tens - b'0') * 10 + ones - b'0'),
        _ => None,
    };
    let month = bytes.get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit))
        && bytes.get(4) == Some(&b'-')
        && two(5).is_some_and(|month| (1..=12).contains(&month));
    let day = bytes.get(7) == Some(&b'-') && two(8).is_some_and(|day| (1..=31).contains(&day));
    month
        && match bytes.len() {
            7 => true,
            10 => day,
            _ => {
                day && matches!(bytes.get(10), Some(b'T' | b't' | b' ' | b'_')) && bytes.len() < 40
            }
        }
}

/// Signed decimals with three fraction digits or more, and lists of two: fewer
/// digits are as likely a version (`1.0`).
fn is_number(bytes: &[u8]) -> bool {
    let plain = |part: &[u8]| {
        let digits = part.strip_prefix(b"-").unwrap_or(part);
        digits.first().is_some_and(u8::is_ascii_digit)
            && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
            && memchr::memchr_iter(b'.', digits).count() <= 1
    };
    let mut parts = bytes.split(|&byte| byte == b',');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(one), None, None) => {
            plain(one)
                && (bytes.starts_with(b"-")
                    || bytes.iter().rev().position(|&byte| byte == b'.').is_some_and(|at| at >= 3))
        }
        (Some(one), Some(two), None) => plain(one) && plain(two),
        _ => false,
    }
}

/// One `@` between a local part and a domain with a dot.
pub fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.contains('@')
            && domain.len() <= 253
            && domain.split('.').count() >= 2
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
            && domain.split('.').all(|label| !label.is_empty())
    })
}

/// `ord_8fj2`, `AB-1234`, `CVR-1-3498`.
fn is_prefixed(text: &str) -> bool {
    if let Some((prefix, rest)) = text.rsplit_once('_') {
        return prefix.len() >= 2
            && prefix.len() <= 24
            && prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && rest.len() >= 4
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && (rest.bytes().any(|byte| byte.is_ascii_digit()) || super::token::is_token(rest));
    }
    let mut parts = text.split('-');
    let prefix = parts.next().unwrap_or("");
    let mut numbers = 0;
    let all = parts.all(|part| {
        numbers += 1;
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
    });
    all && numbers > 0
        && prefix.len() <= 10
        && prefix.starts_with(|first: char| first.is_ascii_uppercase())
        && prefix.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Lower-case words and a number: three words with two digits, or two with five.
fn is_slug(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let count = words.split('-').count();
    number.bytes().all(|byte| byte.is_ascii_digit())
        && number.len() >= if count >= 3 { 2 } else { 5 }
        && words.split('-').all(|word| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_by_their_shape() {
        for (segment, kind) in [
            ("7", Kind::Integer),
            ("550e8400-e29b-41d4-a716-446655440000", Kind::Uuid),
            ("550e8400e29b41d4a716446655440000", Kind::Uuid),
            ("01ARZ3NDEKTSV4RRFFQ69G5FAV", Kind::Ulid),
            ("507f1f77bcf86cd799439011", Kind::ObjectId),
            ("deadbeef1", Kind::Hex),
            ("2024-02-29", Kind::Date),
            ("2024-02-29T10:00:00Z", Kind::Date),
            ("ann@example.com", Kind::Email),
            ("ann%40example.com", Kind::Email),
            ("10.0.0.1", Kind::Ip),
            ("2001:db8::1", Kind::Ip),
            ("eyJhbGciOiJub25lIn0.e30.x", Kind::Jwt),
            ("ord_8fj2", Kind::PrefixedId),
            ("AB-1234", Kind::PrefixedId),
            ("how-to-cook-rice-42", Kind::Slug),
            ("exHwQKFZHFt", Kind::Token),
            ("9DwIm1PEoBptHWwr", Kind::Token),
            ("48.8566,2.3522", Kind::Number),
        ] {
            assert_eq!(detect(segment), Some(kind), "{segment}");
        }
    }

    #[test]
    fn words_stay_words() {
        for segment in [
            "users",
            "v1",
            "v2.1",
            "1.0",
            "api",
            "index.html",
            "user-groups",
            "doctype_legal",
            "AddImageWatermarkWord",
            "GetCustomerV2",
            "sha256",
            "oauth2",
            "facade",
            "ES00Documents",
            "facebook",
            "persons-with-significant-control",
            "",
            "%",
            "%ff",
            "é",
            "utf-8",
        ] {
            assert_eq!(classify(segment), None, "{segment}");
        }
    }

    #[test]
    fn the_text_around_a_value_is_kept() {
        for (segment, prefix, suffix) in [
            ("7.json", "", ".json"),
            ("7:activate", "", ":activate"),
            ("Orders(7)", "Orders(", ")"),
            ("Orders('x')", "Orders('", "')"),
            ("Orders(id=7)", "Orders(id=", ")"),
            ("id='7'", "id='", "'"),
            ("color=red", "color=", ""),
            ("Orders(color=red)", "Orders(color=", ")"),
        ] {
            let part = classify(segment).unwrap();
            assert_eq!((part.prefix, part.suffix), (prefix, suffix), "{segment}");
        }
    }
}
