//! Sessions of a library that was found without symbols, and what proves them.

use agent_common::record::{Protocol, Tuple};

use super::*;
use crate::{
    call::{Endpoint, Timestamp},
    event::verdict::{Embedded, ProcessVerdict, Unhooked},
    flow::{Limits, coverage::Fate, fate::Reason, sample, tls_record::tests::starts},
    http,
};

const LIBRARY: u16 = LOCATED_LIBRARIES + 1;

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

const SOCKET: u64 = 1;
const SESSION: u64 = 9;

/// A client process with one connection.
struct Scene {
    table: FlowTable,
    out: Vec<Call>,
    now: u64,
    reached: [u64; 2],
    /// What is said of the nested system calls.
    flags: DataFlags,
    library: u16,
}

impl Scene {
    fn new() -> Self {
        let mut table = FlowTable::new(Limits::default(), http::Limits::default());
        table.library(LIBRARY, "program".into());
        // Without this, records may be longer by some other numbers too.
        table.binder.hello(FlowId { id: SOCKET, generation: 1 }, Some(17));
        let (flags, library) = (DataFlags::NESTED, LIBRARY);
        Self { table, out: Vec::new(), now: 0, reached: [0; 2], flags, library }
    }

    fn tuple() -> Tuple {
        let mut tuple = sample::tuple(50001, 443);
        tuple.remote[0] = 192;
        tuple
    }

    fn data(&mut self, id: u64, direction: Direction, data: Data) {
        self.now += 1000;
        let (flow, time) = (FlowId { id, generation: 1 }, Timestamp(self.now));
        self.table.data(Data { time, flow, direction, ..data }, &mut self.out);
    }

    /// A call of the session moves plaintext.
    fn plain(&mut self, direction: Direction, payload: &[u8]) {
        let side = usize::from(direction.0);
        let first = if self.reached == [0; 2] { DataFlags::FIRST } else { DataFlags(0) };
        let data = Data {
            other_offset: self.reached[1 - side],
            flags: self.flags.union(first),
            layer: Layer::TLS,
            protocol: Protocol::UNKNOWN,
            library: self.library,
            socket: FlowId { id: SOCKET, generation: 1 },
            tuple: Self::tuple(),
            ..sample::data(payload, self.reached[side])
        };
        self.reached[side] += payload.len() as u64;
        self.data(SESSION, direction, data);
    }

    /// A record with this much plaintext, of TLS 1.3, goes over the socket.
    fn wire(&mut self, direction: Direction, plain: usize) {
        let payload = starts(&[(23, u16::try_from(plain + 17).unwrap())]);
        let data = Data {
            protocol: Protocol::TLS,
            flags: DataFlags::TLS_RECORDS,
            tuple: Self::tuple(),
            ..sample::data(&payload, 0)
        };
        self.data(SOCKET, direction, data);
    }

    /// A call, whose request and response need records of these lengths.
    fn call(&mut self, request: usize, response: usize) {
        self.plain(Direction::EGRESS, REQUEST);
        self.wire(Direction::EGRESS, request);
        self.wire(Direction::INGRESS, response);
        self.plain(Direction::INGRESS, RESPONSE);
    }

    fn wait(&mut self) {
        self.now += 1_000_000_000;
        self.table.tick(Timestamp(self.now), &mut self.out);
    }

    /// Bindings and remote ports of the calls that were told.
    fn told(&self) -> Vec<(Binding, u16)> {
        let told = |call: &Call| match call.connection.remote() {
            Endpoint::Inet(address) => (call.tls.as_ref().unwrap().binding, address.port()),
            _ => panic!("a call without a peer"),
        };
        self.out.iter().map(told).collect()
    }
}

#[test]
fn lengths_that_agree_either_way_prove_a_session() {
    let mut scene = Scene::new();
    scene.call(REQUEST.len(), RESPONSE.len());
    assert_eq!(scene.told(), [(Binding::NestedSyscall, 443)]);
    // From here on nothing more has to be proven.
    scene.call(1, 1);
    assert_eq!(scene.told().len(), 2);
    assert!(scene.table.take_given_up().is_empty());
}

