//! An HTTP/2 connection that is fed anything, from its start or joined midway: it must not
//! panic, must not hold more than its limits allow, and must account for every byte that was
//! missing.
//!
//! The first byte tells of which directions the start is seen (bits 0 and 1). Then the input is
//! a list of operations. Each begins with a byte: its low two bits are the operation (0 and 1
//! bytes, 2 missing, 3 end), the next one the direction, the others the length of what follows;
//! 31 asks for two more bytes of length, little-endian.

#![no_main]

use agent_common::record::Direction;
use apiscope::{
    call::{Cause, Timestamp},
    http::{Exchange, Limits},
    http2::Connection,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Small, so that short inputs reach them.
const LIMITS: Limits =
    Limits { head_bytes: 512, body_bytes: 256, decoded_bytes: 4096, pipeline_depth: 3 };

fuzz_target!(|input: &[u8]| {
    let [starts, rest @ ..] = input else { return };
    let mut connection = Connection::new(LIMITS);
    for (bit, direction) in [(1, Direction::INGRESS), (2, Direction::EGRESS)] {
        if starts & bit != 0 {
            connection.begins(direction);
        }
    }
    let mut out = Vec::new();
    let mut holes = 0;
    let mut told = 0;
    let mut rest = rest;
    let mut now = 0;
    while let [first, tail @ ..] = rest {
        rest = tail;
        now += 1;
        let time = Timestamp(now);
        let direction = if first & 4 == 0 { Direction::INGRESS } else { Direction::EGRESS };
        let mut len = usize::from(first >> 3);
        if len == 31 {
            let [low, high, tail @ ..] = rest else { break };
            len = usize::from(u16::from_le_bytes([*low, *high]));
            rest = tail;
        }
        match first & 3 {
            2 => {
                // What comes after the connection is finished is not looked at.
                if !connection.finished() {
                    holes += len as u64;
                }
                connection.missing(direction, time, len as u64, Cause::Transport, &mut out);
            }
            3 => connection.end(direction, time, &mut out),
            _ => {
                let (bytes, tail) = rest.split_at(len.min(rest.len()));
                rest = tail;
                connection.bytes(direction, time, &Bytes::copy_from_slice(bytes), &mut out);
            }
        }
        for exchange in out.drain(..) {
            told += check(&exchange);
        }
    }
    connection.close(Timestamp(now), &mut out);
    for exchange in out.drain(..) {
        told += check(&exchange);
    }
    assert!(connection.finished());
    let transport = |(cause, bytes)| if cause == Cause::Transport { bytes } else { 0 };
    told += connection.losses().missing.iter().map(transport).sum::<u64>();
    assert!(told <= holes, "{told} bytes are told to be missing of {holes}");
});

/// Looks at all of an exchange; bytes missing of it because of holes.
fn check(exchange: &Exchange) -> u64 {
    let request = &exchange.request;
    _ = (request.path(), request.query(), request.authority());
    assert!(request.headers.iter().all(|(name, _)| name.len() <= LIMITS.head_bytes));
    assert!(request.body.bytes.len() <= LIMITS.decoded_bytes);
    let times = &exchange.times;
    assert!(times.request_start <= times.request_end && times.response_start <= times.response_end);
    if let Some(response) = &exchange.response {
        assert!(response.body.bytes.len() <= LIMITS.decoded_bytes);
    }
    exchange
        .missing
        .iter()
        .map(|(cause, bytes)| if cause == Cause::Transport { bytes } else { 0 })
        .sum()
}
