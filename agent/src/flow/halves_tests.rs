//! Keys and the sockets that their ciphertext goes over.

use agent_common::{
    limits::TLS_RECORD_START,
    record::{Protocol, Tuple},
};

use super::*;
use crate::{
    call::{Binding, Endpoint, Role},
    flow::{Limits, sample},
    http,
};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A process whose library shows its ciphers, and its sockets.
struct Scene {
    table: FlowTable,
    out: Vec<Call>,
    now: u64,
    tgid: u32,
    /// How far each key has come.
    reached: AHashMap<u64, u64>,
}

impl Scene {
    fn new() -> Self {
        let table = FlowTable::new(Limits::default(), http::Limits::default());
        Self { table, out: Vec::new(), now: 0, tgid: 7, reached: AHashMap::new() }
    }

    fn data(&mut self, data: Data) {
        self.now += 1000;
        self.table.data(Data { time: Timestamp(self.now), tgid: self.tgid, ..data }, &mut self.out);
    }

    fn key(&mut self, key: u64, direction: Direction, payload: &[u8], flags: DataFlags) {
        let offset = *self.reached.entry(key).or_default();
        self.data(Data {
            flow: FlowId { id: key, generation: 1 },
            direction,
            layer: Layer::TLS,
            flags: DataFlags::HALF.union(flags),
            tuple: Tuple::default(),
            ..sample::data(payload, offset)
        });
    }

    /// A key tells plaintext.
    fn plain(&mut self, key: u64, direction: Direction, payload: &[u8]) {
        let reached = self.reached.get(&key).copied().unwrap_or(0);
        let first = if reached == 0 { DataFlags::FIRST } else { DataFlags(0) };
        self.key(key, direction, payload, first);
        self.reached.insert(key, reached + payload.len() as u64);
    }

    /// A key tells its ciphertext.
    fn cipher(&mut self, key: u64, direction: Direction, cipher: [u8; 8]) {
        let mut start = [0; TLS_RECORD_START];
        start[5..13].copy_from_slice(&cipher);
        self.key(key, direction, &start, DataFlags::TLS_RECORDS);
    }

    /// A record goes over a socket, whose ciphertext is behind so many bytes.
    fn wire(&mut self, socket: u64, direction: Direction, behind: usize, cipher: [u8; 8]) {
        let mut start = [0; TLS_RECORD_START];
        start[..5].copy_from_slice(&[23, 3, 3, 1, 0]);
        start[5..5 + behind].fill(1);
        start[5 + behind..13 + behind].copy_from_slice(&cipher);
        let mut tuple = sample::tuple(50000 + u16::try_from(socket).unwrap(), 443);
        // Another host, so that no call waits for its other end.
        tuple.remote[0] = 192;
        self.data(Data {
            flow: FlowId { id: socket, generation: 1 },
            direction,
            protocol: Protocol::TLS,
            flags: DataFlags::TLS_RECORDS,
            tuple,
            ..sample::data(&start, 0)
        });
    }

    fn sends(&mut self, key: u64, socket: u64, payload: &[u8], cipher: [u8; 8]) {
        self.plain(key, Direction::EGRESS, payload);
        self.cipher(key, Direction::EGRESS, cipher);
        self.wire(socket, Direction::EGRESS, 0, cipher);
    }

    fn gets(&mut self, key: u64, socket: u64, payload: &[u8], cipher: [u8; 8]) {
        self.wire(socket, Direction::INGRESS, 8, cipher);
        self.cipher(key, Direction::INGRESS, cipher);
        self.plain(key, Direction::INGRESS, payload);
    }

    /// Local port and binding of each call.
    fn calls(&self) -> Vec<(u16, Binding)> {
        let port = |call: &Call| match call.connection.local() {
            Endpoint::Inet(address) => address.port(),
            _ => 0,
        };
        let calls = self.out.iter().filter(|call| call.response.is_some());
        calls.map(|call| (port(call), call.tls.as_ref().unwrap().binding)).collect()
    }
}

#[test]
fn two_keys_of_a_socket_are_one_session() {
    let mut scene = Scene::new();
    scene.sends(1, 1, REQUEST, *b"request1");
    scene.gets(2, 1, RESPONSE, *b"response");
    assert_eq!(scene.calls(), [(50001, Binding::Ciphertext)]);
    assert_eq!(scene.out[0].role, Role::Client);
    // What more they say needs no ciphertext.
    scene.plain(1, Direction::EGRESS, REQUEST);
    scene.plain(2, Direction::INGRESS, RESPONSE);
    assert_eq!(scene.calls().len(), 2);
    assert_eq!(scene.table.halves.held_bytes, 0);
}

