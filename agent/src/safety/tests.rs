use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn program(name: &str) -> Program {
    Program { name: name.into(), container: None }
}

fn ended(signal: i32, seconds: u64, probed: Probed) -> Ended {
    let crash = Crash::of(signal.unsigned_abs()).unwrap();
    Ended { crash, at_ns: seconds * SECOND, probed }
}

fn probed(signal: i32, seconds: u64) -> Ended {
    ended(signal, seconds, Probed::Yes)
}

fn bare(signal: i32, seconds: u64) -> Ended {
    ended(signal, seconds, Probed::No)
}

#[test]
fn an_end_that_was_asked_for_is_no_crash() {
    let asked = [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, 0];
    assert!(asked.iter().all(|signal| Crash::of(signal.unsigned_abs()).is_none()));
}

#[test]
fn two_crashes_in_a_minute_are_too_many_and_two_in_an_hour_are_not() {
    let mut supervisor = Supervisor::default();
    let a = program("a");
    for minute in 1..60 {
        assert_eq!(supervisor.crashed(&a, probed(libc::SIGSEGV, minute * 60)), None);
    }
    assert_eq!(supervisor.crashed(&program("b"), probed(libc::SIGABRT, 3570)), None, "another");
    assert_eq!(supervisor.crashed(&a, probed(libc::SIGABRT, 3570)), Some(Step::Spare));
}

#[test]
fn one_is_enough_where_code_was_hit_or_the_file_is_on_trial() {
    let mut supervisor = Supervisor::default();
    for (name, signal) in [("a", libc::SIGILL), ("b", libc::SIGTRAP), ("c", libc::SIGSYS)] {
        assert_eq!(supervisor.crashed(&program(name), probed(signal, 5)), Some(Step::Spare));
    }
    let first = ended(libc::SIGSEGV, 6, Probed::OnTrial);
    assert_eq!(supervisor.crashed(&program("d"), first), Some(Step::Spare));
}

#[test]
fn what_has_no_probes_is_not_harmed_by_them() {
    let mut supervisor = Supervisor::default();
    let crashes = (1..100).filter_map(|at| supervisor.crashed(&program("a"), bare(4, at)));
    assert_eq!(crashes.count(), 0);
}

#[test]
fn what_crashes_without_probes_too_has_them_again_and_keeps_them_for_an_hour() {
    let mut supervisor = Supervisor::default();
    let a = program("a");
    supervisor.crashed(&a, probed(libc::SIGSEGV, 10));
    assert_eq!(supervisor.crashed(&a, probed(libc::SIGSEGV, 12)), Some(Step::Spare));
    for at in 13..20 {
        assert_eq!(supervisor.crashed(&a, ended(libc::SIGSEGV, at, Probed::Leaving)), None);
    }
    assert_eq!(supervisor.crashed(&a, bare(libc::SIGSEGV, 20)), None);
    assert_eq!(supervisor.crashed(&a, bare(libc::SIGSEGV, 22)), Some(Step::Restore));
    for at in 30..3600 {
        assert_eq!(supervisor.crashed(&a, probed(libc::SIGSEGV, at)), None);
    }
    assert_eq!(supervisor.crashed(&a, probed(libc::SIGSEGV, 3630)), None);
    assert_eq!(supervisor.crashed(&a, probed(libc::SIGSEGV, 3631)), Some(Step::Spare));
}

proptest! {
    /// Whatever crashes: steps of a program alternate, and it is spared first.
    #[test]
    fn steps_alternate(
        ends in prop::collection::vec((0..3u8, 0..2000u64, any::<bool>(), 0..4usize), 0..200),
    ) {
        let mut supervisor = Supervisor::default();
        let mut last = [Step::Restore; 3];
        let mut at = 10;
        for (name, wait, code, probed) in ends {
            at += wait;
            let signal = if code { libc::SIGTRAP } else { libc::SIGSEGV };
            let probed = [Probed::Yes, Probed::OnTrial, Probed::Leaving, Probed::No][probed];
            let end = ended(signal, at, probed);
            if let Some(step) = supervisor.crashed(&program(&name.to_string()), end) {
                let known = &mut last[usize::from(name)];
                prop_assert_ne!(*known, step);
                *known = step;
            }
        }
    }
}
