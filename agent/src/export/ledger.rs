//! The coverage ledger of the latest run, as the state keeps it and `apiscope doctor` tells
//! it.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{
    coverage::{self, Gap, program},
    format,
};
use crate::{
    call::Timestamp,
    flow::coverage::{Fate, Row},
};

/// What became of a program's connections.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The program, printable, with its container.
    pub program: String,
    /// When the run began.
    pub since: Timestamp,
    /// Connections that were decoded.
    pub decoded: u64,
    /// Bytes of these (in, out).
    pub bytes: [u64; 2],
    /// Bytes that were not captured of what is decoded, by cause.
    pub lost: Vec<(String, u64)>,
    /// Connections that were not decoded.
    pub gaps: Vec<Gap>,
}

impl Line {
    /// The line of a row.
    pub fn of(row: &Row, since: Timestamp) -> Self {
        let decoded = row.count(Fate::Decoded);
        let mut gaps = coverage::gaps_of(row);
        gaps.sort_by_key(|gap| Reverse(gap.connections));
        Self {
            program: program(&row.program),
            since,
            decoded: decoded.connections,
            bytes: decoded.bytes,
            lost: row.lost.iter().map(|(cause, bytes)| (cause.as_str().into(), bytes)).collect(),
            gaps,
        }
    }

    /// Whether all its connections were decoded, and no byte of them is missing.
    pub fn is_whole(&self) -> bool {
        self.gaps.is_empty() && self.lost.is_empty()
    }

    /// What is to be said of it, sentence by sentence.
    pub fn text(&self) -> Vec<String> {
        let connections = |count: u64| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{} connection{plural}", format::count(count))
        };
        let mut text = Vec::new();
        if self.decoded > 0 {
            let [ingress, egress] = self.bytes.map(format::bytes);
            text.push(format!(
                "{} decoded, {ingress} in and {egress} out",
                connections(self.decoded)
            ));
        }
        if !self.lost.is_empty() {
            let lost =
                self.lost.iter().map(|(cause, lost)| format!("{} {cause}", format::bytes(*lost)));
            let lost: Vec<_> = lost.collect();
            text.push(format!("not captured of what is decoded: {}", lost.join(", ")));
        }
        text.extend(self.gaps.iter().map(|gap| {
            let mut text = format!("{}, {}: {}", connections(gap.connections), gap.bytes, gap.why);
            if !gap.server_names.is_empty() {
                text = format!("{text}; among the servers: {}", gap.server_names.join(", "));
            }
            text
        }));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Cause, export::coverage::tests::sample};

    #[test]
    fn a_line_says_what_was_decoded_and_what_was_not_and_why() {
        let ledger = sample("/opt/uv", "pypi.example");
        let mut line = Line::of(&ledger.rows()[0], Timestamp(5));
        assert!(!line.is_whole());
        assert_eq!(
            line.text(),
            [
                "1 connection decoded, 1 B in and 2 B out",
                "2 connections, 4.00 KiB in and 200 B out: TLS not readable: no known TLS \
                 library; among the servers: pypi.example",
                "1 connection, bytes not known: another protocol",
            ]
        );
        line.gaps.clear();
        assert!(line.is_whole());
        line.bytes = [1000, 0];
        line.lost = vec![(Cause::Transport.as_str().into(), 250)];
        assert_eq!(
            line.text(),
            [
                "1 connection decoded, 1000 B in and 0 B out",
                "not captured of what is decoded: 250 B transport",
            ]
        );
    }
}
