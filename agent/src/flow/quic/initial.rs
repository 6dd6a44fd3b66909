//! QUIC's Initial packets (RFC 9000 section 17.2.2): whose keys follow from what they say
//! themselves (RFC 9001 section 5.2), so that anyone on the way can read them. What opens
//! has a valid tag: it is certain.

use aes_gcm::{
    AeadInOut as _, Aes128Gcm, KeyInit as _,
    aes::{Aes128, cipher::BlockCipherEncrypt as _},
};
use hkdf::Hkdf;
use sha2::Sha256;

/// Longest connection id of the known versions.
const ID_MAX: usize = 20;

/// Length of an authentication tag, and of the sample that the header is protected by.
const TAG: usize = 16;

/// Bytes that are taken one by one; running out is no error.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A variable-length integer (RFC 9000 section 16).
    pub(super) fn number(&mut self) -> Option<u64> {
        let [first] = self.array()?;
        let rest = self.take((1 << (first >> 6)) - 1)?;
        let start = u64::from(first & 0x3f);
        Some(rest.iter().fold(start, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// Bytes after their length.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.number()?;
        self.take(usize::try_from(len).ok()?)
    }
}

/// A connection id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Id {
    bytes: [u8; ID_MAX],
    len: u8,
}

impl Id {
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self { len: u8::try_from(bytes.len()).ok()?, ..Self::default() };
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(id)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A version of QUIC that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    /// RFC 9000.
    One,
    /// RFC 9369.
    Two,
}

impl Version {
    const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            0x6b33_43cf => Some(Self::Two),
            _ => None,
        }
    }

    /// Type of an Initial, and of a Retry.
    const fn kinds(self) -> (u8, u8) {
        match self {
            Self::One => (0, 3),
            Self::Two => (1, 0),
        }
    }

    const fn salt(self) -> [u8; 20] {
        match self {
            Self::One => [
                0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
            ],
            Self::Two => [
                0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26,
                0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9,
            ],
        }
    }

    const fn labels(self) -> [&'static str; 3] {
        match self {
            Self::One => ["quic key", "quic iv", "quic hp"],
            Self::Two => ["quicv2 key", "quicv2 iv", "quicv2 hp"],
        }
    }
}

/// Who sent a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sender {
    Client,
    Server,
}

/// An Initial, as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initial<'a> {
    version: Version,
    pub(super) destination: Id,
    pub(super) source: Id,
    /// All of the packet.
    packet: &'a [u8],
    /// Where its number begins.
    number: usize,
}

/// The Initials of a datagram, or of several that were moved at once. Packets of other
/// types before them are passed by; the first that has no length ends it.
pub(super) struct Initials<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Initials<'a> {
    type Item = Initial<'a>;

    fn next(&mut self) -> Option<Initial<'a>> {
        loop {
            let (initial, rest) = packet(self.0)?;
            self.0 = rest;
            if initial.is_some() {
                return initial;
            }
        }
    }
}

/// The first packet, when it is an Initial, and what follows it.
fn packet(bytes: &[u8]) -> Option<(Option<Initial<'_>>, &[u8])> {
    let mut input = Cursor(bytes);
    let [first] = input.array()?;
    // Header form and fixed bit of a long header.
    if first & 0xc0 != 0xc0 {
        return None;
    }
    let version = Version::of(u32::from_be_bytes(input.array()?))?;
    let mut id = || {
        let [len] = input.array()?;
        Id::new(input.take(usize::from(len))?)
    };
    let (destination, source) = (id()?, id()?);
    let (initial, retry) = version.kinds();
    let kind = first >> 4 & 3;
    if kind == retry {
        return None;
    }
    if kind == initial {
        input.bytes()?;
    }
    let len = usize::try_from(input.number()?).ok()?;
    let number = bytes.len() - input.0.len();
    input.take(len)?;
    let packet = bytes.get(..number.checked_add(len)?)?;
    let found = Initial { version, destination, source, packet, number };
    Some(((kind == initial).then_some(found), input.0))
}

impl Initial<'_> {
    /// What it says, if it is of the connection that its client began with this id, and
    /// was sent by that side.
    pub(super) fn open(&self, first: &Id, sender: Sender) -> Option<Vec<u8>> {
        let keys = Keys::new(self.version, first, sender)?;
        // The number is taken to be four bytes long where the sample is (RFC 9001 section
        // 5.4.2).
        let sample = self.packet.get(self.number + 4..self.number + 4 + TAG)?;
        let mut mask = <[u8; TAG]>::try_from(sample).ok()?.into();
        keys.header.encrypt_block(&mut mask);
        let [of_first, of_number @ ..]: [u8; TAG] = mask.into();
        let first = self.packet.first()? ^ of_first & 0x0f;
        let number_len = usize::from(first & 3) + 1;
        let (header, body) = self.packet.split_at_checked(self.number + number_len)?;
        let mut header = header.to_vec();
        *header.first_mut()? = first;
        let mut nonce = keys.iv;
        let number = header.get_mut(self.number..)?;
        for (byte, mask) in number.iter_mut().zip(of_number) {
            *byte ^= mask;
        }
        // Packets of the handshake are few: none has a number longer than it is written.
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        let (text, tag) = body.split_at_checked(body.len().checked_sub(TAG)?)?;
        let tag = <[u8; TAG]>::try_from(tag).ok()?.into();
        let mut text = text.to_vec();
        let buffer = text.as_mut_slice().into();
        keys.aead.decrypt_inout_detached(&nonce.into(), &header, buffer, &tag).ok()?;
        Some(text)
    }
}

