//! Symbols that a stripped file keeps in compressed form: "mini debug info", as
//! distributions of the Fedora family ship their programs.
//!
//! The section `.gnu_debugdata` holds an ELF file compressed by xz, in which there is little
//! but the symbols of functions (GDB's manual, "Debugging information in a special section").
//! It comes from strangers, like the file itself: what it is unpacked into is bounded.

use std::io::Read as _;

use anyhow::{Context as _, Result, ensure};
use lzma_rust2::XzReader;
use object::{elf::SHT_SYMTAB, read::ReadRef};

use super::{elf::Elf, functions::Places};

/// Where the symbols are.
const SECTION: &str = ".gnu_debugdata";

/// Where linkers put what identifies a file, which survives stripping (ld, `--build-id`).
const BUILD_ID: &str = ".note.gnu.build-id";

/// Bytes of what is unpacked, at most: several times the symbols of a browser.
const UNPACKED_MAX: u64 = 64 << 20;

/// Memory that unpacking may take, KiB: the dictionary of `xz -9`, which is the largest that
/// its presets have (xz(1)), and as much again as that needs.
const MEMORY_MAX_KIB: u32 = 66 << 10;

/// Looks for functions among the symbols that a file has in compressed form; where they are
/// in the file.
pub(super) fn search<'data, R: ReadRef<'data>>(elf: &Elf<'data, R>) -> Result<Places> {
    let Some(packed) = elf.section(SECTION).and_then(|section| elf.contents(&section)) else {
        return Ok(Places::default());
    };
    let unpacked = unpack(packed)?;
    let Some(symbols) = Elf::new(&*unpacked) else { return Ok(Places::default()) };
    // Of another build, its addresses would lie anywhere.
    let ours = elf.section(BUILD_ID).and_then(|section| elf.contents(&section));
    let theirs = symbols.section(BUILD_ID).and_then(|section| symbols.contents(&section));
    ensure!(
        ours == theirs || ours.is_none() || theirs.is_none(),
        "its {SECTION} is that of another build"
    );
    // Its own segments say nothing: what is loaded is the file around it.
    symbols.search(SHT_SYMTAB, |address| elf.file_offset(address))
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    XzReader::new_mem_limit(packed, true, MEMORY_MAX_KIB)
        .take(UNPACKED_MAX + 1)
        .read_to_end(&mut unpacked)
        .with_context(|| format!("unpack its {SECTION}"))?;
    ensure!(
        unpacked.len() as u64 <= UNPACKED_MAX,
        "its {SECTION} has more than {UNPACKED_MAX} bytes"
    );
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::Path, process::Command};

    use super::*;
    use crate::probe::elf::{Found, inspect};

    /// Makes of `tls.c` a library, one with compressed symbols, and one with those of another
    /// build.
    const MAKE: &str = "\
set -e
cc -shared -fPIC -Wl,--build-id -o whole.so tls.c
cc -shared -fPIC -Wl,--build-id -DOTHER -o other.so tls.c
for name in whole other; do
    objcopy --only-keep-debug $name.so $name.debug
    objcopy -S --keep-symbol=SSL_read --keep-symbol=SSL_write $name.debug $name
    xz $name
done
strip --strip-all whole.so -o none.so
objcopy --add-section .gnu_debugdata=whole.xz none.so packed.so
objcopy --add-section .gnu_debugdata=other.xz none.so wrong.so
head -c 80M /dev/zero | xz > bomb.xz
objcopy --add-section .gnu_debugdata=bomb.xz none.so bomb.so
";

    const SOURCE: &str = "\
__attribute__((visibility(\"hidden\"))) int SSL_read() { return 0; }
__attribute__((visibility(\"hidden\"))) int SSL_write() { return 1; }
int (*used[])() = {SSL_read, SSL_write};
#ifdef OTHER
int other() { return 2; }
#endif
";

    fn found(path: &Path) -> Result<Found> {
        inspect(&File::open(path).unwrap())
    }

    #[test]
    fn compressed_symbols_are_as_good_as_others_if_they_are_of_this_build() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("tls.c"), SOURCE).unwrap();
        let made = Command::new("sh").args(["-c", MAKE]).current_dir(&directory).status();
        assert!(made.unwrap().success());

        let whole = found(&path("whole.so")).unwrap();
        assert!(matches!(whole, Found::Points(_)));
        assert_eq!(found(&path("none.so")).unwrap(), Found::Nothing);
        assert_eq!(found(&path("packed.so")).unwrap(), whole);
        for (name, says) in [("wrong.so", "another build"), ("bomb.so", "more than")] {
            let error = format!("{:#}", found(&path(name)).unwrap_err());
            assert!(error.contains(says), "{name}: {error}");
        }
        let packed = std::fs::read(path("packed.so")).unwrap();
        for at in (0..packed.len()).step_by(31) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0xff;
            std::fs::write(path("damaged.so"), damaged).unwrap();
            drop(found(&path("damaged.so")));
        }
    }
}
