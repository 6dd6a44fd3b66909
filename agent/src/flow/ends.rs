//! The two ends of a connection as a key: who is at the other end of a flow.

use std::{net::SocketAddr, sync::Arc};

use agent_common::record::{Family, Tuple};

use crate::{call::Ends, event::addresses};

/// The two ends of a socket, this one first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EndsKey {
    /// Addresses.
    Inet(SocketAddr, SocketAddr),
    /// Inode numbers of unix sockets.
    Unix(u64, u64),
}

impl EndsKey {
    /// The key of a socket; `None` when one of its ends is not known.
    pub fn new(tuple: &Tuple) -> Option<Self> {
        if tuple.family == Family::UNIX {
            let (local, remote) = (inode(&tuple.local), inode(&tuple.remote));
            return (local != 0 && remote != 0).then_some(Self::Unix(local, remote));
        }
        let (local, remote) = addresses(tuple)?;
        Some(Self::Inet(local, remote))
    }

    /// The same connection, seen from its other end.
    #[must_use]
    pub const fn mirror(self) -> Self {
        match self {
            Self::Inet(local, remote) => Self::Inet(remote, local),
            Self::Unix(local, remote) => Self::Unix(remote, local),
        }
    }
}

fn inode(bytes: &[u8; 16]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// What a call says of the ends of its connection.
pub fn ends(tuple: &Tuple, path: Option<&Arc<str>>) -> Ends {
    if tuple.family == Family::UNIX {
        return Ends::Unix { path: path.cloned() };
    }
    match addresses(tuple) {
        Some((local, remote)) => Ends::Tcp { local, remote },
        None => Ends::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::sample;

    #[test]
    fn the_two_ends_of_a_connection_mirror_each_other() {
        let here = EndsKey::new(&sample::tuple(80, 4000)).unwrap();
        let there = EndsKey::new(&sample::tuple(4000, 80)).unwrap();
        assert_eq!(here.mirror(), there);
        assert_ne!(here, there);
    }

    #[test]
    fn a_v4_client_and_a_dual_stack_server_are_one_connection() {
        let client = sample::tuple(4000, 80);
        let mut server = Tuple { family: Family::INET6, ..sample::tuple(80, 4000) };
        server.local = "::ffff:127.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        server.remote = server.local;
        assert_eq!(EndsKey::new(&server).unwrap().mirror(), EndsKey::new(&client).unwrap());
    }

    #[test]
    fn a_unix_socket_without_a_known_peer_has_no_key() {
        let mut tuple = Tuple { family: Family::UNIX, ..Tuple::default() };
        tuple.local[..8].copy_from_slice(&7u64.to_ne_bytes());
        assert_eq!(EndsKey::new(&tuple), None);
        tuple.remote[..8].copy_from_slice(&8u64.to_ne_bytes());
        assert_eq!(EndsKey::new(&tuple).unwrap().mirror(), EndsKey::Unix(8, 7));
    }
}
