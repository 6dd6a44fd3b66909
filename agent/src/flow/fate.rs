//! What may become of a connection, and why its TLS or QUIC may not be readable.

use crate::event::verdict::{Embedded, ProcessVerdict, Unhooked};

/// Why the TLS or QUIC of a connection was not readable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// All that the process maps was looked into, and nothing is known to be TLS.
    NoKnownLibrary,
    /// A Go program.
    Go,
    /// A library that is linked in, and has no function to hook, or none that can be found.
    Embedded(Embedded),
    /// The Java virtual machine.
    Java,
    /// A 32-bit library.
    Bits32,
    /// A file of the process could not be looked into or attached to.
    Unreadable,
    /// The program crashed with probes in it, and gets none.
    Spared,
    /// Its library has no place where probes do no harm on this kernel.
    NoSafePlace,
    /// Too much was to be attached to at once.
    Waiting,
    /// The process was not looked at in time.
    NotLookedAt,
    /// A library is hooked, and the session of this connection was not seen.
    SessionNotSeen,
    /// It is QUIC, whoever encrypts it.
    Quic,
    /// The process moves its bytes by `io_uring`.
    IoUring,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 18] = [
        Self::NoKnownLibrary,
        Self::Go,
        Self::Java,
        Self::Bits32,
        Self::Unreadable,
        Self::Spared,
        Self::NoSafePlace,
        Self::Waiting,
        Self::NotLookedAt,
        Self::SessionNotSeen,
        Self::Quic,
        Self::IoUring,
        Self::Embedded(Embedded::Ring),
        Self::Embedded(Embedded::AwsLc),
        Self::Embedded(Embedded::Rustls),
        Self::Embedded(Embedded::OpenSsl),
        Self::Embedded(Embedded::BoringSsl),
        Self::Embedded(Embedded::OpenSslUnproven),
    ];

    /// Its place in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::NoKnownLibrary => 0,
            Self::Go => 1,
            Self::Java => 2,
            Self::Bits32 => 3,
            Self::Unreadable => 4,
            Self::Spared => 5,
            Self::NoSafePlace => 6,
            Self::Waiting => 7,
            Self::NotLookedAt => 8,
            Self::SessionNotSeen => 9,
            Self::Quic => 10,
            Self::IoUring => 11,
            Self::Embedded(library) => 12 + library as usize,
        }
    }

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKnownLibrary => "no_known_library",
            Self::Go => "go",
            Self::Embedded(library) => library.as_str(),
            Self::Java => "java",
            Self::Bits32 => "32_bit",
            Self::Unreadable => "unreadable",
            Self::Spared => "spared",
            Self::NoSafePlace => "no_safe_place",
            Self::Waiting => "waiting",
            Self::NotLookedAt => "not_looked_at",
            Self::SessionNotSeen => "session_not_seen",
            Self::Quic => "quic",
            Self::IoUring => "io_uring",
        }
    }

    /// The reason for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoKnownLibrary => "no known TLS library",
            Self::Go => "a Go program that is not hooked",
            Self::Embedded(library) => library.text(),
            Self::Java => "the Java virtual machine encrypts by itself",
            Self::Bits32 => "a 32-bit program",
            Self::Unreadable => "a file of it could not be looked into",
            Self::Spared => "it crashed with probes in it, and gets none",
            Self::NoSafePlace => "probes in its TLS library may do harm on this kernel",
            Self::Waiting => "too much was to be attached to at once",
            Self::NotLookedAt => "the process was not looked at in time",
            Self::SessionNotSeen => "its TLS library is hooked, but this session was not seen",
            Self::Quic => "HTTP/3 or another protocol, encrypted in the process",
            Self::IoUring => "its bytes move by io_uring, which is not read",
        }
    }

    /// What can be done about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoKnownLibrary
            | Self::Go
            | Self::Java
            | Self::Embedded(Embedded::Ring | Embedded::Rustls) => {
                "observe the other end of its connections, or a proxy that ends their TLS"
            }
            Self::Embedded(
                Embedded::AwsLc
                | Embedded::OpenSsl
                | Embedded::BoringSsl
                | Embedded::OpenSslUnproven,
            ) => {
                "build it without stripping its symbols, or observe the other end of its \
                 connections"
            }
            Self::Bits32 => "run its 64-bit build",
            Self::Unreadable => "see the reason, and what apiscope doctor --pid says of it",
            Self::Spared => "see how it crashes; observe the other end of its connections",
            Self::NoSafePlace => "see what apiscope doctor says of return probes",
            Self::Waiting => "connections that are made later are seen",
            Self::NotLookedAt => "see what apiscope doctor --pid says while it runs",
            Self::SessionNotSeen => {
                "connections that are older than the agent are seen once they are made again"
            }
            Self::IoUring => {
                "apiscope run --socket-backend function reads them, where the kernel lets functions \
                 be hooked; or observe the other end"
            }
            Self::Quic => {
                "observe what is behind a proxy that ends it, or have the server not offer \
                 HTTP/3 (Alt-Svc header, HTTPS record): clients then use TLS over TCP"
            }
        }
    }

    /// What is not readable.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Quic => "QUIC",
            Self::IoUring => "a connection",
            _ => "TLS",
        }
    }

    /// Why a TLS connection of a process is opaque. `from_start` says that the connection
    /// was seen from its first byte on.
    pub fn of(verdict: Option<&ProcessVerdict>, from_start: bool) -> Self {
        let Some(verdict) = verdict else { return Self::NotLookedAt };
        match (&verdict.unhooked, &verdict.hooked) {
            // The hooked library had its chance to show a session from its start.
            (Some(unhooked), hooked) if from_start || hooked.is_none() => match unhooked {
                Unhooked::Go(_) => Self::Go,
                Unhooked::Embedded(library) => Self::Embedded(*library),
                Unhooked::Java => Self::Java,
                Unhooked::Bits32 => Self::Bits32,
                Unhooked::Unreadable(_) => Self::Unreadable,
                Unhooked::Spared => Self::Spared,
                Unhooked::NoSafePlace(_) => Self::NoSafePlace,
                Unhooked::Waiting => Self::Waiting,
            },
            (_, Some(_)) => Self::SessionNotSeen,
            _ if verdict.looked => Self::NoKnownLibrary,
            _ => Self::NotLookedAt,
        }
    }
}

