//! Tables that keep to the width there is: columns of least importance go first.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    rows::{Item, Sort, age, role_text},
    snapshot::{CallRow, EndpointRow, Snapshot},
    text,
    theme::Theme,
};
use crate::{detect::Finding, export::format};

/// Columns that text of any length is given at least.
const FLEXIBLE_MIN: u16 = 16;

/// A column.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    /// Width; 0 shares what is left.
    width: u16,
    right: bool,
    /// When there is not room for all, those with the highest number go first.
    rank: u8,
    sort: Option<Sort>,
    cell: Cell,
}

/// What a column shows of a row.
#[derive(Clone, Copy)]
enum Cell {
    Endpoint(fn(&EndpointRow, &Snapshot, Theme) -> (String, Style)),
    Call(fn(&CallRow, &Snapshot, Theme) -> (String, Style)),
    Finding(fn(&Finding, &Snapshot, Theme) -> (String, Style)),
}

/// A column of text on the left side.
const fn left(title: &'static str, width: u16, rank: u8, cell: Cell) -> Column {
    Column { title, width, right: false, rank, sort: None, cell }
}

/// A column of numbers on the right side.
const fn number(title: &'static str, width: u16, rank: u8, sort: Sort, cell: Cell) -> Column {
    Column { title, width, right: true, rank, sort: Some(sort), cell }
}

/// The same column, with the sort order that it shows.
const fn sorted(column: Column, sort: Sort) -> Column {
    Column { sort: Some(sort), ..column }
}

fn plain(text: impl Into<String>) -> (String, Style) {
    (text.into(), Theme::text())
}

fn seconds(value: Option<f64>) -> (String, Style) {
    plain(value.map_or_else(|| "-".to_owned(), format::duration))
}

const ENDPOINTS: &[Column] = &[
    sorted(
        left("SERVICE", 16, 2, Cell::Endpoint(|row, _, _| plain(&*row.facts.key.service))),
        Sort::Name,
    ),
    left("METHOD", 7, 0, Cell::Endpoint(|row, _, _| plain(&*row.facts.key.method))),
    left("ROUTE", 0, 0, Cell::Endpoint(|row, _, _| plain(&*row.facts.key.route))),
    number(
        "CALLS",
        6,
        0,
        Sort::Count,
        Cell::Endpoint(|row, _, _| plain(format::count(row.facts.calls))),
    ),
    number(
        "RATE",
        6,
        0,
        Sort::Rate,
        Cell::Endpoint(|row, _, _| match row.rate {
            Some(0.0) => ("0".to_owned(), Theme::dim()),
            Some(rate) => plain(format::rate(rate)),
            None => ("?".to_owned(), Theme::dim()),
        }),
    ),
    number(
        "ERR",
        6,
        0,
        Sort::Errors,
        Cell::Endpoint(|row, _, theme| {
            let facts = &row.facts;
            (format::share(facts.errors, facts.answered), theme.errors(facts.error_share()))
        }),
    ),
    number("P50", 6, 4, Sort::P50, Cell::Endpoint(|row, _, _| seconds(row.facts.p50))),
    number("P95", 6, 1, Sort::P95, Cell::Endpoint(|row, _, _| seconds(row.facts.p95))),
    number("P99", 6, 3, Sort::P99, Cell::Endpoint(|row, _, _| seconds(row.facts.p99))),
    number(
        "IN",
        6,
        8,
        Sort::BytesIn,
        Cell::Endpoint(|row, _, _| plain(format::bytes_short(row.facts.bytes_in))),
    ),
    number(
        "OUT",
        6,
        7,
        Sort::BytesOut,
        Cell::Endpoint(|row, _, _| plain(format::bytes_short(row.facts.bytes_out))),
    ),
    left("AUTH", 9, 6, Cell::Endpoint(|row, _, _| plain(row.facts.auth_text()))),
    left("TLS", 4, 9, Cell::Endpoint(|row, _, _| plain(row.tls_text()))),
    number(
        "INC",
        5,
        10,
        Sort::Incomplete,
        Cell::Endpoint(|row, _, theme| {
            let style = if row.facts.incomplete > 0 { theme.warn() } else { Theme::dim() };
            (format::count(row.facts.incomplete), style)
        }),
    ),
    number(
        "SEEN",
        5,
        5,
        Sort::Seen,
        Cell::Endpoint(|row, snapshot, _| plain(format::ago(age(snapshot, row.facts.last_seen)))),
    ),
];

const CALLS: &[Column] = &[
    sorted(
        left("TIME (UTC)", 12, 0, Cell::Call(|row, _, _| (format::clock(row.time), Theme::dim()))),
        Sort::Time,
    ),
    left("ROLE", 6, 3, Cell::Call(|row, _, _| plain(role_text(row.role, row.both_ends)))),
    left("METHOD", 7, 0, Cell::Call(|row, _, _| plain(&*row.method))),
    left("PATH", 0, 0, Cell::Call(|row, _, _| plain(&*row.path))),
    number(
        "STATUS",
        7,
        0,
        Sort::Status,
        Cell::Call(|row, _, theme| {
            let text = row.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            (text, theme.status(row.status))
        }),
    ),
    number("TIME", 7, 0, Sort::Duration, Cell::Call(|row, _, _| seconds(row.duration))),
    left(
        "PROCESS",
        15,
        1,
        Cell::Call(|row, _, _| {
            plain(
                row.process
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |(name, pid)| format!("{name} {pid}")),
            )
        }),
    ),
    left(
        "PEER",
        21,
        2,
        Cell::Call(|row, _, _| {
            plain(match &row.peer_process {
                Some((name, pid)) => format!("{name} {pid}"),
                None => row.peer.clone(),
            })
        }),
    ),
    left("TLS", 14, 4, Cell::Call(|row, _, _| plain(row.tls.as_deref().unwrap_or("-")))),
];

