//! Tests of the table of findings.

use super::*;
use crate::detect::rule::{BASIC_AUTH, JWT_ALG_NONE, SECRET_IN_URL};

const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

fn report<'a>(rule: &'static Rule, route: &'a str, at: u64) -> Report<'a> {
    Report {
        rule,
        place: Place { service: "shop", method: "GET", route },
        severity: rule.severity,
        confidence: 0.5,
        at: Timestamp(at),
        repetitive: false,
    }
}

fn fact(text: &str) -> impl FnOnce() -> Vec<String> {
    move || vec![text.to_owned()]
}

#[test]
fn a_finding_counts_its_calls_and_keeps_distinct_facts() {
    let mut table = Table::default();
    for number in 0..20 {
        table.report(&report(&BASIC_AUTH, "/a", 100 + number), fact(&format!("f{}", number / 2)));
    }
    table.report(&report(&BASIC_AUTH, "/a", 50), fact("f0"));
    let findings = table.sorted();
    assert_eq!(findings.len(), 1);
    let finding = findings[0];
    assert_eq!((finding.count, finding.first_seen.0, finding.last_seen.0), (21, 50, 119));
    assert_eq!(finding.evidence, ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"]);
}

#[test]
fn order_is_by_severity_then_time() {
    let mut table = Table::default();
    table.report(&report(&BASIC_AUTH, "/a", 1), Vec::new);
    table.report(&report(&SECRET_IN_URL, "/b", 3), Vec::new);
    table.report(&report(&SECRET_IN_URL, "/c", 2), Vec::new);
    table.report(&report(&JWT_ALG_NONE, "/d", 4), Vec::new);
    let routes: Vec<_> = table.sorted().iter().map(|finding| finding.route.clone()).collect();
    assert_eq!(routes, ["/d", "/c", "/b", "/a"]);
}

#[test]
fn changes_are_told_once_and_new_ones_as_new() {
    let mut table = Table::default();
    table.report(&report(&BASIC_AUTH, "/a", 1), Vec::new);
    table.report(&report(&BASIC_AUTH, "/a", 2), Vec::new);
    let changes = table.take_changes();
    assert_eq!(changes.iter().map(|(f, new)| (f.count, *new)).collect::<Vec<_>>(), [(2, true)]);
    assert!(table.take_changes().is_empty());
    table.report(&report(&BASIC_AUTH, "/a", 3), Vec::new);
    let changes = table.take_changes();
    assert_eq!(changes.iter().map(|(f, new)| (f.count, *new)).collect::<Vec<_>>(), [(3, false)]);
}

#[test]
fn what_was_restored_goes_on_under_its_id() {
    let mut first = Table::default();
    let secret = format!("/verify/{JWT}");
    first.report(&report(&BASIC_AUTH, "/a", 1), fact("x"));
    first.report(&report(&BASIC_AUTH, &secret, 1), fact("x"));
    let stored: Vec<Finding> = first.sorted().into_iter().cloned().collect();

    let mut second = Table::default();
    stored.iter().cloned().for_each(|finding| second.restore(finding));
    assert!(second.take_changes().is_empty());
    second.report(&report(&BASIC_AUTH, "/a", 9), fact("x"));
    second.report(&report(&BASIC_AUTH, &secret, 9), fact("x"));
    let changes = second.take_changes();
    assert_eq!(changes.len(), 2);
    for (finding, new) in changes {
        let old = stored.iter().find(|old| old.id == finding.id).unwrap();
        assert_eq!((finding.count, finding.first_seen, new), (2, old.first_seen, false));
        assert_eq!(finding.evidence, ["x"]);
    }
}

#[test]
fn ids_are_the_same_in_every_run() {
    let place = Place { service: "shop", method: "GET", route: "/users/{userId}" };
    assert_eq!(id("basic-auth", place), "ba1a9e25cef497e8");
    let moved = Place { service: "shopG", method: "ET", ..place };
    assert_ne!(id("basic-auth", place), id("basic-auth", moved));
}

#[test]
fn the_table_is_bounded_and_severe_findings_find_room() {
    let mut table = Table::default();
    for number in 0..100_000_u64 {
        let route = format!("/r{number}");
        table.report(&report(&BASIC_AUTH, &route, number), Vec::new);
    }
    assert_eq!((table.entries.len(), table.dropped()), (FINDINGS_MAX, 100_000 - 4096));
    assert_eq!(table.take_changes().len(), FINDINGS_MAX);
    for number in 0..FINDINGS_MAX + 10 {
        table.report(&report(&JWT_ALG_NONE, &format!("/r{number}"), 1), Vec::new);
    }
    assert_eq!(table.entries.len(), FINDINGS_MAX);
    assert!(table.sorted().iter().all(|finding| finding.severity == Severity::Critical));
    assert_eq!(table.dirty.len(), FINDINGS_MAX);
}

#[test]
fn a_worse_call_raises_the_finding() {
    let mut table = Table::default();
    let mut call = report(&BASIC_AUTH, "/a", 1);
    table.report(&call, Vec::new);
    call.severity = Severity::High;
    table.report(&call, Vec::new);
    call.severity = Severity::Info;
    table.report(&call, Vec::new);
    assert_eq!(table.sorted()[0].severity, Severity::High);
    assert_eq!(table.severities.get(&Severity::Low), Some(&0));
}

#[test]
fn repeated_facts_are_asked_for_rarely() {
    let mut table = Table::default();
    let mut call = report(&BASIC_AUTH, "/a", 1);
    call.repetitive = true;
    let mut asked = 0;
    for _ in 0..640 {
        table.report(&call, || {
            asked += 1;
            vec!["same".to_owned()]
        });
    }
    assert_eq!(asked, 32 + 10);
}
