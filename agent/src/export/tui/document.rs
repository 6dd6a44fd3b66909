//! Texts that are longer than a screen may be: details of one row, and help.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

use super::{
    capture,
    model::{Id, Model, Tab},
    rows::{age, role_text},
    snapshot::{CallRow, EndpointFacts, EndpointRow, Snapshot},
    table, text,
    theme::Theme,
};
use crate::{
    call::{Certificate, Handshake},
    detect::Finding,
    export::format,
    flow::tls_cipher,
};

/// Columns of the labels on the left.
const LABEL: usize = 18;

/// Lines shown of one schema.
const SCHEMA_LINES_MAX: usize = 200;

const HELP: &[(&str, &str)] = &[
    ("1 2 3 4  Tab", "choose a view"),
    ("Up Down  k j", "move"),
    ("PgUp PgDn", "move by a page"),
    ("Home End  g G", "go to the first row, to the last"),
    ("Enter", "show all that is known of the row"),
    ("Esc", "back; or drop the filter"),
    ("/", "filter: rows that have all the words; Enter keeps it, Esc drops it"),
    ("s  S", "sort by the next column; turn the order around"),
    ("p", "pause what is shown; the capture goes on"),
    ("?", "this text"),
    ("q  Ctrl-C", "quit"),
];

const COLUMNS: &[(&str, &str)] = &[
    ("CALLS", "calls since the endpoint was first seen, of earlier runs too if state is kept"),
    ("RATE", "calls per second over the last 10 seconds; ? when too many endpoints are active"),
    ("ERR", "share of answered calls with a 4xx or 5xx status"),
    ("P50 P95 P99", "time from first byte of the request to last of the response, within 1 %"),
    ("IN OUT", "body bytes of requests and of responses, before content decoding"),
    ("INC", "calls of which some bytes were not captured"),
    ("TLS", "whether the calls of this run came over TLS"),
];

/// A text in the making.
pub(super) struct Page {
    width: usize,
    theme: Theme,
    lines: Vec<Line<'static>>,
}

impl Page {
    fn new(width: usize, theme: Theme) -> Self {
        Self { width, theme, lines: Vec::new() }
    }

    /// How things look.
    pub(super) const fn theme(&self) -> Theme {
        self.theme
    }

    /// Starts a section.
    pub(super) fn head(&mut self, title: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        self.lines.push(Line::styled(text::fit(title, self.width), Theme::head()));
    }

    /// A label and what it labels, over as many lines as it takes.
    pub(super) fn fact(&mut self, label: &str, value: &str, style: Style) {
        let label_width = LABEL.min(self.width / 3);
        let value_width = self.width.saturating_sub(label_width + 3);
        for (position, line) in text::wrap(value, value_width).into_iter().enumerate() {
            let label = if position == 0 { label } else { "" };
            let label = format!("  {} ", text::pad(label, label_width, false));
            self.lines.push(Line::from(vec![
                Span::styled(label, Theme::dim()),
                Span::styled(line, style),
            ]));
        }
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, text: &str, style: Style) {
        for line in text::wrap(text, self.width.saturating_sub(2)) {
            self.lines.push(Line::styled(format!("  {line}"), style));
        }
    }

    /// An item of an enumeration.
    pub(super) fn item(&mut self, text: &str, style: Style) {
        let lines = text::wrap(text, self.width.saturating_sub(4));
        for (position, line) in lines.into_iter().enumerate() {
            let mark = if position == 0 { "- " } else { "  " };
            self.lines.push(Line::styled(format!("  {mark}{line}"), style));
        }
    }

    /// A line as it is, its indentation kept.
    fn verbatim(&mut self, text: &str) {
        let line = text::fit(text, self.width.saturating_sub(4));
        self.lines.push(Line::raw(format!("    {line}")));
    }
}

/// The text that is shown, in lines of at most `width` columns.
pub(super) fn lines(
    model: &Model,
    snapshot: &Snapshot,
    width: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    let mut page = Page::new(width, theme);
    match &model.detail {
        _ if model.help => help(&mut page),
        None if model.tab == Tab::Capture => capture::write(&mut page, snapshot),
        None => {}
        Some(Id::Endpoint(key)) => {
            match snapshot.endpoints.iter().find(|row| row.facts.key == *key) {
                Some(row) => endpoint(&mut page, row, snapshot),
                None => gone(&mut page, "The endpoint is no longer among those shown."),
            }
        }
        Some(Id::Call(id)) => match snapshot.calls.iter().find(|row| row.id == *id) {
            Some(row) => call(&mut page, row),
            None => gone(&mut page, "The call is no longer among the latest, which are kept."),
        },
        Some(Id::Finding(id)) => match snapshot.findings.iter().find(|row| row.id == *id) {
            Some(row) => finding(&mut page, row, snapshot),
            None => gone(&mut page, "The finding is no longer among those shown."),
        },
    }
    page.lines
}

