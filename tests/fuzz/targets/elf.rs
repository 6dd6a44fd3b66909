//! ELF files of strangers: no panic, and no memory or time beyond what the sizes
//! that are looked into allow.
//!
//! The input is the file. When its 16th byte, which is padding, is 255, a hole
//! follows, so that large sizes in its tables lie within the file.

#![no_main]

use std::{fs::File, os::unix::fs::FileExt as _, sync::LazyLock};

use apiscope::probe::elf::{Found, inspect};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};

/// Length of a file with a hole: the largest that is looked into.
const LONG: u64 = 1 << 30;

/// One file in memory for all inputs.
static FILE: LazyLock<File> =
    LazyLock::new(|| File::from(memfd_create("elf", MemfdFlags::CLOEXEC).expect("make a file")));

fuzz_target!(|input: &[u8]| {
    let file = &*FILE;
    file.set_len(0).expect("empty the file");
    file.write_all_at(input, 0).expect("write the file");
    if input.get(15) == Some(&255) {
        file.set_len(LONG).expect("lengthen the file");
    }
    if let Ok(Found::Points(points)) = inspect(file) {
        assert!(!points.is_empty());
    }
});
