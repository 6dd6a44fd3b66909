//! One JSON object a line per call: OpenTelemetry attribute names as flat keys, our
//! own under `apiscope.`. What is not known is absent, never null and never guessed.

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use crate::{
    call::{Binding, Call, Endpoint, Ends, Handshake, Timestamp},
    flow::tls_cipher,
    grpc::Grpc,
    http::{Body, BodyState, Notes, Response},
    pipeline::Observed,
    redact,
};

/// Methods that are not reported as `_OTHER` (OpenTelemetry: RFC 9110, RFC 5789, and
/// QUERY).
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// Longest `user_agent.original` that is told.
const USER_AGENT_MAX: usize = 256;

/// Writes calls as JSON lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonLines {
    /// Adds SHA-256 hashes of complete bodies, after content decoding.
    pub body_hash: bool,
}

impl JsonLines {
    /// Appends one line for a call.
    pub fn write(&self, observed: &Observed, out: &mut Vec<u8>) {
        let call = &observed.call;
        let mut object = Object::open(out);
        object.put("timestamp", &rfc3339(call.times.request_start));
        request(call, &mut object);
        // The inventory's own text: secrets are parameters in it.
        object.put("http.route", &*redact::printable(&observed.observation.endpoint.route));
        if let Some(status) = call.status() {
            object.put("http.response.status_code", &status);
        }
        if let Some(grpc) = Grpc::of(call) {
            rpc(&grpc, &mut object);
        }
        network(call, &mut object);
        process(call, &mut object);
        object.put("service.name", &*observed.observation.endpoint.service);
        if let Some(agent) = call.request.headers.get_str("user-agent") {
            object.put("user_agent.original", cut(agent, USER_AGENT_MAX));
        }
        if let Some(size) = call.request.body_size() {
            object.put("http.request.body.size", &size);
        }
        if let Some(size) = call.response.as_ref().and_then(Response::body_size) {
            object.put("http.response.body.size", &size);
        }
        if let Some(duration) = call.duration_seconds() {
            object.put("duration", &duration);
        }
        self.own(call, &mut object);
        object.close();
    }

    /// What OpenTelemetry has no name for.
    fn own(self, call: &Call, object: &mut Object<'_>) {
        object.put("apiscope.role", call.role.as_str());
        object.put("apiscope.both_ends", &call.both_ends);
        if let Some(peer) = &call.peer_process {
            object.put("apiscope.peer.process.pid", &peer.pid);
            object.put("apiscope.peer.process.executable.path", &peer.executable);
        }
        object.put("apiscope.complete", &call.complete());
        object.put("apiscope.lost_bytes", &call.missing.total());
        for (cause, bytes) in call.missing.iter() {
            object.put(&format!("apiscope.lost.{}", cause.as_str()), &bytes);
        }
        if let Some(tls) = &call.tls {
            let known = !tls.library.is_empty();
            if known {
                object.put("apiscope.tls.library", &*tls.library);
            }
            // In an archive there is nothing to bind.
            if known || tls.binding != Binding::None {
                object.put("apiscope.binding", tls.binding.as_str());
                object.put("apiscope.binding.confidence", &tls.binding.confidence());
            }
        }
        object.put("apiscope.connection.id", &call.connection.id);
        self.body("request", &call.request.body, object);
        if let Some(response) = &call.response {
            self.body("response", &response.body, object);
        }
    }

    fn body(self, message: &str, body: &Body, object: &mut Object<'_>) {
        if body.state != BodyState::Complete {
            object.put(&format!("apiscope.{message}.body.state"), &body.state);
        } else if self.body_hash {
            let mut text = String::with_capacity(64);
            for byte in Sha256::digest(&body.bytes) {
                // Writing to a string does not fail.
                _ = write!(text, "{byte:02x}");
            }
            object.put(&format!("apiscope.{message}.body.sha256"), &text);
        }
    }
}

fn request(call: &Call, object: &mut Object<'_>) {
    let notes = call.request.notes;
    let method = &*call.request.method;
    if METHODS.contains(&method) {
        object.put("http.request.method", method);
    } else if !notes.contains(Notes::METHOD_UNKNOWN) {
        object.put("http.request.method", "_OTHER");
        object.put("http.request.method_original", cut(method, 32));
    }
    object.put("url.scheme", if call.tls.is_some() { "https" } else { "http" });
    if !notes.contains(Notes::PATH_UNKNOWN) {
        object.put("url.path", &*redact::path(call.request.path()));
    }
    if let Some(query) = call.request.query() {
        object.put("url.query", &redact::query(query));
    }
    unknown(call, object);
}

fn rpc(grpc: &Grpc<'_>, object: &mut Object<'_>) {
    object.put("rpc.system.name", "grpc");
    if let Some(method) = grpc.method {
        object.put("rpc.method", &*redact::path(method));
    }
    if let Some(code) = grpc.code {
        object.put("rpc.response.status_code", code.as_str());
    }
    for (message, messages) in [("request", grpc.request), ("response", grpc.response)] {
        let Some(messages) = messages else { continue };
        object.put(&format!("apiscope.rpc.{message}.messages"), &messages.count);
        object.put(&format!("apiscope.rpc.{message}.messages.size"), &messages.bytes);
        if messages.compressed > 0 {
            let compressed = messages.compressed;
            object.put(&format!("apiscope.rpc.{message}.messages.compressed"), &compressed);
        }
        // There may be more.
        if messages.cut {
            object.put(&format!("apiscope.rpc.{message}.messages.cut"), &true);
        }
    }
}

