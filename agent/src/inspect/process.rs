//! The process that forks a worker for each file, and the worker.

use std::{
    fs::File,
    io::{IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags,
        recvmsg, sendmsg,
    },
    process::{
        Resource, Rlimit, Signal, WaitOptions, WaitStatus, getppid,
        set_parent_process_death_signal, setrlimit, wait,
    },
};

use super::{
    WORKER_SECONDS, filter, one_byte,
    reply::{REPLY_MAX, Reply},
};
use crate::{probe::elf, run::confine::give_up_all};

/// A request.
pub(super) const LOOK: u8 = 1;

/// Answers begin with: what a worker said follows; or how it died.
pub(super) const TOLD: u8 = 1;
pub(super) const DIED: u8 = 2;

/// The first answer.
pub(super) const READY: &[u8] = b"ready";

/// Memory of a worker: the tables that are looked into are bounded by less.
const MEMORY_MAX: u64 = 512 << 20;

/// Serves requests until the other end is closed. In the child of a fork, for good.
pub(super) fn serve(socket: &OwnedFd) -> ! {
    let parent = getppid();
    let result = catch_unwind(AssertUnwindSafe(|| {
        give_up(socket, parent).and_then(|()| {
            answer(socket, READY)?;
            while let Some(file) = request(socket)? {
                answer(socket, &look(file))?;
            }
            Ok(())
        })
    }));
    if let Ok(Err(error)) = result {
        // Fails when nobody listens any more.
        drop(answer(socket, format!("{error:#}").as_bytes()));
    }
    // SAFETY: it ends the process, without what the parent registered for its own end.
    unsafe { libc::_exit(0) }
}

/// Gives up everything but forking workers and answering.
fn give_up(socket: &OwnedFd, parent: Option<rustix::process::Pid>) -> Result<()> {
    ends_with_its_parent(parent)?;
    // A terminal or a service manager tells all processes to end. This one ends when the
    // agent has no use for it any more.
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    close_all_but(socket)?;
    rustix::thread::set_name(c"inspector").context("take a name")?;
    rustix::thread::set_no_new_privs(true).context("forbid new privileges")?;
    give_up_all().context("give up capabilities")?;
    limit(Resource::Core, 0);
    limit(Resource::Fsize, 0);
    filter::process(socket.as_raw_fd())
}

/// Has the kernel kill this process when its parent ends; it may have by now.
fn ends_with_its_parent(parent: Option<rustix::process::Pid>) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to end with the agent")?;
    ensure!(getppid() == parent, "the agent has ended");
    Ok(())
}

/// Closes every file of the agent, what it writes to first: who reads that waits for its
/// end.
fn close_all_but(socket: &OwnedFd) -> Result<()> {
    let keep = u32::try_from(socket.as_raw_fd())?;
    for (first, last) in [(0, keep.checked_sub(1)), (keep + 1, Some(u32::MAX))] {
        let Some(last) = last else { continue };
        // SAFETY: nothing in this process uses these descriptors any more.
        let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        ensure!(result == 0, "close files: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

/// Lowers a limit; where that is not allowed, others hold.
fn limit(resource: Resource, most: u64) {
    let most = Rlimit { current: Some(most), maximum: Some(most) };
    // What the filter allows and what the agent checks does not depend on it.
    _ = setrlimit(resource, most);
}

/// The next file; `None` when no more will come.
fn request(socket: &OwnedFd) -> Result<Option<File>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry_on_intr(|| {
        recvmsg(socket, &mut one_byte(&mut byte), &mut control, RecvFlags::empty())
    })
    .context("receive a request")?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let files = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let file = files.flatten().next().context("a request without a file")?;
    ensure!(byte == [LOOK], "a request of another kind");
    Ok(Some(File::from(file)))
}

fn answer(socket: &OwnedFd, bytes: &[u8]) -> Result<()> {
    let mut control = SendAncillaryBuffer::default();
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    sent.context("answer").map(drop)
}

/// Has a worker look into a file; the answer.
fn look(file: File) -> Vec<u8> {
    match told(file) {
        Ok(answer) => answer,
        Err(error) => [&[DIED], format!("{error:#}").as_bytes()].concat(),
    }
}

fn told(file: File) -> Result<Vec<u8>> {
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    // SAFETY: the child runs `work`, which never returns here.
    match unsafe { libc::fork() } {
        -1 => return Err(std::io::Error::last_os_error()).context("fork"),
        0 => work(&file, writer),
        _ => drop((file, writer)),
    }
    let mut answer = vec![TOLD];
    // It ends at the latest when its time is up.
    let read = reader.take(REPLY_MAX as u64).read_to_end(&mut answer);
    let ended = retry_on_intr(|| wait(WaitOptions::empty())).context("wait for it")?;
    let status = ended.map(|(_, status)| status).context("it is not there")?;
    ensure!(status.exit_status() == Some(0), "{}", words(status));
    read.context("read what it says")?;
    Ok(answer)
}

fn words(status: WaitStatus) -> String {
    match status.terminating_signal() {
        Some(libc::SIGALRM | libc::SIGXCPU) => {
            format!("it takes more than {WORKER_SECONDS} seconds")
        }
        Some(signal) => format!("signal {signal}"),
        None => format!("exit status {}", status.exit_status().unwrap_or_default()),
    }
}

/// Looks into a file and says what was found. In the child of a fork, for good.
fn work(file: &File, mut writer: std::io::PipeWriter) -> ! {
    let result = catch_unwind(AssertUnwindSafe(|| {
        confine_worker(file, &writer)?;
        let reply = Reply::new(elf::inspect(file)).write();
        writer.write_all(&reply).context("say what was found")
    }));
    let code = i32::from(!matches!(result, Ok(Ok(()))));
    // SAFETY: as in `serve`.
    unsafe { libc::_exit(code) }
}

fn confine_worker(file: &File, writer: &std::io::PipeWriter) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to end with the parent")?;
    limit(Resource::Cpu, WORKER_SECONDS.into());
    limit(Resource::Data, MEMORY_MAX);
    limit(Resource::Nofile, 0);
    // SAFETY: it takes a number. Its signal ends the process, and no call is left that
    // would change that.
    unsafe { libc::alarm(WORKER_SECONDS) };
    filter::worker(file.as_fd().as_raw_fd(), writer.as_raw_fd())
}
