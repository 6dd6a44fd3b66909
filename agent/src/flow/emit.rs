//! From what decoders found to calls, with all that the table knows of their flow.

use std::sync::Arc;

use agent_common::record::{Direction, Family, FlowId, Tuple};

use super::{
    ends::{EndsKey, ends},
    join::View,
    table::{Alike, Flow, FlowTable, Key, Kind},
};
use crate::call::{Binding, Call, Connection, Role, Tls};

impl FlowTable {
    /// Turns what a flow's decoder found into calls, now or once its socket is proven.
    pub(super) fn emit(&mut self, flow: &mut Flow, slot: usize, out: &mut Vec<Call>) {
        self.refresh(flow);
        if !self.keep_unsure(flow, slot) {
            self.tell(flow, out);
        }
    }

    /// Turns it into calls.
    pub(super) fn tell(&mut self, flow: &mut Flow, out: &mut Vec<Call>) {
        let Kind::Carrier(carrier) = &flow.kind else { return };
        if carrier.session.as_ref().is_some_and(|facts| facts.is_unproven()) {
            self.stats.calls_unproven += self.exchanges.len() as u64;
            self.exchanges.clear();
            return;
        }
        let sure = carrier.session.as_ref().is_none_or(|facts| facts.binding.confidence() > 0.95);
        let view = flow.ends_key.filter(|_| sure).and_then(|ends| {
            let alone = |ends| self.by_ends.get(&ends).map(|alike| alike.0 == 1);
            // Where addresses are not unique, nothing is joined.
            if alone(ends) != Some(true) || alone(ends.mirror()) == Some(false) {
                return None;
            }
            // The other end may not have been heard of yet: what a client writes has the
            // time of its return, and a server on this host may have answered by then.
            let expected = std::mem::take(&mut flow.first) && same_host(&flow.ends);
            let mirrored = expected || alone(ends.mirror()).is_some();
            Some(View { ends, offset: None, mirrored })
        });
        let process = self.processes.get(flow.tgid, flow.start_ns);
        for exchange in self.exchanges.drain(..) {
            let view = view.map(|view| View {
                offset: carrier.from_start.then_some(exchange.request_offset),
                ..view
            });
            let tls = carrier.session.as_ref().map(|facts| {
                let bindings = &mut self.stats.bindings;
                match facts.binding {
                    Binding::NestedSyscall => bindings.nested_syscall += 1,
                    Binding::Ciphertext => bindings.ciphertext += 1,
                    Binding::RecordLength { .. } => bindings.record_length += 1,
                    Binding::None => bindings.none += 1,
                }
                Tls {
                    library: self.libraries.get(&facts.library).cloned().unwrap_or_default(),
                    handshake: Arc::clone(&facts.handshake),
                    binding: facts.binding,
                }
            });
            let ingress = exchange.request_direction == Direction::INGRESS;
            let call = Call {
                id: 0,
                role: if ingress { Role::Server } else { Role::Client },
                both_ends: false,
                times: exchange.times,
                request: exchange.request,
                response: exchange.response,
                process: process.clone(),
                peer_process: None,
                connection: Connection { id: flow.id, ends: flow.ends.clone() },
                tls,
                missing: exchange.missing,
            };
            self.stats.calls += 1;
            self.joiner.call(call, view, self.now, &mut self.stats, out);
        }
    }

    /// Brings what is known of a TLS session's socket up to date.
    pub(super) fn refresh(&mut self, flow: &mut Flow) {
        let Kind::Carrier(carrier) = &mut flow.kind else { return };
        let Some(facts) = &mut carrier.session else { return };
        let mut moved = false;
        if facts.binding != Binding::NestedSyscall {
            let bound = self.binder.binding(facts.session);
            let (socket, binding) = bound.unwrap_or((FlowId::default(), Binding::None));
            facts.binding = binding;
            moved = facts.socket != socket;
            if moved {
                facts.socket = socket;
                facts.handshake = Arc::default();
            }
        } else if facts.handshake.version.is_some() {
            return;
        }
        let (key, nested) = (Key::socket(facts.socket), facts.binding == Binding::NestedSyscall);
        let socket = self.index.get(&key).and_then(|slot| self.slots.get(*slot)?.as_deref());
        if let Some(Flow { kind: Kind::Tls(tls), .. }) = socket {
            facts.handshake = Arc::clone(&tls.handshake);
        }
        // What the system call itself told stays; a socket that is gone was where it
        // was, but of one that was never seen nothing is known.
        let told = nested && flow.tuple.family != Family::NONE && flow.tuple.family != Family::UNIX;
        match socket.map(|socket| (socket.tuple, socket.path.clone())) {
            Some((tuple, path)) if !told => {
                flow.path = path;
                self.locate(flow, tuple);
                self.register(flow);
            }
            None if moved => {
                flow.path = None;
                self.locate(flow, Tuple::default());
            }
            _ => {}
        }
    }

    /// A flow has these ends now.
    pub(super) fn locate(&mut self, flow: &mut Flow, tuple: Tuple) {
        if flow.tuple != tuple {
            self.unregister(flow);
            flow.tuple = tuple;
        }
        flow.ends = ends(&tuple, flow.path.as_ref());
    }

    /// Makes a flow that carries HTTP known as the other end of another.
    pub(super) fn register(&mut self, flow: &mut Flow) {
        if flow.ends_key.is_none()
            && let Kind::Carrier(carrier) = &flow.kind
            && carrier.decodes()
            && let Some(key) = EndsKey::new(&flow.tuple)
        {
            flow.ends_key = Some(key);
            self.by_ends.entry(key).or_insert(Alike(0)).0 += 1;
        }
    }

    pub(super) fn unregister(&mut self, flow: &mut Flow) {
        let Some(key) = flow.ends_key.take() else { return };
        if let Some(alike) = self.by_ends.get_mut(&key) {
            alike.0 = alike.0.saturating_sub(1);
            if alike.0 == 0 {
                self.by_ends.remove(&key);
            }
        }
    }
}

/// Both ends have the same address: the other end is on this host too.
fn same_host(ends: &crate::call::Ends) -> bool {
    match ends {
        crate::call::Ends::Tcp { local, remote } => local.ip() == remote.ip(),
        crate::call::Ends::Unix { .. } => true,
        crate::call::Ends::Unknown => false,
    }
}
