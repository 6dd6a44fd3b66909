//! The table of flows: events in, calls out.

use std::{collections::VecDeque, sync::Arc};

use agent_common::record::{DataFlags, Direction, Family, FlowId, Layer, Protocol, Tuple};
use ahash::AHashMap;

use super::{
    Limits, Stats,
    binder::{Binder, Session},
    carrier::{Carrier, Work},
    coverage::{Coverage, Entry, Fate, Reason},
    decoder::Decoder,
    ends::{EndsKey, ends},
    halves::Halves,
    join::Joiner,
    located::Located,
    process::Processes,
    quic::{Connections, QuicSocket},
    recent::Recent,
    tls_socket::TlsSocket,
    unsure::Unsure,
    witness::Witness,
};
use crate::{
    call::{Call, Ends, Missing, Process, Timestamp},
    event::{Data, End, Unix, verdict::ProcessVerdict},
    http::{self, Exchange},
};

/// Names a flow. A TLS session belongs to a process, for forked processes share
/// addresses; a socket is one whoever uses it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub(super) flow: FlowId,
    /// Of a TLS session; 0 for a socket.
    pub(super) tgid: u32,
    pub(super) layer: u8,
}

impl Key {
    pub(super) const fn new(layer: Layer, flow: FlowId, tgid: u32) -> Self {
        Self { flow, tgid: if layer.0 == Layer::TLS.0 { tgid } else { 0 }, layer: layer.0 }
    }

    pub(super) const fn socket(flow: FlowId) -> Self {
        Self::new(Layer::SOCKET, flow, 0)
    }

    pub(super) const fn is_session(self) -> bool {
        self.layer == Layer::TLS.0
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A socket whose protocol is not known yet.
    New,
    /// HTTP, or a TLS session that may be.
    Carrier(Carrier),
    /// A socket that carries TLS.
    Tls(TlsSocket),
    /// A UDP socket over which QUIC goes.
    Quic(QuicSocket),
    /// Nothing that is decoded.
    Other(Fate),
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) id: u64,
    pub(super) last: Timestamp,
    /// The process that used it last, and its start.
    pub(super) tgid: u32,
    pub(super) start_ns: u64,
    pub(super) tuple: Tuple,
    pub(super) path: Option<Arc<str>>,
    pub(super) ends: Ends,
    /// Under this it is in `by_ends`.
    pub(super) ends_key: Option<EndsKey>,
    /// It is in `waiting`.
    pub(super) queued: bool,
    /// No call of it was told yet.
    pub(super) first: bool,
    pub(super) unsure: Unsure,
    /// Its first record.
    pub(super) opened: Timestamp,
    /// How far each direction has come.
    pub(super) reached: [u64; 2],
    /// Bytes lost that are not in the ledger yet.
    pub(super) lost: Missing,
    /// What is in the ledger, and the latest record when it was looked at for that.
    pub(super) booked: Option<Entry>,
    pub(super) looked: Timestamp,
    pub(super) kind: Kind,
}

/// Flows with the same two ends: sockets of different network namespaces may have
/// equal addresses, and then the other end of neither is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alike(pub(super) u32);

