//! Finds the functions of TLS libraries in ELF files. The files come from
//! strangers: sizes and counts are bounded, nothing in them is executed.

use std::{fs::File, path::Path};

use anyhow::{Context as _, Result, ensure};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, read::ReadCache};

/// Files larger than this are not looked into.
const FILE_MAX: u64 = 1 << 30;

/// Symbols of one file that are looked at.
const SYMBOLS_MAX: usize = 2_000_000;

/// Names of the functions that are hooked.
pub const SYMBOLS: [&str; 6] =
    ["SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex", "SSL_free", "SSL_shutdown"];

/// File offsets of the functions that a file has, in the order of [`SYMBOLS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TlsFunctions {
    /// Offset of each function.
    pub offsets: [Option<u64>; SYMBOLS.len()],
}

impl TlsFunctions {
    /// Plaintext can be seen: reads and writes can both be hooked.
    pub fn usable(&self) -> bool {
        let [read, write, ..] = self.offsets;
        read.is_some() && write.is_some()
    }
}

/// Looks for the functions in a file; `None` when it has none of them or is no ELF
/// file of this machine's word size.
pub fn tls_functions(path: &Path) -> Result<Option<TlsFunctions>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let len = file.metadata().with_context(|| format!("look at {}", path.display()))?.len();
    ensure!(len <= FILE_MAX, "{} is larger than {FILE_MAX} bytes", path.display());
    let cache = ReadCache::new(file);
    let Ok(elf) = object::File::parse(&cache) else { return Ok(None) };
    if !elf.is_64() || elf.format() != object::BinaryFormat::Elf {
        return Ok(None);
    }
    let mut found = TlsFunctions::default();
    search(&elf, elf.dynamic_symbols(), &mut found);
    if !found.usable() {
        search(&elf, elf.symbols(), &mut found);
    }
    Ok(found.usable().then_some(found))
}

/// An ELF file for a machine with 32-bit words.
pub fn is_32_bit(path: &Path) -> bool {
    use std::io::Read as _;

    let mut start = [0; 5];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    // `EI_CLASS` is 1 for `ELFCLASS32`.
    read.is_ok() && start == *b"\x7fELF\x01"
}

/// Whether an ELF file has a section of this name.
pub fn has_section(path: &Path, name: &str) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if file.metadata().is_ok_and(|metadata| metadata.len() > FILE_MAX) {
        return false;
    }
    let cache = ReadCache::new(file);
    object::File::parse(&cache).is_ok_and(|elf| elf.section_by_name(name).is_some())
}

fn search<'data: 'file, 'file, R: object::ReadRef<'data> + 'file>(
    elf: &object::File<'data, R>,
    symbols: impl Iterator<Item = object::Symbol<'data, 'file, R>>,
    found: &mut TlsFunctions,
) {
    for symbol in symbols.take(SYMBOLS_MAX) {
        if symbol.is_undefined() || symbol.address() == 0 {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        let slots = found.offsets.iter_mut().zip(SYMBOLS);
        for (slot, _) in slots.filter(|(slot, wanted)| slot.is_none() && *wanted == name) {
            *slot = file_offset(elf, symbol.address());
        }
    }
}

/// Where an address lies in the file, by the segments that are loaded.
fn file_offset<'data, R: object::ReadRef<'data>>(
    elf: &object::File<'data, R>,
    address: u64,
) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let within = address.checked_sub(segment.address())?;
        (within < size).then(|| offset.checked_add(within))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_elf_has_no_functions() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"#!/bin/sh\n").unwrap();
        assert_eq!(tls_functions(file.path()).unwrap(), None);
    }

    #[test]
    fn a_program_without_tls_has_no_functions() {
        assert_eq!(tls_functions(Path::new("/proc/self/exe")).unwrap(), None);
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
}