#[test]
fn a_server_waits_for_the_record_with_its_response() {
    let mut scene = Scene::new();
    scene.wire(Direction::INGRESS, REQUEST.len());
    scene.plain(Direction::INGRESS, REQUEST);
    scene.plain(Direction::EGRESS, RESPONSE);
    assert!(scene.out.is_empty());
    scene.wire(Direction::EGRESS, RESPONSE.len());
    assert_eq!(scene.told(), [(Binding::NestedSyscall, 443)]);
}

#[test]
fn a_record_may_be_read_in_parts_and_others_hold_no_data() {
    let mut scene = Scene::new();
    scene.plain(Direction::EGRESS, REQUEST);
    scene.wire(Direction::EGRESS, REQUEST.len());
    scene.wire(Direction::INGRESS, 200);
    scene.wire(Direction::INGRESS, RESPONSE.len());
    for part in RESPONSE.chunks(10) {
        scene.plain(Direction::INGRESS, part);
    }
    assert_eq!(scene.told().len(), 1);
}

#[test]
fn what_is_not_proven_is_never_told() {
    let whole = [REQUEST.len(), RESPONSE.len()];
    let none = DataFlags(0);
    let conflict = DataFlags::NESTED.union(DataFlags::CONFLICT);
    for (request, response, flags) in [
        (whole[0] + 1, whole[1], DataFlags::NESTED),
        (whole[0], whole[1] - 1, DataFlags::NESTED),
        (whole[0], whole[1], none),
        (whole[0], whole[1], conflict),
    ] {
        let mut scene = Scene::new();
        scene.flags = flags;
        for _ in 0..3 {
            scene.call(request, response);
            scene.wait();
        }
        scene.table.finish(&mut scene.out);
        assert!(scene.out.is_empty(), "{request} {response}");
        assert_eq!(scene.table.stats().calls_unproven, 3);
    }
}

#[test]
fn a_library_with_symbols_needs_no_proof() {
    let mut scene = Scene::new();
    scene.library = 1;
    scene.call(1, 1);
    assert_eq!(scene.told(), [(Binding::NestedSyscall, 443)]);
}

#[test]
fn a_library_that_proves_nothing_is_given_up_once() {
    let mut scene = Scene::new();
    for _ in 0..CALLS_MAX {
        scene.call(1, 1);
    }
    assert_eq!(scene.table.take_given_up(), [LIBRARY]);
    scene.call(1, 1);
    assert!(scene.table.take_given_up().is_empty());
}

#[test]
fn a_library_that_was_proven_once_is_not_given_up() {
    let mut scene = Scene::new();
    scene.call(REQUEST.len(), RESPONSE.len());
    scene.flags = DataFlags(0);
    for _ in 0..CALLS_MAX {
        scene.call(1, 1);
    }
    assert!(scene.table.take_given_up().is_empty());
}

#[test]
fn a_connection_that_was_not_proven_is_opaque_with_the_reason() {
    let mut scene = Scene::new();
    let unhooked = Some(Unhooked::Embedded(Embedded::OpenSslUnproven));
    let verdict = ProcessVerdict { pid: 7, looked: true, unhooked, ..ProcessVerdict::default() };
    scene.table.verdict(verdict.into());
    for _ in 0..3 {
        scene.call(1, 1);
    }
    scene.table.finish(&mut scene.out);
    let rows = scene.table.coverage().rows().iter();
    let told = rows.flat_map(|row| row.fates().filter(|(_, count)| count.connections > 0));
    let told: Vec<_> = told.map(|(fate, count)| (fate, count.connections)).collect();
    let opaque = Fate::Opaque(Reason::Embedded(Embedded::OpenSslUnproven));
    assert_eq!(told, [(opaque, 1)]);
}
