//! Finds the socket that carries a TLS session.
//!
//! A library that reads and writes its socket itself shows it: the system call is
//! nested in the TLS call. One that works on memory buffers does not; there the
//! lengths tell. What the library is given to send leaves as TLS records that are
//! longer by a constant, in the same thread and soon; what it returns came in a
//! record like that just before. Lengths are evidence, not proof: where more than
//! one session or socket fits, nothing is concluded. Where the ciphertext of a session is
//! seen, it is the proof.

use std::collections::VecDeque;

use agent_common::record::{Direction, FlowId};
use smallvec::SmallVec;

use super::{recent::Recent, tls_record::RecordStart};
use crate::{
    call::{Binding, Timestamp},
    event::Data,
};

/// Threads of which something is remembered.
const THREADS: usize = 4096;

/// Sessions, and sockets, of which something is remembered.
const FLOWS: usize = 65_536;

/// Calls, and records, remembered of one thread.
const PER_THREAD: usize = 16;

/// How long a length waits for its other half, nanoseconds of event time.
const WAIT_NS: u64 = 1_000_000_000;

/// Plaintext of a full record (RFC 8446 section 5.1).
const RECORD_MAX: u64 = 16_384;

/// What records are longer by, while the hello was not seen: TLS 1.3, and 1.2
/// with AES-GCM and with ChaCha20-Poly1305.
const OVERHEADS: [u16; 3] = [17, 24, 16];

/// Names a session: the process is part of it, for forked processes share
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Session {
    /// The process.
    pub tgid: u32,
    /// The session object.
    pub flow: FlowId,
}

/// A call into the TLS library that moved plaintext.
#[derive(Clone, Copy, Debug)]
pub struct Plaintext {
    /// When it returned.
    pub time: Timestamp,
    /// The session.
    pub session: Session,
    /// The calling thread.
    pub tid: u32,
    /// Which way.
    pub direction: Direction,
    /// Bytes that it moved.
    pub len: u64,
}

/// What the records of a socket are longer by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Overhead {
    /// The hello was not seen.
    #[default]
    Unknown,
    /// By this.
    Known(u16),
    /// By no constant, as with CBC: lengths tell nothing.
    Varies,
}

impl Overhead {
    /// The overhead for which a record of `record` bytes holds `plain` bytes.
    fn between(self, plain: u64, record: u16) -> Option<u16> {
        let by = u16::try_from(u64::from(record).checked_sub(plain)?).ok()?;
        let fits = match self {
            Self::Unknown => OVERHEADS.contains(&by),
            Self::Known(overhead) => overhead == by,
            Self::Varies => false,
        };
        fits.then_some(by)
    }
}

/// What shows the socket of a session beyond doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    /// A nested call.
    Nested,
    /// Its ciphertext went over the socket.
    Ciphertext,
}

/// What is concluded of a session.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    socket: FlowId,
    /// Agreeing observations, at most two count; zero is not bound.
    votes: u8,
    /// How it was seen, if it was: no other evidence counts then.
    proof: Option<Proof>,
    /// Nested calls used different sockets: no other evidence can help.
    conflict: bool,
    /// An observation that asks for a second one: for another socket, or with
    /// an overhead that was guessed.
    rival: Option<(FlowId, u16)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Socket {
    overhead: Overhead,
    session: Option<Session>,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    time: Timestamp,
    session: Session,
    left: u64,
    /// Where the first record of a write of several went, and its overhead.
    began: Option<(FlowId, u16)>,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    time: Timestamp,
    socket: FlowId,
    record: u16,
}

#[derive(Debug, Default)]
struct Thread {
    writes: VecDeque<Write>,
    reads: VecDeque<Read>,
}

/// Collects evidence; bounded in what it remembers, the latest first.
#[derive(Debug)]
pub struct Binder {
    threads: Recent<u32, Thread>,
    sessions: Recent<Session, Bound>,
    sockets: Recent<FlowId, Socket>,
}

impl Default for Binder {
    fn default() -> Self {
        Self {
            threads: Recent::new(THREADS),
            sessions: Recent::new(FLOWS),
            sockets: Recent::new(FLOWS),
        }
    }
}

impl Binder {
    /// A system call on `socket` was nested in a call of `session`.
    pub fn nested(&mut self, session: Session, socket: FlowId) {
        self.prove(session, socket, Proof::Nested);
    }

    /// The ciphertext of `session` went over `socket`.
    pub(super) fn ciphertext(&mut self, session: Session, socket: FlowId) {
        self.prove(session, socket, Proof::Ciphertext);
    }

