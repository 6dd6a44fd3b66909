//! What may become of a connection, and why its TLS or QUIC may not be readable.

use crate::event::verdict::{ProcessVerdict, Unhooked};

/// Why the TLS or QUIC of a connection was not readable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// All that the process maps was looked into, and nothing is known to be TLS.
    NoKnownLibrary,
    /// A Go program.
    Go,
    /// The Java virtual machine.
    Java,
    /// A 32-bit library.
    Bits32,
    /// A file of the process could not be looked into or attached to.
    Unreadable,
    /// The process was not looked at in time.
    NotLookedAt,
    /// A library is hooked, and the session of this connection was not seen.
    SessionNotSeen,
    /// It is QUIC, whoever encrypts it.
    Quic,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::NoKnownLibrary,
        Self::Go,
        Self::Java,
        Self::Bits32,
        Self::Unreadable,
        Self::NotLookedAt,
        Self::SessionNotSeen,
        Self::Quic,
    ];

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKnownLibrary => "no_known_library",
            Self::Go => "go",
            Self::Java => "java",
            Self::Bits32 => "32_bit",
            Self::Unreadable => "unreadable",
            Self::NotLookedAt => "not_looked_at",
            Self::SessionNotSeen => "session_not_seen",
            Self::Quic => "quic",
        }
    }

    /// The reason for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoKnownLibrary => "no known TLS library",
            Self::Go => "a Go program that is not hooked",
            Self::Java => "the Java virtual machine encrypts by itself",
            Self::Bits32 => "a 32-bit program",
            Self::Unreadable => "a file of it could not be looked into",
            Self::NotLookedAt => "the process was not looked at in time",
            Self::SessionNotSeen => "its TLS library is hooked, but this session was not seen",
            Self::Quic => "HTTP/3 or another protocol, encrypted in the process",
        }
    }

    /// What can be done about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoKnownLibrary | Self::Go | Self::Java => {
                "observe the other end of its connections, or a proxy that ends their TLS"
            }
            Self::Bits32 => "run its 64-bit build",
            Self::Unreadable => "see the reason, and what apiscope doctor --pid says of it",
            Self::NotLookedAt => "see what apiscope doctor --pid says while it runs",
            Self::SessionNotSeen => {
                "connections that are older than the agent are seen once they are made again"
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
                Unhooked::Java => Self::Java,
                Unhooked::Bits32 => Self::Bits32,
                Unhooked::Unreadable(_) => Self::Unreadable,
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
    /// HTTP/1, decoded.
    Decoded,
    /// TLS of a process whose plaintext was captured: some of it may be this
    /// connection's, and which was not certain.
    Unattributed,
    /// TLS or QUIC that was not readable.
    Opaque(Reason),
    /// HTTP/2, which is not decoded.
    Http2,
    /// Another protocol, or one that it became after HTTP/1.
    Other,
    /// TLS over which nothing was sent: there was nothing to decode.
    Unused,
}

impl Fate {
    /// Number of fates.
    pub(super) const COUNT: usize = 5 + Reason::ALL.len();

    /// All fates.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Decoded, Self::Unattributed, Self::Http2, Self::Other, Self::Unused]
            .into_iter()
            .chain(Reason::ALL.map(Self::Opaque))
    }

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Decoded => 0,
            Self::Unattributed => 1,
            Self::Http2 => 2,
            Self::Other => 3,
            Self::Unused => 4,
            Self::Opaque(reason) => 5 + reason as usize,
        }
    }

    /// The word in metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decoded => "decoded",
            Self::Unattributed => "unattributed",
            Self::Opaque(_) => "opaque",
            Self::Http2 => "http/2",
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
            Self::Opaque(_) => "TLS not readable",
            Self::Http2 => "HTTP/2, not decoded",
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
