//! What the kernel programs report, as values: decoding of records, and the file
//! format of `record` and `replay`. Pure but for `reader`.

pub mod decode;
pub mod encode;
pub mod file;
pub mod har;
pub mod order;
pub mod verdict;

pub use decode::{Clock, DecodeError, Raw, decode};
pub use order::Merger;

use std::sync::Arc;

use agent_common::record::{DataFlags, Direction, Family, FlowId, Layer, Protocol, Tuple};
use bytes::Bytes;

use self::verdict::ProcessVerdict;
use crate::call::{Process, Timestamp};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes moved.
    Data(Data),
    /// A flow or one direction of it ended.
    End(End),
    /// Names of a unix socket, before its first data.
    Unix(Unix),
    /// A process was met for the first time or runs another program; its facts
    /// hold from here on.
    Process(Timestamp, Arc<Process>),
    /// What the TLS of a process is; told when it is first used, and when it changes.
    Verdict(Timestamp, Arc<ProcessVerdict>),
    /// A process ended.
    Exit(Timestamp, u32),
    /// Index and file name of a TLS library that probes were attached to.
    Library(u16, Arc<str>),
    /// Counters of the kernel side (absolute values, by `Counter` slot).
    Counters(Timestamp, Vec<u64>),
}

/// Bytes moved by a process.
#[derive(Clone, Debug)]
pub struct Data {
    /// When.
    pub time: Timestamp,
    /// The process.
    pub tgid: u32,
    /// Its thread.
    pub tid: u32,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME`, or 0.
    pub start_ns: u64,
    /// The flow.
    pub flow: FlowId,
    /// Of a TLS flow: the socket it was seen to use; zero when not seen.
    pub socket: FlowId,
    /// Position of the first byte in its direction of the flow.
    pub offset: u64,
    /// How far the other direction had come by then.
    pub other_offset: u64,
    /// Stream bytes that the record stands for; `payload.len()` or more, but for
    /// [`DataFlags::TLS_RECORDS`].
    pub len: u32,
    /// What the system call or TLS call returned.
    pub call_len: u32,
    /// Which way.
    pub direction: Direction,
    /// Where.
    pub layer: Layer,
    /// What the kernel side took the flow for.
    pub protocol: Protocol,
    /// Facts.
    pub flags: DataFlags,
    /// Index of the TLS library.
    pub library: u16,
    /// The ends.
    pub tuple: Tuple,
    /// What was captured.
    pub payload: Bytes,
}

/// A flow or one direction of it ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// When.
    pub time: Timestamp,
    /// Which direction; [`Direction::BOTH`] when the flow is gone.
    pub direction: Direction,
    /// Where.
    pub layer: Layer,
    /// The process that ended it, or 0.
    pub tgid: u32,
    /// The flow.
    pub flow: FlowId,
    /// Final positions (ingress, egress).
    pub offsets: [u64; 2],
}

/// Names of a unix stream socket.
#[derive(Clone, Debug)]
pub struct Unix {
    /// When.
    pub time: Timestamp,
    /// The flow.
    pub flow: FlowId,
    /// Process at the other end when it connected, or 0.
    pub peer_tgid: u32,
    /// The path that the server is bound to; abstract names start with `@`.
    pub path: Option<Arc<str>>,
}

impl Event {
    /// When it happened; `None` for what holds for the whole run.
    pub const fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Data(data) => Some(data.time),
            Self::End(end) => Some(end.time),
            Self::Unix(unix) => Some(unix.time),
            Self::Process(time, _)
            | Self::Verdict(time, _)
            | Self::Exit(time, _)
            | Self::Counters(time, _) => Some(*time),
            Self::Library(..) => None,
        }
    }
}

/// The two socket addresses of an internet tuple.
pub fn addresses(tuple: &Tuple) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    let ip = |bytes: &[u8; 16]| -> Option<IpAddr> {
        match tuple.family {
            Family::INET => {
                let [a, b, c, d, ..] = *bytes;
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            // A v4 peer of a dual-stack socket is the v4 peer that it is.
            Family::INET6 => Some(Ipv6Addr::from(*bytes).to_canonical()),
            _ => None,
        }
    };
    Some((
        SocketAddr::new(ip(&tuple.local)?, tuple.local_port),
        SocketAddr::new(ip(&tuple.remote)?, tuple.remote_port),
    ))
}
