//! Bodies: where they end (RFC 9112 section 6), and what of them was captured.

use bytes::{Bytes, BytesMut};

use super::{Body, BodyState, Headers, Limits, Notes, chunked::Chunked, coding};

/// How a message says where its body ends.
#[derive(Debug)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many more bytes.
    Length(u64),
    /// After the last chunk.
    Chunked(Chunked),
    /// With the direction.
    Close,
    /// Not known: the header fields contradict each other, or bytes are missing
    /// that would tell.
    Unknown,
}

impl Framing {
    /// Framing of a request of these fields.
    pub(super) fn of_request(headers: &Headers, notes: &mut Notes) -> Self {
        match Fields::read(headers, notes) {
            Fields { coding: Some(true), .. } => Self::Chunked(Chunked::default()),
            // A request whose last transfer coding is another one has no end.
            Fields { coding: Some(false), .. } | Fields { length: Some(Err(())), .. } => {
                Self::Unknown
            }
            Fields { length: Some(Ok(0)) | None, .. } => Self::None,
            Fields { length: Some(Ok(length)), .. } => Self::Length(length),
        }
    }

    /// Framing of a final response of these fields that may have a body.
    pub(super) fn of_response(headers: &Headers, notes: &mut Notes) -> Self {
        match Fields::read(headers, notes) {
            Fields { coding: Some(true), .. } => Self::Chunked(Chunked::default()),
            Fields { coding: Some(false), .. } | Fields { length: None, .. } => Self::Close,
            Fields { length: Some(Ok(0)), .. } => Self::None,
            Fields { length: Some(Ok(length)), .. } => Self::Length(length),
            Fields { length: Some(Err(())), .. } => Self::Unknown,
        }
    }
}

/// What the header fields say on framing.
#[derive(Default)]
struct Fields {
    /// There is a transfer coding; whether the last one is `chunked`.
    coding: Option<bool>,
    /// The content length; an error when there is no one number.
    length: Option<Result<u64, ()>>,
}

impl Fields {
    fn read(headers: &Headers, notes: &mut Notes) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers.raw() {
            match name.len() {
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => fields.coding(value),
                14 if name.eq_ignore_ascii_case(b"content-length") => fields.length(value),
                _ => {}
            }
        }
        let conflict = match fields.length {
            Some(Err(())) => true,
            Some(Ok(_)) => fields.coding.is_some(),
            None => false,
        };
        if conflict {
            notes.insert(Notes::LENGTH_CONFLICT);
        }
        fields
    }

    fn coding(&mut self, value: &[u8]) {
        for name in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            // `identity` is what RFC 2616 called the absence of a coding.
            if !name.is_empty() && !name.eq_ignore_ascii_case(b"identity") {
                self.coding = Some(name.eq_ignore_ascii_case(b"chunked"));
            }
        }
    }

    fn length(&mut self, value: &[u8]) {
        for number in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            let number = decimal(number).ok_or(());
            self.length = Some(match self.length {
                Some(before) if before != number => Err(()),
                _ => number,
            });
        }
    }
}

/// The number that `digits` are, all of them.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What has been seen of a body so far.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// Bytes of the body, captured or not.
    pub(crate) size: u64,
    /// Bytes not kept because of the limit.
    pub(crate) over: u64,
    /// The first piece, as it came; empty once there are more.
    first: Bytes,
    /// All pieces, when there is more than one.
    more: BytesMut,
    /// There is a hole: what comes after it is not kept.
    holed: bool,
}

impl Captured {
    /// Takes the next bytes of the body; keeps at most `limit` in all.
    pub(crate) fn take(&mut self, piece: &Bytes, limit: usize) {
        let len = piece.len() as u64;
        self.size = self.size.saturating_add(len);
        if self.holed {
            return;
        }
        let kept = self.kept();
        // Behind what was left out nothing is kept: the limit may have been lower then.
        let room = if self.over > 0 { 0 } else { limit.saturating_sub(kept) };
        let fits = piece.len().min(room);
        self.over = self.over.saturating_add(len - fits as u64);
        if kept == 0 {
            self.first = piece.slice(..fits);
        } else if fits > 0 {
            let first = std::mem::take(&mut self.first);
            self.more.extend_from_slice(&first);
            self.more.extend_from_slice(piece.get(..fits).unwrap_or_default());
        }
    }

