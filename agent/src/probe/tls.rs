//! Finds TLS libraries in what processes map, and attaches to their functions.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_common::scope::FileKey;
use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{ProbeKind, UProbe},
    util::KernelVersion,
};

use super::{
    Scope,
    functions::{FUNCTIONS, Point},
    go,
    library::{self, Found},
    scope::key_of,
    uprobe::{Link, Place},
};
use crate::{
    event::verdict::{FileVerdict, Unhooked},
    inspect::Inspector,
};

/// Files with TLS functions that are attached to at most.
const LIBRARIES_MAX: usize = 1024;

/// Files that were looked into and are remembered at most.
const FILES_MAX: usize = 65536;

/// `bpf_get_attach_cookie` and cookies of perf events (5.15).
pub(super) fn has_cookies() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 15, 0))
}

/// A file that was attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// Number that data records carry.
    pub index: u16,
    /// File name, for people.
    pub name: Arc<str>,
}

/// What is known of a file.
#[derive(Clone, Debug)]
enum Looked {
    /// It has functions to attach to.
    Hooked(Arc<[Point]>, Attached),
    /// It has none.
    Not(FileVerdict),
}

/// What is known of the files that processes map.
#[derive(Debug)]
pub struct Libraries {
    /// Probes see one process each, because the set never changes.
    per_process: bool,
    cookies: bool,
    looked: HashMap<FileKey, Looked>,
    attached: HashSet<(FileKey, Option<u32>)>,
    list: Vec<Attached>,
    links: Vec<Link>,
    inspector: Inspector,
}

impl Libraries {
    /// Loads the programs, which are attached later to each library.
    pub(super) fn load(ebpf: &mut Ebpf, scope: &Scope, inspector: Inspector) -> Result<Self> {
        let mut names: Vec<_> = FUNCTIONS.iter().flat_map(|it| it.programs).copied().collect();
        names.extend(go::PROGRAMS);
        names.sort_unstable();
        names.dedup();
        for name in names {
            program(ebpf, name)?
                .load()
                .map_err(super::verifier)
                .with_context(|| format!("load {name}"))?;
        }
        Ok(Self {
            per_process: scope.is_fixed(),
            cookies: has_cookies(),
            looked: HashMap::new(),
            attached: HashSet::new(),
            list: Vec::new(),
            links: Vec::new(),
            inspector,
        })
    }

    /// Files attached to so far.
    pub fn list(&self) -> &[Attached] {
        &self.list
    }

    /// Files attached to, counted for each process that is told apart.
    pub(super) fn attached(&self) -> usize {
        self.attached.len()
    }

    /// Looks into a file and attaches to it when it has TLS functions. `file` is
    /// where it can be opened, `name` what it is called. Returns what was found, and
    /// what was attached when that is new.
    pub(super) fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        file: &Path,
        name: &Path,
        pid: Option<u32>,
    ) -> Result<(FileVerdict, Option<Attached>)> {
        let metadata = metadata(file)?;
        if !metadata.is_file() {
            // A device, whose opening may do something.
            return Ok((FileVerdict::Nothing, None));
        }
        let key = key_of(&metadata);
        let result = self.attach_file(ebpf, key, file, name, pid);
        // Where it is still there, trying again would fail again.
        if let Err(error) = &result
            && !is_gone(file)
        {
            let unhooked = Unhooked::Unreadable(format!("{error:#}").into());
            self.remember(key, Looked::Not(FileVerdict::Unhooked(unhooked)));
        }
        result
    }

    fn attach_file(
        &mut self,
        ebpf: &mut Ebpf,
        key: FileKey,
        file: &Path,
        name: &Path,
        pid: Option<u32>,
    ) -> Result<(FileVerdict, Option<Attached>)> {
        let pid = if self.per_process { pid } else { None };
        let (known, mut opened) = (self.looked.get(&key).cloned(), None);
        let looked = match known {
            Some(looked) => looked,
            None => self.look(key, opened.insert(open(key, file)?), name)?,
        };
        let (points, library) = match looked {
            Looked::Hooked(points, library) => (points, library),
            Looked::Not(verdict) => return Ok((verdict, None)),
        };
        let verdict = FileVerdict::Hooked(Arc::clone(&library.name));
        if self.attached.contains(&(key, pid)) {
            return Ok((verdict, None));
        }
        let opened = match opened {
            Some(opened) => opened,
            None => open(key, file)?,
        };
        // The file that was looked into, whatever has that name by now.
        let file = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        let cookie = self.cookies.then_some(u64::from(library.index));
        let mut links = Vec::new();
        for &Point { offset, program: name, symbol } in &*points {
            let program = program(ebpf, name)?;
            let at_return = matches!(program.kind(), ProbeKind::Return);
            let place = Place { file: &file, offset, at_return, pid };
            let link = Link::new(program.fd()?.as_fd(), place, cookie);
            links.push(
                link.with_context(|| format!("attach {name} to {symbol} of {}", library.name))?,
            );
        }
        self.links.append(&mut links);
        self.attached.insert((key, pid));
        Ok((verdict, Some(library)))
    }

    fn look(&mut self, key: FileKey, file: &File, name: &Path) -> Result<Looked> {
        let found = self.inspector.inspect(file)?;
        let looked = match library::judge(found, name) {
            Found::Points(points) => {
                ensure!(
                    self.list.len() < LIBRARIES_MAX,
                    "more than {LIBRARIES_MAX} files with TLS functions"
                );
                let index = u16::try_from(self.list.len() + 1)?;
                let name = name.file_name().unwrap_or(name.as_os_str());
                let attached = Attached { index, name: name.to_string_lossy().into() };
                self.list.push(attached.clone());
                Looked::Hooked(points, attached)
            }
            Found::Verdict(verdict) => Looked::Not(verdict),
        };
        self.remember(key, looked.clone());
        Ok(looked)
    }

    fn remember(&mut self, key: FileKey, looked: Looked) {
        if self.looked.len() < FILES_MAX {
            self.looked.insert(key, looked);
        }
    }
}

