//! One connection: two directions of bytes in, exchanges out.

use agent_common::record::Direction;
use bytes::Bytes;

use super::Exchange;
use crate::call::{Cause, Timestamp};

/// Bounds on what one connection may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest message head, in bytes.
    pub head_bytes: usize,
    /// Captured body bytes kept per message, before content decoding.
    pub body_bytes: usize,
    /// Decoded body bytes kept per message.
    pub decoded_bytes: usize,
    /// Requests waiting for their response.
    pub pipeline_depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            body_bytes: 1024 * 1024,
            decoded_bytes: 1024 * 1024,
            pipeline_depth: 256,
        }
    }
}

/// Decoder of one HTTP/1.x connection, seen from one of its ends.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
}

impl Connection {
    /// A connection of which nothing was seen yet; it may be joined midway.
    pub fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Takes the next bytes of one direction.
    pub fn bytes(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        out: &mut Vec<Exchange>,
    ) {
        _ = (direction, time, bytes, out, self.limits);
    }

    /// Takes note that the next `len` bytes of one direction were not captured.
    pub fn missing(
        &mut self,
        direction: Direction,
        time: Timestamp,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    ) {
        _ = (direction, time, len, cause, out);
    }

    /// One direction has ended: no more bytes will come in it.
    pub fn end(&mut self, direction: Direction, time: Timestamp, out: &mut Vec<Exchange>) {
        _ = (direction, time, out);
    }

    /// The connection is gone: whatever waits comes out as it is.
    pub fn close(&mut self, time: Timestamp, out: &mut Vec<Exchange>) {
        _ = (time, out);
    }

    /// The connection turned into another protocol, or never was this one:
    /// nothing more will come out.
    pub fn finished(&self) -> bool {
        false
    }
}
