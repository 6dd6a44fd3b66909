//! Files of compilers, and damaged ones.

use std::{path::Path, process::Command};

use super::*;

fn tls_functions(path: &Path) -> Result<Found> {
    inspect(&File::open(path)?)
}

#[test]
fn a_file_that_is_no_elf_has_no_functions() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"#!/bin/sh\n").unwrap();
    assert_eq!(tls_functions(file.path()).unwrap(), Found::Nothing);
}

#[test]
fn a_file_for_32_bits_is_told_by_its_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\x7fELF\x01\x01\x01").unwrap();
    assert_eq!(tls_functions(file.path()).unwrap(), Found::Bits32);
}

#[test]
fn a_program_without_tls_has_no_functions() {
    assert_eq!(tls_functions(Path::new("/proc/self/exe")).unwrap(), Found::Nothing);
}

/// The start of a file of 64-bit little-endian words, with this many sections in
/// the extended count and a hole for them.
fn many_sections(count: u64) -> tempfile::NamedTempFile {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(128, 0);
    bytes[20] = 1; // e_version
    bytes[40] = 64; // e_shoff
    bytes[58] = 64; // e_shentsize
    bytes[62] = 1; // e_shstrndx
    bytes[96..104].copy_from_slice(&count.to_le_bytes()); // sh_size of section 0
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file.as_file().set_len(FILE_MAX).unwrap();
    file
}

#[test]
fn a_table_of_sections_is_read_only_when_it_is_small() {
    for (count, read) in [(3, true), (1_000_000, false)] {
        let file = many_sections(count);
        let cache = ReadCache::new(File::open(file.path()).unwrap());
        assert_eq!(Elf::new(&cache).is_some(), read, "{count}");
        assert_eq!(tls_functions(file.path()).unwrap(), Found::Nothing);
    }
}

#[test]
fn a_file_with_go_in_it_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let source = "int SSL_read() { return 0; } int SSL_write() { return 0; }";
    std::fs::write(path("tls.c"), source).unwrap();
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).current_dir(&directory).status();
        assert!(status.unwrap().success(), "{program} {args:?}");
    };
    run("cc", &["-shared", "-fPIC", "-o", "tls.so", "tls.c"]);
    let found = |name: &str| tls_functions(&path(name)).unwrap();
    assert!(matches!(found("tls.so"), Found::Points(_)));
    for section in [GO_TABLES[0], GO_TABLES[1], GO_BUILD] {
        let section = format!("{section}=tls.c");
        run("objcopy", &["--add-section", &section, "tls.so", "go.so"]);
        assert!(matches!(found("go.so"), Found::Go(_)));
    }
    run("objcopy", &["--add-section", ".go.buildinfos=tls.c", "tls.so", "other.so"]);
    assert_eq!(found("other.so"), found("tls.so"), "a name counts only as a whole");
}

#[test]
fn names_behind_a_prefix_are_whole_names() {
    let table = b"\0EVP_AEAD_CTX_seal\0aws_lc_0_41_0_EVP_AEAD_CTX_seal\0\
                  x_aws_lc_EVP_AEAD_CTX_seal\0aws_lc_EVP_AEAD_CTX_seal_scatter\0";
    let symbols: Vec<_> =
        names(table).into_iter().map(|(at, index)| (at, FUNCTIONS[index].symbol)).collect();
    assert_eq!(symbols, [(19, "EVP_AEAD_CTX_seal"), (78, "EVP_AEAD_CTX_seal_scatter")]);
}

#[test]
fn damaged_elf_files_never_panic() {
    let whole = std::fs::read("/bin/true").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for cut in (0..whole.len()).step_by(997) {
        std::fs::write(file.path(), &whole[..cut]).unwrap();
        drop(tls_functions(file.path()));
        let mut damaged = whole.clone();
        damaged[cut] ^= 0xff;
        std::fs::write(file.path(), &damaged).unwrap();
        drop(tls_functions(file.path()));
    }
}
