//! The call: one request with its response, and all that is known of where it
//! was seen. Every stage after decoding consumes this type and no other.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::http::{Request, Response};

/// Nanoseconds since the Unix epoch.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The system's time of day.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds from `earlier` to `self`; zero when `earlier` is later.
    pub const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds from `earlier` to `self`; zero when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.nanos_since(earlier) as f64 / 1e9
    }
}

/// Which end of a call the observed process was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It received the request.
    Server,
    /// It sent the request.
    Client,
}

impl Role {
    /// The word in outputs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Call {
    /// Unique within a run; ascends in order of completion.
    pub id: u64,
    /// Which end `process` was.
    pub role: Role,
    /// Both ends were observed; the two views were merged into this call.
    pub both_ends: bool,
    /// When what happened.
    pub times: Times,
    /// The request.
    pub request: Request,
    /// The response; `None` when none was seen before the connection ended.
    pub response: Option<Response>,
    /// The observed process; `None` when its descriptor came without one.
    pub process: Option<Arc<Process>>,
    /// The process at the other end, when it was observed too.
    pub peer_process: Option<Arc<Process>>,
    /// The connection.
    pub connection: Connection,
    /// TLS facts; `None` on a plaintext connection.
    pub tls: Option<Tls>,
    /// Bytes of the call that were not captured, by cause.
    pub missing: Missing,
}

impl Call {
    /// Every byte of both messages was seen, and both ended as their framing says.
    pub fn complete(&self) -> bool {
        self.missing.is_empty()
            && self.request.ended
            && !self.request.notes.is_cut()
            && self
                .response
                .as_ref()
                .is_some_and(|response| response.ended && !response.notes.is_cut())
    }

    /// Seconds from the first byte of the request to the last of the response;
    /// `None` without a response.
    pub fn duration_seconds(&self) -> Option<f64> {
        self.times.response_end.map(|end| end.seconds_since(self.times.request_start))
    }

    /// The status of the response.
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    /// Address of the server's end of the connection, by role.
    pub fn server(&self) -> Endpoint<'_> {
        match self.role {
            Role::Server => self.connection.local(),
            Role::Client => self.connection.remote(),
        }
    }

    /// Address of the client's end of the connection, by role.
    pub fn client(&self) -> Endpoint<'_> {
        match self.role {
            Role::Server => self.connection.remote(),
            Role::Client => self.connection.local(),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint<'a> {
    /// An internet socket.
    Inet(SocketAddr),
    /// A unix socket: its path, when it has one and it is known.
    Unix(Option<&'a str>),
    /// Not known; never guessed.
    Unknown,
}

impl Endpoint<'_> {
    /// The IP address.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// The port.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(Some(path)) => write!(f, "unix:{path}"),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// When the parts of a call were seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// First byte of the request.
    pub request_start: Timestamp,
    /// Last byte of the request.
    pub request_end: Timestamp,
    /// First byte of the response.
    pub response_start: Option<Timestamp>,
    /// Last byte of the response.
    pub response_end: Option<Timestamp>,
}

/// A process, as it was when the call was made.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id (tgid) in the host's namespace.
    pub pid: u32,
    /// Start, nanoseconds of `CLOCK_BOOTTIME`; with `pid` it names one process.
    pub start_ns: u64,
    /// Task name.
    pub comm: String,
    /// Path of the executable, or as it was named to execve, or empty when the
    /// process was gone before it could be asked.
    pub executable: String,
    /// Container id, from the cgroup path.
    pub container_id: Option<String>,
}

/// The connection that carried a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Names the connection within a run.
    pub id: u64,
    /// What is known of its two ends.
    pub ends: Ends,
}

/// The two ends of a connection, as the observed process has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ends {
    /// TCP.
    Tcp {
        /// The observed process's end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A unix stream socket.
    Unix {
        /// Path that the server is bound to; `None` when unnamed or not known.
        path: Option<Arc<str>>,
    },
    /// Not known: a TLS session that was not bound to a socket.
    Unknown,
}

impl Connection {
    /// This end.
    pub fn local(&self) -> Endpoint<'_> {
        match &self.ends {
            Ends::Tcp { local, .. } => Endpoint::Inet(*local),
            Ends::Unix { path } => Endpoint::Unix(path.as_deref()),
            Ends::Unknown => Endpoint::Unknown,
        }
    }

    /// The other end.
    pub fn remote(&self) -> Endpoint<'_> {
        match &self.ends {
            Ends::Tcp { remote, .. } => Endpoint::Inet(*remote),
            Ends::Unix { path } => Endpoint::Unix(path.as_deref()),
            Ends::Unknown => Endpoint::Unknown,
        }
    }

    /// OpenTelemetry `network.transport`; `None` when not known.
    pub const fn transport(&self) -> Option<&'static str> {
        match self.ends {
            Ends::Tcp { .. } => Some("tcp"),
            Ends::Unix { .. } => Some("unix"),
            Ends::Unknown => None,
        }
    }
}