fn gone(page: &mut Page, text: &str) {
    page.paragraph(text, page.theme.warn());
}

fn help(page: &mut Page) {
    page.head("Keys");
    for (keys, text) in HELP {
        page.fact(keys, text, Theme::text());
    }
    page.head("Columns of endpoints");
    for (column, text) in COLUMNS {
        page.fact(column, text, Theme::text());
    }
}

fn endpoint(page: &mut Page, row: &EndpointRow, snapshot: &Snapshot) {
    let (facts, theme) = (&*row.facts, page.theme);
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), format::duration);
    page.head(&format!("{} {}", facts.key.method, facts.key.route));
    page.fact("service", &facts.key.service, Theme::text());
    let seen = format!(
        "first {} ago, latest {} ago",
        format::ago(age(snapshot, facts.first_seen)),
        format::ago(age(snapshot, facts.last_seen))
    );
    page.fact("seen", &seen, Theme::text());
    let rate = row
        .rate
        .map_or_else(|| "not tracked".to_owned(), |rate| format!("{}/s", format::rate(rate)));
    page.fact("calls", &format!("{}, now {rate}", facts.calls), Theme::text());
    let style = if facts.incomplete > 0 { theme.warn() } else { Theme::text() };
    let incomplete =
        format!("{} ({})", facts.incomplete, format::share(facts.incomplete, facts.calls));
    page.fact("incomplete", &incomplete, style);
    page.fact("no response seen", &facts.unanswered.to_string(), Theme::text());
    let latency = format!(
        "p50 {}, p95 {}, p99 {}, mean {}",
        seconds(facts.p50),
        seconds(facts.p95),
        seconds(facts.p99),
        seconds(facts.mean)
    );
    page.fact("latency", &latency, Theme::text());
    let bytes = format!(
        "requests {}, responses {}",
        format::bytes(facts.bytes_in),
        format::bytes(facts.bytes_out)
    );
    page.fact("body bytes", &bytes, Theme::text());
    let tls = match (row.tls, row.plain) {
        (0, 0) => "no call in this run".to_owned(),
        (tls, plain) => format!("{tls} of {} calls in this run", tls + plain),
    };
    page.fact("TLS", &tls, Theme::text());

    page.head("Statuses");
    if facts.statuses.is_empty() {
        page.paragraph("No response was seen yet.", Theme::dim());
    }
    for &(status, calls) in &facts.statuses {
        let text = format!("{calls} ({})", format::share(calls, facts.answered));
        page.fact(&status.to_string(), &text, theme.status(Some(status)));
    }
    if !facts.grpc_codes.is_empty() {
        page.head("Codes of gRPC");
    }
    for &(code, calls) in &facts.grpc_codes {
        let text = format!("{calls} ({})", format::share(calls, facts.answered));
        let style = theme.status(Some(if code.is_error() { 500 } else { 200 }));
        page.fact(code.as_str(), &text, style);
    }
    page.head("Authentication");
    counted(page, facts.auth.iter().map(|&(name, calls)| (name, calls)), facts);
    page.head("Query parameters");
    let parameters = facts.query_parameters.iter();
    counted(page, parameters.map(|(name, calls)| (name.as_str(), *calls)), facts);
    bodies(page, facts);
}

/// Names with the share of calls that had them.
fn counted(
    page: &mut Page,
    names: impl Iterator<Item = (impl AsRef<str>, u64)>,
    facts: &EndpointFacts,
) {
    let before = page.lines.len();
    for (name, calls) in names {
        let text = format!("{calls} ({})", format::share(calls, facts.calls));
        page.fact(name.as_ref(), &text, Theme::text());
    }
    if page.lines.len() == before {
        page.paragraph("None was seen.", Theme::dim());
    }
}

fn bodies(page: &mut Page, facts: &EndpointFacts) {
    page.head("Bodies");
    if facts.bodies.is_empty() {
        page.paragraph("No body was learned from.", Theme::dim());
    }
    for body in &facts.bodies {
        let title = match body.status {
            None => format!("request, {}", body.media_type),
            Some(status) => format!("response {status}, {}", body.media_type),
        };
        page.item(&title, Theme::text());
        for line in body.schema.iter().take(SCHEMA_LINES_MAX) {
            page.verbatim(line);
        }
        let rest = body.schema.len().saturating_sub(SCHEMA_LINES_MAX);
        if rest > 0 {
            page.verbatim(&format!("… {rest} more lines"));
        }
    }
}

