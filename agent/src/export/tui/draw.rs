//! Draws a model and a snapshot. Pure: the same two give the same screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::Style,
    text::{Line, Span},
};

use super::{
    capture, document,
    model::{Model, Tab},
    rows::{age, rows},
    snapshot::Snapshot,
    table, text,
    theme::Theme,
};
use crate::export::format;

/// Fills the frame.
pub fn draw(frame: &mut Frame<'_>, model: &Model, snapshot: &Snapshot, theme: Theme) {
    let [title, summary, tabs, content, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    line(frame, title, title_line(model, snapshot, theme, title.width));
    line(frame, summary, summary_line(snapshot, theme, summary.width));
    line(frame, tabs, tabs_line(model, snapshot, tabs.width));
    if model.shows_text() {
        page(frame, content, model, snapshot, theme);
    } else {
        list(frame, content, model, snapshot, theme);
    }
    line(frame, footer, footer_line(model, footer.width));
    if model.editing && footer.width > 0 {
        let typed = text::width(&model.list().filter).saturating_add(8);
        let column = u16::try_from(typed).unwrap_or(u16::MAX).min(footer.width - 1);
        frame.set_cursor_position((footer.x + column, footer.y));
    }
}

fn line(frame: &mut Frame<'_>, area: Rect, line: Line<'_>) {
    frame.render_widget(line, area);
}

fn title_line(model: &Model, snapshot: &Snapshot, theme: Theme, width: u16) -> Line<'static> {
    let run = &snapshot.run;
    let state = match (model.paused, model.ended) {
        (true, _) => " PAUSED",
        (false, true) => " ENDED",
        (false, false) => "",
    };
    let right = format!("{}{state}", format::elapsed(age(snapshot, run.started)));
    // The name, the space before the time, and the time.
    let taken = 11 + text::width(&right);
    let room = usize::from(width).saturating_sub(taken);
    let scope = if run.scope.is_empty() { "scope not known" } else { &run.scope };
    Line::from(vec![
        Span::styled("apiscope  ", theme.title()),
        Span::raw(text::pad(scope, room, false)),
        Span::raw(" "),
        Span::styled(right, if state.is_empty() { Theme::text() } else { theme.warn() }),
    ])
}

/// Facts of the run, as many as fit, the most important first.
fn summary_line(snapshot: &Snapshot, theme: Theme, width: u16) -> Line<'static> {
    let (run, traffic) = (&snapshot.run, &snapshot.traffic);
    let complete = traffic.calls.saturating_sub(traffic.incomplete);
    let loss = if traffic.incomplete > 0 { theme.warn() } else { Theme::text() };
    let failing = traffic.answered > 0 && traffic.errors > 0;
    let mut facts: Vec<(String, Style)> = vec![
        (format!("calls {}", format::count(traffic.calls)), Theme::text()),
        (format!("{}/s", format::rate(traffic.rate)), Theme::text()),
        (
            format!("errors {}", format::share(traffic.errors, traffic.answered)),
            if failing { theme.warn() } else { Theme::text() },
        ),
        (format!("complete {}", format::share(complete, traffic.calls)), loss),
    ];
    if !traffic.missing.is_empty() {
        facts.push((format!("lost {}", format::bytes(traffic.missing.total())), loss));
    }
    let mut agent = Vec::new();
    agent.extend(run.cpu_percent.map(|percent| format!("{percent:.1}% cpu")));
    agent.extend(run.resident_bytes.map(format::bytes));
    if !agent.is_empty() {
        facts.push((format!("agent {}", agent.join(" ")), Theme::text()));
    }
    if let Some(processes) = run.processes {
        facts.push((format!("processes {}", format::count(processes)), Theme::text()));
    }
    if let Some(connections) = run.connections {
        facts.push((format!("connections {}", format::count(connections)), Theme::text()));
    }
    if traffic.missing.iter().count() > 1 {
        for (cause, bytes) in traffic.missing.iter() {
            facts.push((format!("{} {}", cause.as_str(), format::bytes(bytes)), loss));
        }
    }
    let mut spans = Vec::new();
    let mut used = 0;
    for (fact, style) in facts {
        let gap = if used == 0 { "" } else { "  " };
        used += gap.len() + text::width(&fact);
        if used > usize::from(width) {
            break;
        }
        spans.push(Span::raw(gap));
        spans.push(Span::styled(fact, style));
    }
    Line::from(spans)
}

