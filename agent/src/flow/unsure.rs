//! Calls of sessions whose socket is not proven: they wait a moment for the proof.
//!
//! Ciphertext of a process is looked at only once it was met with a session that shows no
//! socket, so the proof comes after the first calls. It holds for them too: a session has one
//! socket as long as it lives.

use super::{
    session::SessionFacts,
    table::{Flow, FlowTable, Kind},
};
use crate::{
    call::{Binding, Call, Timestamp},
    http::Exchange,
};

/// How long the calls of a session wait, nanoseconds of event time since the first one. Less
/// than calls wait for their other end, which may be one of these.
const WAIT_NS: u64 = 300_000_000;

/// Calls of a session that wait, at most.
const PER_SESSION: usize = 256;

/// Calls that wait for a proof.
#[derive(Debug, Default)]
pub(super) enum Unsure {
    /// No call was told yet.
    #[default]
    New,
    /// These wait.
    Waiting(Vec<Exchange>),
    /// What waited was let go of, and nothing waits any more.
    Over,
}

impl Unsure {
    fn take(&mut self) -> Vec<Exchange> {
        match std::mem::replace(self, Self::Over) {
            Self::Waiting(exchanges) => exchanges,
            Self::New | Self::Over => Vec::new(),
        }
    }
}

/// Whether the socket of a session may still be proven by what goes over it.
fn may_be_proven(facts: &SessionFacts) -> bool {
    !facts.conflict && !matches!(facts.binding, Binding::NestedSyscall | Binding::Ciphertext)
}

impl FlowTable {
    /// Keeps what a flow's decoder found, if it is to wait for a proof. What was kept before
    /// comes first otherwise.
    pub(super) fn keep_unsure(&mut self, flow: &mut Flow, slot: usize) -> bool {
        let Kind::Carrier(carrier) = &flow.kind else { return false };
        let Some(facts) = carrier.session.as_deref() else { return false };
        let may = may_be_proven(facts);
        match &mut flow.unsure {
            Unsure::New if may && self.unsure_count < self.limits.waiting_calls => {
                self.unsure_count += self.exchanges.len();
                flow.unsure = Unsure::Waiting(std::mem::take(&mut self.exchanges));
                let deadline = Timestamp(self.now.0.saturating_add(WAIT_NS));
                self.unsure.push_back((deadline, slot, flow.id));
                true
            }
            Unsure::Waiting(kept)
                if may
                    && kept.len() < PER_SESSION
                    && self.unsure_count < self.limits.waiting_calls =>
            {
                self.unsure_count += self.exchanges.len();
                kept.append(&mut self.exchanges);
                true
            }
            unsure => {
                let mut kept = unsure.take();
                self.unsure_count -= kept.len();
                kept.append(&mut self.exchanges);
                self.exchanges = kept;
                false
            }
        }
    }

    /// Tells the calls of a flow that wait, if any do.
    pub(super) fn tell_unsure(&mut self, flow: &mut Flow, out: &mut Vec<Call>) {
        if matches!(flow.unsure, Unsure::Waiting(_)) {
            let kept = flow.unsure.take();
            self.unsure_count -= kept.len();
            let others = std::mem::replace(&mut self.exchanges, kept);
            self.tell(flow, out);
            self.exchanges = others;
        }
    }

    /// Gives up waiting for proofs.
    pub(super) fn expire_unsure(&mut self, out: &mut Vec<Call>) {
        while let Some(&(deadline, slot, id)) = self.unsure.front()
            && deadline <= self.now
        {
            self.unsure.pop_front();
            let flow = self.slots.get_mut(slot).and_then(|place| place.take_if(|f| f.id == id));
            let Some(mut flow) = flow else { continue };
            self.refresh(&mut flow);
            self.tell_unsure(&mut flow, out);
            self.put(slot, flow);
        }
    }
}
