//! Which rows of a snapshot a list shows, and in which order.

use std::cmp::Ordering;

use super::{
    model::{Id, List, Tab},
    snapshot::{CallRow, EndpointRow, Snapshot},
};
use crate::{
    call::{Role, Timestamp},
    detect::Finding,
};

/// One row of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    /// An endpoint.
    Endpoint(&'a EndpointRow),
    /// A call.
    Call(&'a CallRow),
    /// A finding.
    Finding(&'a Finding),
}

/// What a list may be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sort {
    /// Endpoints: calls per second.
    Rate,
    /// Endpoints: calls; findings: evidence.
    Count,
    /// Endpoints: share of answered calls with a 4xx or 5xx status.
    Errors,
    /// Endpoints: median duration.
    P50,
    /// Endpoints: 95th percentile.
    P95,
    /// Endpoints: 99th percentile.
    P99,
    /// Endpoints: request body bytes.
    BytesIn,
    /// Endpoints: response body bytes.
    BytesOut,
    /// Endpoints: calls of which bytes are missing.
    Incomplete,
    /// Endpoints and findings: latest call.
    Seen,
    /// Endpoints: service, route and method, ascending.
    Name,
    /// Calls: start.
    Time,
    /// Calls: duration.
    Duration,
    /// Calls: status code.
    Status,
    /// Findings: severity.
    Severity,
}

impl Sort {
    /// What a tab's list may be sorted by, in the order that the key goes through.
    pub(super) const fn of(tab: Tab) -> &'static [Self] {
        match tab {
            Tab::Endpoints => &[
                Self::Rate,
                Self::Count,
                Self::Errors,
                Self::P50,
                Self::P95,
                Self::P99,
                Self::BytesIn,
                Self::BytesOut,
                Self::Incomplete,
                Self::Seen,
                Self::Name,
            ],
            Tab::Calls => &[Self::Time, Self::Duration, Self::Status],
            Tab::Findings => &[Self::Severity, Self::Count, Self::Seen],
            Tab::Capture => &[],
        }
    }
}

impl Item<'_> {
    /// What stays the same of the row in later snapshots.
    pub(super) fn id(&self) -> Id {
        match self {
            Self::Endpoint(row) => Id::Endpoint(row.facts.key.clone()),
            Self::Call(row) => Id::Call(row.id),
            Self::Finding(finding) => Id::Finding(finding.id.clone()),
        }
    }

    /// Whether this is the row of `id`.
    pub(super) fn is(&self, id: &Id) -> bool {
        match (self, id) {
            (Self::Endpoint(row), Id::Endpoint(key)) => row.facts.key == *key,
            (Self::Call(row), Id::Call(id)) => row.id == *id,
            (Self::Finding(finding), Id::Finding(id)) => finding.id == *id,
            _ => false,
        }
    }

    /// What a filter is looked for in, in lower case.
    fn haystack(&self) -> String {
        let text = match self {
            Self::Endpoint(row) => {
                let key = &row.facts.key;
                format!("{} {} {} {}", key.service, key.method, key.route, row.facts.auth_text())
            }
            Self::Call(row) => {
                let status = row.status.map_or_else(|| "-".to_owned(), |code| code.to_string());
                let process = row.process.as_ref().map_or("", |(name, _)| name);
                format!(
                    "{} {} {} {status} {process} {} {}",
                    row.role.as_str(),
                    row.method,
                    row.path,
                    row.peer,
                    row.endpoint.service
                )
            }
            Self::Finding(finding) => format!(
                "{} {} {} {} {} {} {}",
                finding.severity.as_str(),
                finding.title,
                finding.rule,
                finding.service,
                finding.method,
                finding.route,
                finding.owasp
            ),
        };
        text.to_lowercase()
    }
}

/// All rows of a tab before its filter.
fn all(snapshot: &Snapshot, tab: Tab) -> Vec<Item<'_>> {
    match tab {
        Tab::Endpoints => snapshot.endpoints.iter().map(Item::Endpoint).collect(),
        Tab::Calls => snapshot.calls.iter().map(|row| Item::Call(row)).collect(),
        Tab::Findings => snapshot.findings.iter().map(|row| Item::Finding(row)).collect(),
        Tab::Capture => Vec::new(),
    }
}

/// Rows of a tab as its list shows them. Each word of the filter must be in a
/// row, whatever its case.
pub(super) fn rows<'a>(snapshot: &'a Snapshot, tab: Tab, list: &List) -> Vec<Item<'a>> {
    let mut items = all(snapshot, tab);
    let filter = list.filter.to_lowercase();
    let words = filter.split_whitespace().collect::<Vec<_>>();
    if !words.is_empty() {
        items.retain(|item| {
            let haystack = item.haystack();
            words.iter().all(|word| haystack.contains(word))
        });
    }
    if let Some(sort) = list.sort(tab) {
        items.sort_by(|a, b| {
            let order = compare(sort, a, b);
            let order = if list.reversed { order.reverse() } else { order };
            order.then_with(|| name(a, b))
        });
    }
    items
}

/// The order of two rows; the largest first, but for names.
fn compare(sort: Sort, a: &Item<'_>, b: &Item<'_>) -> Ordering {
    match (a, b) {
        (Item::Endpoint(a), Item::Endpoint(b)) => {
            let (x, y) = (&*a.facts, &*b.facts);
            match sort {
                Sort::Rate => descending(a.rate, b.rate),
                Sort::Errors => descending(x.error_share(), y.error_share()),
                Sort::P50 => descending(x.p50, y.p50),
                Sort::P95 => descending(x.p95, y.p95),
                Sort::P99 => descending(x.p99, y.p99),
                Sort::BytesIn => y.bytes_in.cmp(&x.bytes_in),
                Sort::BytesOut => y.bytes_out.cmp(&x.bytes_out),
                Sort::Incomplete => y.incomplete.cmp(&x.incomplete),
                Sort::Seen => y.last_seen.cmp(&x.last_seen),
                Sort::Name => x.key.cmp(&y.key),
                _ => y.calls.cmp(&x.calls),
            }
        }
        (Item::Call(a), Item::Call(b)) => match sort {
            Sort::Duration => descending(a.duration, b.duration),
            Sort::Status => b.status.cmp(&a.status),
            _ => b.time.cmp(&a.time),
        },
        (Item::Finding(a), Item::Finding(b)) => match sort {
            Sort::Count => b.count.cmp(&a.count),
            Sort::Seen => b.last_seen.cmp(&a.last_seen),
            _ => b.severity.cmp(&a.severity),
        },
        _ => Ordering::Equal,
    }
}

/// Keeps rows that compare equal in one place from one snapshot to the next.
fn name(a: &Item<'_>, b: &Item<'_>) -> Ordering {
    match (a, b) {
        (Item::Endpoint(a), Item::Endpoint(b)) => a.facts.key.cmp(&b.facts.key),
        (Item::Call(a), Item::Call(b)) => b.id.cmp(&a.id),
        (Item::Finding(a), Item::Finding(b)) => a.id.cmp(&b.id),
        _ => Ordering::Equal,
    }
}

/// Largest first; what is not known comes last.
fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Which end's name a call shows.
pub(super) const fn role_text(role: Role, both_ends: bool) -> &'static str {
    if both_ends { "both" } else { role.as_str() }
}

/// Seconds that have passed since `time`.
pub(super) fn age(snapshot: &Snapshot, time: Timestamp) -> f64 {
    snapshot.time.seconds_since(time)
}