/// What is known of the TLS session that carried a call.
#[derive(Clone, PartialEq, Debug)]
pub struct Tls {
    /// File name of the library or executable whose functions were hooked.
    pub library: Arc<str>,
    /// What its handshake said.
    pub handshake: Arc<Handshake>,
    /// How the session was bound to its socket.
    pub binding: Binding,
}

/// What a TLS handshake said before it was encrypted; `None` for what was not seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Handshake {
    /// Negotiated version, `1.0` to `1.3`.
    pub version: Option<&'static str>,
    /// Negotiated cipher suite, by its number.
    pub cipher: Option<u16>,
    /// Protocol negotiated by ALPN. From TLS 1.3 on that is encrypted.
    pub protocol: Option<Arc<str>>,
    /// `server_name` of the client.
    pub server_name: Option<Arc<str>>,
    /// JA4 fingerprint of the client.
    pub ja4: Option<Arc<str>>,
    /// Certificate of the server. From TLS 1.3 on that is encrypted, and a session that is
    /// resumed has none.
    pub certificate: Option<Arc<Certificate>>,
}

/// What the certificate of a server says (RFC 5280). Nobody verified it here, and its names
/// are cut at 256 bytes, before what a terminal would obey is written out. It is not seen where
/// a server sends the start of its handshake from several buffers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Distinguished name of whom it is for; `None` when it is empty, as where `names` say it,
    /// or cannot be read.
    pub subject: Option<Box<str>>,
    /// Distinguished name of who issued it; `None` when it is empty or cannot be read.
    pub issuer: Option<Box<str>>,
    /// The hosts that it is for, names and addresses; 16 at most.
    pub names: Box<[Box<str>]>,
    /// When it begins to be valid, in seconds since the Unix epoch.
    pub not_before: i64,
    /// When it ends to be valid, in seconds since the Unix epoch.
    pub not_after: i64,
}

/// How a TLS session was bound to the socket that carried it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Binding {
    /// The socket was seen in a system call nested in a TLS call. Certain.
    NestedSyscall,
    /// What the session encrypted, or decrypted, went over the socket byte for byte. Certain.
    Ciphertext,
    /// Ciphertext records on the socket had the lengths that the plaintext calls
    /// ask for, in the same thread. Inferred: `confidence` is below 1.
    RecordLength {
        /// 0 to 1, rises with each agreeing observation.
        confidence: f32,
    },
    /// Not bound: the peer is unknown.
    None,
}

impl Binding {
    /// The word in outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NestedSyscall => "nested_syscall",
            Self::Ciphertext => "ciphertext",
            Self::RecordLength { .. } => "record_length",
            Self::None => "none",
        }
    }

    /// How sure, 0 to 1.
    pub const fn confidence(self) -> f32 {
        match self {
            Self::NestedSyscall | Self::Ciphertext => 1.0,
            Self::RecordLength { confidence } => confidence,
            Self::None => 0.0,
        }
    }
}

/// Why bytes are missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The message was longer than its capture budget.
    Budget,
    /// The process was over its share of the CPU budget, or the transport was filling.
    Shed,
    /// The transport between kernel and agent was full.
    Transport,
    /// User memory was not readable.
    Fault,
    /// Moved by sendfile or splice, never in user memory, or by a call that is not read.
    Opaque,
    /// In more buffers than one call may be split into.
    Split,
    /// A bound of the agent itself: a full queue or a message over its limits.
    Agent,
}

impl Cause {
    /// All causes, in the order of [`Missing`]'s counts.
    pub const ALL: [Self; 7] = [
        Self::Budget,
        Self::Shed,
        Self::Transport,
        Self::Fault,
        Self::Opaque,
        Self::Split,
        Self::Agent,
    ];

    /// The word in outputs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Shed => "shed",
            Self::Transport => "transport",
            Self::Fault => "fault",
            Self::Opaque => "opaque",
            Self::Split => "split",
            Self::Agent => "agent",
        }
    }
}

/// Bytes that were not captured, by cause. Exact: positions are known from the
/// kernel, so a hole has a length even where its content is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    counts: [u64; Cause::ALL.len()],
}

impl Missing {
    /// Adds bytes lost to `cause`.
    pub const fn add(&mut self, cause: Cause, bytes: u64) {
        let [budget, shed, transport, fault, opaque, split, agent] = &mut self.counts;
        let slot = match cause {
            Cause::Budget => budget,
            Cause::Shed => shed,
            Cause::Transport => transport,
            Cause::Fault => fault,
            Cause::Opaque => opaque,
            Cause::Split => split,
            Cause::Agent => agent,
        };
        *slot = slot.saturating_add(bytes);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (cause, bytes) in other.iter() {
            self.add(cause, bytes);
        }
    }

    /// Causes with the bytes lost to each, without the zeros.
    pub fn iter(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.into_iter().zip(self.counts).filter(|&(_, bytes)| bytes > 0)
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &bytes| sum.saturating_add(bytes))
    }

    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&bytes| bytes == 0)
    }
}
