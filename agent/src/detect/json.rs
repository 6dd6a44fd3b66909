//! Walks through the scalars of a JSON text that may be cut off or no JSON at all.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::redact;

/// Bytes of a body that are looked at.
pub(super) const BODY_MAX: usize = 64 << 10;
/// Levels whose names are known; what lies deeper is passed over.
const DEPTH_MAX: usize = 32;
/// Bytes of a name that tell it from others.
const NAME_MAX: usize = 64;
/// Longest path that is shown, roughly.
const SHOWN_MAX: usize = 160;

/// A scalar, as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scalar<'a> {
    /// A string without its quotes, escapes left in.
    Text(&'a [u8]),
    /// A number.
    Number(&'a [u8]),
}

/// Where a scalar is.
#[derive(Debug, Default)]
pub(super) struct Path<'a> {
    levels: SmallVec<[Level<'a>; DEPTH_MAX]>,
    /// Levels below the deepest that is known.
    below: usize,
}

#[derive(Clone, Copy, Debug)]
enum Level<'a> {
    Object(&'a [u8]),
    Array,
}

/// Calls `visit` for each scalar of the first 64 KiB of `bytes`, until it breaks.
/// Takes time linear in the bytes, and no memory.
pub(super) fn scan<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(&Path<'a>, Scalar<'a>) -> ControlFlow<()>,
) {
    let bytes = bytes.get(..BODY_MAX).unwrap_or(bytes);
    let mut path = Path::default();
    // The next string of this object is a name.
    let mut name_next = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                let object = byte == b'{';
                path.push(if object { Level::Object(&[]) } else { Level::Array });
                name_next = object;
            }
            b'}' | b']' => {
                path.pop();
                name_next = false;
            }
            b',' => name_next = path.in_object(),
            b':' => name_next = false,
            b'"' => {
                let Some(len) = string_len(bytes.get(at..).unwrap_or_default()) else { return };
                let text = bytes.get(at..at + len).unwrap_or_default();
                at += len + 1;
                if name_next {
                    path.rename(text);
                    name_next = false;
                } else if path.below == 0 && visit(&path, Scalar::Text(text)).is_break() {
                    return;
                }
            }
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let in_number =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
                let Some(len) = rest.iter().position(|byte| !in_number(byte)) else { return };
                let number = bytes.get(at - 1..at + len).unwrap_or_default();
                at += len;
                if path.below == 0 && visit(&path, Scalar::Number(number)).is_break() {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Bytes up to the quote that ends a string; `None` when it does not end.
fn string_len(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

impl<'a> Path<'a> {
    fn push(&mut self, level: Level<'a>) {
        if self.below > 0 || self.levels.len() >= DEPTH_MAX {
            self.below += 1;
        } else {
            self.levels.push(level);
        }
    }

    fn pop(&mut self) {
        if self.below > 0 {
            self.below -= 1;
        } else {
            self.levels.pop();
        }
    }

    fn in_object(&self) -> bool {
        self.below == 0 && matches!(self.levels.last(), Some(Level::Object(_)))
    }

    fn rename(&mut self, name: &'a [u8]) {
        if self.below == 0
            && let Some(Level::Object(own)) = self.levels.last_mut()
        {
            *own = name;
        }
    }

    /// Names from the innermost out.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.levels.iter().rev().filter_map(|level| match level {
            Level::Object(name) => Some(*name),
            Level::Array => None,
        })
    }

    /// The innermost name; that of an array stands for its items.
    pub(super) fn name(&self) -> &'a [u8] {
        self.names().next().unwrap_or_default()
    }

    /// Levels around the scalar.
    pub(super) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Tells fields apart: items of one array have the same.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        for level in &self.levels {
            match level {
                Level::Object(name) => {
                    add(b'.');
                    name.iter().take(NAME_MAX).for_each(|byte| add(*byte));
                }
                Level::Array => add(b'['),
            }
        }
        hash
    }

    /// The path as it may be shown, e.g. `$.users[].email`. Names that are data are
    /// left out.
    pub(super) fn shown(&self) -> String {
        let mut shown = String::from("$");
        for level in &self.levels {
            if shown.len() > SHOWN_MAX {
                shown.push('…');
                break;
            }
            match level {
                Level::Array => shown.push_str("[]"),
                Level::Object(name) => {
                    shown.push('.');
                    match std::str::from_utf8(name) {
                        // The key of a map, not the name of a field.
                        Ok(name) if is_id(name) => shown.push('*'),
                        Ok(name) => shown.push_str(&redact::name(name)),
                        Err(_) => shown.push_str(redact::REDACTED),
                    }
                }
            }
        }
        shown
    }
}

/// Digits, as of a number or a UUID, more than letters that make a word.
fn is_id(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    digits * 3 > name.len() || name.contains(['@', ' ', '\\', '/'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        scan(text, |path, scalar| {
            let (Scalar::Text(value) | Scalar::Number(value)) = scalar;
            found.push(format!("{}={}", path.shown(), String::from_utf8_lossy(value)));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn scalars_have_their_paths() {
        let text = br#"{"a":"x\"y","users":[{"email":"m","n":-1.5e3},{"email":"o"}],
            "deep":{"b":["c",true,null,{}]},"last":7}"#;
        let expected = [
            r#"$.a=x\"y"#,
            "$.users[].email=m",
            "$.users[].n=-1.5e3",
            "$.users[].email=o",
            "$.deep.b[]=c",
            "$.last=7",
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn what_is_cut_off_is_not_a_value() {
        assert_eq!(found(br#"{"a":"b","c":"de"#), ["$.a=b"]);
        assert_eq!(found(br#"{"a":12"#), Vec::<String>::new());
        assert_eq!(found(br#"{"a":"b\"#), Vec::<String>::new());
    }

    #[test]
    fn names_that_are_data_are_not_shown() {
        let text = br#"{"alice@example.com":{"x":1},"12345":{"y":2},
            "3fa85f64-5717-4562-b3fc-2c963f66afa6":{"line1":3},"Alice Smith":4}"#;
        assert_eq!(found(text), ["$.*.x=1", "$.*.y=2", "$.*.line1=3", "$.*=4"]);
    }

    #[test]
    fn very_deep_texts_are_passed_over() {
        let deep = format!("{}\"x\"{},\"y\"]", "[".repeat(1000), "]".repeat(999));
        assert_eq!(found(deep.as_bytes()), ["$[]=y"]);
        assert!(found(&b"[".repeat(1 << 17)).is_empty());
        assert!(found(&b"{\"".repeat(1 << 17)).len() < BODY_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_through(bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(br#"{}[]":,\-0e"#.to_vec()), any::<u8>()], 0..300)
        ) {
            drop(found(&bytes));
        }
    }
}
