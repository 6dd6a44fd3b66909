//! What runs in guests: the tests that are for them, and the capture suite.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    matrix,
    shell::{cargo, quote, run},
    test::{Outcome, Steps, WORKSPACE, targets},
    vm::{self, Cgroup, kernel::Kernel},
};

/// Targets of the `tests` package that run in guests: `kernel` also on this
/// machine, those that begin with `vm` nowhere else, because they observe all that
/// runs.
const KERNEL: &str = "kernel";
pub(crate) const GUEST_ONLY: &str = "vm";

/// The kernel on which `cargo xtask test` also captures TLS of several libraries, and has
/// cgroups of version 1: the oldest, which lacks most.
const OLDEST: &str = "5.10";

/// The test programs that each kernel is spared of in `cargo xtask test`, so that it ends
/// within the hour: each runs on two kernels at least, and that of the kernel programs, which
/// must load everywhere, on all.
const SPARED: [(&str, &[&str]); 3] =
    [("5.10", &["vm_sockets"]), ("6.1", &["vm_all", "vm_sockets"]), ("6.12", &["vm_all"])];

/// How long the tests may take in a guest, which is 10 to 30 times slower, and may have to
/// share its processor.
const TIMEOUT: Duration = Duration::from_mins(15);

/// Runs the tests on each kernel and prints a line for each part; whether all passed.
///
/// With `few`, what `cargo xtask test` runs: one version of cgroups for each kernel, not
/// all of the test programs, and a few of the capture suite on the oldest. Otherwise both
/// versions and the whole suite.
pub(crate) fn report(kernels: &[Kernel], few: bool) -> Result<bool> {
    run(cargo().arg("build").args(WORKSPACE).arg("--all-targets"))?;
    let mut steps = Steps::default();
    for &kernel in kernels {
        let name = kernel.name;
        for &cgroup in cgroups(kernel, few) {
            let version = cgroup.version();
            let what = format!("kernel {name}: tests for guests, cgroups of version {version}");
            steps.run(&what, || {
                run_tests(kernel, cgroup, spared(kernel, few)).map(|()| Outcome::Passed)
            });
        }
        if !few {
            steps.run(&format!("kernel {name}: capture suite"), || {
                matrix::check_guest_whole(kernel).map(Outcome::Told)
            });
        } else if name == OLDEST {
            steps.run(&format!("kernel {name}: some of the capture suite"), || {
                matrix::check_guest(kernel).map(|()| Outcome::Passed)
            });
        }
    }
    Ok(steps.summary().is_ok())
}

/// The versions of cgroups that a kernel is tested with.
fn cgroups(kernel: Kernel, few: bool) -> &'static [Cgroup] {
    match (few, kernel.name == OLDEST) {
        (false, _) => &[Cgroup::V2, Cgroup::V1],
        (true, true) => &[Cgroup::V1],
        (true, false) => &[Cgroup::V2],
    }
}

/// The test programs that do not run.
fn spared(kernel: Kernel, few: bool) -> &'static [&'static str] {
    let spared = SPARED.into_iter().find(|(name, _)| few && *name == kernel.name);
    spared.map_or(&[], |(_, programs)| programs)
}

/// Runs the test programs that are for guests in one, but for those that are spared.
fn run_tests(kernel: Kernel, cgroup: Cgroup, spared: &[&str]) -> Result<()> {
    let mut programs = Vec::new();
    for target in targets()? {
        let name = target.name.as_str();
        let for_guests = name == KERNEL || name.starts_with(GUEST_ONLY);
        if for_guests && !spared.contains(&name) {
            programs.push(quote(&target.executable.to_string_lossy()));
        }
    }
    ensure!(!programs.is_empty(), "no test program is for a guest");
    let script = format!(
        "failed=0\nfor program in {}; do\n\
         echo \"$program\"\n\"$program\" --test-threads=1 || failed=1\n\
         done\nexit $failed\n",
        programs.join(" ")
    );
    let guest = vm::Guest { smp: 1, memory: 2048, cgroup, timeout: TIMEOUT, script };
    let status = guest.run(kernel, None)?.status;
    ensure!(status == 0, "the tests ended with status {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_program_is_among_the_few_of_two_kernels() {
        let runs = |program: &str| {
            vm::kernel::all().filter(|kernel| !spared(*kernel, true).contains(&program)).count()
        };
        assert_eq!(runs(KERNEL), vm::kernel::all().count());
        assert!(runs("vm_all") >= 2 && runs("vm_sockets") >= 2);
        assert!(vm::kernel::all().all(|kernel| spared(kernel, false).is_empty()));
    }

    #[test]
    fn both_versions_of_cgroups_are_among_the_few() {
        let mut few: Vec<Cgroup> =
            vm::kernel::all().flat_map(|kernel| cgroups(kernel, true).iter().copied()).collect();
        few.sort_by_key(|cgroup| cgroup.version());
        few.dedup();
        assert_eq!(few, [Cgroup::V1, Cgroup::V2]);
        assert!(vm::kernel::all().all(|kernel| cgroups(kernel, false).len() == 2));
    }
}
