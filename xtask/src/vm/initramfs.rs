//! The first root file system of a guest: busybox, modules, `tests/vm/init.sh`
//! and the command to run.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{cpio::Archive, kernel::Image};
use crate::shell::{find, root};

/// Packs the file system for a kernel and a command, which is a shell script.
pub(super) fn build(kernel: &Image, script: &str) -> Result<Vec<u8>> {
    let busybox = find("busybox").context("no busybox: run `cargo xtask setup --vm`")?;
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "modules"] {
        archive.directory(directory)?;
    }
    // The kernel opens it for the first process before devtmpfs is mounted.
    archive.device("dev/console", 5, 1)?;
    archive.file("bin/busybox", 0o755, &read(&busybox)?)?;
    archive.file("init", 0o755, &read(&root().join("tests/vm/init.sh"))?)?;
    archive.file("command", 0o644, script.as_bytes())?;
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{name}"), 0o644, &read(module)?)?;
    }
    archive.finish()
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}
