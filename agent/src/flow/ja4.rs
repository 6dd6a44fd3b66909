//! JA4, a fingerprint of TLS clients: equal for programs that are built alike, whatever
//! address they come from.
//!
//! <https://github.com/FoxIO-LLC/ja4/blob/main/technical_details/JA4.md>

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What a client hello says that the fingerprint is made of, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    /// It came over QUIC.
    pub(super) quic: bool,
    /// `legacy_version`
    pub(super) version: u16,
    /// `supported_versions`
    pub(super) versions: Vec<u16>,
    pub(super) ciphers: Vec<u16>,
    /// Kinds of all extensions.
    pub(super) extensions: Vec<u16>,
    pub(super) signature_algorithms: Vec<u16>,
    /// First protocol of ALPN, as it was sent.
    pub(super) protocol: Vec<u8>,
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

impl Offer {
    /// The fingerprint: 36 characters.
    pub(super) fn fingerprint(&self) -> String {
        let plain = |values: &[u16]| -> Vec<u16> {
            values.iter().copied().filter(|value| !is_grease(*value)).collect()
        };
        let (mut ciphers, mut extensions) = (plain(&self.ciphers), plain(&self.extensions));
        let version = plain(&self.versions).into_iter().max().unwrap_or(self.version);
        let mut text = format!(
            "{}{}{}{:02}{:02}{}_",
            if self.quic { 'q' } else { 't' },
            version_code(version),
            if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' },
            ciphers.len().min(99),
            extensions.len().min(99),
            ends(&self.protocol),
        );
        ciphers.sort_unstable();
        text.push_str(&hash(&list(&ciphers)));
        text.push('_');
        extensions.retain(|kind| ![SERVER_NAME, ALPN].contains(kind));
        extensions.sort_unstable();
        let mut rest = list(&extensions);
        if !self.signature_algorithms.is_empty() {
            rest.push('_');
            rest.push_str(&list(&self.signature_algorithms));
        }
        text.push_str(&hash(&rest));
        text
    }
}

/// A value that says nothing, sent to keep servers from relying on what they know
/// (RFC 8701).
const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

const fn version_code(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of a protocol's name, or of its bytes in hexadecimal.
fn ends(protocol: &[u8]) -> String {
    let (Some(&first), Some(&last)) = (protocol.first(), protocol.last()) else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first, last].map(char::from).iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 0x0f)
}

fn list(values: &[u16]) -> String {
    let mut text = String::with_capacity(values.len() * 5);
    for value in values {
        if !text.is_empty() {
            text.push(',');
        }
        // Writing to a string cannot fail.
        _ = write!(text, "{value:04x}");
    }
    text
}

/// The first twelve digits of the hash, or zeros when there is nothing to hash.
fn hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).fold(String::with_capacity(12), |mut digits, byte| {
        _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<u16> {
        text.split(',').map(|digits| u16::from_str_radix(digits, 16).unwrap()).collect()
    }

    #[test]
    fn the_example_of_the_specification_has_its_fingerprint() {
        let offer = Offer {
            quic: false,
            version: 0x0303,
            versions: numbers("3a3a,0304,0303"),
            ciphers: numbers(
                "9a9a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035",
            ),
            extensions: numbers(
                "4a4a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,\
                 0015,5a5a",
            ),
            signature_algorithms: numbers("0403,0804,0401,0503,0805,0501,0806,0601"),
            protocol: b"h2".to_vec(),
        };
        assert_eq!(offer.fingerprint(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_hello_that_offers_nothing_has_one_too() {
        let offer = Offer { version: 0x0301, ..Offer::default() };
        assert_eq!(offer.fingerprint(), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn names_of_protocols_are_told_by_their_ends() {
        for (protocol, expected) in [
            (b"http/1.1".as_slice(), "h1"),
            (b"h", "hh"),
            (b"", "00"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
        ] {
            assert_eq!(ends(protocol), expected);
        }
    }
}
