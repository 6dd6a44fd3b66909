//! The coverage ledger: what of each program's connections was decoded, and of the
//! rest why not. It counts; what a connection's fate is, `book` decides.

use std::sync::Arc;

use ahash::AHashMap;

pub use super::fate::{Fate, Reason};
use super::tls_hello::ClientHello;
use crate::{
    call::{Missing, Process},
    event::verdict::ProcessVerdict,
};

/// Containers of one program that have rows of their own; the others share one without a
/// container. A job that runs each minute makes a container each time.
const CONTAINERS_MAX: u32 = 16;

/// Server names that a row keeps, and protocols.
const SERVER_NAMES_MAX: usize = 4;
const PROTOCOLS_MAX: usize = 4;

/// What rows are kept by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Program {
    /// Path of the executable; the task name when that is not known.
    pub name: Arc<str>,
    /// Container id.
    pub container: Option<Arc<str>>,
}

impl Program {
    /// The program that a process runs.
    pub fn of(process: &Process) -> Self {
        let known = !process.executable.is_empty();
        let name = if known { &process.executable } else { &process.comm };
        Self {
            name: name.as_str().into(),
            container: process.container_id.as_deref().map(Arc::from),
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.into(), container: None }
    }
}

/// Connections of one fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Connections.
    pub connections: u64,
    /// Of these, those whose bytes are not known, and not in `bytes`.
    pub unmeasured: u64,
    /// Bytes that the others moved (in, out).
    pub bytes: [u64; 2],
}

/// What is known of one program's connections.
#[derive(Clone, Debug)]
pub struct Row {
    /// The program.
    pub program: Program,
    counts: [Count; Fate::COUNT],
    /// Fates that ever had a connection.
    met: u32,
    /// Something changed since the rows were taken.
    changed: bool,
    /// Bytes that were not captured of connections that are decoded, by cause.
    pub lost: Missing,
    /// Names of servers of opaque connections, as their clients told them; the first
    /// few.
    pub server_names: Vec<Arc<str>>,
    /// Protocols that clients offered first over QUIC; the first few.
    protocols: Vec<Arc<str>>,
    /// What more is known of a reason, e.g. the name of the hooked library.
    details: [Option<Arc<str>>; Reason::ALL.len()],
}

// Each fate has a bit in `met`.
const _: () = assert!(Fate::COUNT <= 32);

impl Row {
    fn new(program: Program) -> Self {
        Self {
            program,
            counts: [Count::default(); Fate::COUNT],
            met: 0,
            changed: true,
            lost: Missing::default(),
            server_names: Vec::new(),
            protocols: Vec::new(),
            details: Default::default(),
        }
    }

    /// Connections of a fate.
    pub fn count(&self, fate: Fate) -> Count {
        self.counts.get(fate.index()).copied().unwrap_or_default()
    }

    /// The fates that ever had a connection, with those that they have now: one that
    /// was corrected has none.
    pub fn fates(&self) -> impl Iterator<Item = (Fate, Count)> + '_ {
        let met = Fate::all().filter(|fate| self.met & (1 << fate.index()) != 0);
        met.map(|fate| (fate, self.count(fate)))
    }

    /// Connections that were not readable.
    pub fn opaque(&self) -> u64 {
        Reason::ALL.iter().map(|reason| self.count(Fate::Opaque(*reason)).connections).sum()
    }

    /// What more is known of a reason.
    pub fn detail(&self, reason: Reason) -> Option<&Arc<str>> {
        self.details.get(reason.index())?.as_ref()
    }
}

// Each has a bit in `Row::met`.
const _: () = assert!(Fate::COUNT <= u32::BITS as usize);

/// What the ledger holds of one flow: what it takes to correct it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) row: RowId,
    pub(crate) fate: Fate,
    /// One, but for a socket of QUIC.
    pub(crate) connections: u64,
    /// `None` when they are not known.
    pub(crate) bytes: Option<[u64; 2]>,
}

/// Names a row. Rows stay for as long as the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowId(u32);

/// A program whose connections were found to be opaque for a reason, for the first time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    /// The program.
    pub program: Program,
    /// Why.
    pub reason: Reason,
    /// What more is known of that.
    pub detail: Option<Arc<str>>,
    /// Name of the server, as the client told it.
    pub server_name: Option<Arc<str>>,
    /// JA4 fingerprint of the client; of QUIC.
    pub ja4: Option<Arc<str>>,
}

/// Rows by program. Bounded: programs beyond the limit share a row named `other`.
#[derive(Debug)]
pub struct Coverage {
    rows: Vec<Row>,
    index: AHashMap<Program, RowId>,
    /// Rows of each program's containers.
    containers: AHashMap<Arc<str>, u32>,
    limit: usize,
    other: Option<RowId>,
    unknown: Option<RowId>,
    /// At most one per row and reason.
    news: Vec<News>,
}

/// Row of the programs beyond the limit.
pub const OTHER: &str = "other";

/// Row of processes of which nothing is known.
pub const UNKNOWN: &str = "unknown";