/// All flows that are open, bounded. Idle flows, and when it is full the ones not
/// used lately, are closed and counted.
#[derive(Debug)]
pub struct FlowTable {
    pub(super) limits: Limits,
    pub(super) http: http::Limits,
    pub(super) index: AHashMap<Key, usize>,
    pub(super) slots: Vec<Option<Box<Flow>>>,
    pub(super) free: Vec<usize>,
    /// Where the next sweep or sample starts.
    pub(super) hand: usize,
    /// Flows that hold records back, by when they give up waiting.
    pub(super) waiting: VecDeque<(Timestamp, usize, u64)>,
    pub(super) pending_bytes: usize,
    /// Bytes of TLS hellos that are not complete.
    pub(super) hello_bytes: usize,
    pub(super) sessions: AHashMap<u32, Vec<usize>>,
    pub(super) by_ends: AHashMap<EndsKey, Alike>,
    pub(super) names: Recent<FlowId, Option<Arc<str>>>,
    pub(super) libraries: AHashMap<u16, Arc<str>>,
    pub(super) processes: Processes,
    pub(super) binder: Binder,
    pub(super) halves: Halves,
    pub(super) witness: Witness,
    pub(super) located: Located,
    /// Flows with calls that wait for a proof, by when they give up; and how many calls.
    pub(super) unsure: VecDeque<(Timestamp, usize, u64)>,
    pub(super) unsure_count: usize,
    pub(super) joiner: Joiner,
    pub(super) exchanges: Vec<Exchange>,
    /// What the flow that is worked on has lost; empty between flows.
    pub(super) lost: Missing,
    pub(super) coverage: Coverage,
    /// What the ledger holds of connections that were evicted, and may go on.
    pub(super) evicted: Recent<Key, Entry>,
    pub(super) quic: Connections,
    /// When the latest session of a process that ended unbound moved plaintext.
    pub(super) unbound: Recent<u32, Timestamp>,
    pub(super) stats: Stats,
    pub(super) now: Timestamp,
    pub(super) next_look: Timestamp,
    pub(super) last_id: u64,
}

impl FlowTable {
    /// An empty table.
    pub fn new(limits: Limits, http: http::Limits) -> Self {
        Self {
            limits,
            http,
            index: AHashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            waiting: VecDeque::new(),
            pending_bytes: 0,
            hello_bytes: 0,
            sessions: AHashMap::new(),
            by_ends: AHashMap::new(),
            names: Recent::new(limits.flows),
            libraries: AHashMap::new(),
            processes: Processes::new(limits.processes),
            binder: Binder::default(),
            halves: Halves::default(),
            witness: Witness::default(),
            located: Located::default(),
            unsure: VecDeque::new(),
            unsure_count: 0,
            joiner: Joiner::new(limits.waiting_calls),
            exchanges: Vec::new(),
            lost: Missing::default(),
            coverage: Coverage::new(limits.programs),
            evicted: Recent::new(limits.flows),
            quic: Connections::new(limits.quic_connections),
            unbound: Recent::new(limits.processes),
            stats: Stats::default(),
            now: Timestamp(0),
            next_look: Timestamp(0),
            last_id: 0,
        }
    }

    /// Totals since the start.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// For what is counted before events reach the table.
    pub const fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// No flows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes moved.
    pub fn data(&mut self, data: Data, out: &mut Vec<Call>) {
        self.advance(data.time, out);
        if data.flags.contains(DataFlags::HALF) {
            self.half_data(data, out);
        } else if data.layer == Layer::TLS && data.flags.contains(DataFlags::TLS_RECORDS) {
            self.session_ciphertext(&data, out);
        } else {
            self.flow_data(data, out);
            self.unite(out);
            self.prove(out);
            self.prove_located(out);
        }
    }

