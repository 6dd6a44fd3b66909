//! Text that fits: into columns of a table and lines of a page. What comes from
//! outside is escaped here, so that no caller can forget it.

use ratatui::{style::Style, text::Span};

use crate::redact::printable;

/// Longest grapheme shown, in bytes: a letter may carry any number of marks, and
/// a cell that holds thousands of them stalls a terminal.
const GRAPHEME_MAX: usize = 32;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The graphemes of a text with the columns that each takes.
fn graphemes(text: &str) -> Vec<(String, usize)> {
    Span::raw(text)
        .styled_graphemes(Style::new())
        .map(|grapheme| {
            let symbol = grapheme.symbol;
            if symbol.len() > GRAPHEME_MAX {
                ("\u{fffd}".to_owned(), 1)
            } else {
                (symbol.to_owned(), width(symbol))
            }
        })
        .collect()
}

/// The text, escaped, in at most `columns`; what is cut off is marked by `…`.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let bounded = head(text, columns);
    let cut = bounded.len() < text.len();
    let text = printable(bounded);
    let graphemes = graphemes(&text);
    let total = graphemes.iter().map(|(_, width)| width).sum::<usize>();
    if total <= columns && !cut {
        return graphemes.into_iter().map(|(symbol, _)| symbol).collect();
    }
    let mut out = String::new();
    let mut used = 0;
    for (symbol, width) in graphemes {
        // One column is left for the mark.
        if used + width + 1 > columns {
            break;
        }
        used += width;
        out.push_str(&symbol);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// The text, escaped and fitted, filled up with spaces to exactly `columns`.
pub(super) fn pad(text: &str, columns: usize, right: bool) -> String {
    let text = fit(text, columns);
    let space = " ".repeat(columns.saturating_sub(width(&text)));
    if right { space + &text } else { text + &space }
}

/// The text, escaped, in lines of at most `columns`, broken at spaces where
/// there are any.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in printable(text).split(' ').filter(|word| !word.is_empty()) {
        let graphemes = graphemes(word);
        let length = graphemes.iter().map(|(_, width)| width).sum::<usize>();
        if used > 0 && used + 1 + length > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for (symbol, width) in graphemes {
            if used + width > columns && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push_str(&symbol);
            used += width;
        }
    }
    if used > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// As much of a text as can matter in `columns`: what is cut is not looked at.
fn head(text: &str, columns: usize) -> &str {
    let most = columns.saturating_mul(GRAPHEME_MAX).saturating_add(GRAPHEME_MAX);
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitted_text_never_exceeds_its_columns() {
        for text in ["/users/7", "日本語のパス", "a\u{202e}b", "\x1b[2J", "👨‍👩‍👧‍👦👍", "", "e\u{301}é"]
        {
            for columns in 0..16 {
                let fitted = fit(text, columns);
                assert!(width(&fitted) <= columns, "{fitted:?} in {columns}");
                assert_eq!(width(&pad(text, columns, true)), columns);
                for line in wrap(text, columns.max(2)) {
                    assert!(width(&line) <= columns.max(2), "{line:?} in {columns}");
                }
            }
        }
    }

    #[test]
    fn a_cut_is_marked_and_wide_characters_are_not_halved() {
        assert_eq!(fit("/users/7", 8), "/users/7");
        assert_eq!(fit("/users/7", 7), "/users…");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
    }

    #[test]
    fn piled_up_marks_are_replaced() {
        let zalgo = format!("a{}b", "\u{301}".repeat(1000));
        assert_eq!(fit(&zalgo, 10), "\u{fffd}…");
        let mut huge = "x".repeat(1_000_000);
        huge.push('y');
        assert_eq!(fit(&huge, 4), "xxx…");
    }

    #[test]
    fn lines_break_at_spaces_or_within_long_words() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a\nb", 10), ["a\\u{a}b"]);
    }
}
