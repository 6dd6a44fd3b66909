//! `apiscope doctor`: what this kernel and these privileges allow, and what would
//! be captured of each process, with the reason where it would not; and what the latest
//! run saw of each program.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    call::Timestamp,
    event::verdict::{FileVerdict, Unhooked},
    export::{format, ledger::Line, store::Store},
    inspect::Inspector,
    probe::{
        self, ReturnProbes, Support,
        functions::Point,
        library::{self, Found},
        mappings, open_to_look,
    },
    run::confine,
};

/// Programs of the latest run that are told of.
const PROGRAMS_MAX: usize = 50;

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// How it stands.
    pub verdict: Verdict,
    /// What was looked at.
    pub subject: String,
    /// What was found, and what to do about it.
    pub finding: String,
}

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// apiscope works, but sees less or costs more.
    Limited,
    /// apiscope cannot work.
    Bad,
}

impl Verdict {
    const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok      ",
            Self::Limited => "limited ",
            Self::Bad => "MISSING ",
        }
    }
}

fn check(verdict: Verdict, subject: &str, finding: impl Into<String>) -> Check {
    Check { verdict, subject: subject.into(), finding: finding.into() }
}

/// Looks at the host.
pub fn host() -> Vec<Check> {
    let mut checks =
        vec![kernel(), btf(), tracefs(), transport(), functions(), uring(), return_probes()];
    checks.extend(capabilities());
    checks.push(confinement());
    checks.push(namespace());
    checks.push(cgroup());
    checks
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let old = aya::util::KernelVersion::current()
        .is_ok_and(|version| version < aya::util::KernelVersion::new(5, 10, 0));
    if old {
        return check(
            Verdict::Limited,
            "kernel",
            format!("{release}; tested from 5.10 on, older ones may refuse the programs"),
        );
    }
    check(Verdict::Good, "kernel", format!("{release} {}", std::env::consts::ARCH))
}

fn btf() -> Check {
    match probe::layout::read(Path::new(probe::layout::KERNEL_BTF)) {
        Ok(_) => check(Verdict::Good, "type information", probe::layout::KERNEL_BTF),
        Err(error) => check(Verdict::Bad, "type information", format!("{error:#}")),
    }
}

fn tracefs() -> Check {
    if Path::new("/sys/kernel/tracing/events").exists() {
        return check(Verdict::Good, "tracefs", "/sys/kernel/tracing");
    }
    if Path::new("/sys/kernel/debug/tracing/events").exists() {
        return check(Verdict::Good, "tracefs", "/sys/kernel/debug/tracing");
    }
    check(Verdict::Bad, "tracefs", "not mounted; mount -t tracefs nodev /sys/kernel/tracing")
}

fn transport() -> Check {
    match Support::ring_buffer() {
        Ok(true) => check(Verdict::Good, "transport", "ring buffer"),
        Ok(false) => check(
            Verdict::Limited,
            "transport",
            "no ring buffer before 5.8; perf event arrays are used, which need more memory",
        ),
        Err(error) => check(Verdict::Bad, "transport", format!("{error:#}")),
    }
}

fn functions() -> Check {
    match Support::functions() {
        Ok(()) => check(
            Verdict::Good,
            "functions of sockets",
            "--socket-backend function can hook them, and reads io_uring too",
        ),
        // Nothing that is captured by default needs them.
        Err(error) => check(
            Verdict::Good,
            "functions of sockets",
            format!("none are hooked on this kernel, but system calls: {}", first(&error)),
        ),
    }
}

