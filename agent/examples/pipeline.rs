//! The stages of user space over generated records, for the benchmark: keep-alive
//! connections with exchanges of 1 KiB JSON, from raw kernel records to observed
//! calls. Prints rates; how many calls is the argument.

use std::time::Instant;

use agent_common::record::{
    DataFlags, DataHeader, Direction, Family, FlowId, Layer, Protocol, RecordKind, Tuple,
};
use apiscope::{
    call::Timestamp,
    event::{Clock, decode},
    pipeline::{Pipeline, Settings},
};
use bytemuck::Zeroable as _;
use bytes::Bytes;

/// Connections that take turns.
const CONNECTIONS: u64 = 64;

/// Endpoints that take turns.
const ENDPOINTS: u64 = 20;

#[expect(clippy::print_stdout, reason = "the result is read by a person or a script")]
fn main() {
    let calls: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200_000);
    // Not that of the system, which valgrind cannot read.
    let clock = Clock::from_readings(0, Timestamp(1_700_000_000_000_000_000));
    let mut pipeline = Pipeline::new(&Settings::default());
    let mut observed = Vec::new();
    let mut connections = vec![[0_u64; 2]; usize::try_from(CONNECTIONS).unwrap_or(1)];
    let mut records: Vec<Bytes> = Vec::new();
    let (mut bytes, mut seen, mut nanos) = (0, 0_u64, 0_u128);
    let mut made = 0;
    while made < calls {
        // Made in batches, so that what is timed is the stages alone.
        while records.len() < 2048 && made < calls {
            let index = made % CONNECTIONS;
            if let Some(offsets) = connections.get_mut(usize::try_from(index).unwrap_or(0)) {
                let number = made;
                let time = 1_000_000 + made * 10_000;
                records.push(record(index, time, Direction::INGRESS, offsets, &request(number)));
                records.push(record(
                    index,
                    time + 5_000,
                    Direction::EGRESS,
                    offsets,
                    &response(number),
                ));
            }
            made += 1;
        }
        bytes += records.iter().map(Bytes::len).sum::<usize>();
        let start = Instant::now();
        for record in records.drain(..) {
            if let Ok(raw) = decode(&record, &clock)
                && let Some(event) = raw.into_event()
            {
                pipeline.event(event, &mut observed);
            }
        }
        seen += observed.len() as u64;
        observed.clear();
        nanos += start.elapsed().as_nanos();
    }
    assert!(seen == calls, "{seen} of {calls} calls came out");
    let seconds = nanos as f64 / 1e9;
    println!("calls_per_second {:.0}", calls as f64 / seconds);
    println!("bytes_per_second {:.0}", bytes as f64 / seconds);
}

fn record(
    index: u64,
    time_ns: u64,
    direction: Direction,
    offsets: &mut [u64; 2],
    payload: &[u8],
) -> Bytes {
    let [ingress, egress] = offsets;
    let (offset, other) =
        if direction == Direction::INGRESS { (ingress, egress) } else { (egress, ingress) };
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut tuple = Tuple { family: Family::INET, local_port: 8080, ..Tuple::default() };
    tuple.remote_port = u16::try_from(40_000 + index).unwrap_or(0);
    for (slot, byte) in tuple.local.iter_mut().zip([10, 0, 0, 1]) {
        *slot = byte;
    }
    for (slot, byte) in tuple.remote.iter_mut().zip([10, 0, 0, 2]) {
        *slot = byte;
    }
    let header = DataHeader {
        kind: RecordKind::DATA,
        captured: len,
        time_ns,
        pid_tgid: (4242 << 32) + 4242,
        flow: FlowId { id: 1000 + index, generation: 1 },
        offset: *offset,
        other_offset: *other,
        len,
        call_len: len,
        direction,
        layer: Layer::SOCKET,
        protocol: Protocol::HTTP1,
        flags: if *offset + *other == 0 { DataFlags::FIRST } else { DataFlags(0) },
        tuple,
        ..DataHeader::zeroed()
    };
    *offset += u64::from(len);
    let mut record = bytemuck::bytes_of(&header).to_vec();
    record.extend_from_slice(payload);
    record.into()
}

fn request(number: u64) -> Vec<u8> {
    format!(
        "GET /api/v{}/items/{}?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench/1.0\r\n\
         Accept: application/json\r\nAuthorization: Bearer 3f2a9c5e7b1d4806\r\n\r\n",
        number % ENDPOINTS,
        number % 5000
    )
    .into_bytes()
}

fn response(number: u64) -> Vec<u8> {
    let tags: Vec<String> = (0..24).map(|tag| format!("\"tag-{tag:04}\"")).collect();
    let body = format!(
        "{{\"id\":{number},\"name\":\"item {number:08}\",\"price\":{}.99,\"currency\":\"EUR\",\
         \"available\":true,\"created\":\"2026-01-02T03:04:05Z\",\"tags\":[{}],\
         \"owner\":{{\"id\":77,\"team\":\"storage\",\"site\":\"https://shop.example/t/7\"}},\
         \"text\":\"{}\"}}",
        number % 100,
        tags.join(","),
        "lorem ipsum ".repeat(44)
    );
    format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: keep-alive\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
