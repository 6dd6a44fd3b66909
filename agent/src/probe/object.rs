//! The compiled kernel programs.

/// Sends records through ring buffers (5.8).
pub(super) static RING: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/apiscope-x86_64-ring.o"));

/// Sends records through perf event arrays.
pub(super) static PERF: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/apiscope-x86_64-perf.o"));
