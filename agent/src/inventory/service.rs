//! Which service a call is for, and what it is named.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::call::{Call, Endpoint as Address, Process, Role, Timestamp};

/// Names that are kept of a service.
const HOSTS_MAX: usize = 16;
/// Longest name of a host (RFC 1035) with a port.
const HOST_MAX: usize = 259;

/// A program that serves or is called: by executable and listening port when it
/// was observed, by its address when only its clients were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Unique display name, e.g. `nginx:8080`, `python3.11:unix:/run/app.sock`,
    /// or for a service seen from its clients only `api.example.com:443`.
    pub name: Arc<str>,
    /// How it was seen: `server` when the process itself was observed.
    pub seen_from: Role,
    /// Executable of the server process, or empty when it was not observed.
    pub executable: String,
    /// Listening port, when internet sockets were used.
    pub port: Option<u16>,
    /// Names that clients called it by (`Host`, TLS server name), at most 16.
    pub hosts: BTreeSet<String>,
    /// Some of its calls came over TLS.
    pub tls: bool,
    /// First call.
    pub first_seen: Timestamp,
    /// Latest call.
    pub last_seen: Timestamp,
    /// Calls in all.
    pub calls: u64,
}

/// Writes the name of the service that a call is for, and tells from which end it
/// is known. A service that was seen from both ends has one name.
pub(super) fn name(call: &Call, out: &mut String) -> Role {
    out.clear();
    // Writing to a string cannot fail.
    _ = write(call, out);
    role(call)
}

fn write(call: &Call, out: &mut String) -> std::fmt::Result {
    let server = call.server();
    if role(call) == Role::Server {
        out.push_str(server_process(call).map_or("unknown", program));
        return match server {
            Address::Inet(address) => write!(out, ":{}", address.port()),
            other => write!(out, ":{other}"),
        };
    }
    match (authority(call), server.port()) {
        (Some(authority), port) => {
            let (host, named) = split_port(authority);
            out.push_str(host);
            out.make_ascii_lowercase();
            match port.or(named) {
                Some(port) => write!(out, ":{port}"),
                None => Ok(()),
            }
        }
        (None, _) => write!(out, "{server}"),
    }
}

/// The end from which the service of a call is known.
pub(super) const fn role(call: &Call) -> Role {
    match call.role {
        Role::Client if !call.both_ends => Role::Client,
        _ => Role::Server,
    }
}

/// The process that serves a call, when it was observed.
pub(super) fn server_process(call: &Call) -> Option<&Process> {
    match call.role {
        Role::Server => call.process.as_deref(),
        Role::Client => call.peer_process.as_deref(),
    }
}

/// File name of the program, or the task name when its file is not known.
fn program(process: &Process) -> &str {
    let path = process.executable.strip_suffix(" (deleted)").unwrap_or(&process.executable);
    let file = path.rsplit('/').next().unwrap_or("");
    match (file, &*process.comm) {
        ("", "") => "unknown",
        ("", comm) => comm,
        (file, _) => file,
    }
}

/// Host that the client asked for, as `host` or `host:port`, without user name.
pub(super) fn authority(call: &Call) -> Option<&str> {
    let named = call.request.authority().map(|authority| {
        // `user:password@host` must not become a name.
        authority.rsplit('@').next().unwrap_or(authority)
    });
    named.filter(|host| is_host(host)).or_else(|| {
        call.tls.as_ref()?.handshake.server_name.as_deref().filter(|host| is_host(host))
    })
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= HOST_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

/// Host and port of an authority.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

impl Service {
    /// A service without calls.
    pub(super) fn new(name: &str, call: &Call) -> Self {
        let process = server_process(call).filter(|_| role(call) == Role::Server);
        Self {
            name: name.into(),
            seen_from: role(call),
            executable: process.map(|process| process.executable.clone()).unwrap_or_default(),
            port: call.server().port(),
            hosts: BTreeSet::new(),
            tls: false,
            first_seen: call.times.request_start,
            last_seen: Timestamp(0),
            calls: 0,
        }
    }

    /// The service that calls beyond the bound are counted under.
    pub(super) fn other(call: &Call) -> Self {
        let executable = String::new();
        Self { name: super::OTHER.into(), executable, port: None, ..Self::new("", call) }
    }

    /// Counts a call.
    pub(super) fn record(&mut self, call: &Call) {
        self.calls += 1;
        self.tls |= call.tls.is_some();
        self.first_seen = self.first_seen.min(call.times.request_start);
        self.last_seen = self.last_seen.max(call.times.request_start);
        if &*self.name == super::OTHER {
            // It stands for many: none of the facts below would hold for it.
            return;
        }
        if self.seen_from == Role::Client && role(call) == Role::Server {
            // What was known by its callers only is now observed itself.
            self.seen_from = Role::Server;
        }
        if self.executable.is_empty()
            && role(call) == Role::Server
            && let Some(process) = server_process(call)
        {
            self.executable.clone_from(&process.executable);
        }
        if let Some(host) = authority(call)
            && self.hosts.len() < HOSTS_MAX
            && !self.hosts.contains(host)
        {
            self.hosts.insert(host.to_ascii_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Ends, Handshake, Tls},
        http::Headers,
        inventory::testing::call,
    };

    fn named(call: &Call) -> (String, Role) {
        let mut out = "left over".to_owned();
        let role = name(call, &mut out);
        (out, role)
    }

    #[test]
    fn a_server_is_named_after_its_program_and_port() {
        let mut call = call("GET", "/", 200);
        assert_eq!(named(&call), ("nginx:8080".to_owned(), Role::Server));
        call.connection.ends = Ends::Unix { path: Some("/run/app.sock".into()) };
        assert_eq!(named(&call).0, "nginx:unix:/run/app.sock");
        call.connection.ends = Ends::Unix { path: None };
        assert_eq!(named(&call).0, "nginx:unix");
        call.connection.ends = Ends::Unknown;
        assert_eq!(named(&call).0, "nginx:unknown");
        call.process = None;
        assert_eq!(named(&call).0, "unknown:unknown");
    }

    #[test]
    fn a_service_seen_by_its_clients_is_named_after_its_authority() {
        let mut call = call("GET", "/", 200);
        call.role = Role::Client;
        let Ends::Tcp { local, remote } = call.connection.ends.clone() else { panic!() };
        call.connection.ends = Ends::Tcp { local: remote, remote: local };
        assert_eq!(named(&call), ("shop.example:8080".to_owned(), Role::Client));
        call.request.target = "http://ann:secret@Other.example:81/x".into();
        assert_eq!(named(&call).0, "other.example:8080");
        call.request.target = "/".into();
        call.request.headers = Headers::default();
        assert_eq!(named(&call).0, "10.0.0.1:8080");
        let server_name = Some("tls.example".into());
        let handshake = Arc::new(Handshake { server_name, ..Handshake::default() });
        let binding = crate::call::Binding::NestedSyscall;
        call.tls = Some(Tls { library: "l".into(), handshake, binding });
        assert_eq!(named(&call).0, "tls.example:8080");
        call.both_ends = true;
        call.peer_process = call.process.clone();
        assert_eq!(named(&call), ("nginx:8080".to_owned(), Role::Server));
    }

    #[test]
    fn hosts_are_bounded_and_have_no_user() {
        let mut call = call("GET", "/", 200);
        let mut service = Service::new("nginx:8080", &call);
        for number in 0..40 {
            call.request.target = format!("http://u:p@h{number}.example/").into();
            service.record(&call);
        }
        assert_eq!(service.hosts.len(), 16);
        assert!(service.hosts.iter().all(|host| host.starts_with('h')));
    }
}
