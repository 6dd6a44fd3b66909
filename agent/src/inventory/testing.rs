//! Calls for tests.

use crate::{
    call::{Call, Connection, Ends, Missing, Process, Role, Times, Timestamp},
    http::{Body, Headers, Notes, Request, Response, Version},
};

/// A call that nginx on port 8080 answered.
pub(crate) fn call(method: &str, target: &str, status: u16) -> Call {
    Call {
        id: 0,
        role: Role::Server,
        both_ends: false,
        times: Times {
            request_start: Timestamp(1_700_000_000_000_000_000),
            request_end: Timestamp(1_700_000_000_001_000_000),
            response_start: Some(Timestamp(1_700_000_000_002_000_000)),
            response_end: Some(Timestamp(1_700_000_000_003_000_000)),
        },
        request: Request {
            method: method.into(),
            target: target.into(),
            version: Version::Http11,
            headers: Headers::from_pairs([("Host", "shop.example")]),
            body: Body::default(),
            ended: true,
            notes: Notes::default(),
        },
        response: Some(Response {
            status,
            version: Version::Http11,
            headers: Headers::default(),
            trailers: Headers::default(),
            body: Body::default(),
            ended: true,
            notes: Notes::default(),
        }),
        process: Some(
            Process {
                pid: 1,
                start_ns: 1,
                comm: "nginx".into(),
                executable: "/usr/sbin/nginx".into(),
                container_id: None,
            }
            .into(),
        ),
        peer_process: None,
        connection: Connection {
            id: 1,
            ends: Ends::Tcp {
                local: "10.0.0.1:8080".parse().unwrap(),
                remote: "10.0.0.2:40000".parse().unwrap(),
            },
        },
        tls: None,
        missing: Missing::default(),
    }
}

/// Gives a call JSON bodies.
pub(crate) fn json(mut call: Call, request: &str, response: &str) -> Call {
    let body = |text: &str| Body {
        size: text.len() as u64,
        bytes: text.to_owned().into(),
        ..Body::default()
    };
    let headers = [("Host", "shop.example"), ("Content-Type", "application/json; charset=utf-8")];
    call.request.headers = Headers::from_pairs(headers);
    call.request.body = body(request);
    if let Some(message) = &mut call.response {
        message.headers = Headers::from_pairs(headers);
        message.body = body(response);
    }
    call
}

/// A call of gRPC that ended with a code.
pub(crate) fn grpc(path: &str, code: &str) -> Call {
    let mut call = call("POST", path, 200);
    call.request.version = Version::Http2;
    call.request.headers = Headers::from_pairs([("content-type", "application/grpc")]);
    if let Some(response) = &mut call.response {
        response.trailers = Headers::from_pairs([("grpc-status", code)]);
    }
    call
}