fn tabs_line(model: &Model, snapshot: &Snapshot, width: u16) -> Line<'static> {
    let count = |shown: usize, hidden: usize| {
        format!(" {}", format::count(shown.saturating_add(hidden) as u64))
    };
    let mut spans = Vec::new();
    let mut used = 0;
    for (number, tab) in (1..).zip(Tab::ALL) {
        let title = match tab {
            Tab::Endpoints => {
                let count = count(snapshot.endpoints.len(), snapshot.endpoints_hidden);
                format!(" {number} Endpoints{count} ")
            }
            Tab::Calls => format!(" {number} Calls "),
            Tab::Findings => {
                let count = count(snapshot.findings.len(), snapshot.findings_hidden);
                format!(" {number} Findings{count} ")
            }
            Tab::Capture => format!(" {number} Capture "),
        };
        let chosen = tab == model.tab;
        // Without modifiers the chosen tab must be told apart too.
        let title = if chosen { format!("[{}]", title.trim()) } else { title };
        used += text::width(&title);
        spans.push(Span::styled(title, if chosen { Theme::selected() } else { Theme::text() }));
    }
    let filter = &model.list().filter;
    let room = usize::from(width).saturating_sub(used + 2);
    if !filter.is_empty() && !model.editing && room > 12 {
        spans.push(Span::raw(format!("  {}", text::fit(&format!("filter: {filter}"), room))));
    }
    Line::from(spans)
}

fn footer_line(model: &Model, width: u16) -> Line<'static> {
    if model.editing {
        let room = usize::from(width).saturating_sub(9);
        return Line::raw(format!("filter: {}", tail(&model.list().filter, room)));
    }
    let keys = if model.help {
        "Esc back  Up/Down scroll  q quit"
    } else if model.detail.is_some() {
        "Esc back  Up/Down scroll  p pause  ? help  q quit"
    } else if model.tab == Tab::Capture {
        "Tab/1-4 view  Up/Down scroll  p pause  ? help  q quit"
    } else {
        "Tab/1-4 view  Enter detail  / filter  s/S sort  p pause  ? help  q quit"
    };
    Line::styled(text::fit(keys, usize::from(width)), Theme::dim())
}

/// The end of what was typed, for that is where the cursor is.
fn tail(typed: &str, columns: usize) -> String {
    let mut from = 0;
    while text::width(typed.get(from..).unwrap_or_default()) > columns {
        from += typed.get(from..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    }
    text::fit(typed.get(from..).unwrap_or_default(), columns)
}

fn page(frame: &mut Frame<'_>, area: Rect, model: &Model, snapshot: &Snapshot, theme: Theme) {
    let lines = document::lines(model, snapshot, usize::from(area.width), theme);
    let last = lines.len().saturating_sub(usize::from(area.height));
    let seen = lines.into_iter().skip(model.scroll.min(last));
    for (area, line) in area.rows().zip(seen) {
        frame.render_widget(line, area);
    }
}

fn list(frame: &mut Frame<'_>, area: Rect, model: &Model, snapshot: &Snapshot, theme: Theme) {
    let list = model.list();
    let items = rows(snapshot, model.tab, list);
    if items.is_empty() {
        empty(frame, area, model, snapshot, theme);
        return;
    }
    let hidden = match model.tab {
        Tab::Endpoints => snapshot.endpoints_hidden,
        Tab::Findings => snapshot.findings_hidden,
        Tab::Calls | Tab::Capture => 0,
    };
    let [area, note] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(u16::from(hidden > 0))])
            .areas(area);
    if hidden > 0 {
        let text = format!("{hidden} more are known and not shown here");
        line(frame, note, Line::styled(text::fit(&text, usize::from(note.width)), theme.warn()));
    }
    let sort = list.sort(model.tab).map(|sort| (sort, list.reversed));
    let selected = list.find(&items);
    table::draw(frame.buffer_mut(), area, snapshot, &items, selected, sort, theme);
}

/// Why a list is empty, and what to do about it.
fn empty(frame: &mut Frame<'_>, area: Rect, model: &Model, snapshot: &Snapshot, theme: Theme) {
    let mut texts = Vec::new();
    let unfiltered = match model.tab {
        Tab::Endpoints => snapshot.endpoints.len(),
        Tab::Findings => snapshot.findings.len(),
        Tab::Calls | Tab::Capture => snapshot.calls.len(),
    };
    if unfiltered > 0 {
        texts.push((
            "No row has all the words of the filter. Esc drops it.".to_owned(),
            theme.warn(),
        ));
    } else if model.tab == Tab::Findings && snapshot.traffic.calls > 0 {
        let text = "No finding yet. That none was found does not mean that there is none.";
        texts.push((text.to_owned(), Theme::text()));
    } else {
        texts.push(("Nothing seen yet.".to_owned(), Theme::text()));
        texts.extend(capture::hints(snapshot).into_iter().map(|hint| (hint, theme.warn())));
    }
    let mut areas = area.rows().skip(1);
    for (text, style) in texts {
        for text in text::wrap(&text, usize::from(area.width.saturating_sub(4))) {
            let Some(area) = areas.next() else { return };
            line(frame, area, Line::styled(format!("  {text}"), style));
        }
    }
}
