//! What a file that processes map has to do with TLS: the one table of what is known,
//! hooked or not.

use std::{path::Path, sync::Arc};

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

/// What a file is, of which this was found; `name` is what it is called.
pub fn judge(found: elf::Found, name: &Path) -> Found {
    let short = name.file_name().unwrap_or_default().to_string_lossy();
    let known = UNHOOKED.into_iter().find(|(start, _)| short.starts_with(start));
    Found::Verdict(match (found, known) {
        (elf::Found::Points(points), _) => return Found::Points(points),
        (elf::Found::Go(why), _) => FileVerdict::Unhooked(Unhooked::Go(why.as_str().into())),
        (_, Some((_, unhooked))) => FileVerdict::Unhooked(unhooked),
        (elf::Found::Bits32, None) => FileVerdict::Unhooked(Unhooked::Bits32),
        (elf::Found::Nothing, None) => FileVerdict::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(found: elf::Found, name: &str) -> FileVerdict {
        match judge(found, Path::new(name)) {
            Found::Verdict(verdict) => verdict,
            Found::Points(_) => panic!("{name} has functions"),
        }
    }

    #[test]
    fn what_is_known_and_not_hooked_is_told_by_its_name() {
        for found in [elf::Found::Nothing, elf::Found::Bits32] {
            let java = verdict(found, "/usr/lib/jvm/lib/server/libjvm.so");
            assert_eq!(java, FileVerdict::Unhooked(Unhooked::Java));
        }
        let name = "/usr/lib/libssl.so.3";
        assert_eq!(verdict(elf::Found::Nothing, name), FileVerdict::Nothing);
        let bits = FileVerdict::Unhooked(Unhooked::Bits32);
        assert_eq!(verdict(elf::Found::Bits32, name), bits);
    }
}