const FINDINGS: &[Column] = &[
    sorted(
        left(
            "SEVERITY",
            10,
            0,
            Cell::Finding(|row, _, theme| {
                (row.severity.as_str().to_owned(), theme.severity(row.severity))
            }),
        ),
        Sort::Severity,
    ),
    left("TITLE", 0, 0, Cell::Finding(|row, _, _| plain(&*row.title))),
    left("WHERE", 0, 0, Cell::Finding(|row, _, _| plain(place(row)))),
    left("OWASP", 10, 3, Cell::Finding(|row, _, _| plain(&*row.owasp))),
    number("COUNT", 7, 1, Sort::Count, Cell::Finding(|row, _, _| plain(format::count(row.count)))),
    number(
        "SEEN",
        6,
        2,
        Sort::Seen,
        Cell::Finding(|row, snapshot, _| plain(format::ago(age(snapshot, row.last_seen)))),
    ),
];

/// Where a finding is, in one line.
pub(super) fn place(finding: &Finding) -> String {
    [&finding.method, &finding.route, &finding.service]
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The columns that fit into `width`, each with its own width. The column that
/// rows are sorted by stays for longest.
fn layout(
    columns: &'static [Column],
    width: u16,
    sort: Option<Sort>,
) -> Vec<(&'static Column, u16)> {
    let needs = |column: &Column| if column.width == 0 { FLEXIBLE_MIN } else { column.width };
    let rank = |column: &Column| {
        if sort.is_some() && column.sort == sort { 0 } else { column.rank }
    };
    let mut kept = columns.iter().collect::<Vec<_>>();
    loop {
        let spaces = u16::try_from(kept.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let need = kept.iter().map(|column| needs(column)).sum::<u16>().saturating_add(spaces);
        let last = kept.iter().map(|column| rank(column)).max().unwrap_or(0);
        if need <= width || last == 0 {
            let flexible = kept.iter().filter(|column| column.width == 0).count();
            let fixed = kept.iter().map(|column| column.width).sum::<u16>().saturating_add(spaces);
            let room = width.saturating_sub(fixed);
            let each = room / u16::try_from(flexible.max(1)).unwrap_or(1);
            let mut extra = room - each * u16::try_from(flexible).unwrap_or(0);
            return kept
                .into_iter()
                .map(|column| match column.width {
                    0 => (column, each + std::mem::take(&mut extra)),
                    width => (column, width),
                })
                .collect();
        }
        if let Some(position) = kept.iter().position(|column| rank(column) == last) {
            kept.remove(position);
        }
    }
}

/// Draws the heads of columns, and below them the rows around the chosen one.
pub(super) fn draw(
    buffer: &mut Buffer,
    area: Rect,
    snapshot: &Snapshot,
    items: &[Item<'_>],
    selected: usize,
    sort: Option<(Sort, bool)>,
    theme: Theme,
) {
    let columns = match items.first() {
        Some(Item::Endpoint(_)) => ENDPOINTS,
        Some(Item::Call(_)) => CALLS,
        Some(Item::Finding(_)) => FINDINGS,
        None => return,
    };
    let columns = layout(columns, area.width, sort.map(|(sort, _)| sort));
    let mut areas = area.rows();
    if let Some(area) = areas.next() {
        buffer.set_line(area.x, area.y, &heads(&columns, sort), area.width);
    }
    let seen = usize::from(area.height.saturating_sub(1));
    let first = first_seen(selected, items.len(), seen);
    let shown = items.iter().enumerate().skip(first);
    for (area, (position, item)) in areas.zip(shown) {
        let chosen = position == selected;
        let line = row(&columns, item, snapshot, theme, chosen);
        buffer.set_line(area.x, area.y, &line, area.width);
        if chosen {
            buffer.set_style(area, Theme::selected());
        }
    }
}

/// First of `count` rows that is seen when `seen` of them are, so that the chosen
/// one is in the middle where that is possible.
fn first_seen(selected: usize, count: usize, seen: usize) -> usize {
    selected.saturating_sub(seen / 2).min(count.saturating_sub(seen))
}

fn heads(columns: &[(&Column, u16)], sort: Option<(Sort, bool)>) -> Line<'static> {
    let mut text = String::new();
    for (column, width) in columns {
        let title = match sort {
            Some((sort, reversed)) if column.sort == Some(sort) => {
                // Names ascend where all else descends.
                let down = (sort == Sort::Name) == reversed;
                format!("{}{}", column.title, if down { "▼" } else { "▲" })
            }
            _ => column.title.to_owned(),
        };
        text.push_str(&text::pad(&title, usize::from(*width), column.right));
        text.push(' ');
    }
    Line::styled(text, Theme::head())
}

fn row(
    columns: &[(&Column, u16)],
    item: &Item<'_>,
    snapshot: &Snapshot,
    theme: Theme,
    chosen: bool,
) -> Line<'static> {
    let mut spans = Vec::with_capacity(columns.len());
    for (column, width) in columns {
        let (content, style) = match (column.cell, item) {
            (Cell::Endpoint(cell), Item::Endpoint(row)) => cell(row, snapshot, theme),
            (Cell::Call(cell), Item::Call(row)) => cell(row, snapshot, theme),
            (Cell::Finding(cell), Item::Finding(row)) => cell(row, snapshot, theme),
            _ => plain(""),
        };
        let mut content = text::pad(&content, usize::from(*width), column.right);
        content.push(' ');
        // Colours on the reversed row are hard to read.
        let style = if chosen { Theme::text() } else { style };
        spans.push(Span::styled(content, style));
    }
    Line::from(spans)
}
