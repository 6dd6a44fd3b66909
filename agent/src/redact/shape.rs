//! What a text is by its form alone: cards, tokens, addresses, random strings.
//!
//! All functions are total over any text and look at each byte a bounded number of
//! times.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::IgnoredAny;
use smallvec::SmallVec;

/// A segment or name longer than this is data, not a word.
const WORD_MAX: usize = 128;

/// A vendor whose tokens have a form of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vendor {
    /// AWS access key id.
    Aws,
    /// GitHub token.
    GitHub,
    /// One of the others.
    Other,
}

/// Whether a word looks like a secret or names a person: what must not be shown.
pub(crate) fn looks_secret(text: &str) -> bool {
    if text.len() < 6 {
        return false;
    }
    text.len() > WORD_MAX
        || is_secret_word(text)
        || text.split([':', ',', '=', '(', ')', '\'', '"', ' ', '|']).any(is_secret_word)
}

fn is_secret_word(text: &str) -> bool {
    text.len() >= 6
        && (is_email(text)
            || has_userinfo(text)
            || is_card(text)
            || is_ssn(text)
            || is_e164(text)
            || is_iban(text)
            || is_jwt(text)
            || vendor(text).is_some()
            || is_random(text))
}

/// `name@example.com`.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let Some((host, top)) = domain.rsplit_once('.') else { return false };
    (1..=64).contains(&local.len())
        && text.len() <= 254
        && !local.bytes().any(|byte| byte.is_ascii_whitespace() || byte == b'@')
        && !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && (2..=24).contains(&top.len())
        && top.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn has_userinfo(text: &str) -> bool {
    text.split_once('@').is_some_and(|(before, after)| before.contains(':') && !after.is_empty())
}

/// A payment card number: 13 to 19 digits, plain or in groups, of a known issuer
/// range, whose Luhn digit is right.
pub(crate) fn is_card(text: &str) -> bool {
    card_digits(text).is_some_and(|digits| has_issuer(&digits) && luhn(&digits))
}

/// The digits of a text that has the form of a card number.
pub(crate) fn card_digits(text: &str) -> Option<SmallVec<[u8; 20]>> {
    if !(13..=23).contains(&text.len()) {
        return None;
    }
    let mut digits = SmallVec::new();
    let mut after_digit = false;
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b' ' | b'-' if after_digit => {}
            _ => return None,
        }
        after_digit = byte.is_ascii_digit();
    }
    (after_digit && (13..=19).contains(&digits.len())).then_some(digits)
}

/// Luhn's check (ISO/IEC 7812-1 annex B).
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let mut sum = 0_u32;
    for (index, &digit) in digits.iter().rev().enumerate() {
        let doubled = u32::from(digit) << (index & 1);
        sum += if doubled > 9 { doubled - 9 } else { doubled };
    }
    sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != 0)
}

/// Whether the first digits and the length are those of a card network.
fn has_issuer(digits: &[u8]) -> bool {
    let first = digits.iter().take(4).fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit));
    let len = digits.len();
    match first {
        4000..=4999 => matches!(len, 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => len == 16,
        3400..=3499 | 3700..=3799 => len == 15,
        6011 | 6440..=6599 => matches!(len, 16 | 19),
        2200..=2204 | 3528..=3589 | 6200..=6299 => (16..=19).contains(&len),
        3000..=3059 | 3600..=3699 | 3800..=3999 => matches!(len, 14 | 16),
        _ => false,
    }
}

/// `AAA-GG-SSSS` with numbers that the Social Security Administration gives out.
pub(crate) fn is_ssn(text: &str) -> bool {
    has_ssn_form(text) && {
        let digits: SmallVec<[u8; 9]> = text.bytes().filter(u8::is_ascii_digit).collect();
        is_ssn_number(&digits)
    }
}

