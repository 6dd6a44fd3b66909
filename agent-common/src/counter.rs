//! Counters that the kernel programs keep, one slot each, per processor.

/// A slot of the `COUNTERS` map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter(pub u32);

impl Counter {
    /// Data records handed to the transport.
    pub const RECORDS: Self = Self(0);
    /// Payload bytes handed to the transport.
    pub const BYTES: Self = Self(1);
    /// Payload bytes read from processes in scope, for classification or capture.
    pub const BYTES_READ: Self = Self(2);
    /// Records lost because the transport was full.
    pub const LOST_FULL: Self = Self(3);
    /// Stream bytes, ingress, of records lost because the transport was full.
    pub const LOST_FULL_INGRESS: Self = Self(4);
    /// Stream bytes, egress, of records lost because the transport was full.
    pub const LOST_FULL_EGRESS: Self = Self(5);
    /// Reads of user memory that faulted.
    pub const FAULTS: Self = Self(6);
    /// Stream bytes that were not readable.
    pub const LOST_FAULT: Self = Self(7);
    /// Stream bytes beyond the capture budget of their message.
    pub const LOST_BUDGET: Self = Self(8);
    /// Stream bytes in more buffers than one call may be split into.
    pub const SPLIT: Self = Self(9);
    /// Stream bytes moved by sendfile or splice, never in user memory, or by a call that is
    /// not read.
    pub const OPAQUE: Self = Self(10);
    /// Lifecycle records lost because their buffer was full.
    pub const LOST_LIFECYCLE: Self = Self(11);
    /// Map insertions refused because a map was full.
    pub const MAP_FULL: Self = Self(12);
    /// Connections first seen.
    pub const CONNECTIONS: Self = Self(13);
    /// Connections given up as no known protocol.
    pub const IGNORED: Self = Self(14);
    /// TLS library calls seen.
    pub const TLS_CALLS: Self = Self(15);
    /// TLS library returns without a kept entry (the entry was before attach).
    pub const TLS_ORPHANS: Self = Self(16);
    /// System calls of 32-bit processes in scope, which are not decoded.
    pub const COMPAT: Self = Self(17);
    /// Scope checks that said no.
    pub const OUT_OF_SCOPE: Self = Self(18);
    /// Scope checks that said yes.
    pub const IN_SCOPE: Self = Self(19);
    /// Descriptors that could not be resolved to a socket because kernel memory
    /// was not readable.
    pub const UNRESOLVED: Self = Self(20);
    /// QUIC Initials that were not looked at: their socket had too many in a moment.
    pub const QUIC_SKIPPED: Self = Self(21);
    /// Stream bytes beyond a capture budget that was smaller because their process was over
    /// its share of the CPU budget, or the transport was filling.
    pub const LOST_SHED: Self = Self(22);
    /// Number of slots.
    pub const COUNT: u32 = 23;

    /// Every counter with the name it has in metrics and reports.
    pub const NAMES: [(Self, &'static str); 23] = [
        (Self::RECORDS, "records"),
        (Self::BYTES, "bytes"),
        (Self::BYTES_READ, "bytes_read"),
        (Self::LOST_FULL, "lost_full"),
        (Self::LOST_FULL_INGRESS, "lost_full_ingress"),
        (Self::LOST_FULL_EGRESS, "lost_full_egress"),
        (Self::FAULTS, "faults"),
        (Self::LOST_FAULT, "lost_fault"),
        (Self::LOST_BUDGET, "lost_budget"),
        (Self::SPLIT, "lost_split"),
        (Self::OPAQUE, "lost_opaque"),
        (Self::LOST_LIFECYCLE, "lost_lifecycle"),
        (Self::MAP_FULL, "map_full"),
        (Self::CONNECTIONS, "connections"),
        (Self::IGNORED, "ignored"),
        (Self::TLS_CALLS, "tls_calls"),
        (Self::TLS_ORPHANS, "tls_orphans"),
        (Self::COMPAT, "compat_syscalls"),
        (Self::OUT_OF_SCOPE, "out_of_scope"),
        (Self::IN_SCOPE, "in_scope"),
        (Self::UNRESOLVED, "unresolved"),
        (Self::QUIC_SKIPPED, "quic_skipped"),
        (Self::LOST_SHED, "lost_shed"),
    ];
}

const _: () = assert!(Counter::NAMES.len() == Counter::COUNT as usize);
