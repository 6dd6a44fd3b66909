//! What the decoders of connections have in common, whichever version of HTTP they are for.

use std::fmt;

use agent_common::record::Direction;
use bytes::Bytes;

use super::{Exchange, Losses};
use crate::call::{Cause, Timestamp};

/// Decodes one connection, seen from one of its ends: two directions of bytes go in, exchanges
/// come out. Bytes of a direction come in their order.
pub trait Decode: fmt::Debug + Send {
    /// A direction of which nothing was seen yet will be from its start. Until then a
    /// connection may be joined midway.
    fn begins(&mut self, _direction: Direction) {}

    /// Takes the next bytes of one direction.
    fn bytes(
        &mut self,
        direction: Direction,
        time: Timestamp,
        bytes: &Bytes,
        out: &mut Vec<Exchange>,
    );

    /// Takes note that the next `len` bytes of one direction were not captured.
    fn missing(
        &mut self,
        direction: Direction,
        time: Timestamp,
        len: u64,
        cause: Cause,
        out: &mut Vec<Exchange>,
    );

    /// One direction has ended, or both: no more bytes will come in it.
    fn end(&mut self, direction: Direction, out: &mut Vec<Exchange>);

    /// The connection is gone: whatever waits comes out as it is.
    fn close(&mut self, out: &mut Vec<Exchange>);

    /// The connection turned into another protocol, or never was this one:
    /// nothing more will come out.
    fn finished(&self) -> bool;

    /// Where a response belongs to the request before it: whether one may come, to a request
    /// that was seen, or to one that was missed.
    fn expects_response(&self) -> bool {
        true
    }

    /// What the connection carried, so far, that no exchange tells of.
    fn losses(&self) -> &Losses;
}
