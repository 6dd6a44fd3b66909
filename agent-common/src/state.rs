//! What the kernel programs remember of a flow: values of their maps.

use core::mem::size_of;

use bytemuck::{Pod, Zeroable};

use crate::record::{DataFlags, Direction, FlowId, Protocol, Tuple};

/// State of a socket (`CONNECTIONS`, by kernel address of the sock) or of a TLS
/// session (`SESSIONS`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FlowState {
    /// Its name.
    pub flow: FlowId,
    /// Position of each direction.
    pub offsets: [u64; 2],
    /// Bytes captured since the direction last changed; of a QUIC socket, bytes moved since
    /// the latest record.
    pub window: u32,
    /// Of an unclassified flow: looks taken since the direction last changed. Of a UDP socket
    /// that was given up: calls since then. Of a QUIC socket: the period of the latest call.
    pub looked: u32,
    /// Of a TLS socket: bytes left of the TLS record that is passing. Of a TLS session: the
    /// header of a record that was read by itself, in five bytes, or 0.
    pub record_left: [u32; 2],
    /// Of a TLS socket: bytes left to copy of what is not encrypted of the handshake. Of a QUIC
    /// socket: Initials left to copy in this period. Of a TLS session and of a key: in the
    /// first, records that were told with their ciphertext.
    pub hello_left: [u32; 2],
    /// Of HTTP/2, of each direction: bytes until the next frame begins, and one, and in the
    /// highest bit whether they are of a head; or 0 when that is not known.
    pub frame_left: [u32; 2],
    /// Of a TLS session: the socket it was seen to use.
    pub socket: FlowId,
    /// The socket's ends.
    pub tuple: Tuple,
    /// What it is taken for.
    pub protocol: Protocol,
    /// Direction of the last bytes.
    pub last: Direction,
    /// Looks left before it is ignored.
    pub looks: u8,
    /// 1 once a TLS session was seen to use this socket: its ciphertext need not
    /// be reported for binding. Of a QUIC socket: 1 once its process sent QUIC.
    pub bound: u8,
    /// [`DataFlags::NESTED`], [`DataFlags::CONFLICT`].
    pub flags: DataFlags,
    /// Directions that ended: bit 0 ingress, bit 1 egress.
    pub ended: u16,
    /// Of a TLS session: calls that write and have not returned.
    pub writers: u32,
    /// Of a TLS session: 1 once a record of it was made.
    pub told: u16,
    /// Of a TLS session: 1 when it ended while a call was writing; that one tells.
    pub closing: u16,
}

/// A TLS session: a key of `SESSIONS`. The process is part of it because forked
/// processes share addresses, its start because process ids are reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SessionKey {
    /// Address of the session's object.
    pub session: u64,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
    /// The process.
    pub tgid: u64,
}

const _: () = assert!(size_of::<FlowState>() == 136);
