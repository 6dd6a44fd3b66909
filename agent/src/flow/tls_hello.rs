//! The two hello messages of a TLS handshake (RFC 8446 section 4.1, RFC 5246
//! section 7.4.1): they are not encrypted and say who is called and how.

use std::sync::Arc;

use super::ja4::Offer;

/// A hello message, or as much of it as was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hello {
    /// Of the client.
    Client(ClientHello),
    /// Of the server.
    Server(ServerHello),
}

/// What a client hello says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ClientHello {
    /// `server_name`, when it is a host name.
    pub server_name: Option<Arc<str>>,
    /// The protocol that it offers first by ALPN.
    pub protocol: Option<Arc<str>>,
    /// JA4 fingerprint, when all of the message was seen.
    pub ja4: Option<Arc<str>>,
    /// All of the message was seen.
    pub complete: bool,
}

/// What a server hello says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerHello {
    /// Version in force; `None` for one that is not known, or while an extension
    /// that decides it may still come.
    pub version: Option<&'static str>,
    /// Cipher suite.
    pub cipher: u16,
    /// The protocol that it chose by ALPN. From TLS 1.3 on that is encrypted.
    pub protocol: Option<Arc<str>>,
    /// All of the message was seen.
    pub complete: bool,
}

impl ServerHello {
    /// By how many bytes a TLS record is longer than what is in it; `None` when
    /// that depends on more than its length.
    pub fn overhead(&self) -> Option<u16> {
        match (self.version, self.cipher) {
            // Content type and tag. AES-128-CCM-8 has a shorter tag.
            (Some("1.3"), 0x1301..=0x1304) => Some(17),
            (Some("1.2"), cipher) => match cipher {
                // ChaCha20-Poly1305 (RFC 7905): tag only.
                0xcca8..=0xccae => Some(16),
                // AES-GCM (RFC 5288, 5289): explicit nonce and tag.
                0x009c..=0x009f | 0xc02b..=0xc030 => Some(24),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What the first bytes of one direction are not: a TLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotHello;

/// Bytes that are taken one by one; running out is no error.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `len` bytes, or `None`.
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    /// A number of `N` bytes, the most significant first.
    pub(super) fn number<const N: usize>(&mut self) -> Option<usize> {
        Some(self.take(N)?.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)))
    }

    /// A vector whose length is in `N` bytes before it.
    pub(super) fn vector<const N: usize>(&mut self) -> Option<&'a [u8]> {
        let len = self.number::<N>()?;
        self.take(len)
    }
}

/// Reads the hello at the start of a direction. `Ok(None)` asks for more bytes;
/// a hello that is not complete may become so with more bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, NotHello> {
    let mut input = Cursor(bytes);
    if bytes.first().is_some_and(|&kind| kind != 22) || bytes.get(1).is_some_and(|&v| v != 3) {
        return Err(NotHello);
    }
    let (Some(_), Some(record)) = (input.take(3), input.number::<2>()) else { return Ok(None) };
    // A hello that is split over records is read as far as the first one goes.
    let mut input = Cursor(input.0.get(..record).unwrap_or(input.0));
    let (Some(kind), Some(len)) = (input.number::<1>(), input.number::<3>()) else {
        return Ok(None);
    };
    let complete = input.0.len() >= len;
    let mut body = Cursor(input.0.get(..len).unwrap_or(input.0));
    match kind {
        1 => Ok(Some(Hello::Client(client(&mut body, complete, false)))),
        2 => Ok(server(&mut body, complete).map(Hello::Server)),
        _ => Err(NotHello),
    }
}

/// Reads the client hello that starts a QUIC connection, where there are no records; `None`
/// when it is not there in whole.
pub(super) fn message(bytes: &[u8]) -> Option<ClientHello> {
    let mut input = Cursor(bytes);
    let kind = input.number::<1>()?;
    let body = input.vector::<3>()?;
    (kind == 1).then(|| client(&mut Cursor(body), true, true))
}

fn client(body: &mut Cursor<'_>, complete: bool, quic: bool) -> ClientHello {
    let mut hello = ClientHello { complete, ..ClientHello::default() };
    let mut offer = Offer { quic, ..Offer::default() };
    let before = (|| {
        offer.version = u16::try_from(body.number::<2>()?).ok()?;
        body.take(32)?;
        body.vector::<1>()?;
        offer.ciphers = numbers(body.vector::<2>()?);
        body.vector::<1>()
    })();
    if before.is_none() {
        return hello;
    }
    extensions(body, |kind, data| {
        offer.extensions.push(kind);
        match kind {
            0 => hello.server_name = server_name(data),
            13 => offer.signature_algorithms = numbers(Cursor(data).vector::<2>().unwrap_or(&[])),
            16 => offer.protocol = first_protocol(data).unwrap_or_default().to_vec(),
            43 => offer.versions = numbers(Cursor(data).vector::<1>().unwrap_or(&[])),
            _ => {}
        }
    });
    hello.protocol = protocol_name(&offer.protocol);
    hello.ja4 = complete.then(|| offer.fingerprint().into());
    hello
}

/// A vector of 16-bit numbers.
fn numbers(data: &[u8]) -> Vec<u16> {
    data.as_chunks().0.iter().copied().map(u16::from_be_bytes).collect()
}