    fn prove(&mut self, session: Session, socket: FlowId, proof: Proof) {
        self.bind(session, socket, 2);
        self.sessions.entry(&session).proof = Some(proof);
    }

    /// Nested calls of `session` used different sockets.
    pub fn conflict(&mut self, session: Session) {
        let bound = self.sessions.entry(&session);
        let socket = bound.socket;
        *bound = Bound { conflict: true, ..Bound::default() };
        self.release(socket, session);
    }

    /// The hello of `socket` was seen: its records are longer by `overhead`, or by
    /// no constant.
    pub fn hello(&mut self, socket: FlowId, overhead: Option<u16>) {
        self.sockets.entry(&socket).overhead = overhead.map_or(Overhead::Varies, Overhead::Known);
    }

    /// A call of a TLS library returned.
    pub fn plaintext(&mut self, call: Plaintext) {
        if call.len == 0 {
            return;
        }
        if call.direction == Direction::INGRESS {
            self.read(call);
            return;
        }
        let writes = &mut self.threads.entry(&call.tid).writes;
        if writes.len() >= PER_THREAD {
            writes.pop_front();
        }
        writes.push_back(Write {
            time: call.time,
            session: call.session,
            left: call.len,
            began: None,
        });
    }

    /// TLS records began in a system call on a socket.
    pub fn records(&mut self, data: &Data) {
        let Data { time, flow: socket, tid, direction, .. } = *data;
        for record in RecordStart::all(&data.payload).filter_map(RecordStart::application_data) {
            if direction == Direction::EGRESS {
                self.written(time, socket, tid, record);
            } else {
                let reads = &mut self.threads.entry(&tid).reads;
                if reads.len() >= PER_THREAD {
                    reads.pop_front();
                }
                reads.push_back(Read { time, socket, record });
            }
        }
    }

    /// Whether a record of so many bytes on a socket may hold so much plaintext.
    pub(super) fn fits(&self, socket: FlowId, plain: u64, record: u16) -> bool {
        let socket = self.sockets.peek(&socket).copied().unwrap_or_default();
        socket.overhead.between(plain, record).is_some()
    }

    /// The socket of a session, and how that is known.
    pub fn binding(&self, session: Session) -> Option<(FlowId, Binding)> {
        let bound = self.sessions.peek(&session).filter(|bound| bound.votes > 0)?;
        let binding = match bound {
            Bound { proof: Some(Proof::Nested), .. } => Binding::NestedSyscall,
            Bound { proof: Some(Proof::Ciphertext), .. } => Binding::Ciphertext,
            Bound { rival: Some(_), .. } => Binding::RecordLength { confidence: 0.5 },
            Bound { votes: 1, .. } => Binding::RecordLength { confidence: 0.9 },
            _ => Binding::RecordLength { confidence: 0.99 },
        };
        Some((bound.socket, binding))
    }

    /// Whether a session was bound to the socket.
    pub fn is_bound(&self, socket: FlowId) -> bool {
        self.sockets.peek(&socket).is_some_and(|socket| socket.session.is_some())
    }

    /// Whether what session uses the socket is beyond doubt.
    pub(super) fn is_proven(&self, socket: FlowId) -> bool {
        let session = self.session_of(socket).and_then(|session| self.sessions.peek(&session));
        session.is_some_and(|bound| bound.proof.is_some())
    }

    /// The session that is bound to the socket.
    pub fn session_of(&self, socket: FlowId) -> Option<Session> {
        self.sockets.peek(&socket)?.session
    }

    /// The session is gone.
    pub fn end_session(&mut self, session: Session) {
        self.sessions.remove(&session);
    }

    /// The socket is gone.
    pub fn end_socket(&mut self, socket: FlowId) {
        self.sockets.remove(&socket);
    }

