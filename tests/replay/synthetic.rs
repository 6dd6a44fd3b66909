//! Recordings made by hand: exchanges as the kernel side would have told them.

use std::sync::Arc;

use agent_common::{
    limits::TLS_RECORD_START,
    record::{DataFlags, Direction, Family, FlowId, Layer, Protocol, Tuple},
};
use apiscope::{
    call::{Process, Timestamp},
    event::{Clock, Data, End, Event, Unix, file},
};
use bytes::Bytes;

const START: u64 = 1_750_000_000_000_000_000;
const SERVER: u32 = 200;
const CLIENT: u32 = 100;

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("both-ends", both_ends()),
        ("lost-record", lost_record()),
        ("tls-by-ciphertext", tls_by_ciphertext()),
        ("tls-by-length", tls_by_length()),
        ("tls-nested", tls_nested()),
        ("unix", unix()),
    ]
}

/// A script of events, a millisecond apart.
struct Script {
    events: Vec<Event>,
    now: u64,
}

/// One flow and how far its directions are.
#[derive(Clone)]
struct Flow {
    data: Data,
    offsets: [u64; 2],
}

impl Flow {
    fn new(id: u64, tgid: u32, layer: Layer, protocol: Protocol, tuple: Tuple) -> Self {
        let data = Data {
            time: Timestamp(0),
            tgid,
            tid: tgid,
            start_ns: u64::from(tgid),
            flow: FlowId { id, generation: 1 },
            socket: FlowId::default(),
            offset: 0,
            other_offset: 0,
            len: 0,
            call_len: 0,
            direction: Direction::INGRESS,
            layer,
            protocol,
            flags: DataFlags(0),
            library: 0,
            tuple,
            payload: Bytes::new(),
        };
        Self { data, offsets: [0; 2] }
    }

    /// The next bytes of one direction; `len` of them, of which `payload` is known.
    fn next(&mut self, direction: Direction, payload: &[u8], len: u32) -> Data {
        let mut data = self.data.clone();
        if self.offsets == [0; 2] {
            data.flags = data.flags.union(DataFlags::FIRST);
        }
        data.other_offset = self.offsets[usize::from(direction.0 ^ 1)];
        let offset = &mut self.offsets[usize::from(direction.0)];
        data.direction = direction;
        data.offset = *offset;
        data.len = len;
        data.call_len = len;
        data.payload = Bytes::copy_from_slice(payload);
        *offset += u64::from(len);
        data
    }
}

impl Script {
    fn new() -> Self {
        let mut script = Self { events: Vec::new(), now: START };
        for (pid, comm) in [(CLIENT, "client"), (SERVER, "server")] {
            let process = Process {
                pid,
                start_ns: u64::from(pid),
                comm: comm.into(),
                executable: format!("/usr/bin/{comm}"),
                container_id: None,
            };
            script.events.push(Event::Process(Timestamp(START), Arc::new(process)));
        }
        script.events.push(Event::Library(1, Arc::from("libssl.so.3")));
        script
    }

    fn data(&mut self, mut data: Data) {
        self.now += 1_000_000;
        data.time = Timestamp(self.now);
        self.events.push(Event::Data(data));
    }

    fn send(&mut self, flow: &mut Flow, direction: Direction, payload: &[u8]) {
        let data = flow.next(direction, payload, u32::try_from(payload.len()).unwrap());
        self.data(data);
    }

    fn end(&mut self, flow: &Flow) {
        self.now += 1_000_000;
        self.events.push(Event::End(End {
            time: Timestamp(self.now),
            direction: Direction::BOTH,
            layer: flow.data.layer,
            tgid: flow.data.tgid,
            flow: flow.data.flow,
            offsets: flow.offsets,
        }));
    }

    /// TLS records of these lengths begin on a socket.
    fn records(&mut self, flow: &mut Flow, direction: Direction, lens: &[u16]) {
        let start = |len: &u16| {
            let mut start = [[23, 3, 3].as_slice(), &len.to_be_bytes()].concat();
            start.resize(TLS_RECORD_START, 0);
            start
        };
        let starts: Vec<u8> = lens.iter().flat_map(start).collect();
        let len = lens.iter().map(|len| u32::from(*len) + 5).sum();
        let mut data = flow.next(direction, &starts, len);
        data.flags = data.flags.union(DataFlags::TLS_RECORDS);
        self.data(data);
    }