    /// Bytes of a flow of both directions.
    pub(super) fn flow_data(&mut self, data: Data, out: &mut Vec<Call>) {
        let key = Key::new(data.layer, data.flow, data.tgid);
        let slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None => self.open(key, &data, out),
        };
        let Some(mut flow) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        flow.last = data.time;
        flow.tgid = data.tgid;
        flow.start_ns = data.start_ns;
        let end = data.offset.saturating_add(u64::from(data.len));
        if let Some(reached) = flow.reached.get_mut(usize::from(data.direction.0 & 1)) {
            *reached = end.max(*reached);
        }
        if key.is_session() {
            self.session_data(&mut flow, slot, data, out);
        } else {
            self.socket_data(&mut flow, slot, data, out);
        }
        self.put(slot, flow);
    }

    /// A flow or one direction of it ended.
    pub fn end(&mut self, end: &End, out: &mut Vec<Call>) {
        self.advance(end.time, out);
        let key = Key::new(end.layer, end.flow, end.tgid);
        if !key.is_session() {
            self.whole_end(end, out);
        } else if self.half_end(Session { tgid: end.tgid, flow: end.flow }) {
            return;
        }
        if let Some(slot) = self.index.get(&key).copied() {
            self.flow_end(slot, end, out);
        }
    }

    /// The flow in a slot or one direction of it ended.
    pub(super) fn flow_end(&mut self, slot: usize, end: &End, out: &mut Vec<Call>) {
        if let Some(mut flow) = self.slots.get_mut(slot).and_then(Option::take) {
            flow.last = end.time;
            for (reached, last) in flow.reached.iter_mut().zip(end.offsets) {
                *reached = last.max(*reached);
            }
            self.carry(&mut flow, slot, out, |carrier, work| carrier.end(end, work));
            self.put(slot, flow);
        }
        if end.direction == Direction::BOTH {
            self.close(slot, out);
        }
    }

    /// Names of a unix socket.
    pub fn unix(&mut self, unix: &Unix) {
        if let Some(slot) = self.index.get(&Key::socket(unix.flow))
            && let Some(flow) = self.slots.get_mut(*slot).and_then(Option::as_mut)
        {
            flow.path.clone_from(&unix.path);
            flow.ends = ends(&flow.tuple, flow.path.as_ref());
        }
        self.names.insert(unix.flow, unix.path.clone());
    }

    /// Facts of a process.
    pub fn process(&mut self, process: Arc<Process>) {
        self.processes.update(process);
        self.stats.processes_forgotten = self.processes.forgotten();
    }

    /// What the TLS of a process is.
    pub fn verdict(&mut self, verdict: Arc<ProcessVerdict>) {
        self.processes.judge(verdict);
    }

    /// A process ended, and its TLS sessions with it. Sockets may live on in
    /// others; the kernel tells when they end.
    pub fn exit(&mut self, time: Timestamp, pid: u32, out: &mut Vec<Call>) {
        self.advance(time, out);
        for slot in self.sessions.remove(&pid).unwrap_or_default() {
            self.close(slot, out);
        }
    }

    /// The name of an attached TLS library.
    pub fn library(&mut self, index: u16, name: Arc<str>) {
        self.located.library(index);
        self.libraries.insert(index, name);
    }

    /// Lets time pass: all events up to `now`, of their clock, have been handed in.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Call>) {
        self.next_look = Timestamp(0);
        self.advance(now, out);
    }

    /// Ends every flow: for the end of a run or of a recording.
    pub fn finish(&mut self, out: &mut Vec<Call>) {
        for slot in 0..self.slots.len() {
            self.close(slot, out);
        }
        self.joiner.finish(&mut self.stats, out);
    }

    /// Bytes of a socket.
    fn socket_data(&mut self, flow: &mut Flow, slot: usize, data: Data, out: &mut Vec<Call>) {
        if data.tuple.family != Family::NONE && data.tuple != flow.tuple {
            self.locate(flow, data.tuple);
            self.register(flow);
        }
        if matches!(flow.kind, Kind::New) {
            flow.kind = match data.protocol {
                Protocol::HTTP1 | Protocol::HTTP2 => {
                    let Self { stats, exchanges, lost, .. } = self;
                    let mut work = work(self.http, stats, exchanges, lost);
                    Kind::Carrier(Carrier::http(if data.protocol == Protocol::HTTP1 {
                        Decoder::http1(&mut work)
                    } else {
                        Decoder::http2(&mut work)
                    }))
                }
                Protocol::TLS => {
                    self.stats.flows.tls += 1;
                    Kind::Tls(TlsSocket::default())
                }
                Protocol::QUIC => Kind::Quic(QuicSocket::new(&data)),
                Protocol::URING => {
                    self.stats.flows.ignored += 1;
                    Kind::Other(Fate::Opaque(Reason::IoUring))
                }
                Protocol::IGNORED => {
                    self.stats.flows.ignored += 1;
                    Kind::Other(Fate::Other)
                }
                _ => return,
            };
            self.register(flow);
        }
        // Headers of TLS records are no stream bytes, whatever the flow was before.
        let records = data.flags.contains(DataFlags::TLS_RECORDS);
        match &mut flow.kind {
            Kind::Tls(socket) if records => {
                socket.records(&data, flow.reached);
                self.binder.records(&data);
                self.halves.on_socket(&data);
                self.located.on_socket(&data, &self.binder);
                if !self.binder.is_proven(data.flow) {
                    self.witness.on_socket(&data);
                }
            }
            Kind::Carrier(_) if !records => {
                self.carry(flow, slot, out, |carrier, work| carrier.data(data, work));
            }
            Kind::Tls(socket) => {
                let held = socket.held();
                let news = socket.hello(&data);
                self.hello_bytes = self.hello_bytes.saturating_sub(held) + socket.held();
                if self.hello_bytes > self.limits.hello_bytes {
                    self.hello_bytes = self.hello_bytes.saturating_sub(socket.held());
                    socket.give_up();
                    self.stats.hellos_dropped += 1;
                }
                if let Some(server) = socket.server.as_ref().filter(|_| news) {
                    self.binder.hello(data.flow, server.overhead());
                }
            }
            Kind::Quic(socket) => {
                // Few records are made of what moves: each tells of both directions.
                if let Some(other) = flow.reached.get_mut(usize::from(!data.direction.0 & 1)) {
                    *other = data.other_offset.max(*other);
                }
                socket.moves |= data.payload.is_empty();
                let Self { quic, stats, .. } = self;
                quic.datagram(&data, |seen| stats.flows.quic += socket.note(seen));
                stats.quic_forgotten = quic.forgotten();
            }
            Kind::Carrier(_) | Kind::New | Kind::Other(_) => {}
        }
    }

    /// Lets the carrier of a flow work, and sends out what it found.
    pub(super) fn carry(
        &mut self,
        flow: &mut Flow,
        slot: usize,
        out: &mut Vec<Call>,
        act: impl FnOnce(&mut Carrier, &mut Work<'_>),
    ) {
        let Kind::Carrier(carrier) = &mut flow.kind else { return };
        let held = carrier.pending_bytes();
        let Self { stats, exchanges, lost, .. } = self;
        act(carrier, &mut work(self.http, stats, exchanges, lost));
        if held != 0 || carrier.waits() {
            self.pending_bytes = self.pending_bytes.saturating_sub(held) + carrier.pending_bytes();
            if self.pending_bytes > self.limits.pending_bytes {
                self.pending_bytes -= carrier.pending_bytes();
                let Self { stats, exchanges, lost, .. } = self;
                carrier.expire(None, &mut work(self.http, stats, exchanges, lost));
            }
            if let Some(deadline) = carrier.deadline()
                && !flow.queued
            {
                flow.queued = true;
                self.waiting.push_back((deadline, slot, flow.id));
                if self.waiting.len() > self.limits.flows.saturating_mul(2) {
                    self.forget_closed(flow.id);
                }
            }
        }
        if !self.lost.is_empty() {
            flow.lost.merge(&std::mem::take(&mut self.lost));
        }
        let done = flow.ends_key.filter(|_| !carrier.decodes());
        if !self.exchanges.is_empty() {
            self.emit(flow, slot, out);
        }
        if let Some(ends) = done {
            self.tell_unsure(flow, out);
            // It became another protocol: no more calls for the other end to wait for.
            self.unregister(flow);
            self.joiner.closed(ends, &mut self.stats, out);
        }
    }
}

const fn work<'a>(
    limits: http::Limits,
    stats: &'a mut Stats,
    out: &'a mut Vec<Exchange>,
    lost: &'a mut Missing,
) -> Work<'a> {
    Work { limits, stats, out, lost }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
