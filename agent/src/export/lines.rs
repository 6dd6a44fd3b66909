//! Plain text: a line per call, and tables.

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    call::{Call, Timestamp},
    detect::Finding,
    grpc,
    inventory::{Endpoint, Service},
    pipeline::Observed,
    redact::{self, printable},
};

/// Longest path that a line shows.
const PATH_MAX: usize = 120;

/// Appends one line for a call.
pub fn call(observed: &Observed, out: &mut Vec<u8>) {
    let call = &observed.call;
    let key = &observed.observation.endpoint;
    let mut line = String::new();
    let mut status = call.status().map_or_else(|| "---".to_owned(), |status| status.to_string());
    // OK is what the status says already.
    if let Some(code) = grpc::error(call) {
        status.push(' ');
        status.push_str(code.as_str());
    }
    let duration = call.duration_seconds().map_or_else(|| "-".to_owned(), seconds);
    let mut path = redact::path(call.request.path()).into_owned();
    if let Some(query) = call.request.query() {
        path.push('?');
        path.push_str(&redact::query(query));
    }
    // Writing to a string does not fail.
    _ = write!(
        line,
        "{} {:6} {:7} {status} {duration:>8} {} {}",
        clock(call.times.request_start),
        call.role.as_str(),
        call.request.method,
        cut(&path, PATH_MAX),
        key.service,
    );
    peer(call, &mut line);
    if call.tls.is_some() {
        line.push_str(" tls");
    }
    if !call.complete() {
        let causes: Vec<_> = call.missing.iter().map(|(cause, _)| cause.as_str()).collect();
        let causes = if causes.is_empty() { "cut short".into() } else { causes.join(",") };
        _ = write!(line, " incomplete({causes})");
    }
    out.extend_from_slice(printable(&line).as_bytes());
    out.push(b'\n');
}

fn peer(call: &Call, line: &mut String) {
    let process = call.peer_process.as_ref().or(match call.role {
        crate::call::Role::Client => call.process.as_ref(),
        crate::call::Role::Server => None,
    });
    let result = match process {
        Some(process) => write!(line, " from {}[{}]", process.comm, process.pid),
        None => write!(line, " from {}", call.client()),
    };
    _ = result;
}

/// Services and their endpoints as a table.
pub fn inventory(services: &[Service], endpoints: &[Endpoint]) -> String {
    let rows = endpoints.iter().map(|endpoint| {
        let quantile = |q| endpoint.latency.quantile(q).map_or_else(|| "-".into(), seconds);
        let auth: Vec<_> = endpoint.auth.keys().map(|scheme| scheme.short_name()).collect();
        [
            endpoint.key.service.to_string(),
            endpoint.key.method.to_string(),
            endpoint.key.route.to_string(),
            endpoint.calls.to_string(),
            endpoint.errors().to_string(),
            quantile(0.5),
            quantile(0.95),
            auth.join(","),
            clock(endpoint.last_seen).into_owned(),
        ]
    });
    let titles =
        ["SERVICE", "METHOD", "ROUTE", "CALLS", "ERRORS", "P50", "P95", "AUTH", "LAST SEEN"];
    let mut text = table(titles, rows, &[3, 4, 5, 6]);
    _ = writeln!(text, "\n{} endpoints of {} services", endpoints.len(), services.len());
    text
}

/// Findings as blocks of text, most severe first.
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let place = if finding.route.is_empty() {
            finding.service.clone()
        } else {
            format!("{} {} {}", finding.service, finding.method, finding.route)
        };
        _ = writeln!(
            text,
            "{:8} {}  [{}]\n         {}\n         {}{}, seen {} times, last {}",
            finding.severity.as_str().to_uppercase(),
            printable(&finding.title),
            finding.rule,
            printable(&place),
            finding.owasp,
            finding.cwe.map(|number| format!(", CWE-{number}")).unwrap_or_default(),
            finding.count,
            clock(finding.last_seen),
        );
        for evidence in &finding.evidence {
            _ = writeln!(text, "         - {}", printable(evidence));
        }
        _ = writeln!(text, "         fix: {}\n", printable(&finding.remediation));
    }
    _ = writeln!(text, "{} findings", findings.len());
    text
}

/// Aligned columns; those named in `right` to the right.
fn table<const N: usize>(
    titles: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    right: &[usize],
) -> String {
    let rows: Vec<[String; N]> =
        rows.map(|row| row.map(|cell| cut(&printable(&cell), PATH_MAX).to_owned())).collect();
    let mut widths = titles.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let titles = titles.map(str::to_owned);
    for row in std::iter::once(&titles).chain(&rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let result = if right.contains(&column) {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:width$}  ")
            };
            _ = result;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Time of day, UTC, with milliseconds.
fn clock(time: Timestamp) -> Cow<'static, str> {
    let text = super::json::rfc3339(time);
    Cow::Owned(text.get(..23).unwrap_or(&text).replace('T', " "))
}

/// A duration with a unit that fits it.
fn seconds(seconds: f64) -> String {
    if seconds < 0.001 {
        format!("{:.0}us", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1}ms", seconds * 1e3)
    } else {
        format!("{seconds:.2}s")
    }
}

/// The longest prefix of whole characters within `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_hostile_text_is_escaped() {
        let rows =
            [["a".to_owned(), "10".to_owned()], ["\u{1b}[2Jlong".to_owned(), "7".to_owned()]];
        let text = table(["NAME", "N"], rows.into_iter(), &[1]);
        assert_eq!(text, "NAME            N\na              10\n\\u{1b}[2Jlong   7\n");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(seconds(0.000_25), "250us");
        assert_eq!(seconds(0.012), "12.0ms");
        assert_eq!(seconds(3.0), "3.00s");
    }
}
