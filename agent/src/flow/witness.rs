//! Sessions whose ciphertext is seen as it goes over the socket: that proves which socket it is.
//!
//! A session that works on buffers in memory shows no socket. But each of its records goes
//! over one, byte for byte: one that it wrote leaves soon after, and one that it reads came
//! just before. Records are unique, since their keys and their nonces are.

use agent_common::record::{Direction, FlowId, Layer};

use super::{
    binder::Session,
    recent::Recent,
    table::{FlowTable, Key},
    tls_record::{RecordStart, Whole},
};
use crate::{call::Call, event::Data};

/// Records that wait for their other side.
const RECORDS: usize = 65_536;

/// Processes that are known to tell the ciphertext of their sessions.
const PROCESSES: usize = 4096;

/// A record by the process that moved it.
type Place = (u32, Whole);

/// Records that were seen on one side; bounded. One that was seen twice, as nobody but an
/// attacker sends it, proves nothing.
#[derive(Debug)]
pub(super) struct Witness {
    /// Processes that tell ciphertext.
    telling: Recent<u32, ()>,
    /// Came over a socket, and no session has read them.
    came: Recent<Place, Option<FlowId>>,
    /// Written by sessions, and have not left.
    written: Recent<Place, Option<Session>>,
    /// Sessions whose socket has just been proven.
    proven: Vec<(Session, FlowId)>,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            telling: Recent::new(PROCESSES),
            came: Recent::new(RECORDS),
            written: Recent::new(RECORDS),
            proven: Vec::new(),
        }
    }
}

/// Remembers who moved a record; nobody, if there was another one.
fn note<T: PartialEq + Copy>(records: &mut Recent<Place, Option<T>>, place: Place, who: T) {
    let alone = records.peek(&place).is_none_or(|before| *before == Some(who));
    records.insert(place, alone.then_some(who));
}

impl Witness {
    /// TLS records began in a system call on a socket.
    pub(super) fn on_socket(&mut self, data: &Data) {
        if self.telling.peek(&data.tgid).is_none() {
            return;
        }
        for record in RecordStart::all(&data.payload).filter_map(RecordStart::whole) {
            let place = (data.tgid, record);
            if data.direction == Direction::INGRESS {
                note(&mut self.came, place, data.flow);
            } else if let Some(Some(session)) = self.written.remove(&place) {
                self.proven.push((session, data.flow));
            }
        }
    }

    /// A session has written a record, or read one.
    fn on_session(&mut self, data: &Data) {
        self.telling.insert(data.tgid, ());
        let session = Session { tgid: data.tgid, flow: data.flow };
        for record in RecordStart::all(&data.payload).filter_map(RecordStart::whole) {
            let place = (data.tgid, record);
            if data.direction == Direction::EGRESS {
                note(&mut self.written, place, session);
            } else if let Some(Some(socket)) = self.came.remove(&place) {
                self.proven.push((session, socket));
            }
        }
    }
}

impl FlowTable {
    /// Ciphertext of a session.
    pub(super) fn session_ciphertext(&mut self, data: &Data, out: &mut Vec<Call>) {
        self.witness.on_session(data);
        self.prove(out);
    }

    /// Tells the calls of sessions whose socket became known.
    pub(super) fn prove(&mut self, out: &mut Vec<Call>) {
        for (session, socket) in std::mem::take(&mut self.witness.proven) {
            self.binder.ciphertext(session, socket);
            let slot = self.index.get(&Key::new(Layer::TLS, session.flow, session.tgid));
            if let Some(&slot) = slot
                && let Some(mut flow) = self.slots.get_mut(slot).and_then(Option::take)
            {
                self.refresh(&mut flow);
                self.tell_unsure(&mut flow, out);
                self.put(slot, flow);
            }
        }
    }
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
