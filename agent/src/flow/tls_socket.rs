//! A socket that carries TLS: what its hello messages say.

use std::sync::Arc;

use agent_common::{limits::TLS_HELLO, record::Direction};

use super::tls_hello::{self, Hello, ServerHello};
use crate::{call::Handshake, event::Data};

/// What is known of a TLS socket. Holds at most the first [`TLS_HELLO`] bytes of each
/// direction, and only until its hello was read.
#[derive(Debug, Default)]
pub(super) struct TlsSocket {
    /// First bytes of each direction, until they have told what they can.
    starts: [Start; 2],
    pub(super) handshake: Arc<Handshake>,
    pub(super) server: Option<ServerHello>,
}

#[derive(Debug, Default)]
struct Start {
    bytes: Vec<u8>,
    done: bool,
}

impl TlsSocket {
    /// Takes the first bytes of a direction. Returns true when they made the
    /// server's hello known.
    pub(super) fn hello(&mut self, data: &Data) -> bool {
        let [ingress, egress] = &mut self.starts;
        let start = if data.direction == Direction::INGRESS { ingress } else { egress };
        if start.done {
            return false;
        }
        let before = start.bytes.len() as u64;
        if data.offset != before {
            // Joined midway, or something was lost: no hello can be read any more.
            start.done = data.offset > before;
            return false;
        }
        let room = usize::try_from(TLS_HELLO.saturating_sub(before)).unwrap_or(0);
        start.bytes.extend_from_slice(data.payload.get(..room).unwrap_or(&data.payload));
        let full = start.bytes.len() as u64 >= TLS_HELLO;
        let cut = u64::from(data.len) > data.payload.len() as u64;
        let parsed = tls_hello::parse(&start.bytes);
        // No more is copied than the first record.
        let whole = start.bytes.get(3..5).is_some_and(|len| {
            let len = len.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            start.bytes.len() >= 5 + len
        });
        start.done = full || cut || whole;
        let mut news = false;
        match parsed {
            Ok(None) => {}
            Err(tls_hello::NotHello) => start.done = true,
            Ok(Some(Hello::Client(hello))) => {
                start.done |= hello.complete;
                let handshake = Arc::make_mut(&mut self.handshake);
                handshake.server_name = hello.server_name;
                handshake.ja4 = hello.ja4;
            }
            Ok(Some(Hello::Server(hello))) => {
                start.done |= hello.complete;
                news = hello.version.is_some() && self.server.is_none();
                if news {
                    let handshake = Arc::make_mut(&mut self.handshake);
                    handshake.version = hello.version;
                    handshake.cipher = Some(hello.cipher);
                    handshake.protocol.clone_from(&hello.protocol);
                    self.server = Some(hello);
                }
            }
        }
        if start.done {
            start.bytes = Vec::new();
        }
        news
    }

    /// Gives up reading hellos that are not complete.
    pub(super) fn give_up(&mut self) {
        self.starts = [(); 2].map(|()| Start { bytes: Vec::new(), done: true });
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.starts.iter().map(|start| start.bytes.len()).sum()
    }
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
    fn a_socket_joined_midway_stays_unknown() {
        let mut socket = TlsSocket::default();
        assert!(!socket.hello(&sample::data(&[22, 3, 3], 5000)));
        assert!(!socket.hello(&sample::data(&[22, 3, 3], 0)));
        assert_eq!((socket.held(), &socket.server), (0, &None));
    }
}
