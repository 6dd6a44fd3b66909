//! HTTP Archive (HAR 1.2) files, as browsers and proxies save them, as calls.
//!
//! A file says what a client saw, decoded: messages of HTTP/2 and later come out
//! as HTTP/1.1 with the same meaning, and no process is known.

use std::{
    collections::HashMap,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    call::{Binding, Call, Connection, Ends, Missing, Role, Times, Timestamp, Tls},
    http::{Body, BodyState, Headers, Notes, Request, Response, Version},
};

/// Longest file that is read.
const FILE_MAX: u64 = 512 * 1024 * 1024;

/// Header fields of one message that are kept.
const FIELDS_MAX: usize = 256;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum HarError {
    /// The system says no.
    #[error("read the archive")]
    Io(#[from] io::Error),
    /// The file is longer than files may be.
    #[error("the archive is longer than {FILE_MAX} bytes")]
    TooLong,
    /// Not an archive.
    #[error("not an HTTP archive")]
    Format(#[from] serde_json::Error),
}

/// What a file held.
#[derive(Debug, Default)]
pub struct Archive {
    /// Calls, in the order of the file.
    pub calls: Vec<Call>,
    /// Entries that say too little to be a call: no method, no URL or no time.
    pub skipped: u64,
}

#[derive(Deserialize)]
struct File {
    log: Log,
}

#[derive(Deserialize)]
struct Log {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    started_date_time: String,
    time: Option<f64>,
    request: Sent,
    response: Option<Received>,
    #[serde(rename = "serverIPAddress")]
    server_ip_address: Option<String>,
    connection: Option<String>,
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Timings {
    send: Option<f64>,
    receive: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(default)]
    method: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Pair>,
    post_data: Option<Content>,
    body_size: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    #[serde(default)]
    status: i64,
    #[serde(default)]
    http_version: String,
    #[serde(default)]
    headers: Vec<Pair>,
    content: Option<Content>,
    body_size: Option<i64>,
}

#[derive(Deserialize)]
struct Content {
    text: Option<String>,
    encoding: Option<String>,
    size: Option<i64>,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

/// Reads a whole archive. Ids of calls are left zero.
pub fn read(input: impl Read) -> Result<Archive, HarError> {
    let mut text = Vec::new();
    input.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(HarError::TooLong);
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let file: File = serde_json::from_slice(text)?;

    let mut archive = Archive::default();
    let mut connections = HashMap::new();
    for entry in file.log.entries {
        let next = connections.len() as u64 + 1;
        let id = match &entry.connection {
            Some(name) if !name.is_empty() => {
                *connections.entry((name.clone(), entry.server_ip_address.clone())).or_insert(next)
            }
            _ => 0,
        };
        match call(entry, id) {
            Some(call) => archive.calls.push(call),
            None => archive.skipped += 1,
        }
    }
    Ok(archive)
}

fn call(entry: Entry, connection: u64) -> Option<Call> {
    let start = start(&entry.started_date_time)?;
    let (scheme, rest) = entry.request.url.split_once("://")?;
    let tls = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss");
    let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(split)?;
    // What the client sent has no fragment, and a path.
    let path = path.split('#').next().unwrap_or_default();
    let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = entry.request.method.as_str();
    if method.is_empty() || authority.is_empty() {
        return None;
    }

    let mut headers = entry.request.headers;
    if !headers.iter().any(|field| field.name.eq_ignore_ascii_case("host")) {
        headers.insert(0, Pair { name: "host".into(), value: authority.to_owned() });
    }
    let request = Request {
        method: method.into(),
        target: target.into(),
        version: version(&entry.request.http_version),
        headers: fields(&headers),
        body: body(entry.request.post_data, entry.request.body_size),
        ended: true,
        notes: Notes::default(),
    };
    let response = entry.response.and_then(response);
    let whole = entry.time.or(Some(0.0));
    let send = entry.timings.as_ref().and_then(|timings| timings.send);
    let receive = entry.timings.as_ref().and_then(|timings| timings.receive);
    let response_end = after(start, whole);
    let times = Times {
        request_start: start,
        request_end: after(start, send).min(response_end),
        response_start: response.is_some().then(|| {
            Timestamp(response_end.0.saturating_sub(after(Timestamp(0), receive).0)).max(start)
        }),
        response_end: response.is_some().then_some(response_end),
    };
    Some(Call {
        id: 0,
        role: Role::Client,
        both_ends: false,
        times,
        request,
        response,
        process: None,
        peer_process: None,
        connection: Connection {
            id: connection,
            ends: ends(entry.server_ip_address.as_deref(), authority, tls),
        },
        tls: tls.then(|| Tls {
            library: Arc::from(""),
            handshake: Arc::default(),
            binding: Binding::None,
        }),
        missing: Missing::default(),
    })
}

/// The client's own address is in no archive: it is the unspecified one.
fn ends(server: Option<&str>, authority: &str, tls: bool) -> Ends {
    let address = server.map(|text| text.trim_start_matches('[').trim_end_matches(']'));
    let Some(ip) = address.and_then(|text| text.parse::<IpAddr>().ok()) else {
        return Ends::Unknown;
    };
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let unspecified = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Ends::Tcp {
        local: SocketAddr::new(unspecified, 0),
        remote: SocketAddr::new(ip, port.unwrap_or(if tls { 443 } else { 80 })),
    }
}

/// Status 0 is how browsers write that there was none.
fn response(received: Received) -> Option<Response> {
    let status = u16::try_from(received.status).ok().filter(|status| (100..1000).contains(status));
    Some(Response {
        status: status?,
        version: version(&received.http_version),
        headers: fields(&received.headers),
        trailers: Headers::default(),
        body: body(received.content, received.body_size),
        ended: true,
        notes: Notes::default(),
    })
}

fn body(text: Option<Content>, wire_size: Option<i64>) -> Body {
    let size = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok());
    let Some(content) = text else {
        let size = size(wire_size).unwrap_or(0);
        let state = if size == 0 { BodyState::Complete } else { BodyState::Truncated };
        return Body { size, state, ..Body::default() };
    };
    let decoded = match (content.text, content.encoding.as_deref()) {
        (Some(text), Some("base64")) => STANDARD.decode(text.trim()).ok(),
        (Some(text), _) => Some(text.into_bytes()),
        (None, _) => None,
    };
    let content_size = size(content.size);
    let size = size(wire_size).or(content_size);
    match decoded {
        Some(bytes) => Body {
            size: size.unwrap_or(bytes.len() as u64),
            bytes: bytes.into(),
            ..Body::default()
        },
        None => Body {
            size: size.unwrap_or(0),
            state: if content_size.or(size).unwrap_or(0) == 0 {
                BodyState::Complete
            } else {
                BodyState::Truncated
            },
            ..Body::default()
        },
    }
}

/// Without the pseudo fields of HTTP/2, which are in the URL.
fn fields(pairs: &[Pair]) -> Headers {
    let real = pairs.iter().filter(|pair| !pair.name.starts_with(':') && !pair.name.is_empty());
    Headers::from_pairs(real.take(FIELDS_MAX).map(|pair| (pair.name.as_str(), pair.value.as_str())))
}

fn version(text: &str) -> Version {
    if text.eq_ignore_ascii_case("http/1.0") { Version::Http10 } else { Version::Http11 }
}

fn start(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

/// `start` and some milliseconds; HAR writes -1 for what does not apply.
fn after(start: Timestamp, millis: Option<f64>) -> Timestamp {
    let nanos = (millis.unwrap_or(0.0).max(0.0) * 1e6).min(1e18);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and 1e18"
    )]
    let nanos = nanos as u64;
    Timestamp(start.0.saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &str = r#"{"log":{"version":"1.2","entries":[
        {"startedDateTime":"2026-01-02T03:04:05.500+01:00","time":20.5,
         "request":{"method":"POST","url":"https://api.example.com:8443/orders?id=7#top",
           "httpVersion":"h2","headers":[{"name":":authority","value":"x"},{"name":"Accept","value":"*/*"}],
           "postData":{"mimeType":"application/json","text":"{\"a\":1}"},"bodySize":7},
         "response":{"status":201,"httpVersion":"h2","headers":[],
           "content":{"size":3,"text":"AAEC","encoding":"base64"},"bodySize":-1},
         "serverIPAddress":"[2001:db8::1]","connection":"4","timings":{"send":1,"wait":9.5,"receive":10}},
        {"startedDateTime":"2026-01-02T03:04:05Z","request":{"method":"GET","url":"http://a.example"},
         "response":{"status":0}},
        {"request":{"method":"GET","url":"data:text/plain,x"}}
    ]}}"#;

    #[test]
    fn entries_become_calls_of_a_client() {
        let archive = read(ARCHIVE.as_bytes()).unwrap();
        assert_eq!((archive.calls.len(), archive.skipped), (2, 1));
        let call = &archive.calls[0];
        assert_eq!((&*call.request.method, &*call.request.target), ("POST", "/orders?id=7"));
        assert_eq!(call.request.authority(), Some("api.example.com:8443"));
        assert_eq!(call.request.headers.len(), 2);
        assert_eq!(call.request.body.bytes, b"{\"a\":1}".as_slice());
        let response = call.response.as_ref().unwrap();
        assert_eq!((response.status, &response.body.bytes[..]), (201, &[0, 1, 2][..]));
        assert_eq!(call.server().to_string(), "[2001:db8::1]:8443");
        assert_eq!(call.times.request_start.0, 1_767_319_445_500_000_000);
        assert_eq!(call.duration_seconds(), Some(0.0205));
        assert!(call.tls.is_some() && call.complete());
    }

    #[test]
    fn what_the_file_does_not_say_stays_unknown() {
        let archive = read(ARCHIVE.as_bytes()).unwrap();
        let call = &archive.calls[1];
        assert_eq!(&*call.request.target, "/");
        assert_eq!(call.connection.ends, Ends::Unknown);
        assert!(call.response.is_none() && call.tls.is_none() && call.process.is_none());
    }

    #[test]
    fn every_prefix_of_an_archive_is_refused() {
        for len in 0..ARCHIVE.len() {
            assert!(read(&ARCHIVE.as_bytes()[..len]).is_err(), "at {len}");
        }
    }
}
