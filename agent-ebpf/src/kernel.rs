//! Reading kernel and user memory, and counting.

use agent_common::counter::Counter;
use aya_ebpf::helpers::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_user, generated::bpf_ktime_get_ns,
};

use crate::{maps::COUNTERS, settings::offset};

/// Reads a value of kernel memory.
#[inline(always)]
pub(crate) fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper refuses addresses that are not readable.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// Reads a value of the current process's memory. Small values only: payload is
/// copied by `emit`.
#[inline(always)]
pub(crate) fn read_user<T>(address: u64) -> Option<T> {
    // SAFETY: the helper refuses addresses that are not readable.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: takes nothing, touches nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// Address of the current `task_struct`.
#[inline(always)]
pub(crate) fn current_task() -> u64 {
    // SAFETY: takes nothing; the address is only read through `read`.
    unsafe { bpf_get_current_task() }
}

/// Start of the process that a task belongs to, nanoseconds of `CLOCK_BOOTTIME`;
/// 0 when not readable.
#[inline(always)]
pub(crate) fn process_start(task: u64) -> u64 {
    let Some(leader) = read::<u64>(task + offset!(task_group_leader)) else { return 0 };
    read(leader + offset!(task_start_boottime)).unwrap_or(0)
}

/// This processor's counters. Looked up once by a program: a look-up for each
/// addition would be one more branch for the verifier to follow.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Counters(*mut [u64; Counter::COUNT as usize]);

impl Counters {
    #[inline(always)]
    pub(crate) fn get() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(Self)
    }

    /// Adds to a counter.
    #[inline(always)]
    pub(crate) fn add(self, counter: Counter, amount: u64) {
        // SAFETY: the map returned the pointer, and slots are constants below
        // `COUNT`. A program that preempts this one may make the sum miss an
        // addition; counters are for people.
        unsafe { *self.0.cast::<u64>().add(counter.0 as usize) += amount };
    }
}
