//! What holds for all detectors together.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    Detectors,
    testing::{observe, run},
};
use crate::{
    call::{Call, Ends, Timestamp},
    http::Headers,
    inventory::testing::{call, json},
};

const UNSIGNED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjMifQ.";

/// Values that no finding may show.
const SECRETS: [&str; 12] = [
    UNSIGNED,
    "alice@private.example",
    "4111111111111111",
    "5555 5555 5555 4444",
    "123-45-6789",
    "DE89370400440532013000",
    "+14155552671",
    WORD,
    "AKIAIOSFODNN7ABCDEFG",
    "ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2",
    "f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R",
    "YWxhZGRpbjpvcGVuc2VzYW1l",
];

/// A word, which nothing tells from a name but its place.
const WORD: &str = "hunter2-correct-horse";

/// Calls that have `secret` in every place that a secret can be in.
fn full_of(secret: &str, status: u16) -> Vec<Call> {
    let url = secret.replace(' ', "%20");
    // Routes are named by the inventory, and names show what does not look secret.
    let named = if secret == WORD { "a-word" } else { secret };
    let name = named.replace(' ', "%20");
    let target = format!("/reset/{name}/x;sid={url}?token={url}&q={url}&{name}=1");
    let body = format!(
        r#"{{"password":"{secret}","x":"{secret}","{named}":{{"email":"bob@example.org"}},
            "access_token":"{secret}","cards":["{secret}"],"trace":"
            Traceback (most recent call last): File \"{secret}\", line 1, {secret}"}}"#
    );
    let open = json(call("GET", "/open", status), "", &body);
    let linked = json(call("GET", &target, status), "", &body);
    let login = json(call("POST", "/login", status), &body, &body);
    let mut credentials = call("GET", &target, status);
    let bearer = format!("Bearer {secret}");
    let cookie = format!("{named}=1; session={secret}; {named}session={UNSIGNED}");
    credentials.request.headers = Headers::from_pairs([
        ("Host", "shop.example"),
        ("Cookie", &*cookie),
        ("X-Api-Key", secret),
        (named, UNSIGNED),
    ]);
    let mut authorization = credentials.clone();
    authorization.request.headers =
        Headers::from_pairs([("Host", "shop.example"), ("Authorization", &*bearer)]);
    vec![open, linked, login, credentials, authorization]
}

