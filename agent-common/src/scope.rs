//! Who may be observed.

use bytemuck::{Pod, Zeroable};

use crate::limits::COMM_LEN;

/// Bits of a process in the `SCOPE` map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct ScopeFlags(pub u32);

impl ScopeFlags {
    /// Children of the process are observed too.
    pub const FOLLOW: Self = Self(1);
    /// The process is observed for its name or program: an exec decides anew.
    pub const MATCHED: Self = Self(2);
}

/// What the kernel side remembers of a process in scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ScopeEntry {
    /// How it came into scope.
    pub flags: ScopeFlags,
    /// Zero.
    pub reserved: u32,
}

/// How the scope is decided, beside the `SCOPE` map. The `SCOPE_MODE` global.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScopeMode(pub u32);

impl ScopeMode {
    /// Only processes in the `SCOPE` map.
    pub const MAP: Self = Self(0);
    /// And all processes under one cgroup (version 2).
    pub const CGROUP: Self = Self(1);
    /// Every process but the agent.
    pub const ALL: Self = Self(2);
}

/// A program by its file: a key of the `SCOPE_EXES` map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct FileKey {
    /// Inode number.
    pub inode: u64,
    /// Device, as the kernel's `s_dev` holds it (major << 20 | minor).
    pub device: u64,
}

/// A task name: a key of the `SCOPE_COMMS` map.
pub type Comm = [u8; COMM_LEN];
