//! Sizes that bound what the kernel programs do.

/// Payload classes of a data record: a record is reserved with the smallest
/// class that holds its bytes. Ring-buffer reservations need constant sizes.
pub const CLASS_SIZES: [usize; 4] = [256, 1024, 4096, 16384];

/// Most payload bytes one record carries: the largest class.
pub const CHUNK_MAX: usize = CLASS_SIZES[3];

/// Steps that the bytes of one system call are taken in: one for each buffer or chunk, and of
/// HTTP/2 one more for its frames, or several where they are short. What lies beyond is not
/// captured and counted as [`crate::counter::Counter::SPLIT`].
pub const SEGMENTS_MAX: u32 = 512;

/// The same with a perf event array.
pub const SEGMENTS_MAX_PERF: u32 = 32;

/// Default capture budget of one message, in bytes.
pub const MESSAGE_BUDGET: u32 = 64 * 1024;

/// Capture budget of one message that holds nearly all heads, in bytes: where bodies are
/// shed.
pub const BUDGET_HEADS: u32 = 4096;

/// Capture budget of one message that holds its first line, mostly, in bytes: as much as the
/// smallest record carries.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
pub const BUDGET_LINES: u32 = CLASS_SIZES[0] as u32;

/// Bytes that are copied of each direction of a TLS connection at most, for what is not
/// encrypted there: the client's hello, and that of the server with its certificate.
/// Post-quantum key shares make client hellos of about 2 KiB.
pub const TLS_HELLO: u64 = 4096;

/// TLS records that one record reports.
pub const TLS_RECORDS_MAX: usize = 8;

/// Length of the header of a TLS record (RFC 8446 section 5.1).
pub const TLS_RECORD_HEADER: usize = 5;

/// Bytes that are reported of a TLS record: its header and the first that follow it, zero
/// where they are not in the same buffer. A multiple of 8.
pub const TLS_RECORD_START: usize = 24;

/// Bytes of ciphertext that tell one TLS record from all others. TLS 1.2 may have as many
/// of a nonce before them, and both fit into [`TLS_RECORD_START`].
pub const TLS_RECORD_CIPHERTEXT: usize = 8;

/// Numbers of TLS libraries from this one on are of those whose functions were found without
/// symbols: what is seen of them counts once their ciphertext has proven it.
pub const LOCATED_LIBRARIES: u16 = 0x8000;

/// Libraries, and processes with probes of their own in one, that are noted at once while
/// probes are placed.
pub const PLACING_MAX: u32 = 4096;

/// Of a library, in a process or in all: not all of its probes are in place.
pub const PLACED_IN_PART: u32 = 1;

/// Of a library in a process: it has all of its probes, while those of all are placed.
pub const PLACED_BEFORE: u32 = 2;

/// The key under which a library is noted while its probes are placed, in a process or, with
/// 0, in all.
pub const fn placing(tgid: u32, library: u16) -> u64 {
    (tgid as u64) << 16 | library as u64
}

/// How often an unclassified connection is looked at before it is ignored.
pub const LOOKS_MAX: u8 = 32;

/// Bytes that are copied of a datagram with a QUIC Initial. More than a datagram has: with
/// segmentation offload a system call moves several at once, and a client hello with a
/// post-quantum key share takes two.
pub const QUIC_INITIAL: usize = 4096;

/// Initials that are copied of each direction of a socket in one of its periods.
pub const QUIC_INITIALS_MAX: u32 = 32;

/// A period of a QUIC socket is two to the power of this, in nanoseconds: 134 ms.
pub const QUIC_PERIOD_SHIFT: u32 = 27;

/// Bytes that may move over a QUIC socket within a period before they are told of.
pub const QUIC_UNTOLD: u32 = 16 * 1024;

/// A UDP socket that was given up is looked at again each time that so many system calls
/// have moved bytes of it: it may be a QUIC server's, joined midway. A power of two.
pub const DATAGRAM_LOOK_EVERY: u32 = 16;

/// Longest unix socket path the kernel knows (`sun_path`, unix(7)).
pub const UNIX_PATH_MAX: usize = 108;

/// Bytes of a program's file name that an exec record carries.
pub const FILENAME_MAX: usize = 128;

/// Length of a task's name (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
