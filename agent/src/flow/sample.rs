//! Events for tests.

use agent_common::record::{DataFlags, Direction, Family, FlowId, Layer, Protocol, Tuple};
use bytes::Bytes;

use crate::{call::Timestamp, event::Data};

/// A record of a plaintext HTTP server's ingress.
pub(crate) fn data(payload: &[u8], offset: u64) -> Data {
    Data {
        time: Timestamp(1_000_000),
        tgid: 7,
        tid: 7,
        start_ns: 0,
        flow: FlowId { id: 3, generation: 4 },
        socket: FlowId::default(),
        offset,
        other_offset: 0,
        len: u32::try_from(payload.len()).unwrap(),
        call_len: u32::try_from(payload.len()).unwrap(),
        direction: Direction::INGRESS,
        layer: Layer::SOCKET,
        protocol: Protocol::HTTP1,
        flags: DataFlags(0),
        library: 0,
        tuple: tuple(8080, 40000),
        payload: Bytes::copy_from_slice(payload),
    }
}

/// A loopback tuple.
pub(crate) fn tuple(local_port: u16, remote_port: u16) -> Tuple {
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
