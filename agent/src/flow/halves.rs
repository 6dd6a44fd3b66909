//! Keys of TLS sessions, one for each direction, united over the socket that carries them.
//!
//! Where a library shows no more than its ciphers, a session is two flows of one direction
//! each. What a key has sealed, or will open, goes over a socket byte for byte: that names
//! the socket, and the two keys of one socket are one session, which has its name. Until
//! the socket is known the plaintext of a key waits, which is the time between a call of
//! the cipher and the system call after it.

use std::collections::VecDeque;

use agent_common::record::{DataFlags, Direction, FlowId, Layer};
use ahash::AHashMap;

use super::{
    binder::Session,
    recent::Recent,
    table::{FlowTable, Key},
    tls_record::{Ciphertext, RecordStart},
};
use crate::{
    call::{Call, Cause, Timestamp},
    event::{Data, End},
};

/// Keys whose socket is remembered, and ciphertexts that wait for their other side.
const KEYS: usize = 65_536;

/// How long plaintext waits for its socket, nanoseconds of event time.
const WAIT_NS: u64 = 1_000_000_000;

/// Payload bytes that wait for their socket, of all keys together; and records of one key.
const HELD_BYTES: usize = 8 * 1024 * 1024;
const HELD_RECORDS: usize = 64;

/// Ciphertext by the process that moved it.
type Place = (u32, Ciphertext);

/// Where the plaintext of a key belongs.
#[derive(Clone, Copy, Debug)]
struct Whole {
    socket: FlowId,
    /// Where the first byte of the key is in its direction of the session: keys may change.
    base: u64,
}

/// What is known of keys; bounded.
#[derive(Debug)]
pub(super) struct Halves {
    /// Sockets that ciphertext came from which no key has opened yet.
    came: Recent<Place, FlowId>,
    /// Keys that sealed ciphertext which has not left yet.
    sealed: Recent<Place, (Session, Direction)>,
    wholes: Recent<Session, Whole>,
    /// Keys whose ciphertext has just been seen on a socket.
    found: Vec<(Session, Direction, FlowId)>,
    /// Plaintext that waits, by its key.
    held: AHashMap<Session, Vec<Data>>,
    held_bytes: usize,
    /// When keys give up waiting.
    waiting: VecDeque<(Timestamp, Session)>,
}

