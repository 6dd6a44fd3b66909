//! Processes whose TLS sessions work on buffers in memory: their ciphertext is looked at.

use std::collections::HashSet;

use agent_common::record::{DataFlags, Direction, Layer, Protocol};
use tracing::{debug, warn};

use super::Capture;
use crate::{
    event::{Data, verdict::Embedded},
    probe::Attached,
    redact::printable,
};

/// Processes that are remembered, at most.
const PROCESSES_MAX: usize = 65536;

/// Processes that were met with TLS.
#[derive(Debug, Default)]
pub(super) struct Witnessed {
    /// They have sockets with TLS. Without one there is nothing to compare with: what a proxy
    /// passes on is no TLS to its socket.
    with_sockets: HashSet<u32>,
    /// Their ciphertext is looked at, as far as it can be.
    settled: HashSet<u32>,
}

impl Witnessed {
    /// A process has ended, or runs another program, or was just forked.
    pub(super) fn left(&mut self, pid: u32) {
        self.with_sockets.remove(&pid);
        self.settled.remove(&pid);
    }

    /// Whether a session of a process wrote to no socket, and what it wrote is to be looked at.
    fn is_due(&mut self, data: &Data) -> bool {
        if data.layer == Layer::SOCKET {
            if data.protocol == Protocol::TLS {
                note(&mut self.with_sockets, data.tgid);
            }
            return false;
        }
        let other = DataFlags::NESTED.union(DataFlags::HALF).union(DataFlags::TLS_RECORDS);
        data.layer == Layer::TLS
            // What is read may have come with an earlier call, before the agent.
            && data.direction == Direction::EGRESS
            && data.flags.0 & other.0 == 0
            && self.with_sockets.contains(&data.tgid)
            && !self.settled.contains(&data.tgid)
    }
}

fn note(set: &mut HashSet<u32>, pid: u32) {
    if set.len() >= PROCESSES_MAX && !set.contains(&pid) {
        set.clear();
    }
    set.insert(pid);
}

impl Capture {
    /// Takes the probes away from libraries that were found without symbols and have not proven
    /// it.
    pub fn give_up(&mut self, libraries: Vec<u16>) {
        for name in libraries.into_iter().filter_map(|library| self.probes.give_up(library)) {
            let why = Embedded::OpenSslUnproven.text();
            warn!("TLS of {} is not captured any more: {why}", printable(&name));
        }
    }

    /// Has the ciphertext of the process told, if a session of it wrote to no socket.
    pub(super) fn witness(&mut self, data: &Data) {
        if !self.witnessed.is_due(data) {
            return;
        }
        // Before 5.15 the kernel does not tell which library it was.
        let may_be = |it: &Attached| data.library == 0 || it.index == data.library;
        let mut libraries = self.probes.libraries().iter();
        let on_buffers = libraries.any(|library| library.on_buffers && may_be(library));
        if !on_buffers || self.safety.spares(self.processes.get(&data.tgid)) {
            return;
        }
        let placed = self.probes.witness(data.tgid).unwrap_or_else(|error| {
            // Its sessions are bound by the lengths of their records.
            debug!("{}", printable(&format!("{error:#}")));
            true
        });
        if placed {
            note(&mut self.witnessed.settled, data.tgid);
        }
    }
}
