//! What a file that processes map has to do with TLS: the one table of what is known,
//! hooked or not.

use std::{path::Path, sync::Arc};

use anyhow::Result;

use super::{elf, functions::Point};
use crate::event::verdict::{FileVerdict, Unhooked};

/// Libraries that are known and not hooked, by how their names start.
const UNHOOKED: [(&str, Unhooked); 1] = [("libjvm.so", Unhooked::Java)];

/// What was found in a file.
#[derive(Clone, Debug)]
pub enum Found {
    /// Where functions can be hooked.
    Points(Arc<[Point]>),
    /// None, and what it is then.
    Verdict(FileVerdict),
}

/// Looks into a file. `file` is where it can be opened, `name` what it is called.
pub fn look(file: &Path, name: &Path) -> Result<Found> {
    match elf::tls_functions(file)? {
        elf::Found::Points(points) => return Ok(Found::Points(points)),
        elf::Found::Go(why) => {
            return Ok(Found::Verdict(FileVerdict::Unhooked(Unhooked::Go(why.into()))));
        }
        elf::Found::Nothing => {}
    }
    let short = name.file_name().unwrap_or_default().to_string_lossy();
    let known = UNHOOKED.into_iter().find(|(start, _)| short.starts_with(start));
    let verdict = if let Some((_, unhooked)) = known {
        FileVerdict::Unhooked(unhooked)
    } else if elf::is_32_bit(file) {
        FileVerdict::Unhooked(Unhooked::Bits32)
    } else {
        FileVerdict::Nothing
    };
    Ok(Found::Verdict(verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(file: &Path, name: &str) -> FileVerdict {
        match look(file, Path::new(name)).unwrap() {
            Found::Verdict(verdict) => verdict,
            Found::Points(_) => panic!("{name} has functions"),
        }
    }

    #[test]
    fn what_is_known_and_not_hooked_is_told_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let java = verdict(file.path(), "/usr/lib/jvm/lib/server/libjvm.so");
        assert_eq!(java, FileVerdict::Unhooked(Unhooked::Java));
        assert_eq!(verdict(file.path(), "/usr/lib/libssl.so.3"), FileVerdict::Nothing);
    }

    #[test]
    fn a_file_for_32_bits_is_told_by_its_start() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x7fELF\x01\x01\x01").unwrap();
        assert_eq!(verdict(file.path(), "a"), FileVerdict::Unhooked(Unhooked::Bits32));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        assert!(look(Path::new("/nowhere/libssl.so"), Path::new("libssl.so")).is_err());
    }
}
