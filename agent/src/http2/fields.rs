//! What a header block says (RFC 9113 section 8.3).

use std::{ops::Range, sync::Arc};

use smallvec::SmallVec;

use crate::http::{self, Headers};

/// What a field costs beside its text (RFC 9113 section 6.5.2).
const FIELD: usize = 32;

/// Room for the text of most blocks.
const USUAL: usize = 512;

/// The fields of one header block, as far as they are known.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) method: Option<Arc<str>>,
    pub(super) path: Option<Arc<str>>,
    pub(super) status: Option<u16>,
    /// Fields that are not known: of entries of the compression table that were not seen.
    pub(super) unknown: u32,
    /// Fields were left out that did not fit.
    pub(super) over: bool,
    /// Fields were left out whose names are none (RFC 9113 section 8.2.1).
    pub(super) odd: bool,
    /// Names and values.
    text: Vec<u8>,
    ranges: SmallVec<[(Range<u32>, Range<u32>); 12]>,
    /// A cookie may come in several fields (RFC 9113 section 8.2.3).
    cookie: Vec<u8>,
    host: bool,
    /// Bytes that the text may have.
    limit: usize,
}

impl Fields {
    /// None yet; the text of all of them is kept up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            method: None,
            path: None,
            status: None,
            unknown: 0,
            over: false,
            odd: false,
            text: Vec::with_capacity(USUAL),
            ranges: SmallVec::new(),
            cookie: Vec::new(),
            host: false,
            limit,
        }
    }

    /// A field that is not known.
    pub(super) const fn push_unknown(&mut self) {
        self.unknown = self.unknown.saturating_add(1);
    }

    /// What the fields take, in the measure of RFC 9113 section 6.5.2.
    pub(super) fn size(&self) -> usize {
        let pseudo = [&self.method, &self.path].into_iter().flatten().map(|text| text.len());
        let text = self.text.len() + self.cookie.len() + pseudo.sum::<usize>();
        text + FIELD * self.ranges.len()
    }

    /// The next field.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        // With what joins the crumbs of a cookie, and its name.
        const COOKIE: usize = "cookie; ".len();
        if self.size() + name.len() + value.len() + FIELD + COOKIE > self.limit {
            self.over = true;
            return;
        }
        match name {
            [b':', pseudo @ ..] => self.push_pseudo(pseudo, value),
            b"cookie" => {
                if !self.cookie.is_empty() {
                    self.cookie.extend_from_slice(b"; ");
                }
                self.cookie.extend_from_slice(value);
            }
            // It says the same as the authority (RFC 9113 section 8.3.1).
            b"host" if self.host => {}
            [_, ..] if name.iter().all(|&byte| http::is_token(byte)) => {
                self.push_field(name, value);
            }
            _ => self.odd = true,
        }
    }

    fn push_pseudo(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"method" if self.method.is_none() => {
                self.method = Some(http::intern(&String::from_utf8_lossy(value)));
            }
            b"path" if self.path.is_none() => {
                self.path = Some(http::target(value).into());
            }
            b"status" if self.status.is_none() => {
                let digits = value.len() == 3 && value.iter().all(u8::is_ascii_digit);
                let text = std::str::from_utf8(value).ok().filter(|_| digits);
                self.status = text.and_then(|text| text.parse().ok());
            }
            b"authority" if !self.host => {
                self.host = true;
                self.push_field(b"host", value);
            }
            _ => {}
        }
    }

    fn push_field(&mut self, name: &[u8], value: &[u8]) {
        let mut put = |bytes: &[u8]| {
            let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
            self.text.extend_from_slice(bytes);
            start..u32::try_from(self.text.len()).unwrap_or(u32::MAX)
        };
        let field = (put(name), put(value));
        self.ranges.push(field);
    }

    /// The header fields without the pseudo-header fields; the authority is among them, as
    /// `host`.
    pub(super) fn into_headers(mut self) -> Headers {
        if !self.cookie.is_empty() {
            let cookie = std::mem::take(&mut self.cookie);
            self.push_field(b"cookie", &cookie);
        }
        Headers::new(self.text.into(), self.ranges)
    }
}