    /// A record left: which write was it?
    fn written(&mut self, time: Timestamp, socket: FlowId, tid: u32, record: u16) {
        let Socket { overhead, session: holder } = *self.sockets.entry(&socket);
        let thread = self.threads.entry(&tid);
        thread.writes.retain(|write| time.nanos_since(write.time) < WAIT_NS);

        // The first fitting write of each session.
        let mut fits: SmallVec<[(usize, Session, u16); 4]> = SmallVec::new();
        for (at, write) in thread.writes.iter().enumerate() {
            let Some(by) = overhead.between(write.left.min(RECORD_MAX), record) else { continue };
            if write.began.is_none_or(|began| began == (socket, by))
                && !fits.iter().any(|(_, session, _)| *session == write.session)
            {
                fits.push((at, write.session, by));
            }
        }
        let several = fits.len() > 1;
        if several {
            let elsewhere = |session: &Session| {
                self.sessions.peek(session).is_some_and(|b| b.votes > 0 && b.socket != socket)
            };
            if fits.iter().any(|(_, session, _)| Some(*session) == holder) {
                fits.retain(|(_, session, _)| Some(*session) == holder);
            } else {
                let all = fits.clone();
                fits.retain(|(_, session, _)| !elsewhere(session));
                if fits.len() != 1 {
                    // Neither may be taken for the next record of this length.
                    for (at, ..) in all.iter().rev() {
                        thread.writes.remove(*at);
                    }
                    return;
                }
            }
        }
        let Some(&(at, session, by)) = fits.first() else { return };
        let Some(write) = thread.writes.get_mut(at) else { return };
        write.left -= write.left.min(RECORD_MAX);
        write.began = Some((socket, by));
        if write.left == 0 {
            thread.writes.remove(at);
            if !several {
                self.vote(session, socket, by, overhead != Overhead::Unknown);
            }
        }
    }

    /// Plaintext was returned: in which record was it?
    fn read(&mut self, call: Plaintext) {
        let thread = self.threads.entry(&call.tid);
        thread.reads.retain(|read| call.time.nanos_since(read.time) < WAIT_NS);
        let mut fits: SmallVec<[(usize, FlowId, u16, bool); 4]> = SmallVec::new();
        for (at, read) in thread.reads.iter().enumerate() {
            let overhead = self.sockets.peek(&read.socket).copied().unwrap_or_default().overhead;
            if let Some(by) = overhead.between(call.len, read.record)
                && !fits.iter().any(|(_, socket, ..)| *socket == read.socket)
            {
                fits.push((at, read.socket, by, overhead != Overhead::Unknown));
            }
        }
        let several = fits.len() > 1;
        if several {
            let holder = |socket: &FlowId| self.sockets.peek(socket).and_then(|s| s.session);
            if fits.iter().any(|(_, socket, ..)| holder(socket) == Some(call.session)) {
                fits.retain(|(_, socket, ..)| holder(socket) == Some(call.session));
            } else {
                let all = fits.clone();
                fits.retain(|(_, socket, ..)| holder(socket).is_none());
                if fits.len() != 1 {
                    for (at, ..) in all.iter().rev() {
                        thread.reads.remove(*at);
                    }
                    return;
                }
            }
        }
        let Some(&(at, socket, by, known)) = fits.first() else { return };
        thread.reads.remove(at);
        if !several {
            self.vote(call.session, socket, by, known);
        }
    }

    /// Counts one observation.
    fn vote(&mut self, session: Session, socket: FlowId, by: u16, known: bool) {
        let holder = self.sockets.entry(&socket).session.filter(|holder| *holder != session);
        if let Some(holder) = holder {
            let held = self.sessions.entry(&holder);
            if held.proof.is_some() {
                return;
            }
            // A socket serves one session: someone is wrong.
            held.rival.get_or_insert((FlowId::default(), 0));
        }
        let bound = self.sessions.entry(&session);
        if bound.proof.is_some() || bound.conflict {
            return;
        }
        if bound.votes > 0 && bound.socket == socket {
            bound.votes = 2;
            bound.rival = None;
            return;
        }
        let first = bound.votes == 0 && known && holder.is_none();
        if first || bound.rival == Some((socket, by)) {
            self.bind(session, socket, 1);
        } else {
            bound.rival = Some((socket, by));
        }
    }

    fn bind(&mut self, session: Session, socket: FlowId, votes: u8) {
        let bound = self.sessions.entry(&session);
        let before = bound.socket;
        *bound = Bound { socket, votes, proof: bound.proof, ..Bound::default() };
        if before != socket {
            self.release(before, session);
        }
        let holder = self.sockets.entry(&socket).session.replace(session);
        if let Some(holder) = holder.filter(|holder| *holder != session) {
            *self.sessions.entry(&holder) = Bound::default();
        }
    }

    /// `session` no longer holds `socket`.
    fn release(&mut self, socket: FlowId, session: Session) {
        if socket != FlowId::default() {
            let entry = self.sockets.entry(&socket);
            if entry.session == Some(session) {
                entry.session = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "binder_tests.rs"]
mod tests;
