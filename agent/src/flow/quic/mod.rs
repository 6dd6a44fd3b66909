//! QUIC: the connections of a UDP socket, as far as their Initials tell. All else that they
//! move is encrypted in the process.

mod hello;
mod initial;

use agent_common::record::{Direction, FlowId};

use self::{
    hello::Hello,
    initial::{Id, Initials, Sender},
};
use super::{recent::Recent, tls_hello::ClientHello};
use crate::event::Data;

/// Initials of one record that are looked at: there are more only where many datagrams are
/// moved at once.
const INITIALS_MAX: usize = 4;

/// Connections of one client's id that wait for their answer.
const WAITING_MAX: usize = 4;

/// Hellos that a socket keeps until the ledger takes them.
const HELLOS_MAX: usize = 8;

/// A UDP socket over which QUIC goes.
#[derive(Debug)]
pub(super) struct QuicSocket {
    /// Positions when it was met: what came before may have been something else.
    base: [u64; 2],
    /// Connections that were answered.
    pub(super) connections: u64,
    /// Bytes of connections moved, though they may be older than the agent: the kernel side
    /// tells of bytes alone only when the process itself has sent QUIC.
    pub(super) moves: bool,
    /// What the clients of connections said that the ledger has not taken; bounded.
    pub(super) hellos: Vec<ClientHello>,
}

impl QuicSocket {
    /// A socket that is met with this record.
    pub(super) fn new(data: &Data) -> Self {
        let mut base = [data.offset, data.other_offset];
        if data.direction != Direction::INGRESS {
            base.reverse();
        }
        Self { base, connections: 0, moves: false, hellos: Vec::new() }
    }

    /// Bytes that it moved, of how far its directions have come.
    pub(super) fn moved(&self, reached: [u64; 2]) -> [u64; 2] {
        let [[ingress, egress], base] = [reached, self.base];
        [ingress.saturating_sub(base[0]), egress.saturating_sub(base[1])]
    }

    /// Notes what a record has shown; the connections that are new.
    pub(super) fn note(&mut self, seen: Seen) -> u64 {
        let new = u64::from(seen.answered);
        self.connections += new;
        if let Some(hello) = seen.hello
            && self.hellos.len() < HELLOS_MAX
        {
            self.hellos.push(hello);
        }
        new
    }
}

/// What an Initial has shown of a connection.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Its server has answered for the first time.
    answered: bool,
    /// What its client said, told once, when it was answered.
    hello: Option<ClientHello>,
}

/// Names a connection: socket, direction of its client's packets, and the id that the
/// client first gave its server, which keys follow from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    socket: FlowId,
    client: u8,
    id: Id,
}

/// A connection that a client wanted.
#[derive(Debug, Default)]
struct Connection {
    hello: Hello,
    /// It was told of.
    answered: bool,
    /// What the client said, until it is told.
    said: Option<ClientHello>,
}

/// The connections of all sockets that were seen to begin. Bounded: those not used lately
/// are forgotten and counted. One holds at most 4 KiB of a hello, until that is complete.
#[derive(Debug)]
pub(super) struct Connections {
    known: Recent<Key, Connection>,
    /// Ids of connections without an answer, by socket, direction and the client's own id,
    /// which the answer goes to.
    waiting: Recent<Key, Vec<Id>>,
}

impl Connections {
    /// Keeps at most so many.
    pub(super) fn new(limit: usize) -> Self {
        Self { known: Recent::new(limit), waiting: Recent::new(limit) }
    }

    /// Connections that were forgotten for want of room.
    pub(super) const fn forgotten(&self) -> u64 {
        self.known.forgotten()
    }

