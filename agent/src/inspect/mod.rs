//! Looks into files of strangers in a process without privileges.
//!
//! Files that processes map are parsed, and whoever made one may know a fault of the
//! parser. So the agent hands the opened file to a process that was forked before
//! everything else, has given up its privileges, and can do nothing but fork; for each
//! file it forks a worker that can do nothing but read the file and answer. A worker that
//! is taken over can lie about its own file, and about no other.

mod filter;
mod process;
mod reply;

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recv, sendmsg, socketpair,
    },
    process::{Pid, WaitOptions, waitpid},
};

use self::reply::{REPLY_MAX, Reply};
use crate::probe::elf::Found;

/// How long a worker may take, in which nothing else is done: large programs take some tens
/// of milliseconds, from a slow disk a second.
const WORKER_SECONDS: u32 = 3;

/// How long the agent waits: a little longer, so that it hears of the end of a worker.
const PATIENCE: Duration = Duration::from_secs(WORKER_SECONDS as u64 + 2);

/// How long the process is waited for once its socket is closed, milliseconds.
const ENDS_WITHIN_MS: u32 = 100;

/// The process that looks into files. It ends when this is dropped, and with the agent.
#[derive(Debug)]
pub struct Inspector {
    /// Requests and answers; `None` once it has failed.
    socket: Option<OwnedFd>,
    process: Pid,
}

impl Inspector {
    /// Forks the process. There must be no other thread, whose locks it would inherit, and
    /// all privileges, which it gives up.
    pub fn start() -> Result<Self> {
        let (socket, other) = socketpair(
            AddressFamily::UNIX,
            // Not a stream, of which the agent would see the bytes under --all.
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("make a pair of sockets")?;
        // SAFETY: the child runs `serve`, which never returns here.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error()).context("fork"),
            0 => process::serve(&other),
            child => {
                let process = Pid::from_raw(child).context("the child has no number")?;
                let inspector = Self { socket: Some(socket), process };
                drop(other);
                let ready = inspector.answer().context("it has not given up its privileges")?;
                ensure!(ready == process::READY, "{}", String::from_utf8_lossy(&ready));
                Ok(inspector)
            }
        }
    }

    /// Looks for TLS functions in a file. Nothing that the file holds makes this fail for
    /// another one.
    pub fn inspect(&mut self, file: &File) -> Result<Found> {
        let metadata = file.metadata().context("look at it")?;
        ensure!(metadata.is_file(), "it is no regular file");
        let answer = self.ask(file).inspect_err(|_| {
            // An answer that comes late would be taken for that of the next file.
            self.socket = None;
        })?;
        match answer.split_first() {
            Some((&process::TOLD, reply)) => Reply::read(reply, metadata.len()),
            Some((&process::DIED, how)) => {
                bail!("its inspection ended: {}", String::from_utf8_lossy(how))
            }
            _ => bail!("its inspection failed"),
        }
    }

    fn ask(&self, file: &File) -> Result<Vec<u8>> {
        let socket = self.socket.as_ref().context("files are not looked into any more")?;
        let files = [file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        ensure!(control.push(SendAncillaryMessage::ScmRights(&files)), "no room for the file");
        sendmsg(socket, &[IoSlice::new(&[process::LOOK])], &mut control, SendFlags::NOSIGNAL)
            .context("hand it over")?;
        self.answer()
    }

    fn answer(&self) -> Result<Vec<u8>> {
        let socket = self.socket.as_ref().context("files are not looked into any more")?;
        let timeout = Timespec::try_from(PATIENCE).context("a time")?;
        let mut polled = [PollFd::new(socket, PollFlags::IN)];
        ensure!(poll(&mut polled, Some(&timeout))? > 0, "its inspection takes too long");
        let mut answer = vec![0; REPLY_MAX + 1];
        let (len, _) = recv(socket, &mut *answer, RecvFlags::empty()).context("read the answer")?;
        ensure!(len > 0, "the process that looks into files has ended");
        answer.truncate(len);
        Ok(answer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.as_raw_nonzero().get().unsigned_abs()
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.socket = None;
        // It has nothing left to do, and ends by itself. One that is at work is not waited
        // for: whoever ends this process inherits it.
        for _ in 0..ENDS_WITHIN_MS {
            match waitpid(Some(self.process), WaitOptions::NOHANG) {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                _ => return,
            }
        }
    }
}

/// A buffer for one byte and one descriptor.
fn one_byte(byte: &mut [u8; 1]) -> [IoSliceMut<'_>; 1] {
    [IoSliceMut::new(byte)]
}

#[cfg(test)]
mod tests;