/// What an error says, without the verifier's log.
fn first(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

fn uring() -> Check {
    let layout = probe::layout::read(Path::new(probe::layout::KERNEL_BTF));
    if layout.is_ok_and(|layout| probe::tells_of_uring(&layout)) {
        let finding = "connections that it is used on are told, and not read";
        return check(Verdict::Good, "io_uring", finding);
    }
    let finding =
        "this kernel does not tell of it (5.19 does): such connections are not seen at all";
    check(Verdict::Limited, "io_uring", finding)
}

fn return_probes() -> Check {
    let found = ReturnProbes::of_this_kernel();
    if found.are_used() {
        return check(Verdict::Good, "return probes", found.text());
    }
    let finding = format!(
        "{}: none are made; functions are probed where they return, which costs more, and \
         libraries where that is not known are not captured",
        found.text()
    );
    check(Verdict::Limited, "return probes", finding)
}

/// Capabilities, include/uapi/linux/capability.h: number, name, why, and whether
/// nothing works without.
const ADMIN: u32 = 21;
const CAPABILITIES: [(u32, &str, &str, bool); 6] = [
    (39, "CAP_BPF", "loads the programs", true),
    (38, "CAP_PERFMON", "attaches them, reads kernel memory", true),
    (
        ADMIN,
        "CAP_SYS_ADMIN",
        "attaches to TLS libraries: this kernel, or kernel.perf_event_paranoid, asks for it",
        false,
    ),
    (19, "CAP_SYS_PTRACE", "finds the TLS libraries of other users' processes", false),
    (2, "CAP_DAC_READ_SEARCH", "reads executables that are not world-readable", false),
    (40, "CAP_CHECKPOINT_RESTORE", "opens files by /proc/PID/map_files", false),
];

fn capabilities() -> Vec<Check> {
    let effective = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    let Some(effective) = effective else {
        return vec![check(Verdict::Limited, "capabilities", "/proc/self/status is not readable")];
    };
    let has = |number: u32| effective >> number & 1 == 1;
    // Before 5.8 CAP_SYS_ADMIN stood for the first two, and it still implies them.
    let admin = has(ADMIN);
    let demanded = confine::uprobes_demand_admin() != Some(false);
    CAPABILITIES
        .iter()
        .map(|&(number, name, why, needed)| {
            if number == ADMIN && !demanded {
                return check(Verdict::Good, name, "not needed: CAP_PERFMON does on this kernel");
            }
            let held = has(number) || (admin && matches!(number, 38..=40));
            let verdict = match (held, needed) {
                (true, _) => Verdict::Good,
                (false, true) => Verdict::Bad,
                (false, false) => Verdict::Limited,
            };
            check(verdict, name, if held { why.to_owned() } else { format!("not held: {why}") })
        })
        .collect()
}

/// What a run can make sure of once it has started.
fn confinement() -> Check {
    let landlock = confine::landlock();
    let mut can = vec!["drops capabilities".to_owned()];
    let mut cannot = Vec::new();
    match landlock {
        Some(version) => can.push(format!("confines writing (landlock {version})")),
        None => cannot.push("landlock"),
    }
    if confine::seccomp() {
        can.push("limits system calls (seccomp)".to_owned());
    } else {
        cannot.push("seccomp");
    }
    let can = format!("once started, a run {}", can.join(", "));
    if cannot.is_empty() {
        check(Verdict::Good, "confinement", can)
    } else {
        let finding = format!("{can}; the kernel has no {}", cannot.join(" and no "));
        check(Verdict::Limited, "confinement", finding)
    }
}

/// `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

fn namespace() -> Check {
    match fs::read_link("/proc/self/ns/pid") {
        Ok(link) if link == Path::new(INITIAL_PID_NAMESPACE) => {
            check(Verdict::Good, "pid namespace", "the host's")
        }
        Ok(_) => check(
            Verdict::Bad,
            "pid namespace",
            "a container's: process ids differ from the kernel's; run with hostPID or --pid=host",
        ),
        Err(error) => check(Verdict::Limited, "pid namespace", error.to_string()),
    }
}

fn cgroup() -> Check {
    match probe::scope::cgroup(Path::new("/")) {
        Ok(_) => check(Verdict::Good, "cgroup version 2", "mounted"),
        Err(error) => {
            check(Verdict::Limited, "cgroup version 2", format!("no --cgroup: {error:#}"))
        }
    }
}

/// Loads every program and says what the kernel says.
pub fn load() -> Vec<Check> {
    probe::try_load()
        .into_iter()
        .map(|(name, result)| match result {
            Ok(()) => check(Verdict::Good, &name, "loads"),
            Err(error) => check(Verdict::Bad, &name, format!("{error:#}")),
        })
        .collect()
}

/// What the latest run with this state saw of each program, and what not; those first of
/// which it missed something.
pub fn coverage(directory: &Path) -> Vec<Check> {
    let subject = "latest run";
    if Store::is_absent(directory) {
        let finding = format!("none that kept a state in {}", directory.display());
        return vec![check(Verdict::Good, subject, finding)];
    }
    let mut lines = match Store::open_read_only(directory).and_then(|store| store.load()) {
        Ok(state) => state.coverage,
        Err(error) => return vec![check(Verdict::Limited, subject, format!("{error:#}"))],
    };
    let Some(began) = lines.iter().map(|line| line.since).max() else {
        return vec![check(Verdict::Good, subject, "it saw no connection")];
    };
    let ago = format::ago(Timestamp::now().seconds_since(began));
    let finding = format!("began {ago} ago; {} programs with connections", lines.len());
    let mut checks = vec![check(Verdict::Good, subject, finding)];
    lines.sort_by_key(Line::is_whole);
    for line in lines.iter().filter(|line| !line.text().is_empty()).take(PROGRAMS_MAX) {
        let verdict = if line.is_whole() { Verdict::Good } else { Verdict::Limited };
        checks.push(check(verdict, &line.program, line.text().join("\n")));
    }
    if let Some(more) = lines.len().checked_sub(PROGRAMS_MAX).filter(|more| *more > 0) {
        checks.push(check(Verdict::Good, subject, format!("and {more} more; see the metrics")));
    }
    checks
}

/// Looks at a process: what of it is captured, and what is not.
pub fn process(pid: u32, inspector: &mut Inspector) -> Vec<Check> {
    let subject = format!("process {pid}");
    let Some(facts) = probe::process::look(pid) else {
        return vec![check(Verdict::Bad, &subject, "there is no such process")];
    };
    let subject = format!("process {pid} ({})", facts.comm);
    let mut checks = vec![check(Verdict::Good, &subject, "plaintext HTTP/1 on its sockets")];
    let files = mappings(pid);
    if files.is_empty() {
        checks.push(check(Verdict::Limited, &subject, "its mapped files cannot be read"));
    }
    for file in &files {
        checks.extend(library(&subject, &file.file, &file.name, inspector));
    }
    if uses_io_uring(pid) {
        checks.push(check(
            Verdict::Limited,
            &subject,
            "uses io_uring: what it moves that way is not seen",
        ));
    }
    checks
}

/// What is known of a mapped file that has to do with TLS.
fn library(subject: &str, file: &Path, name: &Path, inspector: &mut Inspector) -> Option<Check> {
    if fs::metadata(file).is_ok_and(|metadata| !metadata.is_file()) {
        return None;
    }
    let found = open_to_look(file).and_then(|file| inspector.inspect(&file));
    let found = found.map(|found| library::judge(found, name));
    let unhooked = match found {
        Ok(Found::Points(points)) if points.iter().any(Point::is_located) => {
            let finding = "OpenSSL without symbols, whose functions were found: what they show \
                           counts once its ciphertext has proven it";
            return Some(check(Verdict::Good, subject, format!("{}: {finding}", name.display())));
        }
        Ok(Found::Points(_) | Found::Verdict(FileVerdict::Hooked(_) | FileVerdict::Located(_))) => {
            return Some(check(Verdict::Good, subject, format!("TLS by {}", name.display())));
        }
        Ok(Found::Verdict(FileVerdict::Nothing)) => return None,
        Ok(Found::Verdict(FileVerdict::Unhooked(unhooked))) => unhooked,
        Err(error) => Unhooked::Unreadable(format!("{error:#}").into()),
    };
    let finding = match unhooked {
        Unhooked::Bits32 | Unhooked::Unreadable(_) => unhooked.text().into_owned(),
        _ => format!("{}: its TLS is seen as ciphertext", unhooked.text()),
    };
    Some(check(Verdict::Limited, subject, format!("{}: {finding}", name.display())))
}

fn uses_io_uring(pid: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target: PathBuf| target.to_string_lossy().contains("io_uring"))
}

