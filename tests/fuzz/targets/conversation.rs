//! What fuzz targets of connections have in common: a connection that is fed anything must not
//! panic, must not hold more than its limits allow, and must account for every byte that was
//! missing.
//!
//! The input is a list of operations. Each begins with a byte: its low two bits
//! are the operation (0 and 1 bytes, 2 missing, 3 end), the next one the
//! direction, the others the length of what follows; 31 asks for two more bytes of
//! length, little-endian.

use agent_common::record::Direction;
use apiscope::{
    call::{Cause, Missing, Timestamp},
    http::{Decode, Exchange, Limits},
};
use bytes::Bytes;

/// Small, so that short inputs reach them.
pub const LIMITS: Limits =
    Limits { head_bytes: 512, body_bytes: 256, decoded_bytes: 4096, pipeline_depth: 3 };

/// Feeds a connection, and looks at all that comes out.
pub fn feed(mut connection: impl Decode, input: &[u8]) {
    let mut out = Vec::new();
    let mut holes = 0;
    let mut told = 0;
    let mut rest = input;
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
            3 => connection.end(direction, &mut out),
            _ => {
                let (bytes, tail) = rest.split_at(len.min(rest.len()));
                rest = tail;
                connection.bytes(direction, time, &Bytes::copy_from_slice(bytes), &mut out);
            }
        }
        told += out.drain(..).map(|exchange| check(&exchange)).sum::<u64>();
    }
    connection.close(&mut out);
    told += out.drain(..).map(|exchange| check(&exchange)).sum::<u64>();
    assert!(connection.finished());
    told += transport(&connection.losses().missing);
    assert!(told <= holes, "{told} bytes are told to be missing of {holes}");
}

/// Looks at all of an exchange; bytes missing of it because of holes.
fn check(exchange: &Exchange) -> u64 {
    let request = &exchange.request;
    _ = (request.path(), request.query(), request.authority());
    let fits = |name: &str| (1..=LIMITS.head_bytes).contains(&name.len());
    assert!(request.headers.iter().all(|(name, _)| fits(name)));
    assert!(request.body.bytes.len() <= LIMITS.decoded_bytes);
    let bodies = [Some(&request.body), exchange.response.as_ref().map(|it| &it.body)];
    for body in bodies.into_iter().flatten() {
        // Each message takes five bytes at least.
        assert!(body.messages.is_none_or(|messages| messages.count * 5 <= body.size));
    }
    let times = &exchange.times;
    assert!(times.request_start <= times.request_end && times.response_start <= times.response_end);
    if let Some(response) = &exchange.response {
        assert!(response.headers.iter().chain(response.trailers.iter()).all(|(name, _)| fits(name)));
        assert!(response.body.bytes.len() <= LIMITS.decoded_bytes);
    }
    transport(&exchange.missing)
}

/// Bytes that are missing because of holes.
fn transport(missing: &Missing) -> u64 {
    missing.iter().map(|(cause, bytes)| if cause == Cause::Transport { bytes } else { 0 }).sum()
}
