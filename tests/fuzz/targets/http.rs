//! A connection of HTTP/1 that is fed anything.

#![no_main]

use apiscope::http::Connection;
use libfuzzer_sys::fuzz_target;

mod conversation;

fuzz_target!(|input: &[u8]| {
    conversation::feed(Connection::new(conversation::LIMITS), input);
});
