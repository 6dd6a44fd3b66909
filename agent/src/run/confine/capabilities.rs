//! Capabilities: which of them a run keeps. Where kernels differ, the kernel is asked.

use std::thread;

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};

use crate::probe::uprobe;

/// What every run uses for as long as it lasts: to attach to TLS libraries that are
/// mapped later, and to look at the processes that map them.
const ALWAYS: [Capability; 4] = [
    Capability::CAP_PERFMON,
    // Processes of other users, and those of the same user with more capabilities.
    Capability::CAP_SYS_PTRACE,
    // Libraries that only their owner may read.
    Capability::CAP_DAC_READ_SEARCH,
    // /proc/PID/map_files.
    Capability::CAP_CHECKPOINT_RESTORE,
];

/// What kernels differ in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Demands {
    /// To attach to functions of programs takes `CAP_SYS_ADMIN`: before 5.8, and again
    /// from 6.16 and the maintained kernels of that time on (CVE-2025-38466).
    pub(super) admin: bool,
    /// To use maps and programs that are there already takes `CAP_BPF`: before 5.19,
    /// where unprivileged users may not use bpf(2).
    pub(super) bpf: bool,
}

impl Demands {
    /// Asks the kernel, in threads that give up the capability for the question. What
    /// cannot be asked is taken to be demanded.
    pub(super) fn of_this_kernel() -> Self {
        let admin = !holds(Self { admin: false, bpf: true }, || uprobe::try_open().is_ok());
        let bpf = !holds(Self { admin: false, bpf: false }, maps_are_open);
        Self { admin, bpf }
    }
}

/// Whether attaching to functions of programs takes `CAP_SYS_ADMIN`. Of a process
/// without `CAP_PERFMON` nothing can be said.
pub fn uprobes_demand_admin() -> Option<bool> {
    let held = caps::read(None, CapSet::Permitted).ok()?;
    let able = held.contains(&Capability::CAP_PERFMON) || held.contains(&Capability::CAP_SYS_ADMIN);
    able.then(|| Demands::of_this_kernel().admin)
}

/// The capabilities of a run. One with a command may have to end it, whatever user the
/// command has made itself.
pub(super) fn needed(demands: Demands, command: bool) -> CapsHashSet {
    let mut needed = CapsHashSet::from(ALWAYS);
    if demands.admin {
        needed.insert(Capability::CAP_SYS_ADMIN);
    }
    if demands.bpf {
        needed.insert(Capability::CAP_BPF);
    }
    if command {
        needed.insert(Capability::CAP_KILL);
    }
    needed
}

/// Gives up all but these, in this thread and those that it starts from here on. Gives
/// those that are left, by name.
pub(super) fn keep(needed: &CapsHashSet) -> Result<Vec<String>> {
    let held = caps::read(None, CapSet::Permitted).context("read capabilities")?;
    let kept = kept_of(&held, needed);
    // First, for it takes a capability. Without that the set stays: nothing that is
    // executed gains from it under no_new_privs.
    for capability in caps::all() {
        if !kept.contains(&capability)
            && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
            && let Err(error) = caps::drop(None, CapSet::Bounding, capability)
        {
            tracing::debug!("{capability} stays in the bounding set: {error}");
            break;
        }
    }
    set(&kept)?;
    let mut names: Vec<_> = kept.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

/// What is kept of what is held. `CAP_SYS_ADMIN` stands for those that were taken out of
/// it (5.8, 5.9): who holds it without one of these needs it in its place.
fn kept_of(held: &CapsHashSet, needed: &CapsHashSet) -> CapsHashSet {
    const OF_ADMIN: [Capability; 3] =
        [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_CHECKPOINT_RESTORE];
    let mut kept: CapsHashSet = held.intersection(needed).copied().collect();
    let stands_in = OF_ADMIN.iter().any(|it| needed.contains(it) && !held.contains(it));
    if stands_in && held.contains(&Capability::CAP_SYS_ADMIN) {
        kept.insert(Capability::CAP_SYS_ADMIN);
    }
    kept
}

/// Gives up all, in a thread that needs none.
pub(super) fn keep_none() -> Result<()> {
    set(&CapsHashSet::new())
}

/// Sets all the sets of this thread but the bounding one.
fn set(kept: &CapsHashSet) -> Result<()> {
    caps::clear(None, CapSet::Ambient).context("clear ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("clear inheritable capabilities")?;
    caps::set(None, CapSet::Effective, kept).context("set effective capabilities")?;
    caps::set(None, CapSet::Permitted, kept).context("set permitted capabilities")
}

/// Whether something can be done with what would be kept.
fn holds(demands: Demands, attempt: impl FnOnce() -> bool + Send) -> bool {
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let held = caps::read(None, CapSet::Permitted).ok()?;
            // Without what may stand in for others: it is the one that is asked for.
            let kept = held.intersection(&needed(demands, false)).copied().collect();
            caps::set(None, CapSet::Effective, &kept).ok()?;
            Some(attempt())
        });
        asked.join().ok().flatten().unwrap_or(false)
    })
}

/// Whether bpf(2) is open for maps that are there: it says that there is no such map,
/// not that it may not be asked.
fn maps_are_open() -> bool {
    const MAP_GET_NEXT_KEY: libc::c_int = 4;
    // `union bpf_attr` for it: the map, the key, where the next one goes, flags.
    let attributes = [u64::from(u32::MAX), 0, 0, 0];
    // SAFETY: the attributes are those of the command, live for the call, and are as
    // long as is said.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_GET_NEXT_KEY,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    result == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_what_it_and_its_kernel_need() {
        let least = needed(Demands { admin: false, bpf: false }, false);
        assert_eq!(least, CapsHashSet::from(ALWAYS));
        let most = needed(Demands { admin: true, bpf: true }, true);
        let more = [Capability::CAP_SYS_ADMIN, Capability::CAP_BPF, Capability::CAP_KILL];
        assert_eq!(most.difference(&least).copied().collect::<CapsHashSet>(), more.into());
    }

    #[test]
    fn the_old_capability_stays_where_it_stands_for_newer_ones() {
        let least = needed(Demands { admin: false, bpf: false }, false);
        let all: CapsHashSet = caps::all();
        assert_eq!(kept_of(&all, &least), least);
        let mut older = all;
        older.remove(&Capability::CAP_BPF);
        assert_eq!(kept_of(&older, &least), least, "what is not needed is not stood in for");
        older.remove(&Capability::CAP_CHECKPOINT_RESTORE);
        assert!(kept_of(&older, &least).contains(&Capability::CAP_SYS_ADMIN));
        older.remove(&Capability::CAP_SYS_ADMIN);
        assert!(!kept_of(&older, &least).contains(&Capability::CAP_SYS_ADMIN), "nor invented");
    }

    #[test]
    fn a_thread_gives_up_all_and_others_nothing() {
        let before = caps::read(None, CapSet::Effective).unwrap();
        thread::spawn(|| {
            keep_none().unwrap();
            assert!(caps::read(None, CapSet::Effective).unwrap().is_empty());
            assert!(caps::read(None, CapSet::Permitted).unwrap().is_empty());
            // What was given up does not come back.
            assert!(caps::raise(None, CapSet::Effective, Capability::CAP_BPF).is_err());
        })
        .join()
        .unwrap();
        assert_eq!(caps::read(None, CapSet::Effective).unwrap(), before);
    }
}
