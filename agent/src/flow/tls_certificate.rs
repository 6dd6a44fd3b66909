//! The certificate of a server, where it is not encrypted: up to TLS 1.2 (RFC 5246
//! section 7.4.2). It is told, and never verified.

use x509_parser::{
    certificate::X509Certificate, error::X509Error, extensions::GeneralName, objects::oid_registry,
    prelude::FromDer as _, x509::X509Name,
};

use super::tls_hello::Cursor;
use crate::{call::Certificate, redact::printable};

/// Bytes that are kept of one name. Certificates of strangers have names of any length.
const NAME_MAX: usize = 256;

/// Alternative names that are kept.
const NAMES_MAX: usize = 16;

/// Content type of a record with handshake messages (RFC 5246 section 6.2.1).
const HANDSHAKE: usize = 22;

/// Type of the handshake message with the server's hello.
const SERVER_HELLO: usize = 2;

/// Type of the handshake message with certificates.
const CERTIFICATE: usize = 11;

/// There is none, or none that can be read: the session is one that was resumed, for
/// example.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCertificate;

/// Reads the server's own certificate from the first bytes of its direction. `Ok(None)` asks
/// for more bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<Certificate>, NoCertificate> {
    let (messages, ended) = messages(bytes);
    let mut input = Cursor(&messages);
    let more = if ended { Err(NoCertificate) } else { Ok(None) };
    while let (Some(kind), Some(len)) = (input.number::<1>(), input.number::<3>()) {
        match kind {
            SERVER_HELLO if input.take(len).is_some() => {}
            SERVER_HELLO => break,
            CERTIFICATE => {
                let whole = input.0.len() >= len;
                return match first(input.0.get(..len).unwrap_or(input.0)) {
                    Some(der) => certificate(der).map(Some),
                    None if whole => Err(NoCertificate),
                    None => more,
                };
            }
            _ => return Err(NoCertificate),
        }
    }
    more
}

/// The first of a list of certificates, whose others may still have to come.
fn first(message: &[u8]) -> Option<&[u8]> {
    let mut message = Cursor(message);
    let len = message.number::<3>()?;
    Cursor(message.0.get(..len).unwrap_or(message.0)).vector::<3>()
}

/// What the records at the start of a direction say of the handshake, and whether others
/// follow: these are encrypted, or end the handshake.
fn messages(bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut messages = Vec::with_capacity(bytes.len());
    let mut input = Cursor(bytes);
    while let Some(kind) = input.number::<1>() {
        if kind != HANDSHAKE {
            return (messages, true);
        }
        let (Some(_), Some(len)) = (input.take(2), input.number::<2>()) else { break };
        let Some(part) = input.take(len) else {
            messages.extend_from_slice(input.0);
            break;
        };
        messages.extend_from_slice(part);
    }
    (messages, false)
}

/// What a certificate (RFC 5280) says.
fn certificate(der: &[u8]) -> Result<Certificate, NoCertificate> {
    // What is wrong with one that cannot be read is nobody's concern here.
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Err(NoCertificate) };
    let validity = certificate.validity();
    Ok(Certificate {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        names: names(&certificate).unwrap_or_default(),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

/// The hosts that it is for (RFC 5280 section 4.2.1.6).
fn names(certificate: &X509Certificate<'_>) -> Result<Box<[Box<str>]>, X509Error> {
    let Some(extension) = certificate.subject_alternative_name()? else {
        return Ok(Box::default());
    };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Ok(names.take(NAMES_MAX).collect())
}

fn address(bytes: &[u8]) -> Option<Box<str>> {
    let address = match *bytes {
        [a, b, c, d] => std::net::Ipv4Addr::new(a, b, c, d).to_string(),
        _ => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string(),
    };
    Some(address.into())
}

/// A distinguished name, as it is written for people.
fn name(name: &X509Name<'_>) -> Option<Box<str>> {
    let text = name.to_string_with_registry(oid_registry()).ok()?;
    (!text.is_empty()).then(|| shown(&text))
}

fn shown(text: &str) -> Box<str> {
    let cut = text.get(..text.floor_char_boundary(NAME_MAX)).unwrap_or(text);
    printable(cut).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's first flight, written by OpenSSL 3.0's `s_server`.
    const RECORDED: &str = include_str!("../../../tests/fixtures/tls/tls12-flight.hex");

    fn recorded() -> Vec<u8> {
        let digits = RECORDED.trim().as_bytes().chunks(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    /// The same messages in records of other lengths.
    fn recut(len: usize) -> Vec<u8> {
        let (messages, ended) = messages(&recorded());
        assert!(!ended);
        let record = |part: &[u8]| {
            let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 3, high, low], part].concat()
        };
        messages.chunks(len).flat_map(record).collect()
    }

    #[test]
    fn the_server_is_told_by_its_own_certificate() {
        let whole = parse(&recorded()).unwrap().unwrap();
        assert_eq!(whole.subject.as_deref(), Some("C=DE, O=Example, CN=api.example.com"));
        assert_eq!(whole.issuer.as_deref(), Some("CN=Example CA"));
        let names: Vec<&str> = whole.names.iter().map(|name| &**name).collect();
        assert_eq!(names, ["api.example.com", "*.api.example.com", "192.0.2.1", "2001:db8::1"]);
        assert_eq!((whole.not_before, whole.not_after), (1_767_225_600, 1_798_761_600));
        for len in [1, 7, 100, 16384] {
            assert_eq!(parse(&recut(len)), Ok(Some(whole.clone())), "records of {len}");
        }
    }

    #[test]
    fn no_prefix_says_anything_else_than_the_whole() {
        let bytes = recorded();
        let whole = parse(&bytes).unwrap();
        for len in 0..bytes.len() {
            let part = parse(&bytes[..len]);
            assert!(part == Ok(None) || part == Ok(whole.clone()), "{part:?} at {len}");
        }
    }

    #[test]
    fn any_damaged_byte_is_taken_without_harm() {
        let bytes = recorded();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x1f, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                if let Ok(Some(certificate)) = parse(&damaged) {
                    let names = [&certificate.subject, &certificate.issuer];
                    for name in names.into_iter().flatten().chain(&certificate.names) {
                        assert!(!name.contains(char::is_control), "{name:?} at {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_a_certificate_there_is_none() {
        // A resumed session: what follows the hello is encrypted.
        let mut resumed = vec![22, 3, 3, 0, 4, 2, 0, 0, 0];
        assert_eq!(parse(&resumed), Ok(None));
        resumed.extend([20, 3, 3, 0, 1, 1]);
        assert_eq!(parse(&resumed), Err(NoCertificate));
        // A key exchange without one.
        assert_eq!(parse(&[22, 3, 3, 0, 4, 12, 0, 0, 0]), Err(NoCertificate));
        // An empty list.
        assert_eq!(parse(&[22, 3, 3, 0, 7, 11, 0, 0, 3, 0, 0, 0, 20]), Err(NoCertificate));
    }
}
