//! A connection of HTTP/2 that is fed anything, from its start or joined midway: the first byte
//! tells of which directions the start is seen (bits 0 and 1).

#![no_main]

use agent_common::record::Direction;
use apiscope::{http::Decode as _, http2::Connection};
use libfuzzer_sys::fuzz_target;

mod conversation;

fuzz_target!(|input: &[u8]| {
    let [starts, rest @ ..] = input else { return };
    let mut connection = Connection::new(conversation::LIMITS);
    for (bit, direction) in [(1, Direction::INGRESS), (2, Direction::EGRESS)] {
        if starts & bit != 0 {
            connection.begins(direction);
        }
    }
    conversation::feed(connection, rest);
});
