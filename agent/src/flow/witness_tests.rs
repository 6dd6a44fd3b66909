//! Sessions on buffers in memory, and the sockets that their ciphertext goes over.

use std::collections::HashMap;

use agent_common::{
    limits::TLS_RECORD_START,
    record::{DataFlags, Protocol, Tuple},
};

use super::*;
use crate::{
    call::{Binding, Endpoint, Timestamp},
    flow::{Limits, sample},
    http,
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A server process.
struct Scene {
    table: FlowTable,
    out: Vec<Call>,
    now: u64,
    tgid: u32,
    /// How far each session has come, either way.
    reached: HashMap<u64, [u64; 2]>,
}

impl Scene {
    fn new() -> Self {
        let table = FlowTable::new(Limits::default(), http::Limits::default());
        Self { table, out: Vec::new(), now: 0, tgid: 7, reached: HashMap::default() }
    }

    fn data(&mut self, id: u64, direction: Direction, data: Data) {
        self.now += 1000;
        let flow = FlowId { id, generation: 1 };
        let time = Timestamp(self.now);
        let data = Data { flow, direction, time, tgid: self.tgid, ..data };
        self.table.data(data, &mut self.out);
    }

    /// A session moves plaintext.
    fn plain(&mut self, session: u64, direction: Direction, payload: &[u8]) {
        let [ingress, egress] = self.reached.entry(session).or_default();
        let (own, other) =
            if direction == Direction::INGRESS { (ingress, egress) } else { (egress, ingress) };
        let first = if *own + *other == 0 { DataFlags::FIRST } else { DataFlags(0) };
        let data = Data { other_offset: *other, flags: first, ..sample::data(payload, *own) };
        *own += payload.len() as u64;
        let (layer, protocol) = (Layer::TLS, Protocol::UNKNOWN);
        self.data(session, direction, Data { layer, protocol, tuple: Tuple::default(), ..data });
    }

    fn record(number: u8) -> [u8; TLS_RECORD_START] {
        let mut start = [number; TLS_RECORD_START];
        start[..5].copy_from_slice(&[23, 3, 3, 1, 0]);
        start
    }

    /// A session reads or writes a record.
    fn cipher(&mut self, session: u64, direction: Direction, number: u8) {
        let data = sample::data(&Self::record(number), 0);
        let (layer, flags) = (Layer::TLS, DataFlags::TLS_RECORDS);
        self.data(session, direction, Data { layer, flags, tuple: Tuple::default(), ..data });
    }

    /// A record goes over a socket.
    fn wire(&mut self, socket: u64, direction: Direction, number: u8) {
        let mut tuple = sample::tuple(443, 50000 + u16::try_from(socket).unwrap());
        // Another host, so that no call waits for its other end.
        tuple.remote[0] = 192;
        let (protocol, flags) = (Protocol::TLS, DataFlags::TLS_RECORDS);
        let data = sample::data(&Self::record(number), 0);
        self.data(socket, direction, Data { protocol, flags, tuple, ..data });
    }

    /// A call that nothing but its plaintext shows.
    fn call(&mut self, session: u64) {
        self.plain(session, Direction::INGRESS, REQUEST);
        self.plain(session, Direction::EGRESS, RESPONSE);
    }

    /// Port of the client, and binding, of each call that was told.
    fn calls(&self) -> Vec<(Option<u16>, Binding)> {
        let told = self.out.iter().map(|call| {
            let port = match call.connection.remote() {
                Endpoint::Inet(address) => Some(address.port()),
                _ => None,
            };
            (port, call.tls.as_ref().unwrap().binding)
        });
        told.collect()
    }
}

#[test]
fn a_record_that_was_read_names_the_socket_before_the_call_is_told() {
    let mut scene = Scene::new();
    // Nothing is remembered of sockets before their process tells of any ciphertext.
    scene.cipher(8, Direction::INGRESS, 9);
    scene.wire(1, Direction::INGRESS, 1);
    scene.cipher(9, Direction::INGRESS, 1);
    scene.call(9);
    assert_eq!(scene.calls(), [(Some(50001), Binding::Ciphertext)]);
}

#[test]
fn calls_from_before_the_proof_have_it_too_in_their_order() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.call(9);
    }
    assert!(scene.out.is_empty());
    scene.cipher(9, Direction::EGRESS, 1);
    scene.wire(1, Direction::EGRESS, 1);
    assert_eq!(scene.calls(), [(Some(50001), Binding::Ciphertext); 3]);
    scene.call(9);
    assert_eq!(scene.calls().len(), 4);
    assert_eq!(scene.table.unsure_count, 0);
    assert!(scene.out.is_sorted_by_key(|call| call.times.request_start));
}

#[test]
fn without_a_proof_calls_wait_once_and_then_no_more() {
    let mut scene = Scene::new();
    scene.call(9);
    scene.table.tick(Timestamp(scene.now + 400_000_000), &mut scene.out);
    assert_eq!(scene.calls(), [(None, Binding::None)]);
    scene.call(9);
    assert_eq!(scene.calls().len(), 2);
}

#[test]
fn a_session_that_ends_tells_its_calls() {
    let mut scene = Scene::new();
    scene.call(9);
    scene.table.finish(&mut scene.out);
    assert_eq!(scene.calls(), [(None, Binding::None)]);
    assert_eq!(scene.table.unsure_count, 0);
}

#[test]
fn what_waits_for_a_proof_is_bounded() {
    let mut scene = Scene::new();
    for _ in 0..300 {
        scene.call(9);
    }
    assert_eq!(scene.calls().len(), 300, "the 257th lets go of all");
    for session in 100..100 + 5000 {
        scene.call(session);
    }
    let limit = scene.table.limits.waiting_calls;
    assert_eq!((scene.calls().len(), scene.table.unsure_count), (300 + 5000 - limit, limit));
}

#[test]
fn equal_records_of_another_process_prove_nothing() {
    let mut scene = Scene::new();
    scene.cipher(9, Direction::EGRESS, 1);
    scene.tgid = 8;
    scene.wire(1, Direction::EGRESS, 1);
    scene.tgid = 7;
    scene.call(9);
    scene.table.finish(&mut scene.out);
    assert_eq!(scene.calls(), [(None, Binding::None)]);
}

#[test]
fn sessions_at_one_address_in_two_processes_have_their_own_sockets() {
    let mut scene = Scene::new();
    for (tgid, number) in [(7, 1), (8, 2)] {
        scene.tgid = tgid;
        scene.reached.clear();
        scene.cipher(8, Direction::INGRESS, 9);
        scene.wire(u64::from(number), Direction::INGRESS, number);
        scene.cipher(9, Direction::INGRESS, number);
        scene.call(9);
    }
    let ports: Vec<_> = scene.calls().iter().map(|(port, _)| port.unwrap()).collect();
    assert_eq!(ports, [50001, 50002]);
}

#[test]
fn a_record_that_came_twice_proves_nothing() {
    let mut scene = Scene::new();
    scene.cipher(8, Direction::INGRESS, 9);
    scene.wire(1, Direction::INGRESS, 1);
    // Somebody on the way sends the victim's record again, over a connection of his own.
    scene.wire(2, Direction::INGRESS, 1);
    scene.cipher(9, Direction::INGRESS, 1);
    scene.call(9);
    scene.table.finish(&mut scene.out);
    assert_eq!(scene.calls(), [(None, Binding::None)]);
}
