//! What the agent decides before the programs are loaded. The values are
//! constants to the verifier, which removes the code that they rule out.

use agent_common::{layout::Layout, limits, scope::ScopeMode};
use aya_ebpf::Global;

/// A [`ScopeMode`].
#[unsafe(no_mangle)]
static SCOPE_MODE: Global<u32> = Global::new(ScopeMode::MAP.0);

/// The agent's own process, never observed.
#[unsafe(no_mangle)]
static OWN_TGID: Global<u32> = Global::new(0);

/// Of [`ScopeMode::CGROUP`]: id of the cgroup.
#[unsafe(no_mangle)]
static SCOPE_CGROUP: Global<u64> = Global::new(0);

/// Of [`ScopeMode::CGROUP`]: its depth in the hierarchy, the root being 0.
#[unsafe(no_mangle)]
static SCOPE_CGROUP_LEVEL: Global<u32> = Global::new(0);

/// 1 when an exec may bring a process into scope by its name or file.
#[unsafe(no_mangle)]
static SCOPE_MATCH: Global<u32> = Global::new(0);

/// Capture budget of one message, bytes.
#[unsafe(no_mangle)]
static MESSAGE_BUDGET: Global<u32> = Global::new(limits::MESSAGE_BUDGET);

/// Bytes waiting in the ring buffer that wake the agent.
#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u32> = Global::new(256 * 1024);

/// 1 when `bpf_get_attach_cookie` exists (5.15).
#[unsafe(no_mangle)]
static HAS_COOKIE: Global<u32> = Global::new(0);

/// 1 when `bpf_task_pt_regs` exists (5.15).
#[unsafe(no_mangle)]
static HAS_TASK_REGISTERS: Global<u32> = Global::new(0);

/// 1 when programs on the functions of sockets take the bytes, not those on system calls.
#[unsafe(no_mangle)]
static BY_FUNCTION: Global<u32> = Global::new(0);

/// 1 for the floor of the benchmark: programs return after the scope check.
#[unsafe(no_mangle)]
static EMPTY: Global<u32> = Global::new(0);

/// Offsets of kernel structures. Not a [`Global`], so that one field can be read
/// without the others.
#[unsafe(no_mangle)]
static LAYOUT: Layout = NO_LAYOUT;

const NO_LAYOUT: Layout = Layout {
    task_files: 0,
    task_group_leader: 0,
    task_start_boottime: 0,
    task_tgid: 0,
    task_pid: 0,
    task_mm: 0,
    mm_exe_file: 0,
    files_fdt: 0,
    fdtable_fd: 0,
    fdtable_max_fds: 0,
    file_inode: 0,
    file_private_data: 0,
    inode_mode: 0,
    inode_ino: 0,
    inode_sb: 0,
    super_block_dev: 0,
    socket_type: 0,
    socket_sk: 0,
    socket_file: 0,
    sock_family: 0,
    sock_dport: 0,
    sock_num: 0,
    sock_daddr: 0,
    sock_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_socket: 0,
    sock_peer_pid: 0,
    unix_addr: 0,
    unix_peer: 0,
    unix_address_len: 0,
    unix_address_name: 0,
    pid_nr: 0,
    binprm_filename: 0,
    task_signal: 0,
    signal_live: 0,
    task_exit_code: 0,
    uring_request_opcode: 0,
    uring_request_file: 0,
    uring_complete_req: 0,
    uring_complete_res: 0,
    task_stack: 0,
    task_flags: 0,
    socket_ops: 0,
    sock_prot: 0,
    ops_splice_read: 0,
    proto_sendpage: 0,
    msghdr_iter: 0,
    msghdr_flags: 0,
    iter_type: 0,
    iter_offset: 0,
    iter_count: 0,
    iter_pointer: 0,
    iter_ubuf: 0,
    iter_iovec: 0,
    iter_mask: 0,
};

/// Offset of one field of a kernel structure, or a value of an enumeration.
macro_rules! offset {
    ($field:ident) => {
        $crate::settings::layout(core::mem::offset_of!(agent_common::layout::Layout, $field))
    };
}
pub(crate) use offset;

/// The value at a byte offset of [`LAYOUT`]; called through [`offset`] only.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the offsets are those of u32 fields")]
pub(crate) fn layout(at: usize) -> u64 {
    // SAFETY: `offset` passes offsets of fields only, all of which are u32.
    // Volatile, because the loader replaces the value.
    u64::from(unsafe { (&raw const LAYOUT).cast::<u8>().add(at).cast::<u32>().read_volatile() })
}

#[inline(always)]
pub(crate) fn scope_mode() -> ScopeMode {
    ScopeMode(SCOPE_MODE.load())
}

#[inline(always)]
pub(crate) fn own_tgid() -> u32 {
    OWN_TGID.load()
}

#[inline(always)]
pub(crate) fn scope_cgroup() -> u64 {
    SCOPE_CGROUP.load()
}

#[inline(always)]
pub(crate) fn scope_cgroup_level() -> i32 {
    SCOPE_CGROUP_LEVEL.load() as i32
}

#[inline(always)]
pub(crate) fn scope_match() -> bool {
    SCOPE_MATCH.load() != 0
}

#[inline(always)]
pub(crate) fn message_budget() -> u32 {
    MESSAGE_BUDGET.load()
}

#[cfg(not(feature = "perf"))]
#[inline(always)]
pub(crate) fn wake_bytes() -> u64 {
    u64::from(WAKE_BYTES.load())
}

#[inline(always)]
pub(crate) fn has_cookie() -> bool {
    HAS_COOKIE.load() != 0
}

#[inline(always)]
pub(crate) fn has_task_registers() -> bool {
    HAS_TASK_REGISTERS.load() != 0
}

#[inline(always)]
pub(crate) fn by_function() -> bool {
    BY_FUNCTION.load() != 0
}

#[inline(always)]
pub(crate) fn empty() -> bool {
    EMPTY.load() != 0
}
