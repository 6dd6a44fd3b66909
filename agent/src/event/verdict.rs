//! What the TLS of a file is, and of a process that maps such files: whether its
//! plaintext can be captured, and of what cannot, why.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

/// What was found in a file that a process executes or maps as code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileVerdict {
    /// Its TLS functions are hooked; its name.
    Hooked(Arc<str>),
    /// It has to do with TLS, or may have, and is not hooked.
    Unhooked(Unhooked),
    /// Nothing that is known to have to do with TLS.
    Nothing,
}

/// Why the TLS of a file is not hooked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unhooked {
    /// A Go program, and why its `crypto/tls` is not hooked.
    Go(Arc<str>),
    /// The Java virtual machine, which encrypts by itself.
    Java,
    /// For 32-bit processes, whose system calls are not decoded.
    Bits32,
    /// It could not be looked into, or not be attached to, and why.
    Unreadable(Arc<str>),
}

impl Unhooked {
    /// The less, the likelier it is what a connection of the process is encrypted by.
    const fn rank(&self) -> u8 {
        match self {
            Self::Go(_) => 0,
            Self::Java => 1,
            Self::Bits32 => 2,
            Self::Unreadable(_) => 3,
        }
    }

    /// The reason for people.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Go(why) => format!("a Go program: {why}").into(),
            Self::Java => "the Java virtual machine encrypts by itself".into(),
            Self::Bits32 => "a 32-bit program: its system calls are counted, not decoded".into(),
            Self::Unreadable(why) => format!("it was not looked into: {why}").into(),
        }
    }
}

/// What the TLS of a process is, by its files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProcessVerdict {
    /// The process.
    pub pid: u32,
    /// Its start, nanoseconds of `CLOCK_BOOTTIME`, or 0.
    pub start_ns: u64,
    /// All that it maps was looked into. Without that, what is absent here may only
    /// not have been seen: the process may have ended before.
    pub looked: bool,
    /// Name of a hooked library, when it has one.
    pub hooked: Option<Arc<str>>,
    /// What is not hooked: the likeliest to be what it encrypts with.
    pub unhooked: Option<Unhooked>,
}

impl ProcessVerdict {
    /// Takes what was found in one of its files into account.
    pub fn add(&mut self, file: FileVerdict) {
        match file {
            FileVerdict::Hooked(name) => {
                self.hooked.get_or_insert(name);
            }
            FileVerdict::Unhooked(found) => {
                if self.unhooked.as_ref().is_none_or(|known| found.rank() < known.rank()) {
                    self.unhooked = Some(found);
                }
            }
            FileVerdict::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_what_its_likeliest_file_is() {
        let mut verdict = ProcessVerdict::default();
        for file in [
            FileVerdict::Nothing,
            FileVerdict::Unhooked(Unhooked::Unreadable("too large".into())),
            FileVerdict::Hooked("libssl.so.3".into()),
            FileVerdict::Unhooked(Unhooked::Java),
            FileVerdict::Unhooked(Unhooked::Bits32),
            FileVerdict::Hooked("libgnutls.so.30".into()),
        ] {
            verdict.add(file);
        }
        assert_eq!(verdict.hooked.as_deref(), Some("libssl.so.3"));
        assert_eq!(verdict.unhooked, Some(Unhooked::Java));
    }
}