/// The report as text, and whether apiscope can work.
pub fn render(checks: &[Check]) -> (String, bool) {
    let width = checks.iter().map(|check| check.subject.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        // Writing to a string does not fail.
        _ = writeln!(
            text,
            "{}{:width$}  {}",
            check.verdict.mark(),
            check.subject,
            check.finding.replace('\n', "\n          ")
        );
    }
    (text, checks.iter().all(|check| check.verdict != Verdict::Bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_aligns_and_says_whether_it_works() {
        let checks =
            [check(Verdict::Good, "kernel", "6.1"), check(Verdict::Limited, "transport", "perf")];
        let (text, works) = render(&checks);
        assert_eq!(text, "ok      kernel     6.1\nlimited transport  perf\n");
        assert!(works);
        assert!(!render(&[check(Verdict::Bad, "tracefs", "no")]).1);
    }

    #[test]
    fn a_process_that_is_not_there_is_said() {
        let checks = process(u32::MAX - 1, &mut Inspector::start().unwrap());
        assert_eq!(checks[0].verdict, Verdict::Bad);
    }

    #[test]
    fn this_process_would_be_seen() {
        let checks = process(std::process::id(), &mut Inspector::start().unwrap());
        assert_eq!(checks[0].verdict, Verdict::Good);
    }
}
