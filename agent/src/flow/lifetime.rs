//! How flows come into the table and leave it.

use std::sync::Arc;

use agent_common::record::{FlowId, Layer, Tuple};

use super::{
    binder::Session,
    carrier::Carrier,
    coverage::Entry,
    session::SessionFacts,
    table::{Flow, FlowTable, Key, Kind},
    unsure::Unsure,
};
use crate::{
    call::{Binding, Call, Ends, Missing, Timestamp},
    event::Data,
};

/// Event time between two looks at what waits and at what is silent.
const LOOK_NS: u64 = 10_000_000;

/// Slots that one look for silent flows, and for what became of the others, passes at
/// least; and of how many looks each slot has one: with few looks a second, as in quiet
/// times, within some ten seconds.
const SWEEP: usize = 64;
const LOOKS: usize = 256;

/// Flows of which the least recently used is evicted.
const SAMPLE: usize = 8;

impl FlowTable {
    /// Forgets what closed flows have waited for; `current` is out of its slot.
    pub(super) fn forget_closed(&mut self, current: u64) {
        let Self { waiting, slots, .. } = self;
        waiting.retain(|(_, slot, id)| {
            let open = slots.get(*slot).and_then(Option::as_ref).is_some_and(|f| f.id == *id);
            open || *id == current
        });
    }

    /// Makes room for a flow and puts it in.
    pub(super) fn open(&mut self, key: Key, data: &Data, out: &mut Vec<Call>) -> usize {
        if self.index.len() >= self.limits.flows.max(1) {
            self.evict_one(out);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.last_id += 1;
        let kind = if key.is_session() {
            self.sessions.entry(data.tgid).or_default().push(slot);
            Kind::Carrier(Carrier::session(SessionFacts {
                session: Session { tgid: data.tgid, flow: data.flow },
                library: data.library,
                call_ends: [0; 2],
                conflict: false,
                binding: Binding::None,
                socket: FlowId::default(),
                handshake: Arc::default(),
                counted: false,
            }))
        } else {
            Kind::New
        };
        let path = self.names.peek(&data.flow).cloned().flatten().filter(|_| !key.is_session());
        let flow = Flow {
            key,
            id: self.last_id,
            last: data.time,
            tgid: data.tgid,
            start_ns: data.start_ns,
            tuple: Tuple::default(),
            path,
            ends: Ends::Unknown,
            ends_key: None,
            queued: false,
            first: true,
            unsure: Unsure::New,
            opened: data.time,
            reached: [0; 2],
            lost: Missing::default(),
            booked: self.evicted.remove(&key),
            looked: Timestamp(0),
            kind,
        };
        self.index.insert(key, slot);
        self.put(slot, Box::new(flow));
        slot
    }

    pub(super) fn put(&mut self, slot: usize, flow: Box<Flow>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(flow);
        }
    }

    /// Takes a flow out; what it holds comes out with it.
    pub(super) fn close(&mut self, slot: usize, out: &mut Vec<Call>) {
        self.take_out(slot, out);
    }

    /// The same, of one that may go on: should it, it is no other connection.
    fn evict(&mut self, slot: usize, out: &mut Vec<Call>) {
        if let Some((key, Some(entry))) = self.take_out(slot, out) {
            self.evicted.insert(key, entry);
        }
    }

    fn take_out(&mut self, slot: usize, out: &mut Vec<Call>) -> Option<(Key, Option<Entry>)> {
        let mut flow = self.slots.get_mut(slot).and_then(Option::take)?;
        self.carry(&mut flow, slot, out, Carrier::close);
        self.tell_unsure(&mut flow, out);
        self.book(&mut flow, true);
        self.index.remove(&flow.key);
        self.free.push(slot);
        self.unregister(&mut flow);
        if let Kind::Tls(socket) = &flow.kind {
            self.hello_bytes = self.hello_bytes.saturating_sub(socket.held());
            if !self.binder.is_bound(flow.key.flow) {
                self.stats.flows.tls_unbound += 1;
            }
            self.binder.end_socket(flow.key.flow);
            self.located.end_socket(flow.key.flow);
        }
        if flow.key.is_session() {
            self.binder.end_session(Session { tgid: flow.key.tgid, flow: flow.key.flow });
            if let Some(slots) = self.sessions.get_mut(&flow.key.tgid) {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    self.sessions.remove(&flow.key.tgid);
                }
            }
        } else {
            self.names.remove(&flow.key.flow);
        }
        // A socket of QUIC carries many: those that come later are others.
        Some((flow.key, flow.booked.filter(|_| !matches!(flow.kind, Kind::Quic(_)))))
    }

    /// When a flow was used last. The kernel side tells no more of a socket that is bound,
    /// but of its session.
    fn used_last(&self, flow: &Flow) -> Timestamp {
        let session = match &flow.kind {
            Kind::Tls(_) => self.binder.session_of(flow.key.flow),
            _ => None,
        };
        let session = session.and_then(|session| {
            let slot = self.index.get(&Key::new(Layer::TLS, session.flow, session.tgid))?;
            self.slots.get(*slot)?.as_deref()
        });
        session.map_or(flow.last, |session| session.last.max(flow.last))
    }

    /// Evicts the least recently used of a few flows.
    pub(super) fn evict_one(&mut self, out: &mut Vec<Call>) {
        let mut oldest: Option<(Timestamp, usize)> = None;
        let mut seen = 0;
        for _ in 0..self.slots.len() {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            if let Some(Some(flow)) = self.slots.get(self.hand) {
                let candidate = (self.used_last(flow), self.hand);
                oldest = Some(oldest.map_or(candidate, |oldest| oldest.min(candidate)));
                seen += 1;
                if seen >= SAMPLE {
                    break;
                }
            }
        }
        if let Some((_, slot)) = oldest {
            self.stats.evicted_full += 1;
            self.evict(slot, out);
        }
    }

    /// Takes note of the time, and now and then looks at what waits for it.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Vec<Call>) {
        self.now = self.now.max(now);
        if self.now < self.next_look {
            return;
        }
        self.next_look = Timestamp(self.now.0.saturating_add(LOOK_NS));
        let now = self.now;
        while let Some(&(deadline, slot, id)) = self.waiting.front()
            && deadline <= now
        {
            self.waiting.pop_front();
            let flow = self.slots.get_mut(slot).and_then(|place| place.take_if(|f| f.id == id));
            let Some(mut flow) = flow else { continue };
            flow.queued = false;
            self.carry(&mut flow, slot, out, |carrier, work| carrier.expire(Some(now), work));
            self.put(slot, flow);
        }
        self.expire_unsure(out);
        self.joiner.expire(now, &mut self.stats, out);
        self.expire_halves();
        for _ in 0..SWEEP.max(self.slots.len() / LOOKS).min(self.slots.len()) {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let Some(mut flow) = self.slots.get_mut(self.hand).and_then(Option::take) else {
                continue;
            };
            let idle = now.nanos_since(self.used_last(&flow)) > self.limits.idle_ns;
            if !idle {
                self.book(&mut flow, false);
            }
            self.put(self.hand, flow);
            if idle {
                self.stats.evicted_idle += 1;
                self.evict(self.hand, out);
            }
        }
    }
}