fn server(body: &mut Cursor<'_>, complete: bool) -> Option<ServerHello> {
    let legacy = body.number::<2>()?;
    body.take(32)?;
    body.vector::<1>()?;
    let cipher = u16::try_from(body.number::<2>()?).ok()?;
    body.take(1)?;
    let (mut selected, mut protocol) = (None, None);
    extensions(body, |kind, data| match kind {
        16 => protocol = first_protocol(data).and_then(protocol_name),
        43 => selected = Cursor(data).number::<2>(),
        _ => {}
    });
    let version = match (selected, legacy) {
        (Some(0x0304), _) => Some("1.3"),
        (None, 0x0303) if complete => Some("1.2"),
        (None, 0x0302) if complete => Some("1.1"),
        (None, 0x0301) if complete => Some("1.0"),
        _ => None,
    };
    Some(ServerHello { version, cipher, protocol, complete })
}

/// Calls `each` with the extensions that are there in whole.
fn extensions(body: &mut Cursor<'_>, mut each: impl FnMut(u16, &[u8])) {
    let Some(len) = body.number::<2>() else { return };
    let mut input = Cursor(body.0.get(..len).unwrap_or(body.0));
    while let Some(kind) = input.number::<2>() {
        let (Ok(kind), Some(data)) = (u16::try_from(kind), input.vector::<2>()) else { return };
        each(kind, data);
    }
}

/// The host name of a `server_name` extension (RFC 6066 section 3). What has other
/// characters than host names is not shown as one.
fn server_name(data: &[u8]) -> Option<Arc<str>> {
    let mut list = Cursor(Cursor(data).vector::<2>()?);
    while let Some(kind) = list.number::<1>() {
        let name = list.vector::<2>()?;
        if kind != 0 {
            continue;
        }
        let fits = (1..=255).contains(&name.len())
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(byte));
        return std::str::from_utf8(name).ok().filter(|_| fits).map(Arc::from);
    }
    None
}

/// The first protocol of an ALPN extension (RFC 7301 section 3.1): the client likes it
/// best, and the server has chosen it.
fn first_protocol(data: &[u8]) -> Option<&[u8]> {
    Cursor(Cursor(data).vector::<2>()?).vector::<1>()
}

/// A protocol's name, when it looks like the registered ones.
fn protocol_name(name: &[u8]) -> Option<Arc<str>> {
    let fits = (1..=32).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(name).ok().filter(|_| fits).map(Arc::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by OpenSSL 3.0's `s_client` and `s_server` to each other.
    const RECORDED: [&str; 4] = [
        include_str!("../../../tests/fixtures/tls/tls13-client.hex"),
        include_str!("../../../tests/fixtures/tls/tls13-server.hex"),
        include_str!("../../../tests/fixtures/tls/tls12-client.hex"),
        include_str!("../../../tests/fixtures/tls/tls12-server.hex"),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.trim().as_bytes().chunks(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn clients_say_whom_they_call_and_what_they_speak() {
        for (number, expected) in [
            (0, "t13d3111h2_e8f1e7e78f70_1f22a2ca17c4"),
            (2, "t12d0208h1_b06afd972a5c_e7e480e5a997"),
        ] {
            let Ok(Some(Hello::Client(hello))) = parse(&bytes(RECORDED[number])) else {
                panic!("no client hello")
            };
            assert_eq!(hello.server_name.as_deref(), Some("api.example.com"));
            assert_eq!(hello.ja4.as_deref(), Some(expected));
            assert!(hello.complete);
        }
    }

    #[test]
    fn servers_say_version_and_cipher() {
        for (number, version, cipher, overhead, protocol) in
            [(1, "1.3", 0x1302, 17, None), (3, "1.2", 0xc02f, 24, Some("http/1.1"))]
        {
            let Ok(Some(Hello::Server(hello))) = parse(&bytes(RECORDED[number])) else {
                panic!("no server hello")
            };
            assert_eq!((hello.version, hello.cipher), (Some(version), cipher));
            assert_eq!((hello.overhead(), hello.complete), (Some(overhead), true));
            assert_eq!(hello.protocol.as_deref(), protocol);
        }
    }

    #[test]
    fn no_prefix_says_anything_else_than_the_whole() {
        for record in RECORDED {
            let record = bytes(record);
            let Ok(Some(whole)) = parse(&record) else { panic!("no hello") };
            for len in 0..record.len() {
                match (parse(&record[..len]), &whole) {
                    (Ok(None), _) => {}
                    (Ok(Some(Hello::Client(part))), Hello::Client(whole)) => {
                        assert!(!part.complete, "at {len}");
                        assert!(
                            part.server_name.is_none() || part.server_name == whole.server_name
                        );
                        assert!(part.ja4.is_none());
                    }
                    (Ok(Some(Hello::Server(part))), Hello::Server(whole)) => {
                        assert!(!part.complete && part.cipher == whole.cipher, "at {len}");
                        assert!(part.version.is_none() || part.version == whole.version);
                    }
                    other => panic!("{other:?} at {len}"),
                }
            }
        }
    }

    #[test]
    fn any_damaged_byte_is_taken_without_harm() {
        for record in RECORDED {
            let record = bytes(record);
            for at in 0..record.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut damaged = record.clone();
                    damaged[at] = value;
                    if let Ok(Some(Hello::Client(hello))) = parse(&damaged) {
                        let name = hello.server_name.unwrap_or_default();
                        assert!(name.is_ascii() && name.len() < 256);
                    }
                }
            }
        }
    }

    #[test]
    fn other_protocols_are_no_hello() {
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(NotHello));
        assert_eq!(parse(&[23, 3, 3, 0, 40, 1]), Err(NotHello));
        assert_eq!(parse(&[22, 3, 1, 0, 40, 11, 0, 0, 4]), Err(NotHello));
    }
}
