//! `agent/bpf/manifest.json`: what the objects were made from, and by what.

use std::{
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::shell::root;

const FILE: &str = "manifest.json";

/// Files and directories that the objects depend on.
const SOURCES: &[&str] =
    &["agent-common/Cargo.toml", "agent-common/src", "agent-ebpf/Cargo.toml", "agent-ebpf/src"];

/// Packages from elsewhere that end up in an object, by how their names begin.
const PACKAGES: &[&str] = &["aya-ebpf", "bytemuck"];

/// The content of the file.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// [`sources`] when the objects were made.
    pub(super) sources: String,
    pub(super) toolchain: Versions,
    pub(super) objects: Vec<Object>,
}

/// What decides the bytes of an object beside its sources.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Versions {
    pub(super) rustc: String,
    pub(super) bpf_linker: String,
    pub(super) llvm: String,
}

impl fmt::Display for Versions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}, LLVM {}", self.rustc, self.bpf_linker, self.llvm)
    }
}

/// One object file.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) sha256: String,
}

impl Object {
    pub(super) fn new(name: String, content: &[u8]) -> Self {
        Self { name, size: content.len(), sha256: hex(&Sha256::digest(content)) }
    }
}

impl Manifest {
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let file = directory.join(FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
    }

    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let file = directory.join(FILE);
        let mut text = serde_json::to_string_pretty(self).context("write the manifest")?;
        text.push('\n');
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    }
}

/// A digest of all that the objects are compiled from.
pub(super) fn sources() -> Result<String> {
    let root = root();
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file);
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        // Lengths, so that no two sets of files give the same stream of bytes.
        digest.update(format!("{} {}\n", name.display(), content.len()));
        digest.update(content);
    }
    let lock = root.join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
    for package in packages(&lock) {
        digest.update(package);
    }
    Ok(hex(&digest.finalize()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
            collect(&entry.with_context(|| format!("read {}", path.display()))?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

/// `name version checksum` of the packages of the lock file that matter here, in
/// its order, which is by name.
fn packages(lock: &str) -> Vec<String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let value = |key: &str| {
                package.lines().find_map(|line| {
                    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
                })
            };
            let name = value("name")?;
            let checksum = value("checksum").unwrap_or("-");
            PACKAGES
                .iter()
                .any(|start| name.starts_with(start))
                .then_some(format!("{name} {} {checksum}\n", value("version")?))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_packages_of_the_kernel_side_count() {
        let lock = "version = 4\n\n[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\n\
                    [[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\nchecksum = \"ab\"\n";
        assert_eq!(packages(lock), ["aya-ebpf 0.2.1 ab\n"]);
    }

    #[test]
    fn an_object_is_described_by_its_bytes() {
        let object = Object::new("a.o".into(), b"abc");
        assert_eq!(object.size, 3);
        assert!(object.sha256.starts_with("ba7816bf8f01cfea"), "{}", object.sha256);
        assert_ne!(object, Object::new("a.o".into(), b"abd"));
    }
}
