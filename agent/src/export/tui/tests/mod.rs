//! Snapshots of a made-up shop, and what the view makes of them.

mod follow;
mod keys;
mod screens;

use std::sync::Arc;

use agent_common::counter::Counter;
use ratatui::{Terminal, backend::TestBackend};

use super::{
    BodyFacts, CallRow, EndpointFacts, EndpointRow, Model, Run, Snapshot, Tab, Theme, Traffic, draw,
};
use crate::{
    call::{Cause, Certificate, Handshake, Missing, Role, Timestamp},
    detect::{Finding, Severity},
    export::coverage::Gap,
    inventory::EndpointKey,
};

/// 08:00:00 UTC of some day.
const START: u64 = 1_800_000_000_000_000_000;

/// `seconds` after the start of the run.
fn at(seconds: u64) -> Timestamp {
    Timestamp(START + seconds * 1_000_000_000)
}

fn key(service: &str, method: &str, route: &str) -> EndpointKey {
    EndpointKey { service: service.into(), route: route.into(), method: method.into() }
}

fn endpoint(key: EndpointKey, calls: u64, rate: f64, statuses: &[(u16, u64)]) -> EndpointRow {
    let sum = |from: u16| {
        statuses.iter().filter(|&&(status, _)| status >= from).map(|&(_, calls)| calls).sum()
    };
    let scale = calls as f64 / 1e5;
    EndpointRow {
        facts: Arc::new(EndpointFacts {
            key,
            first_seen: at(1),
            last_seen: at(750 - calls % 90),
            calls,
            incomplete: calls / 1000,
            unanswered: 2,
            answered: sum(0),
            errors: sum(400),
            statuses: statuses.to_vec(),
            grpc_codes: Vec::new(),
            p50: Some(scale),
            p95: Some(scale * 3.0),
            p99: Some(scale * 20.0),
            mean: Some(scale * 1.5),
            bytes_in: calls * 120,
            bytes_out: calls * 2345,
            auth: vec![("none", calls / 10), ("jwt", calls - calls / 10)],
            query_parameters: vec![("page".into(), calls / 2), ("sort".into(), 3)],
            bodies: vec![
                BodyFacts {
                    status: None,
                    media_type: "application/json".into(),
                    schema: vec!["object".into(), "  items: array".into(), "    integer".into()],
                },
                BodyFacts { status: Some(200), media_type: "text/html".into(), schema: vec![] },
            ],
        }),
        rate: Some(rate),
        tls: calls / 2,
        plain: calls % 2,
    }
}

fn handshake() -> Arc<Handshake> {
    Arc::new(Handshake {
        version: Some("1.2"),
        cipher: Some(0xc030),
        protocol: Some("http/1.1".into()),
        server_name: Some("orders.example".into()),
        ja4: Some("t13d3111h2_e8f1e7e78f70_1f22a2ca17c4".into()),
        certificate: Some(Arc::new(Certificate {
            subject: Some("O=Example, CN=orders.example".into()),
            issuer: Some("CN=Example CA".into()),
            names: ["orders.example".into()].into(),
            not_before: 1_767_225_600,
            not_after: 1_798_761_600,
        })),
    })
}

fn call(id: u64, method: &str, path: &str, status: Option<u16>) -> Arc<CallRow> {
    let mut missing = Missing::default();
    if id == 3 {
        missing.add(Cause::Budget, 70_000);
    }
    Arc::new(CallRow {
        id,
        time: Timestamp(at(740 + id).0 + 123_000_000),
        role: if id.is_multiple_of(2) { Role::Client } else { Role::Server },
        both_ends: id == 3,
        method: method.into(),
        path: path.into(),
        endpoint: key("orders:8080", method, path),
        status,
        duration: status.map(|status| f64::from(status) / 1e4),
        bytes_in: Some(0),
        bytes_out: Some(5120),
        process: Some(("orders".into(), 4711)),
        peer_process: (id == 3).then(|| ("gateway".into(), 815)),
        peer: "192.0.2.7:50123".into(),
        tls: (id == 2).then(|| "libssl.so.3".into()),
        binding: if id == 2 { "socket certain".into() } else { String::new() },
        handshake: if id == 2 { handshake() } else { Arc::default() },
        missing,
    })
}

