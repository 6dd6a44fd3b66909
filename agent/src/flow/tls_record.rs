//! Starts of TLS records, as the kernel side tells them.

use agent_common::limits::{TLS_RECORD_CIPHERTEXT, TLS_RECORD_HEADER, TLS_RECORD_START};

/// The header of a TLS record and the first bytes behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordStart<'a>(&'a [u8; TLS_RECORD_START]);

/// The first bytes of ciphertext of a TLS record: two records have equal ones once in 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Ciphertext([u8; TLS_RECORD_CIPHERTEXT]);

/// The start of a record with application data, ciphertext included.
pub(super) type Whole = [u8; TLS_RECORD_START];

impl<'a> RecordStart<'a> {
    /// Those that a payload has.
    pub(super) fn all(payload: &'a [u8]) -> impl Iterator<Item = Self> {
        payload.as_chunks().0.iter().map(Self)
    }

    /// Length of a record with application data; of TLS 1.3 that is all but the hellos.
    pub(super) fn application_data(self) -> Option<u16> {
        let [23, 3, _, high, low, ..] = *self.0 else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    /// All of it, if it is a record with application data and more than its header is known.
    pub(super) fn whole(self) -> Option<Whole> {
        self.application_data()?;
        self.ciphertexts().next().map(|_| *self.0)
    }

    /// The ciphertext right behind the header, and that behind a nonce, which AES-GCM has
    /// in TLS 1.2 (RFC 5288 section 3). Nothing where it is not known.
    pub(super) fn ciphertexts(self) -> impl Iterator<Item = Ciphertext> {
        let (parts, _) = self
            .0
            .get(TLS_RECORD_HEADER..)
            .unwrap_or_default()
            .as_chunks::<TLS_RECORD_CIPHERTEXT>();
        parts.iter().copied().filter(|bytes| *bytes != [0; _]).map(Ciphertext)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A payload with starts of records of these kinds and lengths.
    pub(in crate::flow) fn starts(records: &[(u8, u16)]) -> Vec<u8> {
        let start = |&(kind, len): &(u8, u16)| {
            let [high, low] = len.to_be_bytes();
            let mut start = [0; TLS_RECORD_START];
            start[..TLS_RECORD_HEADER].copy_from_slice(&[kind, 3, 3, high, low]);
            start
        };
        records.iter().flat_map(start).collect()
    }

    #[test]
    fn the_ciphertext_is_behind_the_header_or_behind_a_nonce() {
        let mut payload = starts(&[(23, 300), (22, 4), (23, 5)]);
        payload[5..21].copy_from_slice(b"nonce...ciphers.");
        let lens: Vec<_> = RecordStart::all(&payload).map(RecordStart::application_data).collect();
        assert_eq!(lens, [Some(300), None, Some(5)]);
        let all: Vec<_> = RecordStart::all(&payload).flat_map(RecordStart::ciphertexts).collect();
        assert_eq!(all, [Ciphertext(*b"nonce..."), Ciphertext(*b"ciphers.")]);
    }
}