    /// A TLS record with this header and ciphertext, of a key that does not go on by it.
    fn ciphertext(&mut self, flow: &mut Flow, direction: Direction, header: [u8; 5], cipher: u8) {
        let mut start = header.to_vec();
        start.extend([cipher; 8]);
        start.resize(TLS_RECORD_START, 0);
        let mut data = flow.clone().next(direction, &start, 261);
        data.flags = flow.data.flags.union(DataFlags::TLS_RECORDS);
        self.data(data);
    }

    fn recording(self) -> Vec<u8> {
        let header = file::Header {
            start: Timestamp(START),
            kernel: "synthetic".into(),
            apiscope: "0.1.0".into(),
            scope: "all".into(),
            clock: Clock::from_readings(0, Timestamp(START - 1_000_000_000)),
        };
        let mut recording = Vec::new();
        let mut writer = file::Writer::new(&mut recording, &header, u64::MAX).unwrap();
        for event in &self.events {
            writer.event(event).unwrap();
        }
        drop(writer);
        recording
    }
}

fn inet(local_port: u16, remote_port: u16) -> Tuple {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[127, 0, 0, 1]);
    Tuple {
        family: Family::INET,
        local_port,
        remote_port,
        reserved: 0,
        local: address,
        remote: address,
    }
}

const REQUEST: &[u8] =
    b"POST /orders HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 7\r\n\r\n{\"n\":1}";
