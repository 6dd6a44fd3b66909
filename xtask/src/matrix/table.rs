//! The table of stacks and kernels: made of proofs, written into a document, read back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Between these the document has the table.
const BEGIN: &str = "<!-- matrix: made by cargo xtask matrix --write -->";
const END: &str = "<!-- matrix: end -->";

/// What a cell says of what did not run.
const NOTHING: &str = "-";

/// What a test has proven.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Proof {
    stack: String,
    program: String,
    kernel: String,
    seen: String,
}

impl Proof {
    fn row(&self) -> Row {
        (self.stack.clone(), self.program.clone())
    }

    /// The kernel's version, without what a distribution adds.
    fn column(&self) -> Column {
        let mut numbers = self.kernel.split(|char: char| !char.is_ascii_digit());
        let mut next = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        (next(), next())
    }
}

/// Stack and program.
type Row = (String, String);

/// Major and minor version of a kernel.
type Column = (u32, u32);

#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Table {
    cells: BTreeMap<Row, BTreeMap<Column, String>>,
}

impl Table {
    /// Adds what was proven.
    pub(super) fn add(&mut self, proofs: &[Proof]) {
        for proof in proofs {
            let row = self.cells.entry(proof.row()).or_default();
            row.insert(proof.column(), proof.seen.clone());
        }
    }

    /// Replaces the columns of the kernels that something was proven of.
    pub(super) fn replace(&mut self, proofs: &[Proof]) {
        let ran: BTreeSet<Column> = proofs.iter().map(Proof::column).collect();
        for row in self.cells.values_mut() {
            row.retain(|column, _| !ran.contains(column));
        }
        self.add(proofs);
        self.cells.retain(|_, row| !row.is_empty());
    }

    /// What it says otherwise than proofs do; with `all`, also what it says of their
    /// kernels that none of them proves. Kernels that it has no column of do not count.
    pub(super) fn problems(&self, proofs: &[Proof], all: bool) -> Vec<String> {
        let columns = self.columns();
        let mut problems = Vec::new();
        let mut proven = Self::default();
        proven.add(proofs);
        for ((stack, program), row) in &proven.cells {
            for (column, seen) in row.iter().filter(|(column, _)| columns.contains(column)) {
                let said = self.cell(stack, program, *column);
                if said != seen {
                    let (major, minor) = column;
                    problems.push(format!("{stack}, {program}, {major}.{minor}: {seen}"));
                }
            }
        }
        let ran = proven.columns();
        for ((stack, program), row) in self.cells.iter().filter(|_| all) {
            for (column, said) in row.iter().filter(|(column, _)| ran.contains(column)) {
                if proven.cell(stack, program, *column) == NOTHING {
                    let (major, minor) = column;
                    problems.push(format!(
                        "{stack}, {program}, {major}.{minor}: not {said}, for nothing proves it"
                    ));
                }
            }
        }
        problems
    }

    fn cell(&self, stack: &str, program: &str, column: Column) -> &str {
        let row = self.cells.get(&(stack.to_owned(), program.to_owned()));
        row.and_then(|row| row.get(&column)).map_or(NOTHING, String::as_str)
    }

    /// How many programs it tells of.
    pub(super) fn rows(&self) -> usize {
        self.cells.len()
    }

    fn columns(&self) -> BTreeSet<Column> {
        self.cells.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// Reads the table of a document.
    pub(super) fn parse(document: &str) -> Result<Self> {
        let (_, table, _) = split(document)?;
        let mut lines = table.lines().filter(|line| line.starts_with('|')).map(cells);
        let mut table = Self::default();
        let Some(head) = lines.next() else { return Ok(table) };
        let columns: Vec<Column> = head
            .iter()
            .skip(2)
            .map(|text| {
                let (major, minor) = text.split_once('.').context("no version")?;
                Ok((major.parse()?, minor.parse()?))
            })
            .collect::<Result<_>>()
            .context("read the table's head")?;
        for line in lines.skip(1) {
            let [stack, program, values @ ..] = line.as_slice() else { continue };
            let row: BTreeMap<Column, String> = columns
                .iter()
                .zip(values)
                .filter(|&(_, value)| *value != NOTHING)
                .map(|(column, value)| (*column, (*value).to_owned()))
                .collect();
            table.cells.insert(((*stack).to_owned(), (*program).to_owned()), row);
        }
        Ok(table)
    }

    /// The document with this table in the place of the one that it has.
    pub(super) fn into_document(self, document: &str) -> Result<String> {
        let (before, _, after) = split(document)?;
        Ok(format!("{before}{BEGIN}\n{self}{END}{after}"))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        write!(f, "| stack | program |")?;
        for (major, minor) in &columns {
            write!(f, " {major}.{minor} |")?;
        }
        writeln!(f, "\n|---|---|{}", "---|".repeat(columns.len()))?;
        for (stack, program) in self.cells.keys() {
            write!(f, "| {stack} | {program} |")?;
            for column in &columns {
                write!(f, " {} |", self.cell(stack, program, *column))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// What is before, in and after the place of the table.
fn split(document: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = document.split_once(BEGIN).context("the document has no table")?;
    let (table, after) = rest.split_once(END).context("the document's table has no end")?;
    ensure!(!after.contains(BEGIN), "the document has two tables");
    Ok((before, table, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(stack: &str, kernel: &str, seen: &str) -> Proof {
        let [stack, program, kernel, seen] = [stack, "p", kernel, seen].map(str::to_owned);
        Proof { stack, program, kernel, seen }
    }

    fn table(proofs: &[Proof]) -> Table {
        let mut table = Table::default();
        table.add(proofs);
        table
    }

    #[test]
    fn a_table_is_read_back_from_its_document() {
        let proofs = [proof("a", "5.10.0-40-amd64", "yes"), proof("b", "6.18.5", "in part")];
        let empty = format!("before\n{BEGIN}\n{END}\nafter\n");
        assert_eq!(Table::parse(&empty).unwrap(), Table::default());
        let document = table(&proofs).into_document(&empty).unwrap();
        assert!(document.contains("| stack | program | 5.10 | 6.18 |"), "{document}");
        assert!(document.contains("| a | p | yes | - |"), "{document}");
        assert_eq!(Table::parse(&document).unwrap(), table(&proofs));
        assert!(document.starts_with("before\n") && document.ends_with("\nafter\n"));
    }

    #[test]
    fn a_kernel_that_ran_replaces_its_column_alone() {
        let mut known =
            table(&[proof("a", "5.10", "yes"), proof("a", "6.1", "yes"), proof("b", "6.1", "yes")]);
        let again = [proof("a", "6.1", "in part")];
        known.replace(&again);
        assert_eq!(known, table(&[proof("a", "5.10", "yes"), proof("a", "6.1", "in part")]));
    }

    #[test]
    fn what_is_said_and_not_proven_is_a_problem() {
        let known = table(&[proof("a", "6.1", "yes"), proof("b", "6.1", "yes")]);
        let proven = [proof("a", "6.1", "in part")];
        assert_eq!(known.problems(&proven, false), ["a, p, 6.1: in part"]);
        assert_eq!(known.problems(&proven, true).len(), 2);
        assert!(known.problems(&[proof("a", "6.1", "yes")], false).is_empty());
        assert!(known.problems(&[proof("c", "6.2", "yes")], true).is_empty(), "no such column");
    }
}
