//! A path cut into what the trie stores.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use smallvec::SmallVec;

use super::{
    segment::{self, Kind, Part},
    words,
};
use crate::redact;

/// Longest path that is templated.
const PATH_MAX: usize = 2048;
/// Most segments of one.
const DEPTH_MAX: usize = 32;

/// What may not stand in a URI (RFC 3986), braces first of all: in a route they
/// mean a parameter.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// One level of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment<'a> {
    /// Fixed text, or text with `{}` for the value. Fixed text has no braces.
    pub key: Cow<'a, str>,
    /// Kind of the value; `None` for fixed text.
    pub kind: Option<Kind>,
}

/// A path cut at its slashes; empty segments and `;` parameters are dropped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path<'a> {
    pub(super) segments: SmallVec<[Segment<'a>; 12]>,
}

impl<'a> Path<'a> {
    /// `None` when it does not start with a slash, is longer than 2048 bytes or
    /// has more than 32 segments.
    pub fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix('/').filter(|_| path.len() <= PATH_MAX)?;
        let mut segments = SmallVec::new();
        let mut after_api = false;
        let mut parts = rest
            .split('/')
            .map(|part| part.split(';').next().unwrap_or(part))
            .filter(|part| !part.is_empty())
            .peekable();
        let mut before = "";
        while let Some(part) = parts.next() {
            if segments.len() == DEPTH_MAX {
                return None;
            }
            let first = segments.is_empty();
            let small = part.len() <= if first { 1 } else { 2 };
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            // `/1/users` and `/rest/api/3/users` name versions.
            let version = digits && small && (first || after_api) && parts.peek().is_some();
            let found = segment::classify(part).filter(|found| {
                let whole = found.prefix.is_empty() && found.suffix.is_empty();
                let sure = matches!(found.kind, Kind::Integer | Kind::Uuid) && whole;
                // `Orders(7)` and `id=7` say themselves what is a value.
                !version && (!first || sure || part.len() > 64 || !found.prefix.is_empty())
            });
            // A route is shown, so whatever may be a secret is a value, wherever it is.
            let found = found.or_else(|| {
                let text = Part { prefix: "", suffix: "", kind: Kind::Text };
                // What `name=value` is was said already; what is left hides one.
                let secret = part.contains('=')
                    || redact::is_secret(part)
                    || redact::is_secret_after(before, part);
                secret.then_some(text)
            });
            after_api = words::is_version(part);
            before = part;
            segments.push(match found {
                None => Segment { key: escape(part), kind: None },
                Some(found) => Segment {
                    key: if found.prefix.is_empty() && found.suffix.is_empty() {
                        Cow::Borrowed("{}")
                    } else {
                        let (prefix, suffix) = (escape(found.prefix), escape(found.suffix));
                        Cow::Owned(format!("{prefix}{{}}{suffix}"))
                    },
                    kind: Some(found.kind),
                },
            });
        }
        Some(Self { segments })
    }

    /// Reads back a route of this inventory; `kinds` are those of its parameters,
    /// in order.
    pub fn of_route(route: &'a str, kinds: &[Kind]) -> Option<Self> {
        let rest = route.strip_prefix('/').filter(|_| route.len() <= 4 * PATH_MAX)?;
        let mut kinds = kinds.iter().copied();
        let mut segments = SmallVec::new();
        for part in rest.split('/').filter(|part| !part.is_empty()) {
            if segments.len() == DEPTH_MAX {
                return None;
            }
            segments.push(match (part.split_once('{'), part.rsplit_once('}')) {
                (Some((prefix, _)), Some((_, suffix))) => Segment {
                    key: Cow::Owned(format!("{prefix}{{}}{suffix}")),
                    kind: Some(kinds.next().unwrap_or(Kind::Text)),
                },
                _ => Segment { key: escape(part), kind: None },
            });
        }
        Some(Self { segments })
    }
}

fn escape(text: &str) -> Cow<'_, str> {
    // Percent-encoding would also take the non-ASCII letters, which are readable.
    if text.bytes().all(|byte| byte >= 0x80 || !is_reserved(byte)) {
        return Cow::Borrowed(text);
    }
    utf8_percent_encode(text, RESERVED).into()
}

fn is_reserved(byte: u8) -> bool {
    byte.is_ascii_control() || b" \"<>\\^`{|}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str) -> Vec<String> {
        let path = Path::parse(path).unwrap();
        path.segments.iter().map(|segment| segment.key.clone().into_owned()).collect()
    }

    #[test]
    fn values_become_braces_and_literal_braces_do_not() {
        assert_eq!(keys("/users/7/a{b}\"c"), ["users", "{}", "a%7Bb%7D%22c"]);
        assert_eq!(keys("/a//b;session=1/"), ["a", "b"]);
        assert_eq!(keys("/"), [""; 0]);
    }

    #[test]
    fn versions_and_first_segments_stay() {
        assert_eq!(keys("/1/user/7"), ["1", "user", "{}"]);
        assert_eq!(keys("/rest/api/3/project/10"), ["rest", "api", "3", "project", "{}"]);
        assert_eq!(keys("/v1/7"), ["v1", "{}"]);
        assert_eq!(keys("/AB-1234/x"), ["AB-1234", "x"]);
        assert_eq!(keys("/Orders(7)/Lines"), ["Orders({})", "Lines"]);
        assert_eq!(keys("/Orders('a')/Lines"), ["Orders('{}')", "Lines"]);
        assert_eq!(keys("/42"), ["{}"]);
    }

    #[test]
    fn secrets_are_values_wherever_they_are() {
        for (path, expected) in [
            ("/ann@example.com/inbox", ["{}", "inbox"]),
            ("/eyJhbGciOiJub25lIn0.e30.c2ln/inbox", ["{}", "inbox"]),
            ("/f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R/inbox", ["{}", "inbox"]),
            ("/users/ann:+4930123456", ["users", "{}"]),
            ("/token=plain/inbox", ["token={}", "inbox"]),
            ("/inbox/token=plain", ["inbox", "token={}"]),
        ] {
            assert_eq!(keys(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        assert_eq!(Path::parse("*"), None);
        assert_eq!(Path::parse("example.com:443"), None);
        assert_eq!(Path::parse(&"/a".repeat(33)), None);
        assert_eq!(Path::parse(&format!("/{}", "a".repeat(3000))), None);
    }
}
