//! HTTP/1.0 and 1.1 messages (RFC 9110, RFC 9112), decoded from what passed by.

mod body;
mod chunked;
mod coding;
pub mod connection;
mod decode;
mod exchange;
mod gaps;
mod head;
pub mod headers;
mod lenient;
mod method;
mod pairing;
mod side;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use body::Captured;
pub use connection::{Connection, Limits, Losses};
pub use decode::Decode;
pub(crate) use head::is_token;
pub use headers::Headers;
pub(crate) use lenient::target;
pub(crate) use method::intern;

use std::sync::Arc;

use agent_common::record::Direction;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    call::{Missing, Times},
    grpc::Messages,
};

/// Version of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Version {
    /// HTTP/1.0.
    #[serde(rename = "1.0")]
    Http10,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    Http11,
    /// HTTP/2.
    #[serde(rename = "2")]
    Http2,
}

/// What a method or a target is when it is not known: see [`Notes::METHOD_UNKNOWN`] and
/// [`Notes::PATH_UNKNOWN`].
pub const UNKNOWN: &str = "(unknown)";

impl Version {
    /// OpenTelemetry `network.protocol.version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, as sent.
    pub method: Arc<str>,
    /// Request target as sent; bytes that are not UTF-8 are percent-encoded.
    /// Absolute-form targets keep their scheme and authority here.
    pub target: Arc<str>,
    /// Version.
    pub version: Version,
    /// Header fields; trailers are not among them. The authority of HTTP/2 is among them, as
    /// `host` (RFC 9113 section 8.3.1).
    pub headers: Headers,
    /// Body.
    pub body: Body,
    /// The message ended as its framing says.
    pub ended: bool,
    /// Departures from the grammar that were tolerated, and what is not known.
    pub notes: Notes,
}

impl Request {
    /// Path of the target, without query and fragment, `/` at least; `*` and
    /// authority-form targets are returned whole.
    pub fn path(&self) -> &str {
        let target = self.origin_form();
        let end = target.find(['?', '#']).unwrap_or(target.len());
        match target.get(..end) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }

    /// Query of the target, without `?`; `None` when it has no `?`.
    pub fn query(&self) -> Option<&str> {
        let (_, query) = self.origin_form().split_once('?')?;
        Some(query.split_once('#').map_or(query, |(query, _)| query))
    }

    /// Authority that the request names: of an absolute-form target, else `Host`.
    pub fn authority(&self) -> Option<&str> {
        if let Some((_, rest)) = self.target.split_once("://")
            && !self.target.starts_with('/')
        {
            return rest.split(['/', '?', '#']).next();
        }
        self.headers.get_str("host").map(str::trim)
    }

    /// Size of the body, as [`Body::size`] has it; `None` when it is not known, because
    /// the head that tells it was cut, or frames of it were lost.
    pub fn body_size(&self) -> Option<u64> {
        self.notes.size_known().then_some(self.body.size)
    }

    /// The target from its path on.
    fn origin_form(&self) -> &str {
        if self.target.starts_with('/') {
            return &self.target;
        }
        match self.target.split_once("://") {
            Some((_, rest)) => {
                rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or("")
            }
            None => &self.target,
        }
    }
}

/// A final response; interim (1xx) ones are counted in [`Notes`] only.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Version.
    pub version: Version,
    /// Header fields; trailers are not among them.
    pub headers: Headers,
    /// Fields that came behind the body; of HTTP/2 alone.
    pub trailers: Headers,
    /// Body.
    pub body: Body,
    /// The message ended as its framing says.
    pub ended: bool,
    /// Departures from the grammar that were tolerated, and what is not known.
    pub notes: Notes,
}

impl Response {
    /// Size of the body, as [`Body::size`] has it; `None` when it is not known, because
    /// the head that tells it was cut, or frames of it were lost.
    pub fn body_size(&self) -> Option<u64> {
        self.notes.size_known().then_some(self.body.size)
    }
}