#[test]
fn no_value_is_in_a_finding() {
    for secret in SECRETS {
        for status in [200, 500] {
            let findings = run(full_of(secret, status));
            let rules: BTreeSet<_> = findings.iter().map(|finding| &*finding.rule).collect();
            assert!(rules.len() >= 4, "{rules:?}");
            assert_eq!(rules.contains("unauthenticated-sensitive-data"), status == 200);
            let text = serde_json::to_string(&findings).unwrap();
            for part in [secret, &secret.replace(' ', "%20"), "bob@example.org", UNSIGNED] {
                assert!(!text.contains(part), "{part} in {text}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_random_value_is_in_a_finding(secret in "[a-z]{4}[A-Z0-9]{3}[a-z0-9A-Z]{17}[0-9]") {
        let body = format!(r#"{{"password":"{secret}","n":["{secret}"]}}"#);
        let target = format!("/reset/{secret}?token={secret}&sid={secret}");
        let findings = run([json(call("POST", &target, 200), &body, &body)]);
        prop_assert!(!findings.is_empty());
        prop_assert!(!serde_json::to_string(&findings).unwrap().contains(&secret));
    }

    #[test]
    fn any_bytes_may_be_a_body(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        status in prop::sample::select(vec![200_u16, 404, 500]),
    ) {
        let mut call = call("POST", "/x", status);
        let response = call.response.as_mut().unwrap();
        response.body.bytes = [b"{\"".as_slice(), &bytes].concat().into();
        call.request.body.bytes = response.body.bytes.clone();
        run([call]);
    }

    #[test]
    fn any_text_may_be_a_head(target in "\\PC{0,80}", name in "\\PC{0,20}", value in "\\PC{0,80}") {
        let mut call = call("GET", &format!("/{target}"), 200);
        call.request.headers = Headers::from_pairs([
            ("Authorization", &*value), ("Cookie", &*value), (&*name, &*value),
        ]);
        run([call]);
    }
}

#[test]
fn a_body_may_be_cut_off_anywhere() {
    let calls: Vec<_> = SECRETS.iter().flat_map(|secret| full_of(secret, 500)).collect();
    for call in calls {
        let whole = call.response.as_ref().unwrap().body.bytes.clone();
        for len in (0..whole.len()).step_by(3) {
            let mut cut = call.clone();
            let response = cut.response.as_mut().unwrap();
            response.body.bytes = whole.slice(..len);
            response.status = if len % 2 == 0 { 200 } else { 500 };
            run([cut]);
        }
    }
}

#[test]
fn bodies_made_to_cost_time_do_not() {
    let hostile = [
        "[".repeat(1 << 20),
        r#"{"a":"#.repeat(1 << 18),
        r#""a@b.co","#.repeat(1 << 17),
        ".js:1:1 at ".repeat(1 << 17),
        format!("[{}", "\"4111111111111111\",".repeat(1 << 16)),
        "\\\"".repeat(1 << 19),
        format!("{{\"{}\":[{}", "k".repeat(30_000), "\"a@b.co\",".repeat(1 << 14)),
    ];
    for body in hostile {
        for status in [200, 500] {
            run([json(call("POST", "/x", status), &body, &body)]);
        }
    }
}

#[test]
fn places_and_clients_are_bounded() {
    let mut detectors = Detectors::default();
    let calls = (0..100_000_u32).map(|number| {
        let status = if number % 2 == 0 { 404 } else { 200 };
        let target = format!("/{}/x?token=abc", number % 5000);
        let mut call = call("GET", &target, status);
        let host = format!("h{}.example", number % 400);
        call.request.headers = Headers::from_pairs([("Host", &*host), ("X-Api-Key", "k")]);
        call.connection.ends = Ends::Tcp {
            local: "10.0.0.1:80".parse().unwrap(),
            remote: (std::net::Ipv4Addr::from_bits(0x0b00_0000 + number), 4000).into(),
        };
        call
    });
    observe(&mut detectors, calls);
    assert!(detectors.findings().len() <= super::table::FINDINGS_MAX);
    detectors.tick(Timestamp(u64::MAX));
}

#[test]
fn the_same_calls_give_the_same_findings() {
    let calls = || SECRETS.iter().flat_map(|secret| full_of(secret, 200));
    let (one, two) = (run(calls()), run(calls()));
    assert_eq!(one, two);
    let mut ids: Vec<_> = one.iter().map(|finding| &finding.id).collect();
    assert!(ids.iter().all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), one.len());
}

#[test]
fn a_restored_finding_counts_on() {
    let call = || call("GET", "/x?token=abc123", 200);
    let stored = run([call()]);
    let mut detectors = Detectors::default();
    detectors.restore(stored.clone());
    observe(&mut detectors, [call()]);
    let changes = detectors.take_changes();
    assert_eq!(changes.len(), stored.len());
    assert!(changes.iter().all(|(finding, new)| finding.count == 2 && !new));
}

#[test]
fn an_ordinary_call_finds_nothing() {
    let body = r#"{"id":42,"name":"Chair","price":9.99,"tags":["wood"],"next_page_token":"x"}"#;
    let calls = (0..200).map(|_| json(call("GET", "/products/42?page=2", 200), "", body));
    assert_eq!(run(calls), []);
}

#[test]
fn a_call_counts_once_whatever_it_shows() {
    let mut call = json(call("POST", "/x?token=abc&password=b", 200), r#"{"password":"c"}"#, "");
    let cookie = format!("session={UNSIGNED}");
    let authorization = format!("Bearer {UNSIGNED}");
    call.request.headers = Headers::from_pairs([
        ("Content-Type", "application/json"),
        ("Authorization", &*authorization),
        ("Cookie", &*cookie),
    ]);
    let findings = run([call]);
    assert_eq!(findings.len(), 3);
    for finding in findings {
        assert_eq!((finding.count, finding.evidence.len()), (1, 2), "{finding:?}");
    }
}