const RESPONSE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 8\r\n\r\n{\"id\":7}";
const POLL: &[u8] = b"GET /poll HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// The four moves of an exchange between two observed ends.
fn exchange(script: &mut Script, client: &mut Flow, server: &mut Flow, messages: [&[u8]; 2]) {
    script.send(client, Direction::EGRESS, messages[0]);
    script.send(server, Direction::INGRESS, messages[0]);
    script.send(server, Direction::EGRESS, messages[1]);
    script.send(client, Direction::INGRESS, messages[1]);
}

fn both_ends() -> Vec<u8> {
    let mut script = Script::new();
    let http = |id, tgid, tuple| Flow::new(id, tgid, Layer::SOCKET, Protocol::HTTP1, tuple);
    let mut client = http(11, CLIENT, inet(40000, 8080));
    let mut server = http(12, SERVER, inet(8080, 40000));
    exchange(&mut script, &mut client, &mut server, [REQUEST, RESPONSE]);
    for _ in 0..3 {
        exchange(&mut script, &mut client, &mut server, [POLL, EMPTY]);
    }
    script.end(&client);
    script.end(&server);
    script.recording()
}

fn lost_record() -> Vec<u8> {
    let mut script = Script::new();
    let mut server = Flow::new(12, SERVER, Layer::SOCKET, Protocol::HTTP1, inet(8080, 40000));
    script.send(&mut server, Direction::INGRESS, REQUEST);
    let body = [b'x'; 1000];
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n";
    script.send(&mut server, Direction::EGRESS, head);
    script.send(&mut server, Direction::EGRESS, &body);
    // Never arrives.
    drop(server.next(Direction::EGRESS, &body, 1000));
    let cut = server.next(Direction::EGRESS, &body[..400], 1000);
    script.data(Data { flags: DataFlags::BUDGET, ..cut });
    script.now += 200_000_000;
    script.send(&mut server, Direction::INGRESS, POLL);
    script.send(&mut server, Direction::EGRESS, EMPTY);
    script.end(&server);
    script.recording()
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// A TLS socket after its handshake.
fn tls_socket(script: &mut Script, id: u64, tgid: u32, tuple: Tuple) -> Flow {
    let mut socket = Flow::new(id, tgid, Layer::SOCKET, Protocol::TLS, tuple);
    let client = hex(include_str!("../fixtures/tls/tls13-client.hex"));
    let server = hex(include_str!("../fixtures/tls/tls13-server.hex"));
    script.send(&mut socket, Direction::EGRESS, &client);
    script.send(&mut socket, Direction::INGRESS, &server);
    socket
}

fn tls_nested() -> Vec<u8> {
    let mut script = Script::new();
    let tuple = inet(40001, 443);
    let socket = tls_socket(&mut script, 21, CLIENT, tuple);
    let mut session = Flow::new(0xdead_0000, CLIENT, Layer::TLS, Protocol::UNKNOWN, tuple);
    session.data.socket = socket.data.flow;
    session.data.flags = DataFlags::NESTED;
    session.data.library = 1;
    script.send(&mut session, Direction::EGRESS, REQUEST);
    script.send(&mut session, Direction::INGRESS, RESPONSE);
    script.end(&session);
    script.end(&socket);
    script.recording()
}

fn tls_by_length() -> Vec<u8> {
    let mut script = Script::new();
    let mut socket = tls_socket(&mut script, 22, CLIENT, inet(40002, 443));
    let none = Tuple::default();
    let mut session = Flow::new(0xbeef_0000, CLIENT, Layer::TLS, Protocol::UNKNOWN, none);
    session.data.library = 1;
    let overhead = 17;
    for messages in [[REQUEST, RESPONSE], [POLL, EMPTY]] {
        script.send(&mut session, Direction::EGRESS, messages[0]);
        let len = u16::try_from(messages[0].len()).unwrap() + overhead;
        script.records(&mut socket, Direction::EGRESS, &[len]);
        let len = u16::try_from(messages[1].len()).unwrap() + overhead;
        script.records(&mut socket, Direction::INGRESS, &[len]);
        script.send(&mut session, Direction::INGRESS, messages[1]);
    }
    // A session that never shows a socket.
    let mut hidden = Flow::new(0xfeed_0000, SERVER, Layer::TLS, Protocol::UNKNOWN, none);
    hidden.data.library = 1;
    script.send(&mut hidden, Direction::INGRESS, POLL);
    script.send(&mut hidden, Direction::EGRESS, EMPTY);
    script.events.push(Event::Exit(Timestamp(script.now), SERVER));
    script.end(&session);
    script.end(&socket);
    script.recording()
}

/// A library that shows its ciphers: a key for each direction, and what they encrypt.
fn tls_by_ciphertext() -> Vec<u8> {
    let mut script = Script::new();
    let mut socket = tls_socket(&mut script, 23, CLIENT, inet(40003, 443));
    let mut keys = [0xcafe_0000, 0xcafe_1000].map(|id| {
        let mut key = Flow::new(id, CLIENT, Layer::TLS, Protocol::HTTP1, Tuple::default());
        (key.data.library, key.data.flags) = (1, DataFlags::HALF);
        key
    });
    let [opens, seals] = &mut keys;
    for (messages, number) in [([REQUEST, RESPONSE], 1), ([POLL, EMPTY], 3)] {
        script.send(seals, Direction::EGRESS, messages[0]);
        script.ciphertext(seals, Direction::EGRESS, [0; 5], number);
        script.ciphertext(&mut socket, Direction::EGRESS, [23, 3, 3, 1, 0], number);
        script.ciphertext(&mut socket, Direction::INGRESS, [23, 3, 3, 1, 0], number + 1);
        script.ciphertext(opens, Direction::INGRESS, [0; 5], number + 1);
        script.send(opens, Direction::INGRESS, messages[1]);
    }
    script.end(opens);
    script.end(seals);
    script.end(&socket);
    script.recording()
}

fn unix() -> Vec<u8> {
    let mut script = Script::new();
    let tuple = |local: u64, remote: u64| {
        let mut tuple = Tuple { family: Family::UNIX, ..Tuple::default() };
        tuple.local[..8].copy_from_slice(&local.to_ne_bytes());
        tuple.remote[..8].copy_from_slice(&remote.to_ne_bytes());
        tuple
    };
    let flow = |id, tgid, tuple| Flow::new(id, tgid, Layer::SOCKET, Protocol::HTTP1, tuple);
    let mut client = flow(31, CLIENT, tuple(31, 32));
    let mut server = flow(32, SERVER, tuple(32, 31));
    for flow in [&client, &server] {
        script.events.push(Event::Unix(Unix {
            time: Timestamp(script.now),
            flow: flow.data.flow,
            peer_tgid: 0,
            path: Some(Arc::from("/run/shop.sock")),
        }));
    }
    exchange(&mut script, &mut client, &mut server, [REQUEST, RESPONSE]);
    script.end(&client);
    script.end(&server);
    script.recording()
}
