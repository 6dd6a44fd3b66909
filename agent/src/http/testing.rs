//! Conversations for the tests of decoders.

use agent_common::record::Direction;
use bytes::Bytes;

use super::{Decode, Exchange};
use crate::call::{Cause, Timestamp};

pub(crate) const IN: Direction = Direction::INGRESS;
pub(crate) const OUT: Direction = Direction::EGRESS;

/// One thing that a connection is told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Bytes(Direction, Vec<u8>),
    Missing(Direction, u64),
    End(Direction),
}

/// A connection with a clock that ticks at each input.
pub(crate) struct Run<D> {
    pub(crate) connection: D,
    pub(crate) out: Vec<Exchange>,
    now: u64,
}

impl<D: Decode> Run<D> {
    pub(crate) fn of(connection: D) -> Self {
        Self { connection, out: Vec::new(), now: 0 }
    }

    pub(crate) fn feed(&mut self, inputs: &[Input]) -> &mut Self {
        for input in inputs {
            self.now += 1;
            let (connection, time, out) =
                (&mut self.connection, Timestamp(self.now), &mut self.out);
            match input {
                Input::Bytes(direction, bytes) => {
                    connection.bytes(*direction, time, &Bytes::copy_from_slice(bytes), out);
                }
                Input::Missing(direction, len) => {
                    connection.missing(*direction, time, *len, Cause::Budget, out);
                }
                Input::End(direction) => connection.end(*direction, out),
            }
        }
        self
    }

    pub(crate) fn close(&mut self) -> &mut Self {
        self.connection.close(&mut self.out);
        self
    }
}

/// Target and status of each exchange, in the order in which they come out.
pub(crate) fn pairs(exchanges: &[Exchange]) -> Vec<(String, Option<u16>)> {
    exchanges
        .iter()
        .map(|it| (it.request.target.to_string(), it.response.as_ref().map(|it| it.status)))
        .collect()
}

pub(crate) fn pair(target: &str, status: impl Into<Option<u16>>) -> (String, Option<u16>) {
    (target.into(), status.into())
}
