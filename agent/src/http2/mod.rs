//! HTTP/2 (RFC 9113), decoded from what passed by, joined at any time.

mod connection;
mod fields;
mod frame;
mod hpack;
mod reader;
mod stream;

pub use connection::Connection;

use frame::{Frame, HEADER};
use reader::PREFACE;

/// What bytes may be the start of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Not HTTP/2.
    No,
    /// Too few bytes to say.
    Maybe,
    /// The preface of a client, or a frame that a connection, or a call on one, begins with.
    Yes,
}

/// Looks at the first bytes of a connection, or of a direction's turn on one that is older.
pub fn look(bytes: &[u8]) -> Look {
    let len = bytes.len().min(PREFACE.len());
    if bytes.get(..len) == PREFACE.get(..len) {
        // As much as nobody else sends.
        return if len < 14 { Look::Maybe } else { Look::Yes };
    }
    match bytes.first_chunk::<HEADER>() {
        Some(header) if Frame::read(*header).begins() => Look::Yes,
        // The kernel side has told by the first eight bytes that it may be one.
        None if bytes.first() == Some(&0) => Look::Maybe,
        _ => Look::No,
    }
}