/// A message body.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Bytes after transfer decoding (chunked removed), before content decoding:
    /// OpenTelemetry `http.*.body.size`. Counts bytes that were not captured.
    pub size: u64,
    /// What was captured, after content decoding. A prefix when `state` says so.
    pub bytes: Bytes,
    /// How much of the body `bytes` is.
    pub state: BodyState,
    /// Of gRPC over HTTP/2: the messages that it consists of.
    pub messages: Option<Messages>,
}

/// How much of a body was captured and decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyState {
    /// All of it, or there was none.
    #[default]
    Complete,
    /// A prefix: the rest was not captured, or the message did not end.
    Truncated,
    /// A prefix: the decoded body is over the limit of size or ratio.
    Capped,
    /// A prefix: the content coding is damaged or not known.
    Corrupt,
}

/// What was odd about a message, and tolerated, or is not known of it. Bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes(pub u16);

impl Notes {
    /// A header field was folded over lines (obs-fold, RFC 9112 section 5.2).
    pub const OBS_FOLD: Self = Self(1);
    /// Lines ended in a bare LF.
    pub const BARE_LF: Self = Self(2);
    /// Both `Transfer-Encoding` and `Content-Length` were there (RFC 9112 6.3).
    pub const LENGTH_CONFLICT: Self = Self(4);
    /// The response began before the request had ended.
    pub const EARLY_RESPONSE: Self = Self(8);
    /// An interim (1xx) response came before.
    pub const INTERIM: Self = Self(16);
    /// The connection became another protocol after this message (CONNECT, Upgrade).
    pub const UPGRADED: Self = Self(32);
    /// The body ended with the connection (RFC 9112 section 6.3 case 8).
    pub const CLOSE_DELIMITED: Self = Self(64);
    /// Trailer fields came after the body.
    pub const TRAILERS: Self = Self(128);
    /// White space or characters outside the grammar in the head.
    pub const LENIENT: Self = Self(256);
    /// The message was pipelined behind one that had not been answered.
    pub const PIPELINED: Self = Self(512);
    /// The end of the head was not captured: fields may be missing, and what they would
    /// say of the body is not known.
    pub const HEAD_CUT: Self = Self(1024);
    /// Fields were sent as references to what an HTTP/2 connection carried before it was
    /// observed: they are not known, nor how many of those asked for are among them.
    pub const FIELDS_UNKNOWN: Self = Self(2048);
    /// Frames were lost in which the body may have gone on: its size is not known.
    pub const BODY_CUT: Self = Self(32768);
    /// As of fields, the method is not known, or it was missing.
    pub const METHOD_UNKNOWN: Self = Self(4096);
    /// So is the path, or it was missing.
    pub const PATH_UNKNOWN: Self = Self(8192);
    /// Of a request: so is the status of its response, which is left out.
    pub const STATUS_UNKNOWN: Self = Self(16384);

    /// Sets the bits of `other`.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The size of the body is known.
    const fn size_known(self) -> bool {
        self.0 & (Self::HEAD_CUT.0 | Self::BODY_CUT.0) == 0
    }

    /// A part of the head or of the body was not seen.
    pub const fn is_cut(self) -> bool {
        !self.size_known()
    }

    /// Fields may be missing.
    pub const fn fields_missing(self) -> bool {
        self.0 & (Self::HEAD_CUT.0 | Self::FIELDS_UNKNOWN.0) != 0
    }
}

/// A request paired with its response, as the decoder found them.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which way the request went: [`Direction::INGRESS`] means that the
    /// observed process is the server.
    pub request_direction: Direction,
    /// Position of the request's first byte in its direction of the flow.
    pub request_offset: u64,
    /// The request.
    pub request: Request,
    /// The response; `None` when the flow ended without one.
    pub response: Option<Response>,
    /// When.
    pub times: Times,
    /// Bytes of either message that were not captured.
    pub missing: Missing,
}