/// What became of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Fate {
    /// HTTP, decoded.
    Decoded,
    /// TLS of a process whose plaintext was captured: some of it may be this
    /// connection's, and which was not certain.
    Unattributed,
    /// TLS or QUIC that was not readable, or what went past the system calls.
    Opaque(Reason),
    /// Another protocol, or one that it became after HTTP.
    Other,
    /// TLS over which nothing was sent: there was nothing to decode.
    Unused,
}

impl Fate {
    /// Number of fates.
    pub(super) const COUNT: usize = 4 + Reason::ALL.len();

    /// All fates.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Decoded, Self::Unattributed, Self::Other, Self::Unused]
            .into_iter()
            .chain(Reason::ALL.map(Self::Opaque))
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Decoded => 0,
            Self::Unattributed => 1,
            Self::Other => 2,
            Self::Unused => 3,
            Self::Opaque(reason) => 4 + reason.index(),
        }
    }

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Unattributed => "unattributed",
            Self::Opaque(_) => "opaque",
            Self::Other => "other",
            Self::Unused => "unused",
        }
    }

    /// The fate for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Unattributed => "TLS, its plaintext captured but not told apart",
            Self::Opaque(Reason::Quic) => "QUIC not readable",
            Self::Opaque(Reason::IoUring) => "not readable",
            Self::Opaque(_) => "TLS not readable",
            Self::Other => "another protocol",
            Self::Unused => "TLS without data",
        }
    }

    /// Why; of what is opaque.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Opaque(reason) => Some(reason),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_has_a_place_and_a_reason_a_word_of_its_own() {
        let places: Vec<usize> = Fate::all().map(Fate::index).collect();
        assert_eq!(places, (0..Fate::COUNT).collect::<Vec<_>>());
        let mut words = Reason::ALL.map(Reason::as_str);
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
        for library in Embedded::ALL {
            assert!(Reason::ALL.contains(&Reason::Embedded(library)));
        }
    }
}
