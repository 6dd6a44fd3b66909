//! The coverage ledger for people: what of which program was not read, and why.
//!
//! Names of programs and servers come from strangers: all text here is printable.

use std::{cmp::Reverse, fmt::Write as _, sync::Arc};

use serde::{Deserialize, Serialize};

use super::format;
use crate::{
    flow::coverage::{Coverage, Fate, News, Program, Reason, Row},
    redact::printable,
};

/// Longest name of a program or a server that is shown, characters.
const NAME_MAX: usize = 120;

/// Characters of a reason that are shown.
const REASON_MAX: usize = 300;

/// Characters of a container id that are shown, as docker does.
const CONTAINER_LEN: usize = 12;

/// Lines of a summary.
const LINES_MAX: usize = 20;

/// Connections of one program that have one fate, which is not to be decoded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The program.
    pub program: String,
    /// What the connections are, and why they are not read.
    pub why: String,
    /// Connections.
    pub connections: u64,
    /// Their bytes, in words.
    pub bytes: String,
    /// Servers that they went to, as far as that is known.
    pub server_names: Vec<String>,
}

/// What was not decoded, the most connections first.
pub fn gaps(coverage: &Coverage) -> Vec<Gap> {
    select(coverage, |fate| !matches!(fate, Fate::Decoded | Fate::Unused))
}

/// What could not be read, a line for each program and reason; none when there is
/// nothing to say.
pub fn summary(coverage: &Coverage) -> Vec<String> {
    let gaps = select(coverage, |fate| matches!(fate, Fate::Opaque(_)));
    let mut lines: Vec<String> = gaps
        .iter()
        .take(LINES_MAX)
        .map(|gap| {
            let Gap { program, why, connections, bytes, .. } = gap;
            let plural = if *connections == 1 { "" } else { "s" };
            let mut line = format!("not read: {program}: {connections} connection{plural}");
            // Writing to a string does not fail.
            _ = write!(line, ", {bytes}: {why}");
            if !gap.server_names.is_empty() {
                _ = write!(line, "; among the servers: {}", gap.server_names.join(", "));
            }
            line
        })
        .collect();
    if gaps.len() > LINES_MAX {
        lines.push(format!("not read: {} more; see the metrics", gaps.len() - LINES_MAX));
    }
    lines
}

/// What is found out of a program.
pub fn news(news: &News) -> String {
    let why = why(news.reason, news.detail.as_ref());
    let what = news.reason.what();
    let mut text = format!("{what} of {} is not readable: {why}", program(&news.program));
    if let Some(server) = &news.server_name {
        _ = write!(text, " (a server: {})", name(server));
    }
    if let Some(ja4) = &news.ja4 {
        _ = write!(text, " (a client by JA4: {})", name(ja4));
    }
    _ = write!(text, "; its calls are not seen; {}", news.reason.advice());
    text
}

/// What of a program was not decoded.
pub(super) fn gaps_of(row: &Row) -> Vec<Gap> {
    select_of(row, |fate| !matches!(fate, Fate::Decoded | Fate::Unused))
}

fn select(coverage: &Coverage, wanted: impl Fn(Fate) -> bool + Copy) -> Vec<Gap> {
    let mut gaps: Vec<Gap> =
        coverage.rows().iter().flat_map(|row| select_of(row, wanted)).collect();
    gaps.sort_by_key(|gap| Reverse(gap.connections));
    gaps
}

fn select_of(row: &Row, wanted: impl Fn(Fate) -> bool) -> Vec<Gap> {
    let fates = row.fates().filter(|(fate, count)| wanted(*fate) && count.connections > 0);
    fates
        .map(|(fate, count)| {
            let [ingress, egress] = count.bytes.map(format::bytes);
            let bytes = match count.unmeasured {
                0 => format!("{ingress} in and {egress} out"),
                all if all == count.connections => "bytes not known".to_owned(),
                _ => format!("more than {ingress} in and {egress} out"),
            };
            let (why, server_names) = match fate.reason() {
                Some(reason) => {
                    let names = row.server_names.iter().map(|server| name(server)).collect();
                    let why = why(reason, row.detail(reason));
                    (format!("{}: {why}", fate.text()), names)
                }
                None => (fate.text().to_owned(), Vec::new()),
            };
            let connections = count.connections;
            Gap { program: program(&row.program), why, connections, bytes, server_names }
        })
        .collect()
}

fn why(reason: Reason, detail: Option<&Arc<str>>) -> String {
    let text = match (reason, detail) {
        (Reason::SessionNotSeen, Some(library)) => {
            return format!("{} is hooked, but the session was not seen", name(library));
        }
        (_, Some(detail)) => detail,
        (_, None) => reason.text(),
    };
    let mut cut: String = text.chars().take(REASON_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut).into_owned()
}

/// A program, by its name and container.
pub fn program(program: &Program) -> String {
    let mut text = name(&program.name);
    if let Some(container) = &program.container {
        let short: String = container.chars().take(CONTAINER_LEN).collect();
        _ = write!(text, " in {}", printable(&short));
    }
    text
}

/// A stranger's name, as it is shown.
pub fn name(text: &str) -> String {
    let mut cut: String = text.chars().take(NAME_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    printable(&cut).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        call::Process,
        flow::coverage::{Coverage, Entry},
    };

    /// A ledger in which a program with this name has opaque connections, some HTTP/2 and
    /// some decoded.
    pub(crate) fn sample(executable: &str, server: &str) -> Coverage {
        let mut coverage = Coverage::new(16);
        let process = Process {
            pid: 7,
            start_ns: 0,
            comm: "app".into(),
            executable: executable.into(),
            container_id: Some("0123456789abcdef".repeat(4)),
        };
        let row = coverage.row(&process);
        let reason = Reason::NoKnownLibrary;
        coverage.opaque(row, reason, None, Some(&server.into()));
        for (fate, bytes) in [
            (Fate::Opaque(reason), Some([2048, 100])),
            (Fate::Opaque(reason), Some([2048, 100])),
            (Fate::Other, None),
            (Fate::Decoded, Some([1, 2])),
        ] {
            coverage.set(None, Some(Entry { row, fate, connections: 1, bytes }));
        }
        coverage
    }

    #[test]
    fn the_summary_says_what_was_not_read_and_why() {
        let coverage = sample("/opt/uv", "pypi.example");
        assert_eq!(
            summary(&coverage),
            ["not read: /opt/uv in 0123456789ab: 2 connections, 4.00 KiB in and 200 B out: \
                 TLS not readable: no known TLS library; among the servers: pypi.example",]
        );
        assert!(summary(&Coverage::new(1)).is_empty());
    }

    #[test]
    fn what_strangers_name_cannot_forge_lines() {
        let mut coverage = sample("/tmp/a\nb\u{1b}[31m", "evil\r\n.example");
        let news: Vec<String> = coverage.take_news().iter().map(news).collect();
        assert_eq!(
            news,
            ["TLS of /tmp/a\\u{a}b\\u{1b}[31m in 0123456789ab is not readable: no known TLS \
              library (a server: evil\\u{d}\\u{a}.example); its calls are not seen; observe the \
              other end of its connections, or a proxy that ends their TLS"]
        );
        let all = [summary(&coverage), news].concat();
        assert!(all.iter().all(|line| !line.contains(char::is_control)));
        assert!(name(&"a".repeat(1000)).len() < 130);
    }
}
