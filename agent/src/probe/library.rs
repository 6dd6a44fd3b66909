//! What a file that processes map has to do with TLS: the one table of what is known,
//! hooked or not.

use std::{path::Path, sync::Arc};

use super::{elf, functions::Point};
use crate::event::verdict::{FileVerdict, Unhooked};

/// Libraries that are known and not hooked, by how their names start.
const UNHOOKED: [(&str, Unhooked); 1] = [("libjvm.so", Unhooked::Java)];

/// Why a function has no place for a probe: see `probe::code::entry`.
const NOP5: &str = "a function begins with a five-byte nop, which kernels put a call in place of";

/// What was found in a file.
#[derive(Clone, Debug)]
pub enum Found {
    /// Where functions can be hooked.
    Points(Arc<[Point]>),
    /// None, and what it is then.
    Verdict(FileVerdict),
}

/// Where the ciphertext of sessions is seen, which is looked at only where nothing else shows
/// their sockets.
pub fn ciphertext(found: &elf::Found) -> Arc<[Point]> {
    match found {
        elf::Found::Points(points) => {
            points.iter().filter(|point| !point.has_plaintext()).copied().collect()
        }
        _ => Arc::default(),
    }
}

/// What a file is, of which this was found; `name` is what it is called.
pub fn judge(found: elf::Found, name: &Path) -> Found {
    let short = name.file_name().unwrap_or_default().to_string_lossy();
    let found = match found {
        elf::Found::Points(points) => {
            let plaintext: Arc<[Point]> =
                points.iter().filter(|point| point.has_plaintext()).copied().collect();
            if !plaintext.is_empty() {
                return Found::Points(plaintext);
            }
            elf::Found::Nothing
        }
        other => other,
    };
    let known = UNHOOKED.into_iter().find(|(start, _)| short.starts_with(start));
    Found::Verdict(match (found, known) {
        (elf::Found::Go(why), _) => FileVerdict::Unhooked(Unhooked::Go(why.as_str().into())),
        (elf::Found::Embedded(library), _) => FileVerdict::Unhooked(Unhooked::Embedded(library)),
        (_, Some((_, unhooked))) => FileVerdict::Unhooked(unhooked),
        (elf::Found::Bits32, None) => FileVerdict::Unhooked(Unhooked::Bits32),
        (elf::Found::Unplaced, None) => FileVerdict::Unhooked(Unhooked::NoSafePlace(NOP5.into())),
        (elf::Found::Nothing | elf::Found::Points(_), None) => FileVerdict::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::functions::At;

    fn verdict(found: elf::Found, name: &str) -> FileVerdict {
        match judge(found, Path::new(name)) {
            Found::Verdict(verdict) => verdict,
            Found::Points(_) => panic!("{name} has functions"),
        }
    }

    #[test]
    fn places_of_ciphertext_alone_are_no_tls_library() {
        let points = |symbols: &[&'static str]| {
            let point = |&symbol| Point { offset: 1, at: At::Instruction, program: "", symbol };
            elf::Found::Points(symbols.iter().map(point).collect())
        };
        let libcrypto = points(&["BIO_read", "BIO_write"]);
        assert_eq!(ciphertext(&libcrypto).len(), 2);
        assert_eq!(verdict(libcrypto, "/usr/lib/libcrypto.so.3"), FileVerdict::Nothing);
        let both = points(&["SSL_read", "BIO_read", "SSL_write"]);
        assert_eq!(ciphertext(&both).len(), 1);
        let Found::Points(plaintext) = judge(both, Path::new("/usr/bin/node")) else { panic!() };
        assert_eq!(plaintext.len(), 2);
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
