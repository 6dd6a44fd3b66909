//! Records that the kernel programs send, each starting with its [`RecordKind`].

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::limits::{COMM_LEN, FILENAME_MAX, UNIX_PATH_MAX};

/// What a record is. The first field of every record.
///
/// A newtype, not an enum: any bit pattern may arrive from a buffer or a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct RecordKind(pub u32);

impl RecordKind {
    /// A [`DataHeader`] and its payload.
    pub const DATA: Self = Self(1);
    /// A [`FlowRecord`]: a direction or a whole flow has ended.
    pub const END: Self = Self(2);
    /// A [`UnixRecord`]: the names of a unix socket, before its first data.
    pub const UNIX: Self = Self(3);
    /// A [`ProcessRecord`]: a process was forked.
    pub const FORK: Self = Self(4);
    /// A [`ProcessRecord`]: a process runs another program.
    pub const EXEC: Self = Self(5);
    /// A [`ProcessRecord`]: a process has ended.
    pub const EXIT: Self = Self(6);
    /// A [`MappedRecord`]: a process mapped a file as code.
    pub const MAPPED: Self = Self(7);
}

/// Which way bytes went, seen from the process that moved them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Direction(pub u8);

impl Direction {
    /// Into the process: read, recv, `SSL_read`.
    pub const INGRESS: Self = Self(0);
    /// Out of the process: write, send, `SSL_write`.
    pub const EGRESS: Self = Self(1);
    /// Both, in an end record.
    pub const BOTH: Self = Self(2);
}

/// Where bytes were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Layer(pub u8);

impl Layer {
    /// At the socket: what went over the wire.
    pub const SOCKET: Self = Self(0);
    /// Above a TLS library: plaintext.
    pub const TLS: Self = Self(1);
}

/// What the kernel side took a flow for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Not classified yet.
    pub const UNKNOWN: Self = Self(0);
    /// HTTP/1.x.
    pub const HTTP1: Self = Self(1);
    /// HTTP/2.
    pub const HTTP2: Self = Self(2);
    /// TLS records. A [`Layer::SOCKET`] data record of this protocol carries the
    /// hello bytes, or starts of records when [`DataFlags::TLS_RECORDS`] is set.
    pub const TLS: Self = Self(3);
    /// Looked at and given up.
    pub const IGNORED: Self = Self(4);
    /// A UDP socket over which QUIC goes, of any number of connections. Its positions count
    /// the bytes of datagrams; what is captured is the start of a datagram with an Initial.
    pub const QUIC: Self = Self(5);
    /// A connection that a process moves bytes over by `io_uring`, which are not read.
    pub const URING: Self = Self(7);
    /// A UDP socket over which no QUIC was seen. Known to the kernel side alone.
    pub const DATAGRAM: Self = Self(6);

    /// Its messages are captured.
    pub const fn is_http(self) -> bool {
        self.0 == Self::HTTP1.0 || self.0 == Self::HTTP2.0
    }
}

/// Facts about a data record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct DataFlags(pub u16);

impl DataFlags {
    /// Fewer bytes than `len` were captured: the message's budget was used up.
    pub const BUDGET: Self = Self(1);
    /// Fewer bytes were captured: user memory was not readable.
    pub const FAULT: Self = Self(2);
    /// Nothing was captured: sendfile or splice, whose bytes were never in user memory, or a
    /// call that is not read.
    pub const OPAQUE: Self = Self(4);
    /// Fewer bytes were captured: too many buffers in one call.
    pub const SPLIT: Self = Self(8);
    /// The payload is no stream bytes, but starts of TLS records,
    /// [`crate::limits::TLS_RECORD_START`] of each. Of a [`Self::HALF`] there is one, with a
    /// header of zeros and the first of its ciphertext.
    pub const TLS_RECORDS: Self = Self(16);
    /// The first record of its flow.
    pub const FIRST: Self = Self(32);
    /// The socket of a TLS flow was seen in a system call nested in this TLS call
    /// or an earlier one of the same session.
    pub const NESTED: Self = Self(64);
    /// Different sockets were seen nested in calls of one session.
    pub const CONFLICT: Self = Self(128);
    /// Fewer bytes were captured: the message had a smaller budget, because its process was
    /// over its share of the CPU budget or the transport was filling.
    pub const SHED: Self = Self(256);
    /// The flow is a key of a TLS session, which has one for each direction: its name is
    /// the address of the key, and its bytes go one way.
    pub const HALF: Self = Self(512);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Names a flow for as long as it lives, however its descriptor is duplicated,
/// inherited, passed or reused.
///
/// For a socket, `id` is the inode number of the socket (`socket:[N]` in
/// /proc/PID/fd). For a TLS session it is the address of the library's session
/// object. `generation` is when it was first seen, in nanoseconds of
/// `CLOCK_MONOTONIC`: it tells apart two lives of one `id`. All zero is no flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub struct FlowId {
    /// Inode number or session address.
    pub id: u64,
    /// First seen, nanoseconds of `CLOCK_MONOTONIC`.
    pub generation: u64,
}

/// Address family of a socket, as in `<sys/socket.h>`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Family(pub u16);

impl Family {
    /// Not known.
    pub const NONE: Self = Self(0);
    /// `AF_UNIX`.
    pub const UNIX: Self = Self(1);
    /// `AF_INET`.
    pub const INET: Self = Self(2);
    /// `AF_INET6`.
    pub const INET6: Self = Self(10);
}

