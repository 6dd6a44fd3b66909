//! The compiled kernel programs, as `cargo xtask bpf` made them for this processor.

/// Sends records through a ring buffer, which kernels have since 5.8.
pub(super) static RING: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ring.o"));

/// Sends records through a perf event array, for older kernels.
pub(super) static PERF: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/perf.o"));
