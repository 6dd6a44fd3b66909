//! What processes map as code, and which TLS libraries are installed.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// A file that a process maps as code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Where it can be opened, even if it was deleted or is in another mount
    /// namespace.
    pub file: PathBuf,
    /// Its path as the process sees it.
    pub name: PathBuf,
}

/// How a name may tell that a file is for TLS.
const HINTS: [&str; 3] = ["ssl", "tls", "nspr"];

/// Files that a process maps as code, each once. Those whose names tell of TLS come first: a
/// look into a file takes a millisecond, and a program may use its library at once.
pub fn mappings(pid: u32) -> Vec<Mapping> {
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return Vec::new() };
    let mut seen = HashSet::new();
    let mut mappings: Vec<Mapping> = maps
        .lines()
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
        .collect();
    mappings.sort_by_key(|mapping| !is_hinted(&mapping.name));
    mappings
}

fn is_hinted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    HINTS.iter().any(|hint| memchr::memmem::find(name, hint.as_bytes()).is_some())
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
