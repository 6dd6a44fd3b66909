//! Attaches programs to functions of files, by `perf_event_open(2)` and `bpf(2)`.
//!
//! aya can do it too, and asks the kernel for its features by loading a program each
//! time that it does. This needs no program loaded and no map made, so that a run can
//! give up both before a library comes that is to be attached to.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use rustix::fs::MemfdFlags;

/// `PERF_FLAG_FD_CLOEXEC`, `include/uapi/linux/perf_event.h`
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_ENABLE` of the same.
const SET_BPF: libc::Ioctl = 0x4004_2408;
const ENABLE: libc::Ioctl = 0x2400;

/// `BPF_LINK_CREATE` and `BPF_PERF_EVENT`, include/uapi/linux/bpf.h
const LINK_CREATE: libc::c_int = 28;
const PERF_EVENT: u32 = 41;

/// Where a number is that stands for uprobes, which each boot may choose anew.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";

/// `struct perf_event_attr` up to its first version, as uprobes use it.
#[repr(C)]
struct EventAttributes {
    kind: u32,
    size: u32,
    /// `format/retprobe`: bit 0.
    at_return: u64,
    unused: [u64; 5],
    path: u64,
    offset: u64,
}

/// `PERF_ATTR_SIZE_VER1`
const EVENT_ATTRIBUTES: u32 = 72;

const _: () = assert!(size_of::<EventAttributes>() == EVENT_ATTRIBUTES as usize);

/// `link_create` of `union bpf_attr`.
#[repr(C)]
struct LinkAttributes {
    program: i32,
    event: i32,
    kind: u32,
    flags: u32,
    cookie: u64,
}

/// A place in a file that a program may be attached to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Where the file can be opened.
    pub(super) file: &'a Path,
    /// Offset of the function in it.
    pub(super) offset: u64,
    /// The return of the function instead of its start.
    pub(super) at_return: bool,
    /// The process in which it is run; all of them without.
    pub(super) pid: Option<u32>,
}

/// A program attached to a function. Dropping it detaches the program; the kernel does
/// the same when the agent dies.
#[derive(Debug)]
pub(super) struct Link {
    _descriptor: OwnedFd,
}

impl Link {
    /// One that is no probe.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let file = rustix::fs::memfd_create("apiscope", MemfdFlags::CLOEXEC);
        Self { _descriptor: file.expect("make a file in memory") }
    }

    /// Attaches a program. The cookie, which it can ask for, needs a kernel that has
    /// them.
    pub(super) fn new(
        program: BorrowedFd<'_>,
        place: Place<'_>,
        cookie: Option<u64>,
    ) -> Result<Self> {
        let event = open(place).context("perf_event_open")?;
        let descriptor = match cookie {
            Some(cookie) => link(program, &event, cookie).context("make the link")?,
            None => enable(program, event).context("enable the event")?,
        };
        Ok(Self { _descriptor: descriptor })
    }
}

/// Whether this thread may attach to functions: tried on a file of its own in memory,
/// which nobody maps, so that nothing is ever patched.
pub(crate) fn try_open() -> Result<()> {
    let memory = rustix::fs::memfd_create("apiscope", MemfdFlags::CLOEXEC)
        .context("make a file in memory")?;
    let mut file = File::from(memory);
    file.write_all(&[0; 64]).context("fill a file in memory")?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let place = Place { file: Path::new(&path), offset: 0, at_return: false, pid: None };
    open(place).map(drop)
}

/// Opens the event of a place, which is probed from here on.
pub(super) fn open(place: Place<'_>) -> Result<OwnedFd> {
    let kind = fs::read_to_string(KIND).with_context(|| format!("read {KIND}"))?;
    let kind: u32 = kind.trim().parse().with_context(|| format!("read {KIND}"))?;
    let path = CString::new(place.file.as_os_str().as_bytes())?;
    // An event of all processes has to name a processor; a uprobe hits on all of them.
    let (pid, processor) = match place.pid {
        Some(pid) => (libc::pid_t::try_from(pid)?, -1),
        None => (-1, 0),
    };
    let attributes = EventAttributes {
        kind,
        size: EVENT_ATTRIBUTES,
        at_return: u64::from(place.at_return),
        unused: [0; 5],
        path: path.as_ptr().addr() as u64,
        offset: place.offset,
    };
    // SAFETY: the attributes are as long as they say, and the path ends with a zero;
    // both live for the call.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            pid,
            processor,
            -1,
            CLOSE_ON_EXEC,
        )
    };
    owned(event)
}

/// Makes the link of a program with an event (5.15).
fn link(program: BorrowedFd<'_>, event: &OwnedFd, cookie: u64) -> Result<OwnedFd> {
    let attributes = LinkAttributes {
        program: program.as_raw_fd(),
        event: event.as_raw_fd(),
        kind: PERF_EVENT,
        flags: 0,
        cookie,
    };
    // SAFETY: the attributes are those of the command, live for the call, and are as
    // long as is said.
    let link = unsafe {
        libc::syscall(libc::SYS_bpf, LINK_CREATE, &raw const attributes, size_of_val(&attributes))
    };
    owned(link)
}

/// Gives the event its program: what kernels without links do.
fn enable(program: BorrowedFd<'_>, event: OwnedFd) -> Result<OwnedFd> {
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: neither request takes a pointer.
        let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
        if result < 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(event)
}

/// The descriptor that a system call has opened.
fn owned(result: libc::c_long) -> Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the call opened it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result)?) })
}