#[test]
fn a_response_whose_request_came_before_all_that_was_seen_answers_no_later_one() {
    let mut scene = Scene::new();
    let request = |number: u8| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
    let response = |number: u8| {
        format!("HTTP/1.1 {} OK\r\nContent-Length: 0\r\n\r\n", 200 + u16::from(number)).into_bytes()
    };
    scene.sends(2, 1, &response(0), *b"answer 0");
    for number in 1..4 {
        scene.gets(1, 1, &request(number), [b'a' + number; 8]);
        scene.sends(2, 1, &response(number), [b'k' + number; 8]);
    }
    let told = scene.out.iter().map(|call| (call.request.target.to_string(), call.status()));
    let right = (1..4).map(|number| (format!("/{number}"), Some(200 + number)));
    assert!(told.eq(right), "{:?}", scene.out);
}

#[test]
fn sessions_that_say_the_same_at_once_are_kept_apart() {
    let mut scene = Scene::new();
    for key in 0..50 {
        scene.plain(key, Direction::EGRESS, REQUEST);
        scene.cipher(key, Direction::EGRESS, [1 + u8::try_from(key).unwrap(); 8]);
    }
    for key in (0..50).rev() {
        scene.wire(key, Direction::EGRESS, 0, [1 + u8::try_from(key).unwrap(); 8]);
        scene.wire(key, Direction::INGRESS, 0, [101 + u8::try_from(key).unwrap(); 8]);
    }
    for key in 0..50 {
        scene.cipher(100 + key, Direction::INGRESS, [101 + u8::try_from(key).unwrap(); 8]);
        scene.plain(100 + key, Direction::INGRESS, RESPONSE);
    }
    let ports: Vec<u16> = scene.calls().iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, (0..50).map(|key| 50000 + key).collect::<Vec<_>>());
}

#[test]
fn a_key_that_takes_over_goes_on_where_the_other_was() {
    let mut scene = Scene::new();
    scene.sends(1, 1, REQUEST, *b"request1");
    scene.gets(2, 1, RESPONSE, *b"response");
    scene.sends(3, 1, REQUEST, *b"request2");
    scene.gets(4, 1, RESPONSE, *b"answer 2");
    assert_eq!(scene.calls().len(), 2);
    assert_eq!(scene.table.stats().lost[0].total() + scene.table.stats().lost[1].total(), 0);
}

#[test]
fn the_ciphertext_of_another_process_binds_nothing() {
    let mut scene = Scene::new();
    scene.plain(1, Direction::EGRESS, REQUEST);
    scene.cipher(1, Direction::EGRESS, *b"request1");
    scene.tgid = 8;
    scene.wire(1, Direction::EGRESS, 0, *b"request1");
    assert!(scene.table.halves.wholes.is_empty());
    scene.table.tick(Timestamp(scene.now + WAIT_NS), &mut scene.out);
    assert!(scene.table.halves.held.is_empty());
    assert_eq!(scene.table.halves.held_bytes, 0);
    assert_eq!(scene.table.stats().lost[1].total(), REQUEST.len() as u64);
}

#[test]
fn what_waits_is_bounded() {
    let mut scene = Scene::new();
    for _ in 0..1000 {
        scene.plain(1, Direction::EGRESS, &[b'x'; 1000]);
    }
    assert_eq!(
        scene.table.halves.held[&Session { tgid: 7, flow: FlowId { id: 1, generation: 1 } }].len(),
        HELD_RECORDS
    );
    for key in 2..1000 {
        for _ in 0..40 {
            scene.plain(key, Direction::EGRESS, &[b'x'; 1000]);
        }
    }
    assert!(scene.table.halves.held_bytes <= HELD_BYTES);
}

#[test]
fn the_session_ends_with_its_socket_and_not_with_its_keys() {
    let mut scene = Scene::new();
    scene.sends(1, 1, REQUEST, *b"request1");
    let flow = FlowId { id: 1, generation: 1 };
    let end = End {
        time: Timestamp(scene.now),
        direction: Direction::BOTH,
        layer: Layer::TLS,
        tgid: 7,
        flow,
        offsets: [0, REQUEST.len() as u64],
    };
    scene.table.end(&end, &mut scene.out);
    scene.gets(2, 1, RESPONSE, *b"response");
    assert_eq!(scene.calls().len(), 1);
    scene.plain(2, Direction::INGRESS, b"");
    scene.table.end(&End { layer: Layer::SOCKET, ..end }, &mut scene.out);
    assert!(scene.table.is_empty());
}