fn finding(id: &str, severity: Severity, title: &str, count: u64) -> Arc<Finding> {
    Arc::new(Finding {
        id: id.into(),
        rule: "basic-auth".into(),
        title: title.into(),
        severity,
        confidence: 0.9,
        owasp: "API2:2023".into(),
        cwe: Some(522),
        service: "orders:8080".into(),
        method: "GET".into(),
        route: "/orders/{orderId}".into(),
        first_seen: at(10),
        last_seen: at(700),
        count,
        evidence: vec!["Authorization: Basic on 12 calls".into(), "no TLS on port 8080".into()],
        description: "Credentials can be read by whoever sees the traffic between client and \
                      server, and used again for as long as they are valid."
            .into(),
        remediation: "Serve the API over TLS only, and replace passwords by short-lived tokens."
            .into(),
    })
}

/// A run in which something has happened.
fn shop() -> Snapshot {
    let mut missing = Missing::default();
    missing.add(Cause::Budget, 70_000);
    missing.add(Cause::Transport, 1_500_000);
    let mut counters = vec![0; Counter::COUNT as usize];
    for (counter, value) in [
        (Counter::BYTES, 123_456_789),
        (Counter::CONNECTIONS, 321),
        (Counter::IN_SCOPE, 9000),
        (Counter::TLS_CALLS, 4321),
        (Counter::LOST_FULL, 12),
        (Counter::LOST_FULL_EGRESS, 1_500_000),
        (Counter::IGNORED, 4),
    ] {
        counters[counter.0 as usize] = value;
    }
    Snapshot {
        time: at(754),
        run: Run {
            scope: "pid 4711 and its children".into(),
            started: at(0),
            processes: Some(7),
            connections: Some(321),
            cpu_percent: Some(1.24),
            resident_bytes: Some(34 << 20),
            counters,
            libraries: vec!["libssl.so.3".into()],
            shed: vec![(
                "/usr/bin/imports in 0123456789ab".to_owned(),
                crate::run::budget::detail(crate::shed::Detail::Heads),
            )],
            gaps: vec![Gap {
                program: "/opt/shop/courier".into(),
                why: "TLS not readable: no known TLS library".into(),
                connections: 12,
                bytes: "34.0 KiB in and 5.60 KiB out".into(),
                server_names: vec!["parcels.example".into()],
            }],
        },
        traffic: Traffic {
            calls: 138_003,
            rate: 185.4,
            answered: 138_001,
            errors: 1234,
            incomplete: 3,
            missing,
            tls: 69_000,
            last_call: Some(at(753)),
            untracked: 0,
        },
        endpoints: vec![
            endpoint(
                key("orders:8080", "GET", "/orders/{orderId}"),
                120_345,
                150.0,
                &[(200, 120_000), (304, 43), (404, 300)],
            ),
            endpoint(
                key("orders:8080", "POST", "/orders"),
                17_000,
                35.15,
                &[(201, 16_100), (422, 800), (500, 100)],
            ),
            endpoint(
                key(
                    "users:unix:/run/users.sock",
                    "GET",
                    "/users/{userId}/addresses/{addressId}/history",
                ),
                651,
                0.25,
                &[(200, 651)],
            ),
            endpoint(
                key("日本語サービス:9000", "DELETE", "/商品/{商品Id}/レビュー/{id}"),
                7,
                0.0,
                &[(204, 3), (503, 4)],
            ),
        ],
        endpoints_hidden: 0,
        findings: vec![
            finding("f1", Severity::Critical, "Passwords in clear text", 12),
            finding("f2", Severity::Medium, "No authentication on a route that changes data", 1234),
            finding("f3", Severity::Info, "New endpoint", 1),
        ],
        findings_hidden: 0,
        calls: vec![
            call(4, "GET", "/orders/77", None),
            call(3, "POST", "/orders", Some(500)),
            call(2, "GET", "/orders/76", Some(404)),
            call(1, "GET", "/orders/75", Some(200)),
        ],
    }
}

/// A run in which nothing has happened.
fn quiet() -> Snapshot {
    Snapshot {
        time: at(5),
        run: Run {
            scope: "pid 4711".into(),
            started: at(0),
            processes: Some(1),
            connections: Some(0),
            counters: vec![0; Counter::COUNT as usize],
            ..Run::default()
        },
        ..Snapshot::default()
    }
}

fn on(tab: Tab, size: (u16, u16)) -> Model {
    Model { tab, size, ..Model::default() }
}

/// The screen as text, without spaces at the ends of lines.
fn screen(model: &Model, snapshot: &Snapshot) -> String {
    let (width, height) = model.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, snapshot, Theme::PLAIN)).unwrap();
    let mut text = String::new();
    // The backend's own text has each line in quotes, and leaves out the cells
    // that wide characters cover.
    for line in terminal.backend().to_string().lines() {
        let line = line.split(" Hidden by multi-width").next().unwrap();
        text.push_str(line.trim_start_matches('"').trim_end_matches('"').trim_end());
        text.push('\n');
    }
    text
}
