//! A socket that carries TLS: what its handshake says before it is encrypted.

use std::sync::Arc;

use agent_common::{limits::TLS_HELLO, record::Direction};

use super::{
    decoder::Content,
    tls_certificate,
    tls_hello::{self, Hello, ServerHello},
    tls_record::RecordStart,
};
use crate::{
    call::{Handshake, Timestamp},
    event::Data,
};

/// Lengths of a record of TLS 1.3 with a Finished, the last message of a client's handshake:
/// its header, a hash of 32 or 48 bytes, the true type and the tag (RFC 8446 sections 4.4.4
/// and 5.2). Certificates before it are application data on the wire too.
const FINISHED_LENS: [u16; 2] = [53, 69];

/// Length of a record of TLS 1.3 with an alert, of which one ends every connection: two
/// bytes, the true type and the tag (RFC 8446 sections 5.2 and 6).
const ALERT_LEN: u16 = 19;

/// More than any handshake has.
const HANDSHAKE_MAX: u64 = 16 * 1024;

/// What is known of a TLS socket. Holds at most the first [`TLS_HELLO`] bytes of each
/// direction, and only until they have told what they can.
#[derive(Debug, Default)]
pub(super) struct TlsSocket {
    /// First bytes of each direction, until they have told what they can.
    starts: [Start; 2],
    pub(super) handshake: Arc<Handshake>,
    pub(super) server: Option<ServerHello>,
    /// The direction that the client's hello came in, when it was seen.
    pub(super) client: Option<Direction>,
    /// Bytes of the record with the client's hello.
    hello_len: u64,
    /// Records of application data that were seen to begin, by direction.
    records: [u32; 2],
    /// Of TLS 1.3: how many of the client's came after its Finished, once that was seen.
    after_finished: Option<u32>,
    /// Since when application data was seen in both directions.
    pub(super) moves_since: Option<Timestamp>,
    /// What its session carried when it was looked at last.
    pub(super) carried: Option<Carried>,
}

/// What a session carries, and the plaintext that it has moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) content: Content,
    pub(super) bytes: [u64; 2],
}

/// The first bytes of a direction.
#[derive(Debug, Default)]
struct Start {
    bytes: Vec<u8>,
    awaited: Awaited,
}

/// What the first bytes of a direction have still to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Awaited {
    #[default]
    Hello,
    /// Of a server, up to TLS 1.2.
    Certificate,
    Nothing,
}

impl TlsSocket {
    /// Takes the first bytes of a direction. Returns true when they made the
    /// server's hello known.
    pub(super) fn hello(&mut self, data: &Data) -> bool {
        let side = usize::from(data.direction.0 & 1);
        let Some(start) = self.starts.get_mut(side) else { return false };
        if start.awaited == Awaited::Nothing {
            return false;
        }
        let before = start.bytes.len() as u64;
        if data.offset != before {
            if data.offset > before {
                // Joined midway, or something was lost: nothing can be read any more.
                *start = Start { bytes: Vec::new(), awaited: Awaited::Nothing };
            }
            return false;
        }
        let mut start = std::mem::take(start);
        let room = usize::try_from(TLS_HELLO.saturating_sub(before)).unwrap_or(0);
        start.bytes.extend_from_slice(data.payload.get(..room).unwrap_or(&data.payload));
        let server = self.server.is_some();
        if start.awaited == Awaited::Hello {
            start.awaited = self.read_hello(&start.bytes, data.direction);
        }
        if start.awaited == Awaited::Certificate {
            start.awaited = self.read_certificate(&start.bytes);
        }
        let full = start.bytes.len() as u64 >= TLS_HELLO;
        let cut = u64::from(data.len) > data.payload.len() as u64;
        if full || cut {
            start.awaited = Awaited::Nothing;
        }
        if start.awaited == Awaited::Nothing {
            start.bytes = Vec::new();
        }
        if let Some(place) = self.starts.get_mut(side) {
            *place = start;
        }
        self.server.is_some() != server
    }

    /// Reads the hello at the start of a direction, and says what is awaited then.
    fn read_hello(&mut self, bytes: &[u8], direction: Direction) -> Awaited {
        let len = whole_len(bytes);
        // One that is split over records is read as far as the first goes.
        let whole = bytes.len() >= 5 && bytes.len() as u64 >= len;
        let more = if whole { Awaited::Nothing } else { Awaited::Hello };
        match tls_hello::parse(bytes) {
            Ok(None) => more,
            Err(tls_hello::NotHello) => Awaited::Nothing,
            Ok(Some(Hello::Client(hello))) => {
                self.client = Some(direction);
                self.hello_len = len;
                let handshake = Arc::make_mut(&mut self.handshake);
                handshake.server_name = hello.server_name;
                handshake.ja4 = hello.ja4;
                if hello.complete { Awaited::Nothing } else { more }
            }
            Ok(Some(Hello::Server(hello))) => {
                let complete = hello.complete;
                if hello.version.is_some() && self.server.is_none() {
                    let handshake = Arc::make_mut(&mut self.handshake);
                    handshake.version = hello.version;
                    handshake.cipher = Some(hello.cipher);
                    handshake.protocol.clone_from(&hello.protocol);
                    self.server = Some(hello);
                }
                match complete {
                    true if self.is_old() => Awaited::Certificate,
                    true => Awaited::Nothing,
                    false => more,
                }
            }
        }
    }

    /// Reads the certificate behind a server's hello, and says what is awaited then.
    fn read_certificate(&mut self, bytes: &[u8]) -> Awaited {
        match tls_certificate::parse(bytes) {
            Ok(None) => Awaited::Certificate,
            Ok(Some(certificate)) => {
                Arc::make_mut(&mut self.handshake).certificate = Some(certificate.into());
                Awaited::Nothing
            }
            Err(tls_certificate::NoCertificate) => Awaited::Nothing,
        }
    }

