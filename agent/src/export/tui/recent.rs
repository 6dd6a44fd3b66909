//! The latest calls. Slots are used again, so that a call costs no allocation
//! but for the first two hundred; secrets are taken out when rows are made.

use std::{collections::VecDeque, sync::Arc};

use super::snapshot::CallRow;
use crate::{
    call::{Binding, Call, Connection, Ends, Missing, Process, Role, Timestamp, Tls},
    http::Response,
    inventory::EndpointKey,
    redact,
};

/// Calls kept.
const CALLS_MAX: usize = 200;

/// Longest path kept, in bytes.
const PATH_MAX: usize = 512;

/// The latest calls, oldest first.
#[derive(Default)]
pub(super) struct RecentCalls {
    calls: VecDeque<Recent>,
    rows: VecDeque<Arc<CallRow>>,
}

/// A call as it was seen. `path` is raw: it must not leave but through
/// [`redact::path`].
struct Recent {
    id: u64,
    time: Timestamp,
    role: Role,
    both_ends: bool,
    method: Arc<str>,
    path: String,
    endpoint: EndpointKey,
    status: Option<u16>,
    duration: Option<f64>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    process: Option<Arc<Process>>,
    peer_process: Option<Arc<Process>>,
    connection: Connection,
    tls: Option<Tls>,
    missing: Missing,
}

impl RecentCalls {
    /// Keeps a call; the oldest goes when there are too many.
    pub(super) fn push(&mut self, call: &Call, endpoint: &EndpointKey) {
        let mut path = if self.calls.len() >= CALLS_MAX {
            self.calls.pop_front().map(|oldest| oldest.path).unwrap_or_default()
        } else {
            String::new()
        };
        path.clear();
        push_path(&mut path, call.request.path());
        self.calls.push_back(Recent {
            id: call.id,
            time: call.times.request_start,
            role: call.role,
            both_ends: call.both_ends,
            method: Arc::clone(&call.request.method),
            path,
            endpoint: endpoint.clone(),
            status: call.status(),
            duration: call.duration_seconds(),
            bytes_in: call.request.body_size(),
            bytes_out: call.response.as_ref().map_or(Some(0), Response::body_size),
            process: call.process.clone(),
            peer_process: call.peer_process.clone(),
            connection: call.connection.clone(),
            tls: call.tls.clone(),
            missing: call.missing,
        });
    }

    /// The calls, newest first. Rows made before are shared.
    pub(super) fn rows(&mut self) -> Vec<Arc<CallRow>> {
        let mut known = std::mem::take(&mut self.rows).into_iter().peekable();
        // Both are in order of arrival, so a row that is still needed is the next
        // of those known once the older ones are gone.
        let oldest = self.calls.front().map(|call| call.id);
        while known.peek().is_some_and(|row| Some(row.id) != oldest) {
            known.next();
        }
        self.rows = self
            .calls
            .iter()
            .map(|call| match known.next() {
                Some(row) if row.id == call.id => row,
                _ => Arc::new(call.row()),
            })
            .collect();
        self.rows.iter().rev().map(Arc::clone).collect()
    }
}

impl Recent {
    fn row(&self) -> CallRow {
        let name = |process: &Arc<Process>| (Arc::from(process.comm.as_str()), process.pid);
        CallRow {
            id: self.id,
            time: self.time,
            role: self.role,
            both_ends: self.both_ends,
            method: Arc::clone(&self.method),
            path: redact::path(&self.path).into_owned(),
            endpoint: self.endpoint.clone(),
            status: self.status,
            duration: self.duration,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            process: self.process.as_ref().map(name),
            peer_process: self.peer_process.as_ref().map(name),
            peer: match self.connection.ends {
                Ends::Unknown => "unknown".to_owned(),
                Ends::Tcp { .. } | Ends::Unix { .. } => self.connection.remote().to_string(),
            },
            tls: self.tls.as_ref().map(|tls| Arc::clone(&tls.library)),
            binding: self.tls.as_ref().map(binding).unwrap_or_default(),
            handshake: self.tls.as_ref().map(|tls| Arc::clone(&tls.handshake)).unwrap_or_default(),
            missing: self.missing,
        }
    }
}

fn binding(tls: &Tls) -> String {
    match tls.binding {
        Binding::NestedSyscall | Binding::Ciphertext => "socket certain".to_owned(),
        Binding::RecordLength { confidence } => {
            format!("socket inferred from record lengths, confidence {confidence:.2}")
        }
        Binding::None => "socket not known".to_owned(),
    }
}

/// Appends a path of bounded length. A long one is cut between segments: half a
/// secret would not be recognised as one.
fn push_path(out: &mut String, path: &str) {
    if path.len() <= PATH_MAX {
        out.push_str(path);
        return;
    }
    let head = path.as_bytes().get(..PATH_MAX).unwrap_or_default();
    let end = memchr::memrchr(b'/', head).unwrap_or(0);
    out.push_str(path.get(..end).unwrap_or_default());
    out.push_str("/…");
}
