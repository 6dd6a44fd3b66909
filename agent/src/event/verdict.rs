//! What the TLS of a file is, and of a process that maps such files: whether its
//! plaintext can be captured, and of what cannot, why.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

/// What was found in a file that a process executes or maps as code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileVerdict {
    /// Its TLS functions are hooked; its name.
    Hooked(Arc<str>),
    /// The same, and they were found without symbols: what is seen has to be proven.
    Located(Arc<str>),
    /// It has to do with TLS, or may have, and is not hooked.
    Unhooked(Unhooked),
    /// Nothing that is known to have to do with TLS.
    Nothing,
}

/// A TLS library that is linked into a program or another library, and not hooked there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Embedded {
    /// rustls with ring, whose functions were not found, or might be others: they have no
    /// names.
    Ring,
    /// rustls with AWS-LC, whose symbols are gone.
    AwsLc,
    /// rustls with another provider of cryptography, or one that does not show.
    Rustls,
    /// OpenSSL, whose symbols are gone.
    OpenSsl,
    /// BoringSSL, or AWS-LC as a TLS library, whose symbols are gone.
    BoringSsl,
    /// OpenSSL, whose symbols are gone: its functions were found, and no ciphertext has proven
    /// it.
    OpenSslUnproven,
}

impl Embedded {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Ring,
        Self::AwsLc,
        Self::Rustls,
        Self::OpenSsl,
        Self::BoringSsl,
        Self::OpenSslUnproven,
    ];

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "rustls_ring",
            Self::AwsLc => "rustls_aws_lc_stripped",
            Self::Rustls => "rustls",
            Self::OpenSsl => "openssl_stripped",
            Self::BoringSsl => "boringssl_stripped",
            Self::OpenSslUnproven => "openssl_unproven",
        }
    }

    /// What it is, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ring => "rustls with ring is linked in, whose functions were not found",
            Self::AwsLc => "rustls with AWS-LC is linked in, and its symbols are gone",
            Self::Rustls => "rustls is linked in, with cryptography that is not known",
            Self::OpenSsl => "OpenSSL is linked in, and its symbols are gone",
            Self::BoringSsl => "BoringSSL or a fork is linked in, and its symbols are gone",
            Self::OpenSslUnproven => {
                "OpenSSL is linked in without symbols, and no ciphertext has proven what was \
                 found of it"
            }
        }
    }
}

/// Why the TLS of a file is not hooked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unhooked {
    /// A Go program, and why its `crypto/tls` is not hooked.
    Go(Arc<str>),
    /// A library is linked into it that has no function to hook, or none that can be found.
    Embedded(Embedded),
    /// The Java virtual machine, which encrypts by itself.
    Java,
    /// For 32-bit processes, whose system calls are not decoded.
    Bits32,
    /// It could not be looked into, or not be attached to, and why.
    Unreadable(Arc<str>),
    /// Its program crashed with probes in it, and gets none.
    Spared,
    /// It has no place where probes do no harm on this kernel, and why.
    NoSafePlace(Arc<str>),
    /// It will be attached to; there was too much to attach to at once.
    Waiting,
}

impl Unhooked {
    /// The less, the likelier it is what a connection of the process is encrypted by.
    const fn rank(&self) -> u8 {
        match self {
            Self::Spared => 0,
            Self::Waiting => 1,
            Self::NoSafePlace(_) => 2,
            Self::Go(_) => 3,
            Self::Embedded(_) => 4,
            Self::Java => 5,
            Self::Bits32 => 6,
            Self::Unreadable(_) => 7,
        }
    }

    /// The reason for people.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Go(why) => format!("a Go program: {why}").into(),
            Self::Embedded(library) => library.text().into(),
            Self::Java => "the Java virtual machine encrypts by itself".into(),
            Self::Bits32 => "a 32-bit program: its system calls are counted, not decoded".into(),
            Self::Unreadable(why) => format!("it was not looked into: {why}").into(),
            Self::Spared => "its program crashed with probes in it, and gets none".into(),
            Self::NoSafePlace(why) => format!("no place in it for probes is safe: {why}").into(),
            Self::Waiting => "too much was to be attached to at once: its turn comes".into(),
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
            FileVerdict::Located(name) => {
                self.add(FileVerdict::Hooked(name));
                // Of a connection that is not read it is the reason.
                let unproven = Unhooked::Embedded(Embedded::OpenSslUnproven);
                self.add(FileVerdict::Unhooked(unproven));
            }
            FileVerdict::Hooked(name) => {
                self.hooked.get_or_insert(name);
                if self.unhooked == Some(Unhooked::Waiting) {
                    self.unhooked = None;
                }
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
    #[test]
    fn what_was_found_without_symbols_is_hooked_and_may_be_the_reason() {
        let mut verdict = ProcessVerdict::default();
        verdict.add(FileVerdict::Located("program".into()));
        assert_eq!(verdict.hooked.as_deref(), Some("program"));
        let unproven = Unhooked::Embedded(Embedded::OpenSslUnproven);
        assert_eq!(verdict.unhooked, Some(unproven));
    }
}