    /// Takes the starts of records that began; `reached` is how far each direction has
    /// come.
    pub(super) fn records(&mut self, data: &Data, reached: [u64; 2]) {
        for len in RecordStart::all(&data.payload).filter_map(RecordStart::application_data) {
            self.record(data.direction, len);
        }
        let both = [Direction::INGRESS, Direction::EGRESS];
        let moves = both.iter().all(|it| self.moves(*it, reached));
        self.moves_since = moves.then(|| self.moves_since.unwrap_or(data.time));
    }

    /// Takes the header of a record of application data; of TLS 1.3 that is all but the
    /// hellos, alerts too.
    fn record(&mut self, direction: Direction, len: u16) {
        if !self.is_old() && len == ALERT_LEN {
            return;
        }
        if let Some(records) = self.records.get_mut(usize::from(direction.0 & 1)) {
            *records = records.saturating_add(1);
        }
        if self.client == Some(direction) {
            match &mut self.after_finished {
                Some(after) => *after = after.saturating_add(1),
                None if FINISHED_LENS.contains(&len) => self.after_finished = Some(0),
                None => {}
            }
        }
    }

    /// Whether more than a handshake was moved.
    pub(super) fn used(&self, reached: [u64; 2]) -> bool {
        match self.client {
            Some(client) if !self.is_old() => self.moves(client, reached),
            _ => self.records.iter().any(|records| *records > 0),
        }
    }

    /// Before TLS 1.3 the handshake is no application data.
    fn is_old(&self) -> bool {
        matches!(self.handshake.version, Some("1.0" | "1.1" | "1.2"))
    }

    /// Whether a direction has moved application data. That of a server is taken for
    /// some when there is a record: what it sends after its handshake cannot be told
    /// from it, and without a request it sends nothing that matters.
    fn moves(&self, direction: Direction, reached: [u64; 2]) -> bool {
        let side = usize::from(direction.0 & 1);
        let records = self.records.get(side).copied().unwrap_or(0);
        if self.is_old() || self.client != Some(direction) {
            return records > 0;
        }
        let beyond = reached.get(side).map_or(0, |reached| reached.saturating_sub(self.hello_len));
        // Of several buffers in one call only the first is looked at: a Finished that was not
        // seen may still have been there, and then what was seen is data.
        self.after_finished.unwrap_or(records) > 0 || beyond > HANDSHAKE_MAX
    }

    /// Gives up reading hellos that are not complete.
    pub(super) fn give_up(&mut self) {
        self.starts = [(); 2].map(|()| Start { bytes: Vec::new(), awaited: Awaited::Nothing });
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.starts.iter().map(|start| start.bytes.len()).sum()
    }
}

/// Length of the first record, by its header.
fn whole_len(bytes: &[u8]) -> u64 {
    let len = bytes.get(3..5).unwrap_or_default();
    5 + len.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use agent_common::record::Protocol;

    use super::*;
    use crate::flow::sample;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.trim().as_bytes().chunks(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn hellos_in_crumbs_are_read_and_not_kept() {
        let client = bytes(include_str!("../../../tests/fixtures/tls/tls13-client.hex"));
        let server = bytes(include_str!("../../../tests/fixtures/tls/tls13-server.hex"));
        let mut socket = TlsSocket::default();
        let mut news = 0;
        for (direction, hello) in [(Direction::INGRESS, client), (Direction::EGRESS, server)] {
            for (at, crumb) in hello.chunks(7).enumerate() {
                let mut data = sample::data(crumb, at as u64 * 7);
                data.direction = direction;
                data.protocol = Protocol::TLS;
                news += u32::from(socket.hello(&data));
            }
        }
        let handshake = &*socket.handshake;
        assert_eq!(handshake.server_name.as_deref(), Some("api.example.com"));
        assert_eq!((handshake.version, handshake.cipher), (Some("1.3"), Some(0x1302)));
        assert!(handshake.ja4.is_some());
        assert_eq!((news, socket.held()), (1, 0));
    }

    #[test]
    fn the_certificate_behind_an_old_hello_is_read_and_not_kept() {
        let flight = bytes(include_str!("../../../tests/fixtures/tls/tls12-flight.hex"));
        for crumb in [1, 5, 100, 4096] {
            let mut socket = TlsSocket::default();
            let mut news = 0;
            for (at, part) in flight.chunks(crumb).enumerate() {
                news += u32::from(socket.hello(&sample::data(part, (at * crumb) as u64)));
            }
            let certificate = socket.handshake.certificate.as_deref().unwrap();
            assert_eq!(certificate.issuer.as_deref(), Some("CN=Example CA"));
            assert_eq!((news, socket.held()), (1, 0));
        }
    }

    #[test]
    fn nothing_is_held_for_a_certificate_that_does_not_come() {
        let hello = bytes(include_str!("../../../tests/fixtures/tls/tls12-server.hex"));
        let mut socket = TlsSocket::default();
        assert!(socket.hello(&sample::data(&hello, 0)));
        assert_eq!(socket.held(), hello.len());
        // A session that is resumed: what follows is encrypted.
        assert!(!socket.hello(&sample::data(&[20, 3, 3, 0, 1], hello.len() as u64)));
        assert_eq!((socket.held(), &socket.handshake.certificate), (0, &None));
    }

    #[test]
    fn a_socket_joined_midway_stays_unknown() {
        let mut socket = TlsSocket::default();
        assert!(!socket.hello(&sample::data(&[22, 3, 3], 5000)));
        assert!(!socket.hello(&sample::data(&[22, 3, 3], 0)));
        assert_eq!((socket.held(), &socket.server), (0, &None));
    }
}
