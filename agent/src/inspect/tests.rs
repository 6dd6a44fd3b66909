//! Real files, through a real process.

use std::{fs, io::Write as _, path::Path, process::Command};

use rustix::process::{Signal, kill_process};

use super::*;
use crate::probe::elf;

fn same(inspector: &mut Inspector, path: &Path) -> Found {
    let file = File::open(path).unwrap();
    let found = inspector.inspect(&file).unwrap();
    assert_eq!(found, elf::inspect(&file).unwrap(), "{}", path.display());
    found
}

/// A field of a process's status.
fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().to_owned()
}

#[test]
fn what_is_found_is_what_the_parser_finds() {
    let mut inspector = Inspector::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let source = "int SSL_read() { return 0; } int SSL_write() { return 0; }";
    fs::write(directory.path().join("tls.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", "tls.so", "tls.c"]).current_dir(&directory);
    assert!(cc.status().unwrap().success());
    let library = directory.path().join("tls.so");
    assert!(matches!(same(&mut inspector, &library), Found::Points(_)));
    assert_eq!(same(&mut inspector, Path::new("/bin/true")), Found::Nothing);

    let whole = fs::read(&library).unwrap();
    for cut in (0..whole.len()).step_by(whole.len() / 16) {
        let mut damaged = whole.clone();
        damaged[cut] ^= 0xff;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&damaged).unwrap();
        // What it says is what it is: an error is one of this file.
        let (ours, theirs) = (elf::inspect(&file), inspector.inspect(&file));
        assert_eq!(ours.ok(), theirs.ok());
    }
    assert!(matches!(same(&mut inspector, &library), Found::Points(_)));
}

#[test]
fn the_process_has_no_privileges_and_no_files() {
    let inspector = Inspector::start().unwrap();
    let pid = inspector.pid();
    for field in ["CapEff", "CapPrm", "CapInh", "CapBnd"] {
        assert_eq!(status(pid, field), "0000000000000000", "{field}");
    }
    assert_eq!((status(pid, "NoNewPrivs").as_str(), status(pid, "Seccomp").as_str()), ("1", "2"));
    assert_eq!(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 1);
    drop(inspector);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_is_no_file_is_refused() {
    let mut inspector = Inspector::start().unwrap();
    let error = inspector.inspect(&File::open("/").unwrap()).unwrap_err();
    assert!(format!("{error:#}").contains("no regular file"), "{error:#}");
    let null = File::open("/dev/null").unwrap();
    assert!(inspector.inspect(&null).is_err());
    same(&mut inspector, Path::new("/bin/true"));
}

#[test]
fn without_the_process_nothing_is_looked_into() {
    let mut inspector = Inspector::start().unwrap();
    let file = File::open("/bin/true").unwrap();
    inspector.inspect(&file).unwrap();
    kill_process(inspector.process, Signal::KILL).unwrap();
    for _ in 0..2 {
        assert!(inspector.inspect(&file).is_err());
    }
}

#[test]
fn a_worker_reads_its_file_and_does_nothing_else() {
    let file = File::open("/bin/true").unwrap();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child makes a few calls and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        rustix::thread::set_no_new_privs(true).unwrap();
        filter::worker(
            std::os::fd::AsRawFd::as_raw_fd(&file),
            std::os::fd::AsRawFd::as_raw_fd(&writer),
        )
        .unwrap();
        // SAFETY: each call is refused before it looks at its arguments.
        let refused = [
            libc::SYS_openat,
            libc::SYS_socket,
            libc::SYS_clone,
            libc::SYS_execve,
            libc::SYS_kill,
            libc::SYS_ptrace,
            libc::SYS_prlimit64,
            libc::SYS_setitimer,
            libc::SYS_rt_sigaction,
        ]
        .map(|call| unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) } == -1);
        let reads = elf::inspect(&file).is_ok();
        let said = [u8::from(refused.iter().all(|it| *it)), u8::from(reads)];
        writer.write_all(&said).unwrap();
        // SAFETY: it ends the process.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut said = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut said).unwrap();
    assert_eq!(said, [1, 1]);
}