/// Opens a file to look into it, which must be the one that is meant: names may lead
/// elsewhere by now.
fn open(key: FileKey, file: &Path) -> Result<File> {
    let opened = open_to_look(file)?;
    ensure!(key_of(&opened.metadata()?) == key, "{} was replaced", file.display());
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

/// Whether there is no such file. One that may not be looked at is there.
pub fn is_gone(file: &Path) -> bool {
    match file.try_exists() {
        Ok(exists) => !exists,
        // Of a process whose memory is gone.
        Err(error) => error.raw_os_error() == Some(libc::ESRCH),
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe> {
    let found =
        ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    Ok(found.try_into()?)
}

/// A file that a process maps as code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where it can be opened, even if it was deleted or is in another mount
    /// namespace.
    pub file: PathBuf,
    /// Its path as the process sees it.
    pub name: PathBuf,
}

/// Files that a process maps as code, each once.
pub fn mappings(pid: u32) -> Vec<Mapping> {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return Vec::new() };
    let mut seen = HashSet::new();
    maps.lines()
        .filter_map(|line| {
            // address perms offset dev inode path (proc_pid_maps(5))
            let mut fields = line.split_ascii_whitespace();
            let range = fields.next()?;
            let permissions = fields.next()?;
            let device = fields.nth(1)?;
            let inode = fields.next()?;
            let path = line.get(line.find('/')?..)?;
            // The links are named without the zeros that the addresses are padded with.
            let (start, end) = range.split_once('-')?;
            let address = |text| u64::from_str_radix(text, 16).ok();
            let (start, end) = (address(start)?, address(end)?);
            let wanted = permissions.as_bytes().get(2) == Some(&b'x') && inode != "0";
            (wanted && seen.insert((device.to_owned(), inode.to_owned()))).then(|| Mapping {
                file: format!("/proc/{pid}/map_files/{start:x}-{end:x}").into(),
                name: path.trim_end_matches(" (deleted)").into(),
            })
        })
        .collect()
}

/// Directories that the dynamic linker searches on common systems.
const LIBRARY_FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
];

/// How the names of libraries start whose functions are for TLS alone.
const LIBRARIES: [&str; 2] = ["libssl.so", "libgnutls.so"];

/// Installed TLS libraries. A process may live shorter than it takes to look at
/// what it maps; probes that wait in its library see it all the same.
///
/// NSPR is not among them: its functions also read and write files, and a probe costs
/// every process of the host that calls them. It waits until one in scope maps it.
pub fn installed() -> Vec<PathBuf> {
    let folders = LIBRARY_FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let files = folders.flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = files
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            LIBRARIES.iter().any(|start| name.starts_with(start))
        })
        // By the name that the links lead to.
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
