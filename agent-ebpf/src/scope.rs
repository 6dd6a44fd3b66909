//! Who may be observed. Called first by every program.

use agent_common::{counter::Counter, scope::ScopeMode};
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;

use crate::{kernel::Counters, maps::SCOPE, settings};

/// The counters, if the current process is in scope: what a program needs to go on.
#[inline(always)]
pub(crate) fn check(tgid: u32) -> Option<Counters> {
    let counters = Counters::get()?;
    if decide(tgid) {
        counters.add(Counter::IN_SCOPE, 1);
        Some(counters)
    } else {
        counters.add(Counter::OUT_OF_SCOPE, 1);
        None
    }
}

#[inline(always)]
fn decide(tgid: u32) -> bool {
    let mode = settings::scope_mode();
    if mode == ScopeMode::ALL {
        return tgid != settings::own_tgid();
    }
    // SAFETY: only the presence of the entry is used.
    if unsafe { SCOPE.get(&tgid) }.is_some() {
        return true;
    }
    mode == ScopeMode::CGROUP
        && tgid != settings::own_tgid()
        // SAFETY: takes a number, touches nothing.
        && unsafe { bpf_get_current_ancestor_cgroup_id(settings::scope_cgroup_level()) }
            == settings::scope_cgroup()
}