/// What is not known of a call, because it was told by reference to what its connection
/// carried before it was observed.
fn unknown(call: &Call, object: &mut Object<'_>) {
    const PARTS: [(Notes, &str); 4] = [
        (Notes::METHOD_UNKNOWN, "method"),
        (Notes::PATH_UNKNOWN, "path"),
        (Notes::STATUS_UNKNOWN, "status"),
        (Notes::FIELDS_UNKNOWN, "fields"),
    ];
    let response = call.response.as_ref().map_or(Notes::default(), |response| response.notes);
    let parts: SmallVec<[&str; PARTS.len()]> = PARTS
        .into_iter()
        .filter(|(note, _)| call.request.notes.contains(*note) || response.contains(*note))
        .map(|(_, name)| name)
        .collect();
    if !parts.is_empty() {
        object.put("apiscope.unknown", &*parts);
    }
}

fn network(call: &Call, object: &mut Object<'_>) {
    endpoint("server", call.server(), object);
    if !matches!(call.connection.ends, Ends::Unix { .. }) {
        endpoint("client", call.client(), object);
    }
    if let Some(transport) = call.connection.transport() {
        object.put("network.transport", transport);
    }
    if let Some(ip) = call.server().ip() {
        object.put("network.type", if ip.is_ipv4() { "ipv4" } else { "ipv6" });
    }
    object.put("network.protocol.name", "http");
    object.put("network.protocol.version", call.request.version.as_str());
    if let Some(tls) = &call.tls {
        handshake(&tls.handshake, object);
    }
}

fn handshake(handshake: &Handshake, object: &mut Object<'_>) {
    if let Some(version) = handshake.version {
        object.put("tls.protocol.version", version);
    }
    if let Some(suite) = handshake.cipher {
        object.put("tls.cipher", &*tls_cipher::text(suite));
    }
    if let Some(protocol) = &handshake.protocol {
        object.put("tls.next_protocol", &**protocol);
    }
    if let Some(name) = &handshake.server_name {
        object.put("tls.client.server_name", &**name);
    }
    if let Some(ja4) = &handshake.ja4 {
        object.put("apiscope.tls.client.ja4", &**ja4);
    }
    if let Some(certificate) = &handshake.certificate {
        if let Some(subject) = &certificate.subject {
            object.put("tls.server.subject", &**subject);
        }
        if let Some(issuer) = &certificate.issuer {
            object.put("tls.server.issuer", &**issuer);
        }
        for (name, seconds) in [
            ("tls.server.not_before", certificate.not_before),
            ("tls.server.not_after", certificate.not_after),
        ] {
            if let Ok(time) = jiff::Timestamp::from_second(seconds) {
                object.put(name, &time.to_string());
            }
        }
        if !certificate.names.is_empty() {
            object.put("apiscope.tls.server.names", &certificate.names);
        }
    }
}

fn endpoint(end: &str, at: Endpoint<'_>, object: &mut Object<'_>) {
    match at {
        // An archive does not say where the client was.
        Endpoint::Inet(address) if address.ip().is_unspecified() && address.port() == 0 => {}
        Endpoint::Inet(address) => {
            object.put(&format!("{end}.address"), &address.ip().to_string());
            object.put(&format!("{end}.port"), &address.port());
        }
        Endpoint::Unix(Some(path)) => object.put(&format!("{end}.address"), path),
        Endpoint::Unix(None) | Endpoint::Unknown => {}
    }
}

fn process(call: &Call, object: &mut Object<'_>) {
    let Some(process) = &call.process else { return };
    object.put("process.pid", &process.pid);
    if !process.executable.is_empty() {
        object.put("process.executable.path", &process.executable);
    }
    object.put("process.executable.name", &process.comm);
    if let Some(container) = &process.container_id {
        object.put("container.id", container);
    }
}

/// Time of day, RFC 3339 with nanoseconds, UTC.
pub fn rfc3339(time: Timestamp) -> Cow<'static, str> {
    let nanos = i128::from(time.0);
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or(Cow::Borrowed(""), |time| Cow::Owned(format!("{time:.9}")))
}

/// The longest prefix of whole characters within `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// A JSON object being written: flat, one line.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn put<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        // Writing to memory does not fail, and neither do these types.
        drop(serde_json::to_writer(&mut *self.out, key));
        self.out.push(b':');
        drop(serde_json::to_writer(&mut *self.out, value));
    }

    fn close(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::grpc::{Code, Messages};

    fn rpc_of(grpc: &Grpc<'_>) -> Value {
        let mut line = Vec::new();
        let mut object = Object::open(&mut line);
        rpc(grpc, &mut object);
        object.close();
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn what_is_not_known_of_grpc_is_absent_and_secrets_are_redacted() {
        let none = Grpc { method: None, code: None, request: None, response: None };
        assert_eq!(rpc_of(&none), json!({ "rpc.system.name": "grpc" }));
        let messages = Messages { count: 2, bytes: 30, compressed: 1, cut: true };
        let some = Grpc {
            method: Some("a.B/sk_live_51HxK2eZvKYlo2C0aBcDeFgH"),
            code: Some(Code::new(7)),
            request: Some(messages),
            response: Some(Messages::default()),
        };
        let value = rpc_of(&some);
        assert!(!value.to_string().contains("51HxK2eZ"), "{value}");
        assert_eq!(value["rpc.response.status_code"], "PERMISSION_DENIED");
        assert_eq!(value["apiscope.rpc.request.messages"], 2);
        assert_eq!(value["apiscope.rpc.request.messages.size"], 30);
        assert_eq!(value["apiscope.rpc.request.messages.compressed"], 1);
        assert_eq!(value["apiscope.rpc.request.messages.cut"], true);
        assert_eq!(value["apiscope.rpc.response.messages"], 0);
        assert_eq!(value.get("apiscope.rpc.response.messages.cut"), None);
    }
}
