//! Tells which TLS library is linked into a file that names no function to hook, by texts that
//! the library says to people: these stay when symbols are gone.
//!
//! A text hooks nothing. It is the reason that is told of the connections of a process, and
//! says in which files OpenSSL and ring are looked for.
//!
//! The texts are in parts here: whole, they would be in the agent, which has no TLS.

use memchr::memmem::find;

use crate::event::verdict::Embedded;

/// How rustls reports a message that it cannot read (rustls, `impl Display for Error`).
/// Programs that only verify certificates by parts of rustls do not have it.
const RUSTLS: &[u8] = b"received corrupt message";

/// What follows it, from its end to its start: parts may come to lie one after the other.
const RUSTLS_REVERSED: &[u8] = b"epyt fo ";

/// What a provider of cryptography shows in a program of rustls: the place of its sources,
/// which panics tell, or the prefix of its functions.
const PROVIDERS: [(Embedded, &[&[u8]]); 2] = [
    (Embedded::Ring, &[b"/ring-0.", b"ring_core_"]),
    (Embedded::AwsLc, &[b"/aws-lc-rs-", b"aws_lc_0_"]),
];

/// The source file of `SSL_read`, which `ERR_put_error` and its successors tell. OpenSSL has
/// it in C, and BoringSSL and AWS-LC, which are forks, in C++. OpenSSL's `libcrypto` does not
/// have it.
const SOURCE: &[u8] = b"ssl/ssl_lib";

/// The library whose texts these are.
pub(super) fn library(texts: &[u8]) -> Option<Embedded> {
    if is_rustls(texts) {
        let mut shown = PROVIDERS
            .iter()
            .filter(|(_, marks)| marks.iter().any(|mark| find(texts, mark).is_some()));
        // Of two, either may be what it uses.
        return Some(match (shown.next(), shown.next()) {
            (Some((library, _)), None) => *library,
            _ => Embedded::Rustls,
        });
    }
    let end = find(texts, SOURCE)? + SOURCE.len();
    match texts.get(end..)? {
        [b'.', b'c', b'c', 0, ..] => Some(Embedded::BoringSsl),
        [b'.', b'c', 0, ..] => Some(Embedded::OpenSsl),
        _ => None,
    }
}

fn is_rustls(texts: &[u8]) -> bool {
    let Some(at) = find(texts, RUSTLS) else { return false };
    let rest = texts.get(at + RUSTLS.len()..).unwrap_or_default();
    rest.get(..RUSTLS_REVERSED.len()).is_some_and(|text| text.iter().rev().eq(RUSTLS_REVERSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_by_their_texts() {
        for (texts, told) in [
            ("", None),
            ("\0ssl/ssl~_lib.c\0", Some(Embedded::OpenSsl)),
            ("\0../deps/ssl/ssl~_lib.c\0", Some(Embedded::OpenSsl)),
            ("\0boringssl/ssl/ssl~_lib.cc\0", Some(Embedded::BoringSsl)),
            ("\0ssl/ssl~_lib.cpp\0", None),
            ("\0ssl/ssl~_lib.c", None),
            ("/rustls-0.23.46/src/lib.rs/aws-lc-rs-1.18.2/src", None),
            ("received corrupt~ message of type ", Some(Embedded::Rustls)),
            ("received corrupt~ message of type /ring-0.17.14/src", Some(Embedded::Ring)),
            ("ring_core_0_17_14_p256received corrupt~ message of type ", Some(Embedded::Ring)),
            ("received corrupt~ message of type /aws-lc-rs-1.18.2", Some(Embedded::AwsLc)),
            ("received corrupt~ message of type aws_lc_0_41_0 /ring-0.17", Some(Embedded::Rustls)),
        ] {
            // The test is a program too, and has none of the texts.
            let texts = texts.replace('~', "");
            assert_eq!(library(texts.as_bytes()), told, "{texts}");
        }
    }
}
