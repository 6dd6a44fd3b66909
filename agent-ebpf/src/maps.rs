//! Every map. Sizes are defaults; the agent may set others before loading.

use agent_common::{
    counter::Counter,
    limits::PLACING_MAX,
    scope::{Comm, FileKey, ScopeEntry},
    state::{FlowState, SessionKey},
};
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
};

use crate::{
    capture::Work,
    probes::{Caller, TlsCall},
};

/// Processes in scope, by tgid.
#[map]
pub(crate) static SCOPE: HashMap<u32, ScopeEntry> = HashMap::with_max_entries(65536, 0);

/// Task names that bring a process into scope.
#[map]
pub(crate) static SCOPE_COMMS: HashMap<Comm, u32> = HashMap::with_max_entries(64, 0);

/// Programs that bring a process into scope.
#[map]
pub(crate) static SCOPE_EXES: HashMap<FileKey, u32> = HashMap::with_max_entries(64, 0);

/// Capture budgets of one message, bytes, of processes that have a smaller one than the
/// rest, by tgid.
#[map]
pub(crate) static MESSAGE_BUDGETS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(4096, 0);

/// Whether any process has one: looked at first, because it costs less.
#[map]
pub(crate) static SHEDDING: Array<u32> = Array::with_max_entries(1, 0);

/// Sockets, by kernel address of the sock.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<u64, FlowState> = LruHashMap::with_max_entries(65536, 0);

/// TLS sessions.
#[map]
pub(crate) static SESSIONS: LruHashMap<SessionKey, FlowState> =
    LruHashMap::with_max_entries(16384, 0);

/// TLS calls that have not returned. Least recently used, because a thread may die or
/// jump out of a call. A Go program has one for each idle connection.
#[map]
pub(crate) static TLS_CALLS: LruHashMap<Caller, TlsCall> = LruHashMap::with_max_entries(16384, 0);

/// Libraries whose probes are being placed, see [`agent_common::limits::placing`].
#[map]
pub(crate) static PLACING: HashMap<u64, u32> = HashMap::with_max_entries(PLACING_MAX, 0);

/// Whether any are: all calls ask for it.
#[map]
pub(crate) static IS_PLACING: Array<u32> = Array::with_max_entries(1, 0);

/// Code files that were reported.
#[map]
pub(crate) static MAPPED_FILES: LruHashMap<FileKey, u32> = LruHashMap::with_max_entries(8192, 0);

/// Counters, by [`Counter`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<[u64; Counter::COUNT as usize]> =
    PerCpuArray::with_max_entries(1, 0);

/// A zeroed [`FlowState`]: new entries are copied from it, because a program's
/// stack is too small to build them on.
#[map]
pub(crate) static EMPTY_FLOW: Array<FlowState> = Array::with_max_entries(1, 0);

/// A zeroed [`TlsCall`], for the same reason.
#[map]
pub(crate) static EMPTY_CALL: Array<TlsCall> = Array::with_max_entries(1, 0);

/// Where programs keep the call that they work on, an entry for each program: none of them
/// runs twice at once on a processor, but one may preempt another.
#[map]
pub(crate) static WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(work::COUNT, 0);

/// Entries of [`WORK`].
pub(crate) mod work {
    pub(crate) const SYSCALL: u32 = 0;
    pub(crate) const INET_SEND: u32 = 1;
    pub(crate) const INET6_SEND: u32 = 2;
    pub(crate) const UNIX_SEND: u32 = 3;
    pub(crate) const INET_RECEIVE: u32 = 4;
    pub(crate) const INET6_RECEIVE: u32 = 5;
    pub(crate) const UNIX_RECEIVE: u32 = 6;
    pub(crate) const COUNT: u32 = 7;
}

/// Never holds a program; see `probes::tls`.
#[map]
pub(crate) static NO_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[cfg(not(feature = "perf"))]
pub(crate) use ring::*;

#[cfg(not(feature = "perf"))]
mod ring {
    use aya_ebpf::{macros::map, maps::RingBuf};

    /// Data, end and unix records.
    #[map]
    pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

    /// Process and mapping records: apart, so that payload cannot evict them.
    #[map]
    pub(crate) static LIFECYCLE: RingBuf = RingBuf::with_byte_size(512 << 10, 0);
}

#[cfg(feature = "perf")]
pub(crate) use perf::*;

#[cfg(feature = "perf")]
mod perf {
    use agent_common::{limits::CHUNK_MAX, record::DataHeader};
    use aya_ebpf::{
        macros::map,
        maps::{Array, LruHashMap, PerfEventByteArray},
    };

    /// A record being built.
    #[repr(C)]
    pub(crate) struct Scratch {
        pub(crate) header: DataHeader,
        pub(crate) payload: [u8; CHUNK_MAX],
    }

    /// Data, end and unix records.
    #[map]
    pub(crate) static EVENTS: PerfEventByteArray = PerfEventByteArray::new(0);

    /// Process and mapping records: apart, so that payload cannot evict them.
    #[map]
    pub(crate) static LIFECYCLE: PerfEventByteArray = PerfEventByteArray::new(0);

    /// Where a thread builds its record. By thread, not by processor: a uprobe
    /// program can be preempted by another one (since 6.0).
    #[map]
    pub(crate) static SCRATCH: LruHashMap<u64, Scratch> = LruHashMap::with_max_entries(512, 0);

    /// What new entries of [`SCRATCH`] are copied from.
    #[map]
    pub(crate) static EMPTY_SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);
}