/// `AAA-GG-SSSS`, whatever the digits.
pub(crate) fn has_ssn_form(text: &str) -> bool {
    text.len() == 11
        && text.bytes().enumerate().all(|(index, byte)| match index {
            3 | 6 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// Nine ASCII digits that can be a social security number.
pub(crate) fn is_ssn_number(digits: &[u8]) -> bool {
    match digits {
        [_, _, _, _, _, serial @ ..] if serial.len() == 4 => {
            digits.iter().all(u8::is_ascii_digit)
                && !digits.starts_with(b"9")
                && !digits.starts_with(b"000")
                && !digits.starts_with(b"666")
                && digits.get(3..5) != Some(b"00")
                && *serial != *b"0000"
                // Printed in advertisements, never valid since.
                && *digits != *b"078051120"
                && *digits != *b"219099999"
        }
        _ => false,
    }
}

/// `+` and 8 to 15 digits, as E.164 writes a phone number; blanks and dashes between.
pub(crate) fn is_e164(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('+') else { return false };
    let digits = rest.bytes().filter(u8::is_ascii_digit).count();
    !rest.starts_with('0')
        && (8..=15).contains(&digits)
        && rest.len() <= 22
        && rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'-' | b'(' | b')' | b'.'))
}

/// An international bank account number (ISO 13616) with the right check digits.
pub(crate) fn is_iban(text: &str) -> bool {
    if !(15..=42).contains(&text.len()) || !text.as_bytes().starts_with_upper(2) {
        return false;
    }
    let compact: SmallVec<[u8; 42]> = text.bytes().filter(|&byte| byte != b' ').collect();
    let Some((head, account)) = compact.split_at_checked(4) else { return false };
    if !(15..=34).contains(&compact.len()) || !head.iter().skip(2).all(u8::is_ascii_digit) {
        return false;
    }
    let mut remainder = 0_u32;
    for &byte in account.iter().chain(head) {
        remainder = match byte {
            b'0'..=b'9' => remainder * 10 + u32::from(byte - b'0'),
            b'A'..=b'Z' => remainder * 100 + u32::from(byte - b'A') + 10,
            _ => return false,
        } % 97;
    }
    remainder == 1
}

trait StartsWithUpper {
    fn starts_with_upper(&self, count: usize) -> bool;
}

impl StartsWithUpper for [u8] {
    fn starts_with_upper(&self, count: usize) -> bool {
        self.get(..count).is_some_and(|start| start.iter().all(u8::is_ascii_uppercase))
    }
}

/// A JSON web token (RFC 7519, compact form): three base64url parts of which the
/// first is a JSON object. The signature may be empty.
pub(crate) fn is_jwt(text: &str) -> bool {
    let Some((header, rest)) = text.split_once('.') else { return false };
    let Some((payload, signature)) = rest.split_once('.') else { return false };
    header.starts_with("ey")
        && payload.len() >= 2
        && [header, payload, signature].into_iter().all(is_base64url)
        && header.len() <= 4096
        && URL_SAFE_NO_PAD
            .decode(header)
            .is_ok_and(|json| serde_json::from_slice::<IgnoredAny>(&json).is_ok())
}

fn is_base64url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Prefixes of tokens with the least length of what follows.
const PREFIXES: &[(&str, usize)] = &[
    ("AIza", 35),
    ("glpat-", 20),
    ("npm_", 36),
    ("pypi-", 50),
    ("rk_live_", 16),
    ("SG.", 40),
    ("shpat_", 32),
    ("sk-ant-", 40),
    ("sk-proj-", 40),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxs-", 20),
];

/// Whose token this is, by its prefix, length and alphabet.
pub(crate) fn vendor(text: &str) -> Option<Vendor> {
    let alphanumeric = |rest: &str, least: usize| {
        rest.len() >= least
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let (start, rest) = text.split_at_checked(4)?;
    match start {
        "AKIA" | "ASIA" => {
            let upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            return (rest.len() == 16 && rest.bytes().all(upper)).then_some(Vendor::Aws);
        }
        "ghp_" | "gho_" | "ghu_" | "ghs_" | "ghr_" => {
            return alphanumeric(rest, 36).then_some(Vendor::GitHub);
        }
        "gith" => {
            let rest = rest.strip_prefix("ub_pat_")?;
            return alphanumeric(rest, 40).then_some(Vendor::GitHub);
        }
        _ => {}
    }
    PREFIXES
        .iter()
        .any(|(prefix, least)| {
            text.strip_prefix(prefix).is_some_and(|rest| alphanumeric(rest, *least))
        })
        .then_some(Vendor::Other)
}

/// A long string of letters and digits without the structure of words: a key, a
/// session or a hash. UUIDs, ULIDs and object ids name things, and are not meant.
pub(crate) fn is_random(text: &str) -> bool {
    let len = text.len();
    if len < 20 || is_plain_id(text) {
        return false;
    }
    let mut previous = None;
    let (mut changes, mut letters, mut digits) = (0_usize, 0_usize, 0_usize);
    for byte in text.bytes() {
        let class = match byte {
            b'a'..=b'z' => Some(0_u8),
            b'A'..=b'Z' => Some(1),
            b'0'..=b'9' => Some(2),
            b'-' | b'_' | b'.' | b'~' | b'+' | b'=' | b'/' => None,
            _ => return false,
        };
        match class {
            Some(2) => digits += 1,
            Some(_) => letters += 1,
            None => {}
        }
        // A capital followed by a small letter begins a word, so that is no change.
        changes += usize::from(match (previous, class) {
            (Some(a), Some(b)) => a != b && (a, b) != (1, 0),
            _ => false,
        });
        previous = class;
    }
    letters > 0 && digits > 0 && changes > len / 4
}

fn is_plain_id(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_hexdigit();
    match text.len() {
        36 => text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => hex(byte),
        }),
        24 => text.bytes().all(hex),
        26 => text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_have_an_issuer_and_a_check_digit() {
        for card in ["4111111111111111", "5555 5555 5555 4444", "3782-822463-10005"] {
            assert!(is_card(card), "{card}");
        }
        for other in [
            "4111111111111112",     // check digit
            "1234567812345670",     // no issuer
            "0000000000000000",     // nothing at all
            "1700000000000",        // milliseconds
            "4111--1111-1111-1111", // not groups
            "4111111111111111x",
        ] {
            assert!(!is_card(other), "{other}");
        }
    }

    #[test]
    fn account_numbers_have_check_digits() {
        assert!(is_iban("GB82 WEST 1234 5698 7654 32"));
        assert!(is_iban("DE89370400440532013000"));
        assert!(!is_iban("DE89370400440532013001"));
        assert!(!is_iban("ORDERNUMBER12345"));
    }

    #[test]
    fn social_security_numbers_are_ones_that_are_given_out() {
        assert!(is_ssn("123-45-6789"));
        for other in ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-6789", "123-45-0000"] {
            assert!(!is_ssn(other), "{other}");
        }
        assert!(!is_ssn("123456789"));
        assert!(!is_ssn("٣23-45-678"));
    }

    #[test]
    fn tokens_are_known_by_their_form() {
        assert!(is_jwt("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."));
        assert!(!is_jwt("eyes.wide.shut"));
        assert!(!is_jwt("www.example.com"));
        assert_eq!(vendor("AKIAIOSFODNN7ABCDEFG"), Some(Vendor::Aws));
        assert_eq!(vendor(&format!("ghp_{}", "a1B2".repeat(9))), Some(Vendor::GitHub));
        assert_eq!(vendor("sk_live_abcdefgh12345678"), Some(Vendor::Other));
        assert_eq!(vendor("akia"), None);
        assert_eq!(vendor("größe"), None);
    }

    #[test]
    fn names_and_words_are_not_secrets() {
        for word in [
            "OAuth2TokenEndpointV2Beta",
            "internationalization",
            "how-to-build-2-apis-in-2024-quickly",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "2024-01-02T03:04:05.678Z",
            "application/vnd.company.v2+json",
            "jquery-3.7.1.slim.min.js",
            "12345678901234567890",
        ] {
            assert!(!looks_secret(word), "{word}");
        }
    }
}
