//! Sizes that bound what the kernel programs do.

/// Payload classes of a data record: a record is reserved with the smallest
/// class that holds its bytes. Ring-buffer reservations need constant sizes.
pub const CLASS_SIZES: [usize; 4] = [256, 1024, 4096, 16384];

/// Most payload bytes one record carries: the largest class.
pub const CHUNK_MAX: usize = CLASS_SIZES[3];

/// Chunks and buffers that one system call may be split into. What lies beyond
/// is not captured and counted as [`crate::counter::Counter::SPLIT`].
pub const SEGMENTS_MAX: u32 = 24;

/// Default capture budget of one message, in bytes.
pub const MESSAGE_BUDGET: u32 = 64 * 1024;

/// Bytes that are copied of the first record of each direction of a TLS connection,
/// when it holds a hello message, which is not encrypted. Post-quantum key shares make
/// client hellos of about 2 KiB.
pub const TLS_HELLO: u64 = 4096;

/// TLS record headers that one record reports.
pub const TLS_RECORDS_MAX: usize = 8;

/// How often an unclassified connection is looked at before it is ignored.
pub const LOOKS_MAX: u8 = 32;

/// Longest unix socket path the kernel knows (`sun_path`, unix(7)).
pub const UNIX_PATH_MAX: usize = 108;

/// Bytes of a program's file name that an exec record carries.
pub const FILENAME_MAX: usize = 128;

/// Length of a task's name (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