    /// Bytes that are kept.
    pub(crate) fn kept(&self) -> usize {
        self.first.len() + self.more.len()
    }

    /// Takes note that the next `len` bytes of the body were not captured.
    pub(crate) fn skip(&mut self, len: u64) {
        self.size = self.size.saturating_add(len);
        self.holed = true;
    }

    /// The body, when the message is over; `ended` as its framing says.
    pub(crate) fn finish(self, ended: bool, headers: &Headers, limits: &Limits) -> Body {
        let bytes = if self.more.is_empty() { self.first } else { self.more.freeze() };
        let state = if self.over > 0 {
            BodyState::Capped
        } else if self.holed || !ended {
            BodyState::Truncated
        } else {
            BodyState::Complete
        };
        // Nothing of a body is nothing, whatever its coding.
        if bytes.is_empty() {
            return Body { size: self.size, bytes, state, messages: None };
        }
        let codings = coding::of(headers);
        let (bytes, state) = coding::decode(&codings, bytes, state, limits.decoded_bytes);
        Body { size: self.size, bytes, state, messages: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(pairs: &[(&str, &str)]) -> (Framing, Notes) {
        let mut notes = Notes::default();
        let headers = Headers::from_pairs(pairs.iter().copied());
        (Framing::of_request(&headers, &mut notes), notes)
    }

    #[test]
    fn transfer_encoding_wins_over_content_length_with_a_note() {
        let (framing, notes) =
            framing(&[("content-length", "3"), ("Transfer-Encoding", "gzip, Chunked")]);
        assert!(matches!(framing, Framing::Chunked(_)));
        assert!(notes.contains(Notes::LENGTH_CONFLICT));
    }

    #[test]
    fn repeated_lengths_hold_when_they_agree() {
        let (same, notes) = framing(&[("Content-Length", "5, 5"), ("content-length", "5")]);
        assert!(matches!(same, Framing::Length(5)));
        assert_eq!(notes, Notes::default());
        let (other, notes) = framing(&[("Content-Length", "5"), ("Content-Length", "6")]);
        assert!(matches!(other, Framing::Unknown));
        assert!(notes.contains(Notes::LENGTH_CONFLICT));
    }

    #[test]
    fn lengths_that_are_no_numbers_are_refused() {
        for bad in ["", "+5", "0x5", "5 5", "99999999999999999999", "-1"] {
            assert!(matches!(framing(&[("Content-Length", bad)]).0, Framing::Unknown), "{bad}");
        }
        assert!(matches!(framing(&[("Content-Length", "0")]).0, Framing::None));
    }

    #[test]
    fn one_piece_is_kept_without_a_copy() {
        let piece = Bytes::from(vec![b'x'; 100]);
        let mut captured = Captured::default();
        captured.take(&piece, 1000);
        let body = captured.finish(true, &Headers::default(), &Limits::default());
        assert_eq!(body.bytes.as_ptr(), piece.as_ptr());
        assert_eq!(body.state, BodyState::Complete);
    }

    #[test]
    fn only_the_prefix_before_a_hole_is_kept() {
        let mut captured = Captured::default();
        captured.take(&Bytes::from_static(b"ab"), 10);
        captured.skip(5);
        captured.take(&Bytes::from_static(b"cd"), 10);
        let body = captured.finish(true, &Headers::default(), &Limits::default());
        assert_eq!((&body.bytes[..], body.size, body.state), (&b"ab"[..], 9, BodyState::Truncated));
    }

    #[test]
    fn bytes_over_the_limit_are_counted_not_kept() {
        let mut captured = Captured::default();
        captured.take(&Bytes::from_static(b"abc"), 4);
        captured.take(&Bytes::from_static(b"def"), 4);
        assert_eq!(captured.over, 2);
        let body = captured.finish(true, &Headers::default(), &Limits::default());
        assert_eq!((&body.bytes[..], body.size, body.state), (&b"abcd"[..], 6, BodyState::Capped));
    }
}
