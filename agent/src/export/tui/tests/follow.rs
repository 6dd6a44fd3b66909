use std::sync::Arc;

use bytes::Bytes;

use super::{super::View, Run, at, key};
use crate::{
    call::{Call, Cause, Connection, Ends, Missing, Process, Role, Times, Timestamp},
    detect::{Finding, Severity},
    grpc::Code,
    http::{Body, Headers, Notes, Request, Response, Version},
    inventory::{
        Endpoint, EndpointKey, Inventory, Limits, Observation, auth::AuthScheme, endpoint::Latency,
        schema::Schema, testing::grpc,
    },
    pipeline::Observed,
};

fn observed(id: u64, second: u64, path: &str, status: Option<u16>, lost: u64) -> Observed {
    let mut missing = Missing::default();
    missing.add(Cause::Transport, lost);
    let start = at(second);
    let end = Timestamp(start.0 + 20_000_000);
    let call = Call {
        id,
        role: Role::Server,
        both_ends: false,
        times: Times {
            request_start: start,
            request_end: start,
            response_start: status.map(|_| end),
            response_end: status.map(|_| end),
        },
        request: Request {
            method: "GET".into(),
            target: path.into(),
            version: Version::Http11,
            headers: Headers::default(),
            body: Body::default(),
            ended: true,
            notes: Notes::default(),
        },
        response: status.map(|status| Response {
            status,
            version: Version::Http11,
            headers: Headers::default(),
            trailers: Headers::default(),
            body: Body { size: 5, bytes: Bytes::from_static(b"hello"), ..Body::default() },
            ended: true,
            notes: Notes::default(),
        }),
        process: Some(Arc::new(Process {
            pid: 7,
            start_ns: 1,
            comm: "orders".into(),
            executable: String::new(),
            container_id: None,
        })),
        peer_process: None,
        connection: Connection {
            id: 1,
            ends: Ends::Tcp {
                local: "127.0.0.1:8080".parse().unwrap(),
                remote: "192.0.2.7:50000".parse().unwrap(),
            },
        },
        tls: None,
        missing,
    };
    let endpoint = EndpointKey { route: path.into(), ..key("orders:8080", "GET", "") };
    Observed { call: Arc::new(call), observation: Observation { endpoint, new_endpoint: false } }
}

fn view() -> View {
    View::new(|_| vec!["schema".to_owned()])
}

fn run() -> Run {
    Run { started: at(0), ..Run::default() }
}

#[test]
fn totals_are_of_all_calls() {
    let mut view = view();
    view.calls(&observed(1, 1, "/a", Some(200), 0));
    view.calls(&observed(2, 2, "/a", Some(404), 100));
    view.calls(&observed(3, 3, "/a", Some(500), 0));
    view.calls(&observed(4, 4, "/a", None, 50));
    let inventory = Inventory::new(Limits::default());
    let traffic = view.snapshot(&run(), &inventory, &[], at(8)).traffic;
    assert_eq!((traffic.calls, traffic.answered, traffic.errors), (4, 3, 2));
    assert_eq!((traffic.incomplete, traffic.missing.total(), traffic.tls), (2, 150, 0));
    assert!((traffic.rate - 0.5).abs() < 1e-9, "{}", traffic.rate);
    assert_eq!(traffic.last_call, Some(at(4)));
}

#[test]
fn only_the_latest_calls_are_kept_newest_first() {
    let mut view = view();
    let inventory = Inventory::new(Limits::default());
    for id in 0..150 {
        view.calls(&observed(id, id, &format!("/orders/{id}"), Some(200), 0));
    }
    let before = view.snapshot(&run(), &inventory, &[], at(500)).calls;
    for id in 150..301 {
        view.calls(&observed(id, id, &format!("/orders/{id}"), Some(200), 0));
    }
    let after = view.snapshot(&run(), &inventory, &[], at(500)).calls;
    assert_eq!(
        after.iter().map(|row| row.id).collect::<Vec<_>>(),
        (101..301).rev().collect::<Vec<_>>()
    );
    // A row that was made before is shared, not made again.
    assert!(Arc::ptr_eq(&before[0], &after[151]));
    let row = &after[0];
    assert_eq!((&*row.method, &*row.path, row.status), ("GET", "/orders/300", Some(200)));
    assert_eq!(row.peer, "192.0.2.7:50000");
    assert_eq!(row.process, Some(("orders".into(), 7)));
    assert_eq!(row.bytes_out, Some(5));
    for id in 1000..2000 {
        view.calls(&observed(id, id, "/", None, 0));
    }
    assert_eq!(view.snapshot(&run(), &inventory, &[], at(5000)).calls.len(), 200);
}

#[test]
fn a_long_path_is_cut_between_segments() {
    let mut view = view();
    let words = "orders/".repeat(72);
    let path = format!("/{words}secret-{}", "x".repeat(400));
    view.calls(&observed(1, 1, &path, Some(200), 0));
    view.calls(&observed(2, 2, &format!("/{}", "é".repeat(100_000)), Some(200), 0));
    let inventory = Inventory::new(Limits::default());
    let calls = view.snapshot(&run(), &inventory, &[], at(8)).calls;
    assert_eq!(calls[0].path, "/…");
    assert_eq!(calls[1].path, format!("/{words}…"));
}

#[test]
fn rates_are_tracked_for_a_bounded_number_of_endpoints() {
    let mut view = view();
    for id in 0..10_005 {
        view.calls(&observed(id, 1, &format!("/{id}"), Some(200), 0));
    }
    let inventory = Inventory::new(Limits::default());
    assert_eq!(view.snapshot(&run(), &inventory, &[], at(2)).traffic.untracked, 5);
    // Idle ones make room.
    view.calls(&observed(10_005, 60, "/later", Some(200), 0));
    let traffic = view.snapshot(&run(), &inventory, &[], at(61)).traffic;
    assert_eq!((traffic.calls, traffic.untracked), (10_006, 5));
}

