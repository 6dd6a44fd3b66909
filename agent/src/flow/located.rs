//! Sessions of libraries whose functions were found without symbols: they count once their
//! ciphertext has proven what was found.
//!
//! A session's calls have to nest system calls on one socket, and the records on that socket
//! have to be as long as the plaintext makes them, once in each direction: a function that
//! was taken for another one gives no such lengths. Nothing of a session is told before, and
//! of a library that proves nothing the probes are taken away.

use std::collections::{HashMap, VecDeque};

use agent_common::{
    limits::LOCATED_LIBRARIES,
    record::{DataFlags, Direction, FlowId, Layer},
};

use super::{
    binder::{Binder, Session},
    recent::Recent,
    table::{FlowTable, Key, Kind},
    tls_record::RecordStart,
};
use crate::{
    call::{Binding, Call},
    event::Data,
};

/// Sockets of which something is remembered.
const SOCKETS: usize = 65_536;

/// Records, or calls, of one direction that wait for their other side.
const WAITING: usize = 64;

/// Plaintext of a full record (RFC 8446 section 5.1).
const RECORD_MAX: u64 = 16_384;

/// Calls of a library that have read something, none of which was proven, after which it is
/// given up.
const CALLS_MAX: u32 = 1000;

/// What is known of a socket.
#[derive(Debug, Default)]
struct Socket {
    /// The session that it is to be proven of.
    session: Option<(Session, u16)>,
    /// Lengths of records that came and that no call has read.
    came: VecDeque<u16>,
    /// Bytes that calls have read since the latest record that was read whole.
    read: u64,
    /// Bytes of the first record of each call that wrote.
    written: VecDeque<u64>,
    /// By direction.
    proven: [bool; 2],
}

/// What came of a library so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Library {
    /// So many calls, and no proof.
    Tried(u32),
    Proven,
    GivenUp,
}

/// Sessions that are to be proven; bounded.
#[derive(Debug)]
pub(super) struct Located {
    sockets: Recent<FlowId, Socket>,
    libraries: HashMap<u16, Library>,
    /// Sessions that have just been proven.
    proven: Vec<(Session, FlowId)>,
    given_up: Vec<u16>,
}

impl Default for Located {
    fn default() -> Self {
        Self {
            sockets: Recent::new(SOCKETS),
            libraries: HashMap::new(),
            proven: Vec::new(),
            given_up: Vec::new(),
        }
    }
}

/// Keeps the latest.
fn push<T>(waiting: &mut VecDeque<T>, item: T) {
    if waiting.len() >= WAITING {
        waiting.pop_front();
    }
    waiting.push_back(item);
}

impl Located {
    /// Probes were attached to a library.
    pub(super) fn library(&mut self, index: u16) {
        if index >= LOCATED_LIBRARIES {
            // Others get the probes of one that has proven itself, and numbers are used again.
            let known = self.libraries.entry(index).or_insert(Library::Tried(0));
            if *known == Library::GivenUp {
                *known = Library::Tried(0);
            }
        }
    }

    /// TLS records began in a system call on a socket.
    pub(super) fn on_socket(&mut self, data: &Data, binder: &Binder) {
        if self.libraries.is_empty() || binder.is_proven(data.flow) {
            return;
        }
        for record in RecordStart::all(&data.payload).filter_map(RecordStart::application_data) {
            let socket = self.sockets.entry(&data.flow);
            if data.direction == Direction::INGRESS {
                push(&mut socket.came, record);
                continue;
            }
            let fits = |len: &u64| binder.fits(data.flow, *len, record);
            if let Some(at) = socket.written.iter().position(fits) {
                socket.written.drain(..=at);
                self.prove(data.flow, Direction::EGRESS);
            }
        }
    }

    /// A call of a session that is not proven moved plaintext.
    pub(super) fn plaintext(&mut self, session: Session, data: &Data, len: u64, binder: &Binder) {
        // What is sent may be long before there is an answer.
        if data.direction == Direction::INGRESS
            && let Some(library) = self.libraries.get_mut(&data.library)
            && let Library::Tried(calls) = library
        {
            *calls += 1;
            if *calls >= CALLS_MAX {
                *library = Library::GivenUp;
                self.given_up.push(data.library);
            }
        }
        if !data.flags.contains(DataFlags::NESTED) || data.flags.contains(DataFlags::CONFLICT) {
            return;
        }
        let socket = self.sockets.entry(&data.socket);
        if socket.session != Some((session, data.library)) {
            // What another one has proven is not its own; what came is for who reads it.
            let came = std::mem::take(&mut socket.came);
            *socket = Socket { session: Some((session, data.library)), came, ..Socket::default() };
        }
        if data.direction == Direction::EGRESS {
            push(&mut socket.written, len.min(RECORD_MAX));
            return;
        }
        // A record may be read in parts, and others hold no data.
        socket.read = socket.read.saturating_add(len);
        let read = socket.read;
        let fits = |record: &u16| {
            [len, read].iter().any(|plain| binder.fits(data.socket, *plain, *record))
        };
        if let Some(at) = socket.came.iter().position(fits) {
            socket.came.drain(..=at);
            socket.read = 0;
            self.prove(data.socket, Direction::INGRESS);
        }
    }

    /// Lengths agree in a direction of a socket.
    fn prove(&mut self, flow: FlowId, direction: Direction) {
        let socket = self.sockets.entry(&flow);
        let Some((session, library)) = socket.session else { return };
        if let Some(proven) = socket.proven.get_mut(usize::from(direction.0 & 1)) {
            *proven = true;
        }
        if socket.proven == [true; 2] {
            self.libraries.insert(library, Library::Proven);
            self.proven.push((session, flow));
            self.sockets.remove(&flow);
        }
    }

    /// A socket is gone.
    pub(super) fn end_socket(&mut self, flow: FlowId) {
        self.sockets.remove(&flow);
    }
}

impl FlowTable {
    /// Binds the sessions that have just been proven, and tells their calls.
    pub(super) fn prove_located(&mut self, out: &mut Vec<Call>) {
        for (session, socket) in std::mem::take(&mut self.located.proven) {
            let slot = self.index.get(&Key::new(Layer::TLS, session.flow, session.tgid));
            let Some(&slot) = slot else { continue };
            let flow = self.slots.get_mut(slot).and_then(Option::take);
            let Some(mut flow) = flow else { continue };
            if let Kind::Carrier(carrier) = &mut flow.kind
                && let Some(facts) = carrier.session.as_deref_mut().filter(|facts| !facts.conflict)
            {
                facts.binding = Binding::NestedSyscall;
                facts.socket = socket;
                self.binder.nested(session, socket);
                self.refresh(&mut flow);
                self.register(&mut flow);
                self.tell_unsure(&mut flow, out);
            }
            self.put(slot, flow);
        }
    }

    /// Libraries that were found without symbols and proved nothing: their probes may be taken
    /// away.
    pub fn take_given_up(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.located.given_up)
    }
}

#[cfg(test)]
#[path = "located_tests.rs"]
mod tests;