impl Default for Halves {
    fn default() -> Self {
        Self {
            came: Recent::new(KEYS),
            sealed: Recent::new(KEYS),
            wholes: Recent::new(KEYS),
            found: Vec::new(),
            held: AHashMap::new(),
            held_bytes: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl Halves {
    /// TLS records began in a system call on a socket.
    pub(super) fn on_socket(&mut self, data: &Data) {
        let records =
            RecordStart::all(&data.payload).filter(|record| record.application_data().is_some());
        for ciphertext in records.flat_map(RecordStart::ciphertexts) {
            let place = (data.tgid, ciphertext);
            if data.direction == Direction::INGRESS {
                self.came.insert(place, data.flow);
            } else if let Some((key, direction)) = self.sealed.remove(&place) {
                self.found.push((key, direction, data.flow));
            }
        }
    }

    /// A key has sealed a record, or opens one.
    fn on_key(&mut self, key: Session, data: &Data) {
        for ciphertext in RecordStart::all(&data.payload).flat_map(RecordStart::ciphertexts) {
            let place = (data.tgid, ciphertext);
            if data.direction == Direction::EGRESS {
                self.sealed.insert(place, (key, data.direction));
            } else if let Some(socket) = self.came.remove(&place) {
                self.found.push((key, data.direction, socket));
            }
        }
    }

    /// Keeps plaintext until its socket is known; gives it back where there is no room.
    fn hold(&mut self, key: Session, data: Data) -> Option<Data> {
        let held = self.held.entry(key).or_default();
        let bytes = self.held_bytes + data.payload.len();
        if bytes > HELD_BYTES || held.len() >= HELD_RECORDS {
            return Some(data);
        }
        if held.is_empty() {
            self.waiting.push_back((Timestamp(data.time.0.saturating_add(WAIT_NS)), key));
        }
        self.held_bytes = bytes;
        held.push(data);
        None
    }

    /// What a key holds, which waits no more.
    fn release(&mut self, key: Session) -> Vec<Data> {
        let held = self.held.remove(&key).unwrap_or_default();
        self.held_bytes -= held.iter().map(|data| data.payload.len()).sum::<usize>();
        held
    }
}

impl FlowTable {
    /// Plaintext of a key, or its ciphertext.
    pub(super) fn half_data(&mut self, data: Data, out: &mut Vec<Call>) {
        let key = Session { tgid: data.tgid, flow: data.flow };
        if data.flags.contains(DataFlags::TLS_RECORDS) {
            if self.halves.wholes.peek(&key).is_none() {
                self.halves.on_key(key, &data);
                self.unite(out);
            }
        } else if let Some(whole) = self.halves.wholes.get(&key).copied() {
            self.whole_data(whole, data, out);
        } else if let Some(data) = self.halves.hold(key, data) {
            self.unattributed(&data);
        }
    }

    /// Gives the plaintext of keys whose socket became known to its session.
    pub(super) fn unite(&mut self, out: &mut Vec<Call>) {
        for (key, direction, socket) in std::mem::take(&mut self.halves.found) {
            if self.halves.wholes.peek(&key).is_some() {
                continue;
            }
            let session = Session { tgid: key.tgid, flow: socket };
            let slot = self.index.get(&Key::new(Layer::TLS, socket, key.tgid));
            let flow = slot.and_then(|slot| self.slots.get(*slot)?.as_deref());
            let reached = flow.and_then(|flow| flow.reached.get(usize::from(direction.0 & 1)));
            let whole = Whole { socket, base: reached.copied().unwrap_or(0) };
            self.halves.wholes.insert(key, whole);
            self.binder.ciphertext(session, socket);
            for data in self.halves.release(key) {
                self.whole_data(whole, data, out);
            }
        }
    }

    fn whole_data(&mut self, whole: Whole, mut data: Data, out: &mut Vec<Call>) {
        data.offset = data.offset.saturating_add(whole.base);
        data.flow = whole.socket;
        self.flow_data(data, out);
    }

    /// A key is gone. Returns whether the flow was one.
    pub(super) fn half_end(&mut self, key: Session) -> bool {
        for data in self.halves.release(key) {
            self.unattributed(&data);
        }
        self.halves.wholes.remove(&key).is_some()
    }

    /// A socket has ended, or a direction of it; and so has the session of its keys.
    pub(super) fn whole_end(&mut self, end: &End, out: &mut Vec<Call>) {
        let session = self.binder.session_of(end.flow);
        let Some(session) = session.filter(|session| session.flow == end.flow) else { return };
        let key = Key::new(Layer::TLS, session.flow, session.tgid);
        let slot = self.index.get(&key).copied();
        if let Some(slot) = slot
            && let Some(flow) = self.slots.get(slot).and_then(Option::as_deref)
        {
            let offsets = flow.reached;
            self.flow_end(slot, &End { layer: Layer::TLS, offsets, ..*end }, out);
        }
    }

    /// Gives up waiting for sockets.
    pub(super) fn expire_halves(&mut self) {
        while let Some((deadline, key)) = self.halves.waiting.front().copied()
            && deadline <= self.now
        {
            self.halves.waiting.pop_front();
            for data in self.halves.release(key) {
                self.unattributed(&data);
            }
        }
    }

    /// Plaintext was captured of nobody knows which connection.
    fn unattributed(&mut self, data: &Data) {
        if let Some(lost) = self.stats.lost.get_mut(usize::from(data.direction.0 & 1)) {
            lost.add(Cause::Agent, u64::from(data.len));
        }
        self.unbound.insert(data.tgid, data.time);
    }
}

#[cfg(test)]
#[path = "halves_tests.rs"]
mod tests;