fn call(page: &mut Page, row: &CallRow) {
    let theme = page.theme;
    let process = |process: &Option<(std::sync::Arc<str>, u32)>, unknown: &str| {
        process
            .as_ref()
            .map_or_else(|| unknown.to_owned(), |(name, pid)| format!("{name}, pid {pid}"))
    };
    page.head(&format!("{} {}", row.method, row.path));
    let endpoint = &row.endpoint;
    let counted = format!("{} {} of {}", endpoint.method, endpoint.route, endpoint.service);
    page.fact("endpoint", &counted, Theme::text());
    page.fact("started", &format!("{} UTC", format::clock(row.time)), Theme::text());
    let status = row.status.map_or_else(|| "no response seen".to_owned(), |code| code.to_string());
    page.fact("status", &status, theme.status(row.status));
    let duration = row.duration.map_or_else(|| "-".to_owned(), format::duration);
    page.fact("duration", &duration, Theme::text());
    let unknown = || "unknown".to_owned();
    let bytes = format!(
        "request {}, response {}",
        row.bytes_in.map_or_else(unknown, format::bytes),
        row.bytes_out.map_or_else(unknown, format::bytes)
    );
    page.fact("body bytes", &bytes, Theme::text());
    page.fact("seen from", role_text(row.role, row.both_ends), Theme::text());
    page.fact("process", &process(&row.process, "not known"), Theme::text());
    page.fact("peer address", &row.peer, Theme::text());
    page.fact("peer process", &process(&row.peer_process, "not observed"), Theme::text());
    match &row.tls {
        Some(library) => {
            page.fact("TLS", &format!("{library}, {}", row.binding), Theme::text());
        }
        None => page.fact("TLS", "no", Theme::text()),
    }
    handshake(page, &row.handshake);
    if row.missing.is_empty() {
        page.fact("not captured", "nothing", theme.good());
    }
    for (cause, bytes) in row.missing.iter() {
        let text = format!("{}: {}", format::bytes(bytes), capture::cause(cause));
        page.fact("not captured", &text, theme.warn());
    }
}

fn handshake(page: &mut Page, handshake: &Handshake) {
    let Handshake { version, cipher, protocol, server_name, ja4, certificate } = handshake;
    let cipher = cipher.map(tls_cipher::text);
    let certificate = certificate.as_deref();
    let ends = certificate.and_then(|it| jiff::Timestamp::from_second(it.not_after).ok());
    let ends = ends.map(|time| time.to_string());
    let facts = [
        ("TLS version", *version),
        ("cipher suite", cipher.as_deref()),
        ("ALPN", protocol.as_deref()),
        ("server name", server_name.as_deref()),
        ("client JA4", ja4.as_deref()),
        ("certificate of", certificate.and_then(|it| it.subject.as_deref().or(first_name(it)))),
        ("issued by", certificate.and_then(|it| it.issuer.as_deref())),
        ("valid until", ends.as_deref()),
    ];
    for (name, text) in facts {
        if let Some(text) = text {
            page.fact(name, text, Theme::text());
        }
    }
}

/// The first host that a certificate is for.
fn first_name(certificate: &Certificate) -> Option<&str> {
    certificate.names.first().map(|name| &**name)
}

fn finding(page: &mut Page, row: &Finding, snapshot: &Snapshot) {
    let style = page.theme.severity(row.severity);
    page.head(&row.title);
    page.fact("severity", row.severity.as_str(), style);
    page.fact("confidence", &format!("{:.0}%", row.confidence * 100.0), Theme::text());
    page.fact("where", &table::place(row), Theme::text());
    let count = format!(
        "{}, first {} ago, latest {} ago",
        row.count,
        format::ago(age(snapshot, row.first_seen)),
        format::ago(age(snapshot, row.last_seen))
    );
    page.fact("calls", &count, Theme::text());
    page.fact("rule", &row.rule, Theme::text());
    page.fact("OWASP", &row.owasp, Theme::text());
    if let Some(cwe) = row.cwe {
        page.fact("CWE", &format!("CWE-{cwe}"), Theme::text());
    }
    page.fact("id", &row.id, Theme::dim());
    page.head("Evidence");
    if row.evidence.is_empty() {
        page.paragraph("None is kept.", Theme::dim());
    }
    for evidence in &row.evidence {
        page.item(evidence, Theme::text());
    }
    page.head("What it means");
    page.paragraph(&row.description, Theme::text());
    page.head("How to fix it");
    page.paragraph(&row.remediation, Theme::text());
}
