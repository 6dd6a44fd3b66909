//! Heads that are not to the letter but that peers understand: rewritten to what
//! they mean.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    Notes,
    head::{self, Kind},
};

/// Rewrites a whole head: lines folded into one (obs-fold), no white space before
/// the colon, bytes of the target that are not UTF-8 percent-encoded, lines that
/// are no fields left out. `None` when its first line can not be saved.
pub(super) fn rewrite(kind: Kind, bytes: &[u8]) -> Option<(Vec<u8>, Notes)> {
    let mut notes = Notes::default();
    if head::bare_lf(bytes) {
        notes.insert(Notes::BARE_LF);
    }
    let mut lines =
        bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next()?;
    let mut copy = Vec::with_capacity(bytes.len());
    match kind {
        Kind::Request => request_line(first, &mut copy, &mut notes)?,
        // Status lines fail for their reason phrase, which nobody needs.
        Kind::Response => {
            let status = first.get(..12)?;
            copy.extend_from_slice(status);
            copy.push(b' ');
            let reason = first.get(13..).unwrap_or_default();
            if reason.iter().all(|&byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
                copy.extend_from_slice(reason);
            } else {
                notes.insert(Notes::LENIENT);
            }
        }
    }
    // Whether the last line was a field: only such a one can go on.
    let mut field = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let [b' ' | b'\t', ..] = line {
            if field {
                notes.insert(Notes::OBS_FOLD);
                copy.push(b' ');
                value(line.trim_ascii(), &mut copy, &mut notes);
            } else {
                notes.insert(Notes::LENIENT);
            }
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let name = colon.and_then(|colon| line.get(..colon)).unwrap_or_default();
        let trimmed = name.trim_ascii_end();
        field = !trimmed.is_empty() && trimmed.iter().all(|&byte| head::is_token(byte));
        if !field {
            notes.insert(Notes::LENIENT);
            continue;
        }
        if trimmed.len() != name.len() {
            notes.insert(Notes::LENIENT);
        }
        copy.extend_from_slice(b"\r\n");
        copy.extend_from_slice(trimmed);
        copy.extend_from_slice(b": ");
        let rest = colon.and_then(|colon| line.get(colon + 1..)).unwrap_or_default();
        value(rest.trim_ascii(), &mut copy, &mut notes);
    }
    copy.extend_from_slice(b"\r\n\r\n");
    Some((copy, notes))
}

/// Method, target and version, whatever is between them.
fn request_line(line: &[u8], copy: &mut Vec<u8>, notes: &mut Notes) -> Option<()> {
    let line = line.trim_ascii();
    let start = line.iter().position(|&byte| byte == b' ')?;
    let end = line.iter().rposition(|&byte| byte == b' ')?;
    let target = line.get(start..end)?.trim_ascii();
    copy.extend_from_slice(line.get(..=start)?);
    let encoded = self::target(target);
    if let Cow::Owned(_) = encoded {
        notes.insert(Notes::LENIENT);
    }
    copy.extend_from_slice(encoded.as_bytes());
    copy.extend_from_slice(line.get(end..)?);
    Some(())
}

/// A request target; control characters, spaces and bytes that are not UTF-8 percent-encoded.
pub(crate) fn target(bytes: &[u8]) -> Cow<'_, str> {
    let odd = |char: char| char <= ' ' || char == '\x7f';
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(odd)
    {
        return text.into();
    }
    let mut encoded = String::with_capacity(bytes.len());
    // Writing to a string does not fail.
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if odd(char) {
                _ = write!(encoded, "%{:02X}", u32::from(char));
            } else {
                encoded.push(char);
            }
        }
        for byte in chunk.invalid() {
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded.into()
}

/// A field value; control characters become spaces (RFC 9110 section 5.5).
fn value(text: &[u8], copy: &mut Vec<u8>, notes: &mut Notes) {
    for &byte in text {
        let control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
        if control {
            notes.insert(Notes::LENIENT);
        }
        copy.push(if control { b' ' } else { byte });
    }
}