/// The two ends of a socket. For `AF_INET` the address is in the first four
/// bytes. For `AF_UNIX`, `local` and `remote` start with the socket inode
/// numbers of this end and of its peer (0: unknown), native order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
// Aligned, so that it is copied by words.
#[repr(C, align(8))]
pub struct Tuple {
    /// Address family.
    pub family: Family,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// Zero.
    pub reserved: u16,
    /// Local address, network order.
    pub local: [u8; 16],
    /// Remote address, network order.
    pub remote: [u8; 16],
}

/// The fixed part of a data record; `captured` payload bytes follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct DataHeader {
    /// Always [`RecordKind::DATA`].
    pub kind: RecordKind,
    /// Payload bytes that follow; at most [`crate::limits::CHUNK_MAX`].
    pub captured: u32,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Process, as `bpf_get_current_pid_tgid` reports it: tgid in the high half.
    pub pid_tgid: u64,
    /// The flow that the bytes belong to.
    pub flow: FlowId,
    /// For a TLS flow, the socket it was seen to use; zero when not seen.
    pub socket: FlowId,
    /// Position of the record's first byte in its direction of the flow, counted
    /// from the first byte seen.
    pub offset: u64,
    /// How far the other direction had come, counted likewise: its bytes before that
    /// came before this record, and records of them that never came are lost.
    pub other_offset: u64,
    /// Stream bytes that the record stands for; `captured` or more.
    pub len: u32,
    /// What the system call or TLS call returned, saturating.
    pub call_len: u32,
    /// Which way.
    pub direction: Direction,
    /// Where seen.
    pub layer: Layer,
    /// What the flow is taken for.
    pub protocol: Protocol,
    /// Zero.
    pub reserved: u8,
    /// Facts.
    pub flags: DataFlags,
    /// Which attached TLS library made the call (index of the agent's list);
    /// zero on the socket layer.
    pub library: u16,
    /// The socket's ends; [`Family::NONE`] when unknown.
    pub tuple: Tuple,
    /// The task: start of its process, nanoseconds of `CLOCK_BOOTTIME`, or 0.
    pub start_ns: u64,
}

/// The end of a flow or of one direction of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FlowRecord {
    /// Always [`RecordKind::END`].
    pub kind: RecordKind,
    /// Which direction ended; [`Direction::BOTH`] when the flow is gone.
    pub direction: Direction,
    /// Where.
    pub layer: Layer,
    /// Zero.
    pub reserved: u16,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The process that ended it, or 0 when the kernel did.
    pub pid_tgid: u64,
    /// The flow.
    pub flow: FlowId,
    /// Final position of each direction (ingress, egress): bytes beyond what
    /// records told are lost.
    pub offsets: [u64; 2],
}

/// Names of a unix stream socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct UnixRecord {
    /// Always [`RecordKind::UNIX`].
    pub kind: RecordKind,
    /// Length of `path`, at most [`UNIX_PATH_MAX`].
    pub path_len: u32,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// The flow.
    pub flow: FlowId,
    /// Process at the other end when it connected (`sk_peer_pid`), or 0.
    pub peer_tgid: u32,
    /// 1 when `path` is bound at this end (an accepted socket), 2 when at the peer.
    pub bound: u32,
    /// `sun_path`; starts with NUL for an abstract name.
    pub path: [u8; UNIX_PATH_MAX],
    /// Zero.
    pub reserved: u32,
}

/// A change in the life of a process in scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ProcessRecord {
    /// [`RecordKind::FORK`], [`RecordKind::EXEC`] or [`RecordKind::EXIT`].
    pub kind: RecordKind,
    /// The process (of a fork: the child).
    pub tgid: u32,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME`, or 0.
    pub start_ns: u64,
    /// Its parent, or 0 when unknown.
    pub parent_tgid: u32,
    /// Length of `filename`.
    pub filename_len: u32,
    /// Name of the task.
    pub comm: [u8; COMM_LEN],
    /// Of an exec: the file as it was named to execve, cut at the end.
    pub filename: [u8; FILENAME_MAX],
    /// Of an exit: `task_struct.exit_code`, the signal in its low seven bits.
    pub exit_code: u32,
    /// Zero.
    pub reserved: u32,
}

/// A file mapped as code by a process in scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct MappedRecord {
    /// Always [`RecordKind::MAPPED`].
    pub kind: RecordKind,
    /// The process.
    pub tgid: u32,
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Inode number of the file.
    pub inode: u64,
    /// Device of its file system, as `s_dev` holds it.
    pub device: u64,
    /// Where it was mapped.
    pub address: u64,
}

const _: () = assert!(size_of::<Tuple>() == 40);
const _: () = assert!(size_of::<DataHeader>() == 136);
const _: () = assert!(offset_of!(DataHeader, offset) == 56);
const _: () = assert!(offset_of!(DataHeader, tuple) == 88);
const _: () = assert!(size_of::<FlowRecord>() == 56);
const _: () = assert!(size_of::<UnixRecord>() == 152);
const _: () = assert!(size_of::<ProcessRecord>() == 184);
const _: () = assert!(size_of::<MappedRecord>() == 40);