impl Coverage {
    /// A ledger of at most so many programs.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            index: AHashMap::new(),
            containers: AHashMap::new(),
            limit,
            other: None,
            unknown: None,
            news: Vec::new(),
        }
    }

    /// The rows, in the order in which their programs were met.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows that changed since the last time.
    pub fn take_changes(&mut self) -> impl Iterator<Item = &Row> {
        self.rows.iter_mut().filter_map(|row| std::mem::take(&mut row.changed).then_some(&*row))
    }

    /// There are more programs than rows: some are counted as [`OTHER`].
    pub const fn is_full(&self) -> bool {
        self.other.is_some()
    }

    /// What was found out since the last time.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The row of a process.
    pub(crate) fn row(&mut self, process: &Process) -> RowId {
        let mut program = Program::of(process);
        if let Some(row) = self.index.get(&program) {
            return *row;
        }
        if program.container.is_some()
            && self.containers.get(&program.name).is_some_and(|rows| *rows >= CONTAINERS_MAX)
        {
            program.container = None;
            if let Some(row) = self.index.get(&program) {
                return *row;
            }
        }
        if self.index.len() < self.limit {
            if program.container.is_some() {
                *self.containers.entry(Arc::clone(&program.name)).or_default() += 1;
            }
            let row = self.add(program.clone());
            self.index.insert(program, row);
            return row;
        }
        match self.other {
            Some(row) => row,
            None => *self.other.insert(Self::push(&mut self.rows, Program::named(OTHER))),
        }
    }

    /// The row of processes of which nothing is known.
    pub(super) fn unknown(&mut self) -> RowId {
        match self.unknown {
            Some(row) => row,
            None => *self.unknown.insert(Self::push(&mut self.rows, Program::named(UNKNOWN))),
        }
    }

    fn add(&mut self, program: Program) -> RowId {
        Self::push(&mut self.rows, program)
    }

    fn push(rows: &mut Vec<Row>, program: Program) -> RowId {
        rows.push(Row::new(program));
        RowId(u32::try_from(rows.len() - 1).unwrap_or(u32::MAX))
    }

    fn row_mut(&mut self, row: RowId) -> Option<&mut Row> {
        let row = self.rows.get_mut(row.0 as usize)?;
        row.changed = true;
        Some(row)
    }

    /// Replaces what is held of a flow.
    pub(crate) fn set(&mut self, before: Option<Entry>, now: Option<Entry>) {
        if before == now {
            return;
        }
        let unmeasured = |entry: Entry| if entry.bytes.is_none() { entry.connections } else { 0 };
        if let Some(entry @ Entry { row, fate, connections, bytes }) = before
            && let Some(count) = self.row_mut(row).and_then(|row| row.counts.get_mut(fate.index()))
        {
            count.connections = count.connections.saturating_sub(connections);
            count.unmeasured = count.unmeasured.saturating_sub(unmeasured(entry));
            for (sum, bytes) in count.bytes.iter_mut().zip(bytes.unwrap_or_default()) {
                *sum = sum.saturating_sub(bytes);
            }
        }
        if let Some(entry @ Entry { row, fate, connections, bytes }) = now
            && let Some(row) = self.row_mut(row)
        {
            row.met |= 1 << fate.index();
            if let Some(count) = row.counts.get_mut(fate.index()) {
                count.connections = count.connections.saturating_add(connections);
                count.unmeasured = count.unmeasured.saturating_add(unmeasured(entry));
                for (sum, bytes) in count.bytes.iter_mut().zip(bytes.unwrap_or_default()) {
                    *sum = sum.saturating_add(bytes);
                }
            }
        }
    }

    /// Adds bytes that were lost.
    pub(super) fn lost(&mut self, row: RowId, lost: &Missing) {
        if let Some(row) = self.row_mut(row) {
            row.lost.merge(lost);
        }
    }

    /// A TLS connection was found to be opaque, or for another reason than before.
    pub(crate) fn opaque(
        &mut self,
        row: RowId,
        reason: Reason,
        verdict: Option<&ProcessVerdict>,
        server_name: Option<&Arc<str>>,
    ) {
        let detail = match (reason, verdict) {
            (Reason::SessionNotSeen, Some(verdict)) => verdict.hooked.clone(),
            (Reason::Go | Reason::Unreadable, Some(verdict)) => {
                verdict.unhooked.as_ref().map(|unhooked| unhooked.text().into())
            }
            _ => None,
        };
        self.found(row, reason, detail, server_name, None);
    }

    /// Connections over QUIC were found, and what the client of one said.
    pub(super) fn quic(&mut self, row: RowId, client: Option<&ClientHello>) {
        let Some(known) = self.row_mut(row) else { return };
        if let Some(protocol) = client.and_then(|client| client.protocol.as_ref())
            && known.protocols.len() < PROTOCOLS_MAX
            && !known.protocols.contains(protocol)
        {
            known.protocols.push(Arc::clone(protocol));
        }
        let names: Vec<&str> = known
            .protocols
            .iter()
            .map(|name| if **name == *"h3" { "HTTP/3" } else { &**name })
            .collect();
        let text = || format!("{}, encrypted in the process", names.join(" and ")).into();
        let detail: Option<Arc<str>> = (!names.is_empty()).then(text);
        if let Some(place) = known.details.get_mut(Reason::Quic.index()) {
            place.clone_from(&detail);
        }
        let name = client.and_then(|client| client.server_name.as_ref());
        let ja4 = client.and_then(|client| client.ja4.clone());
        self.found(row, Reason::Quic, detail, name, ja4);
    }

    fn found(
        &mut self,
        row: RowId,
        reason: Reason,
        detail: Option<Arc<str>>,
        server_name: Option<&Arc<str>>,
        ja4: Option<Arc<str>>,
    ) {
        let Some(row) = self.row_mut(row) else { return };
        if let Some(name) = server_name
            && row.server_names.len() < SERVER_NAMES_MAX
            && !row.server_names.contains(name)
        {
            row.server_names.push(Arc::clone(name));
        }
        let fate = 1 << Fate::Opaque(reason).index();
        if row.met & fate != 0 {
            return;
        }
        row.met |= fate;
        if let Some(place) = row.details.get_mut(reason.index()) {
            place.clone_from(&detail);
        }
        let news = News {
            program: row.program.clone(),
            reason,
            detail,
            server_name: server_name.cloned(),
            ja4,
        };
        self.news.push(news);
    }
}

#[cfg(test)]
#[path = "coverage_tests.rs"]
mod tests;
