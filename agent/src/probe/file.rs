//! Files of strangers: which is which, and how they are opened.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::StatFs;

/// `OVERLAYFS_SUPER_MAGIC`, include/uapi/linux/magic.h
const OVERLAY: u64 = 0x794c_7630;

/// Names a file as long as nobody changes it.
///
/// Containers of one image share its files, each through an overlay of its own, which gives
/// them a device number of its own. Probes are in the file below (`d_real_inode`,
/// kernel/events/uprobes.c): attached once for each container, the programs would run as
/// often for every call of all of them. So all overlays are one device here. The copy of a
/// container that writes to a file keeps the number of its inode, and not the time at
/// which it was changed, which nobody can set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FileId {
    /// Number of its inode.
    pub inode: u64,
    /// Its device, or [`FileId::OVERLAYS`].
    pub device: u64,
    /// When it was changed, seconds and nanoseconds.
    pub changed: (i64, i64),
}

impl FileId {
    /// The device of all files in overlays.
    pub const OVERLAYS: u64 = u64::MAX;

    /// The name of the file at a path; `None` when it is no file, but maybe a device, whose
    /// opening may do something.
    pub(super) fn at(path: &Path) -> Result<Option<Self>> {
        let metadata = metadata(path)?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let system = rustix::fs::statfs(path);
        let system = system.with_context(|| format!("look at {}", path.display()))?;
        Ok(Some(Self::of(&metadata, &system)))
    }

    fn of(metadata: &fs::Metadata, system: &StatFs) -> Self {
        let overlaid = u64::try_from(system.f_type) == Ok(OVERLAY);
        Self {
            inode: metadata.ino(),
            device: if overlaid { Self::OVERLAYS } else { metadata.dev() },
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether it is in an overlay: in a container, whose file system stays as long as one
    /// of its files is open or has probes.
    pub(super) fn is_overlaid(self) -> bool {
        self.device == Self::OVERLAYS
    }

    /// What it is called by all that stays when its content is changed; `None` in an
    /// overlay, where that says nothing.
    pub(super) fn place(self) -> Option<(u64, u64)> {
        (self.device != Self::OVERLAYS).then_some((self.device, self.inode))
    }
}

/// Opens a file to look into it, which must be the one that is meant: names may lead
/// elsewhere by now.
pub(super) fn open(id: FileId, path: &Path) -> Result<File> {
    let opened = open_to_look(path)?;
    let system = rustix::fs::fstatfs(&opened).context("look at a file system")?;
    ensure!(FileId::of(&opened.metadata()?, &system) == id, "{} was replaced", path.display());
    Ok(opened)
}

fn metadata(file: &Path) -> Result<fs::Metadata> {
    fs::metadata(file).with_context(|| format!("look at {}", file.display()))
}

/// Opens a file to look into it. Of what has become something else nothing is waited for.
pub fn open_to_look(file: &Path) -> Result<File> {
    ensure!(metadata(file)?.is_file(), "{} is no file", file.display());
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(file).with_context(|| format!("open {}", file.display()))
}

/// Whether an open file has no name any more.
pub(super) fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Whether there is no such file. One that may not be looked at is there.
pub fn is_gone(file: &Path) -> bool {
    match file.try_exists() {
        Ok(exists) => !exists,
        // Of a process whose memory is gone.
        Err(error) => error.raw_os_error() == Some(libc::ESRCH),
    }
}