#[test]
fn findings_without_new_evidence_are_shared() {
    let mut view = view();
    let inventory = Inventory::new(Limits::default());
    let mut finding = Finding::clone(&super::finding("f1", Severity::High, "title", 1));
    let first = view.snapshot(&run(), &inventory, &[&finding], at(1)).findings;
    let second = view.snapshot(&run(), &inventory, &[&finding], at(2)).findings;
    assert!(Arc::ptr_eq(&first[0], &second[0]));
    finding.count = 2;
    let third = view.snapshot(&run(), &inventory, &[&finding], at(3)).findings;
    assert_eq!((first[0].count, third[0].count), (1, 2));
    let many =
        (0..1005).map(|id| Finding { id: id.to_string(), ..finding.clone() }).collect::<Vec<_>>();
    let many = many.iter().collect::<Vec<_>>();
    let snapshot = view.snapshot(&run(), &inventory, &many, at(4));
    assert_eq!((snapshot.findings.len(), snapshot.findings_hidden), (1000, 5));
}

fn known(route: &str, seen: u64) -> Endpoint {
    let mut latency = Latency::default();
    for hundredth in 1..=100 {
        latency.add(f64::from(hundredth) / 100.0);
    }
    Endpoint {
        key: EndpointKey { route: route.into(), ..key("orders:8080", "GET", "") },
        first_seen: at(1),
        last_seen: at(seen),
        calls: 12,
        incomplete: 1,
        unanswered: 2,
        statuses: [(200, 6), (404, 3), (500, 1)].into(),
        grpc_codes: [].into(),
        latency,
        request_bytes: 10,
        response_bytes: 20,
        auth: [(AuthScheme::None, 2), (AuthScheme::Jwt, 10)].into(),
        credentials: [].into(),
        path_parameters: Vec::new(),
        query_parameters: [("page".to_owned(), 4)].into(),
        request_schemas: [("application/json".to_owned(), Schema::default())].into(),
        response_schemas: [(200, [("text/plain".to_owned(), Schema::default())].into())].into(),
    }
}

#[test]
fn facts_of_an_endpoint_come_from_the_inventory() {
    let mut view = view();
    for id in 0..20 {
        view.calls(&observed(id, id / 2, "/a", Some(200), 0));
    }
    let (rows, hidden) = view.endpoints(&run(), vec![&known("/a", 9), &known("/b", 3)], at(10));
    let [a, b] = &*rows else { panic!("{rows:?}") };
    assert_eq!((a.rate, a.plain, a.tls_text(), hidden), (Some(2.0), 20, "no", 0));
    assert_eq!((b.rate, b.tls_text()), (Some(0.0), "-"));
    let facts = &a.facts;
    assert_eq!((facts.calls, facts.answered, facts.errors), (12, 10, 4));
    assert_eq!((facts.error_share(), facts.auth_text()), (Some(0.4), "jwt+none".to_owned()));
    let p95 = facts.p95.unwrap();
    assert!((0.93..0.97).contains(&p95), "{p95}");
    let bodies = facts
        .bodies
        .iter()
        .map(|body| (body.status, &*body.media_type, body.schema.len()))
        .collect::<Vec<_>>();
    assert_eq!(bodies, [(None, "application/json", 1), (Some(200), "text/plain", 1)]);
}

#[test]
fn calls_of_grpc_that_failed_are_errors() {
    let mut view = view();
    for (id, code) in [(1, "0"), (2, "5")] {
        let call = Arc::new(grpc("/a.B/C", code));
        view.calls(&Observed { call, ..observed(id, 1, "/a.B/C", Some(200), 0) });
    }
    let mut endpoint = known("/a.B/C", 9);
    endpoint.grpc_codes = [(Code::new(0), 4), (Code::new(5), 2)].into();
    let (rows, _) = view.endpoints(&run(), vec![&endpoint], at(10));
    let facts = &rows[0].facts;
    // With those of HTTP.
    assert_eq!(facts.errors, 4 + 2);
    assert_eq!(facts.grpc_codes, [(Code::new(0), 4), (Code::new(5), 2)]);
    let snapshot = view.snapshot(&run(), &Inventory::new(Limits::default()), &[], at(10));
    assert_eq!((snapshot.traffic.answered, snapshot.traffic.errors), (2, 1));
}

#[test]
fn facts_are_made_anew_only_after_new_calls() {
    let mut view = view();
    let mut endpoint = known("/a", 1);
    let first = view.endpoints(&run(), vec![&endpoint], at(1)).0.remove(0);
    let second = view.endpoints(&run(), vec![&endpoint], at(2)).0.remove(0);
    assert!(Arc::ptr_eq(&first.facts, &second.facts));
    endpoint.calls += 1;
    let third = view.endpoints(&run(), vec![&endpoint], at(3)).0.remove(0);
    assert_eq!((first.facts.calls, third.facts.calls), (12, 13));
}

#[test]
fn endpoints_used_last_are_shown_when_there_are_too_many() {
    let mut view = view();
    let many = (0..5003).map(|seen| known(&format!("/{seen}"), seen)).collect::<Vec<_>>();
    let (rows, hidden) = view.endpoints(&run(), many.iter().collect(), at(6000));
    assert_eq!((rows.len(), hidden), (5000, 3));
    assert!(rows.iter().all(|row| row.facts.last_seen >= at(3)));
}