/// Keys of one side's Initials.
struct Keys {
    aead: Aes128Gcm,
    iv: [u8; 12],
    header: Aes128,
}

impl Keys {
    fn new(version: Version, first: &Id, sender: Sender) -> Option<Self> {
        let initial = Hkdf::<Sha256>::new(Some(&version.salt()), first.bytes());
        let label = match sender {
            Sender::Client => "client in",
            Sender::Server => "server in",
        };
        let secret: [u8; 32] = expand(&initial, label)?;
        let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let [key, iv, header] = version.labels();
        let key: [u8; 16] = expand(&secret, key)?;
        let iv = expand(&secret, iv)?;
        let header: [u8; 16] = expand(&secret, header)?;
        Some(Self { aead: Aes128Gcm::new(&key.into()), iv, header: Aes128::new(&header.into()) })
    }
}

/// HKDF-Expand-Label without a context (RFC 8446 section 7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str) -> Option<[u8; N]> {
    let len = u16::try_from(N).ok()?.to_be_bytes();
    let label_len = [u8::try_from("tls13 ".len() + label.len()).ok()?];
    let info: [&[u8]; 5] = [&len, &label_len, b"tls13 ", label.as_bytes(), &[0]];
    let mut output = [0; N];
    secret.expand_multi_info(&info, &mut output).ok()?;
    Some(output)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The samples of RFC 9001 and RFC 9369, appendices A.2 and A.3.
    pub(crate) const SAMPLES: [[&str; 2]; 2] = [
        [
            include_str!("../../../../tests/fixtures/quic/rfc9001-client.hex"),
            include_str!("../../../../tests/fixtures/quic/rfc9001-server.hex"),
        ],
        [
            include_str!("../../../../tests/fixtures/quic/rfc9369-client.hex"),
            include_str!("../../../../tests/fixtures/quic/rfc9369-server.hex"),
        ],
    ];

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.trim().as_bytes().chunks(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn the_samples_of_the_specifications_open() {
        for [client, server] in SAMPLES {
            let (client, server) = (bytes(client), bytes(server));
            let sent: Vec<_> = Initials(&client).collect();
            let [sent] = sent[..] else { panic!("{sent:?}") };
            let first = sent.destination;
            assert_eq!(first.bytes(), [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08]);
            let text = sent.open(&first, Sender::Client).unwrap();
            assert_eq!(text[..8], [6, 0, 0x40, 0xf1, 1, 0, 0, 0xed]);
            assert_eq!(text.len(), 1162);
            assert!(sent.open(&first, Sender::Server).is_none());

            let answer = Initials(&server).next().unwrap();
            let text = answer.open(&first, Sender::Server).unwrap();
            assert_eq!(text[..7], [2, 0, 0, 0, 0, 6, 0]);
            assert!(answer.open(&answer.destination, Sender::Client).is_none());
        }
    }

    #[test]
    fn packets_before_an_initial_are_passed_by() {
        let client = bytes(SAMPLES[0][0]);
        // A Handshake packet without ids, five bytes long; and an Initial of a stranger.
        let mut datagram = vec![0xe0, 0, 0, 0, 1, 0, 0, 5, 1, 2, 3, 4, 5];
        datagram.extend_from_slice(&client);
        datagram.extend_from_slice(&[0xc0, 0, 0, 0, 1, 1, 9, 0, 0, 2, 1, 1]);
        datagram.extend_from_slice(&[0x40, 1, 2, 3]);
        let found: Vec<_> = Initials(&datagram).map(|it| it.packet.len()).collect();
        assert_eq!(found, [client.len(), 12]);
    }

    #[test]
    fn a_prefix_or_a_damaged_packet_does_not_open_and_does_no_harm() {
        let client = bytes(SAMPLES[0][0]);
        let first = Initials(&client).next().unwrap().destination;
        for len in 0..client.len() {
            assert!(Initials(&client[..len]).next().is_none(), "at {len}");
        }
        for at in 0..client.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = client.clone();
                damaged[at] ^= flip;
                let opened = Initials(&damaged).find_map(|it| it.open(&first, Sender::Client));
                assert!(opened.is_none(), "at {at}");
            }
        }
    }

    #[test]
    fn other_datagrams_have_no_initials() {
        let others: [&[u8]; 4] = [
            // A DNS query whose number looks like a long header.
            &[0xc1, 0x23, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1],
            // DTLS, RTP, and a version that is not known.
            &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4],
            &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9],
            &[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 1, 1, 1, 1, 0, 4, 1, 2, 3, 4],
        ];
        for other in others {
            assert!(Initials(other).next().is_none());
        }
    }
}
