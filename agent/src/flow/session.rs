//! Plaintext of TLS sessions: whose it is, and what it carries.

use std::sync::Arc;

use agent_common::{
    limits::LOCATED_LIBRARIES,
    record::{DataFlags, FlowId, Tuple},
};

use super::{
    binder::{Plaintext, Session},
    table::{Flow, FlowTable, Kind},
};
use crate::{
    call::{Binding, Call, Handshake},
    event::Data,
};

/// What is known of a TLS session beside its bytes.
#[derive(Debug)]
pub(super) struct SessionFacts {
    pub(super) session: Session,
    pub(super) library: u16,
    /// Where the call ends that the latest record was of, per direction: its other
    /// records tell the binder nothing new.
    pub(super) call_ends: [u64; 2],
    /// Its nested calls used different sockets.
    pub(super) conflict: bool,
    pub(super) binding: Binding,
    pub(super) socket: FlowId,
    pub(super) handshake: Arc<Handshake>,
    /// The ledger has its socket, and so not the session.
    pub(super) counted: bool,
}

impl SessionFacts {
    /// Bytes of the call that a record is of, if it is the first of that call.
    fn news(&mut self, data: &Data) -> Option<u64> {
        let end = self.call_ends.get_mut(usize::from(data.direction.0 & 1))?;
        if data.offset < *end {
            return None;
        }
        let len = u64::from(data.call_len.max(data.len));
        *end = data.offset.saturating_add(len);
        Some(len)
    }

    /// Its library was found without symbols, and its ciphertext has not proven that what it
    /// gives is what goes over its socket.
    pub(super) fn is_unproven(&self) -> bool {
        self.library >= LOCATED_LIBRARIES && self.binding != Binding::NestedSyscall
    }
}

impl FlowTable {
    /// Plaintext of a TLS session.
    pub(super) fn session_data(
        &mut self,
        flow: &mut Flow,
        slot: usize,
        data: Data,
        out: &mut Vec<Call>,
    ) {
        let Kind::Carrier(carrier) = &mut flow.kind else { return };
        let Some(facts) = &mut carrier.session else { return };
        let session = facts.session;
        facts.library = data.library;
        if data.flags.contains(DataFlags::CONFLICT) {
            if !facts.conflict {
                facts.conflict = true;
                facts.binding = Binding::None;
                facts.socket = FlowId::default();
                facts.handshake = Arc::default();
                self.binder.conflict(session);
                self.locate(flow, Tuple::default());
            }
        } else if data.library >= LOCATED_LIBRARIES {
            if facts.binding != Binding::NestedSyscall
                && let Some(len) = facts.news(&data)
            {
                self.located.plaintext(session, &data, len, &self.binder);
            }
        } else if data.flags.contains(DataFlags::NESTED) {
            if facts.binding != Binding::NestedSyscall || facts.socket != data.socket {
                facts.binding = Binding::NestedSyscall;
                facts.socket = data.socket;
                facts.handshake = Arc::default();
                self.binder.nested(session, data.socket);
                self.locate(flow, data.tuple);
            }
        } else if !data.flags.contains(DataFlags::HALF)
            && facts.binding != Binding::NestedSyscall
            && let Some(len) = facts.news(&data)
        {
            let Data { time, tid, direction, .. } = data;
            self.binder.plaintext(Plaintext { time, session, tid, direction, len });
        }
        // Its socket may be known only now, and a call may be told at once; or what it
        // carries.
        self.register(flow);
        self.carry(flow, slot, out, |carrier, work| carrier.data(data, work));
        self.register(flow);
    }
}
