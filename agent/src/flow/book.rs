//! Decides what became of a connection, and keeps the ledger up to date with it.
//!
//! Nothing here is done for a record. A flow is looked at when it ends, and while it
//! is open by the sweep that passes all of them; what it looks at is bounded.

use agent_common::record::Layer;

use super::{
    coverage::{Coverage, Entry, Fate, Reason, RowId},
    decoder::Content,
    table::{Flow, FlowTable, Key, Kind},
    tls_socket::Carried,
};
use crate::call::Timestamp;

/// How long a TLS connection that moves data may stay unbound before it is taken for
/// opaque, nanoseconds of event time. Binding takes a call of the library or two.
const OPAQUE_NS: u64 = 5_000_000_000;

/// Sessions of a process that are looked at for one that may belong to a connection.
const SESSIONS_MAX: usize = 256;

impl FlowTable {
    /// What became of each program's connections.
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// For taking what is new.
    pub const fn coverage_mut(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    /// Brings the ledger up to date with a flow, which is out of its slot. After it has
    /// ended nothing is corrected any more.
    pub(super) fn book(&mut self, flow: &mut Flow, ended: bool) {
        // Of a TLS socket more becomes known without a record of its own.
        if !ended && flow.looked == flow.last && !matches!(flow.kind, Kind::Tls(_)) {
            return;
        }
        flow.looked = flow.last;
        let lost = std::mem::take(&mut flow.lost);
        if !lost.is_empty() {
            let row = self.row_of(flow);
            self.coverage.lost(row, &lost);
        }
        let entry = if flow.key.is_session() {
            self.session_entry(flow, ended)
        } else {
            match &flow.kind {
                Kind::Quic(_) => self.quic_entry(flow),
                _ => self.socket_entry(flow, ended),
            }
        };
        self.coverage.set(flow.booked, entry);
        flow.booked = entry;
    }

    /// The row of the program that used a flow last.
    fn row_of(&mut self, flow: &Flow) -> RowId {
        match self.processes.row(flow.tgid, flow.start_ns, &mut self.coverage) {
            Some(row) => row,
            None => flow.booked.map_or_else(|| self.coverage.unknown(), |entry| entry.row),
        }
    }

    /// Tells the socket of a session what it carries. The session counts as a connection
    /// itself only where its socket was not seen.
    fn session_entry(&mut self, flow: &mut Flow, ended: bool) -> Option<Entry> {
        let reached = flow.reached;
        let Kind::Carrier(carrier) = &mut flow.kind else { return None };
        let content = carrier.content();
        let facts = carrier.session.as_mut()?;
        let Some((socket, _)) = self.binder.binding(facts.session) else {
            if ended && reached != [0; 2] && !facts.is_unproven() {
                self.unbound.insert(flow.key.tgid, flow.last);
            }
            return None;
        };
        let slot = self.index.get(&Key::socket(socket)).copied();
        if let Some(Flow { kind: Kind::Tls(tls), .. }) =
            slot.and_then(|slot| self.slots.get_mut(slot)?.as_deref_mut())
        {
            tls.carried = Some(Carried { content, bytes: reached });
            facts.counted = true;
        }
        if facts.counted {
            return None;
        }
        let fate = fate(content, ended)?;
        Some(Entry { row: self.row_of(flow), fate, connections: 1, bytes: Some(reached) })
    }

    fn socket_entry(&mut self, flow: &mut Flow, ended: bool) -> Option<Entry> {
        let (fate, bytes) = match &flow.kind {
            // Of one that was evicted before, the ledger knows more.
            Kind::New => return flow.booked,
            Kind::Quic(_) => return None,
            Kind::Carrier(carrier) => match (carrier.content(), flow.booked) {
                (Content::Undecided, Some(before)) => (before.fate, Some(flow.reached)),
                (content, _) => (fate(content, ended)?, Some(flow.reached)),
            },
            // How far it has come is told when it ends.
            Kind::Other(fate @ Fate::Opaque(_)) => (*fate, ended.then_some(flow.reached)),
            // The kernel side gave it up and counts no more of its bytes.
            Kind::Other(fate) => (*fate, None),
            Kind::Tls(_) => {
                let (fate, bytes) = self.tls_fate(flow, ended)?;
                (fate, Some(bytes))
            }
        };
        let row = self.row_of(flow);
        if let Fate::Opaque(reason) = fate
            && flow.booked.is_none_or(|before| before.fate != fate || before.row != row)
        {
            let verdict = self.processes.verdict(flow.tgid, flow.start_ns);
            let name = match &flow.kind {
                Kind::Tls(tls) => tls.handshake.server_name.as_ref(),
                _ => None,
            };
            self.coverage.opaque(row, reason, verdict.as_deref(), name);
        }
        Some(Entry { row, fate, connections: 1, bytes })
    }

    /// A UDP socket over which QUIC goes: its connections that were answered. Of those that
    /// are older than the agent only the bytes are known.
    fn quic_entry(&mut self, flow: &mut Flow) -> Option<Entry> {
        let reached = flow.reached;
        let Kind::Quic(socket) = &mut flow.kind else { return None };
        let (connections, bytes) = (socket.connections, socket.moved(reached));
        if connections == 0 && !socket.moves {
            return None;
        }
        let hellos = std::mem::take(&mut socket.hellos);
        let row = self.row_of(flow);
        for hello in &hellos {
            self.coverage.quic(row, Some(hello));
        }
        if hellos.is_empty() && flow.booked.is_none_or(|before| before.row != row) {
            self.coverage.quic(row, None);
        }
        let fate = Fate::Opaque(Reason::Quic);
        Some(Entry { row, fate, connections, bytes: Some(bytes) })
    }

    /// What becomes of a TLS socket, and the bytes that it moved; `None` while that is
    /// open.
    fn tls_fate(&mut self, flow: &Flow, ended: bool) -> Option<(Fate, [u64; 2])> {
        let Kind::Tls(tls) = &flow.kind else { return None };
        let socket = flow.key.flow;
        if self.binder.is_bound(socket) {
            let Carried { content, bytes } = self.carried(flow, tls.carried, ended)?;
            // The last messages of the handshake show the session of one without data.
            let nothing = content == Content::Undecided && bytes == [0; 2];
            if ended && nothing && !tls.used(flow.reached) {
                return Some((Fate::Unused, flow.reached));
            }
            let fate = fate(content, ended)?;
            // The kernel side tells little of a socket once it is bound.
            let ([ingress, egress], [read, written]) = (flow.reached, bytes);
            return Some((fate, [ingress.max(read), egress.max(written)]));
        }
        let before = flow.booked.map(|entry| entry.fate);
        let decided = matches!(before, Some(Fate::Opaque(_) | Fate::Unattributed));
        let fate = match before {
            // It was bound before it was evicted.
            Some(fate @ (Fate::Decoded | Fate::Other)) => fate,
            Some(fate) if decided && !ended => fate,
            _ if ended && !decided && !tls.used(flow.reached) => Fate::Unused,
            _ if ended || tls.moves_since.is_some_and(|since| self.waited(since)) => {
                if self.may_be_known(flow) {
                    Fate::Unattributed
                } else {
                    let verdict = self.processes.verdict(flow.tgid, flow.start_ns);
                    Fate::Opaque(Reason::of(verdict.as_deref(), tls.client.is_some()))
                }
            }
            _ => return None,
        };
        Some((fate, flow.reached))
    }

    const fn waited(&self, since: Timestamp) -> bool {
        self.now.nanos_since(since) >= OPAQUE_NS
    }

    /// What the session of a bound socket carries, or did when it ended. `None` when
    /// that is not known yet: the session counts as a connection then.
    fn carried(&mut self, socket: &Flow, before: Option<Carried>, ended: bool) -> Option<Carried> {
        let open = self.binder.session_of(socket.key.flow).and_then(|session| {
            let key = Key::new(Layer::TLS, session.flow, session.tgid);
            let slot = *self.index.get(&key)?;
            self.slots.get_mut(slot)?.as_deref_mut()
        });
        let Some(Flow { kind: Kind::Carrier(carrier), reached, .. }) = open else {
            // One that is gone without having been looked at: nothing is known of it.
            let nothing = Carried { content: Content::Undecided, bytes: [0; 2] };
            return before.or_else(|| ended.then_some(nothing));
        };
        let content = carrier.content();
        let facts = carrier.session.as_mut()?;
        facts.counted = !ended || content != Content::Undecided;
        if !facts.counted {
            // What the socket moved goes with it.
            for (session, socket) in reached.iter_mut().zip(socket.reached) {
                *session = socket.max(*session);
            }
            return None;
        }
        Some(Carried { content, bytes: *reached })
    }

    /// Whether plaintext of the connection may have been captured: a session of its
    /// process moved some in its time, and is bound to no socket.
    fn may_be_known(&self, flow: &Flow) -> bool {
        if self.unbound.peek(&flow.tgid).is_some_and(|last| *last >= flow.opened) {
            return true;
        }
        let slots = self.sessions.get(&flow.tgid).map(Vec::as_slice).unwrap_or_default();
        // The newest first: they are of the connection's age.
        slots.iter().rev().take(SESSIONS_MAX).any(|slot| {
            let Some(Some(session)) = self.slots.get(*slot) else { return false };
            let Kind::Carrier(carrier) = &session.kind else { return false };
            session.last >= flow.opened
                && session.reached != [0; 2]
                && carrier
                    .session
                    .as_ref()
                    .filter(|facts| !facts.is_unproven())
                    .is_some_and(|facts| self.binder.binding(facts.session).is_none())
        })
    }
}

/// What becomes of a connection with this content; `None` while that is open.
const fn fate(content: Content, ended: bool) -> Option<Fate> {
    match content {
        Content::Http => Some(Fate::Decoded),
        Content::Other => Some(Fate::Other),
        // Too little came to tell what it is.
        Content::Undecided if ended => Some(Fate::Other),
        Content::Undecided => None,
    }
}
