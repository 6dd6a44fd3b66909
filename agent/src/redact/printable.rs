//! Text that a terminal or a log shows as it is.

use std::{borrow::Cow, fmt::Write as _};

/// The text with control characters, line separators, and characters that change
/// the direction of text or are invisible, written as `\u{…}`.
///
/// A stranger's text can then neither forge lines of a log, nor steer a terminal,
/// nor read differently from what it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Almost all text is plain ASCII, for which bytes suffice.
    if text.bytes().all(|byte| matches!(byte, 0x20..0x7f)) || !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing to a string cannot fail.
            _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Controls, bidirectional controls (UAX #9), separators of lines and paragraphs,
/// zero-width and blank characters, interlinear annotations and tags.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied() {
        for text in ["", "plain text", "größe 名前 é"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(printable("a\r\nb\u{1b}[31m"), "a\\u{d}\\u{a}b\\u{1b}[31m");
        assert_eq!(printable("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn what_reorders_or_hides_text_is_escaped() {
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200b}"), "a\\u{202e}b\\u{2066}c\\u{200b}");
        assert_eq!(printable("a\u{2028}b"), "a\\u{2028}b");
    }
}