    /// Takes a record of a socket. A connection counts when a server has answered its
    /// client, both with valid tags: anyone may send an Initial to any port.
    pub(super) fn datagram(&mut self, data: &Data, mut each: impl FnMut(Seen)) {
        let (socket, client) = (data.flow, data.direction.0 & 1);
        for initial in Initials(&data.payload).take(INITIALS_MAX) {
            let key = Key { socket, client, id: initial.destination };
            if let Some(text) = initial.open(&initial.destination, Sender::Client) {
                let own = Key { socket, client, id: initial.source };
                self.client_said(&key, &own, &text, &mut each);
                continue;
            }
            // The answer to a connection of the other direction, by the client's own id.
            let own = Key { client: client ^ 1, ..key };
            let ids = self.waiting.peek(&own).map(Vec::as_slice).unwrap_or_default();
            let answers = |id: &&Id| initial.open(id, Sender::Server).is_some();
            let Some(&id) = ids.iter().find(answers) else { continue };
            self.waiting.entry(&own).retain(|waiting| *waiting != id);
            let connection = self.known.entry(&Key { id, ..own });
            if !connection.answered {
                connection.answered = true;
                each(Seen { answered: true, hello: connection.said.take() });
            }
        }
    }

    fn client_said(&mut self, key: &Key, own: &Key, text: &[u8], each: &mut impl FnMut(Seen)) {
        let new = self.known.peek(key).is_none();
        let connection = self.known.entry(key);
        if let Some(hello) = connection.hello.take(text) {
            if connection.answered {
                each(Seen { answered: false, hello: Some(hello) });
            } else {
                connection.said = Some(hello);
            }
        }
        if new {
            let ids = self.waiting.entry(own);
            // After a Retry a client begins anew, and nobody answers what it sent before.
            if ids.len() >= WAITING_MAX {
                ids.remove(0);
            }
            ids.push(key.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_common::record::Protocol;

    use super::{
        initial::tests::{SAMPLES, bytes},
        *,
    };
    use crate::flow::sample;

    fn data(payload: &[u8], direction: Direction) -> Data {
        Data { direction, protocol: Protocol::QUIC, ..sample::data(payload, 0) }
    }

    fn seen(connections: &mut Connections, payload: &[u8], direction: Direction) -> Vec<Seen> {
        let mut all = Vec::new();
        connections.datagram(&data(payload, direction), |seen| all.push(seen));
        all
    }

    #[test]
    fn a_connection_counts_once_it_is_answered_and_once_only() {
        for [client, server] in SAMPLES {
            let (client, server) = (bytes(client), bytes(server));
            for (to, from) in
                [(Direction::INGRESS, Direction::EGRESS), (Direction::EGRESS, Direction::INGRESS)]
            {
                let mut connections = Connections::new(8);
                assert!(seen(&mut connections, &server, from).is_empty(), "to nobody");
                assert!(seen(&mut connections, &client, to).is_empty(), "no answer yet");
                assert!(seen(&mut connections, &client, from).is_empty(), "of its own side");
                let [told] = &seen(&mut connections, &server, from)[..] else { panic!("untold") };
                assert!(told.answered);
                let name = told.hello.as_ref().and_then(|hello| hello.server_name.as_deref());
                assert_eq!(name, Some("example.com"));
                assert!(seen(&mut connections, &client, to).is_empty(), "sent again");
                assert!(seen(&mut connections, &server, from).is_empty(), "sent again");
            }
        }
    }

    #[test]
    fn an_answer_to_a_damaged_hello_is_no_connection() {
        let [client, server] = SAMPLES[0].map(bytes);
        for at in 0..client.len() {
            let mut damaged = client.clone();
            damaged[at] ^= 0x55;
            let mut connections = Connections::new(8);
            assert!(seen(&mut connections, &damaged, Direction::INGRESS).is_empty());
            assert!(seen(&mut connections, &server, Direction::EGRESS).is_empty(), "at {at}");
        }
    }

    #[test]
    fn bytes_count_from_where_a_socket_was_met() {
        let met = Data { other_offset: 40, ..sample::data(b"", 500) };
        let socket = QuicSocket::new(&met);
        assert_eq!(socket.moved([1700, 100]), [1200, 60]);
        let socket = QuicSocket::new(&Data { direction: Direction::EGRESS, ..met });
        assert_eq!(socket.moved([100, 1700]), [60, 1200]);
    }
}
