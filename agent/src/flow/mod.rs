//! From events to calls: the table of flows, ordered bytes with located holes,
//! the binding of TLS sessions to sockets, and the joining of a call's two ends.

pub mod binder;
mod book;
mod carrier;
pub mod coverage;
mod decoder;
mod emit;
pub mod ends;
pub mod fate;
mod halves;
mod ja4;
pub mod join;
mod lifetime;
mod located;
mod process;
mod quic;
pub mod recent;
#[cfg(test)]
pub(crate) mod sample;
mod session;
pub mod sniff;
pub mod stream;
pub mod table;
pub mod tls_certificate;
pub mod tls_cipher;
pub mod tls_hello;
mod tls_record;
mod tls_socket;
mod unsure;
mod witness;

pub use table::FlowTable;

use crate::call::Missing;

/// Bounds of the flow stage.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows; over it the least recently used of a sample is evicted.
    pub flows: usize,
    /// Payload bytes that all flows together hold back for order.
    pub pending_bytes: usize,
    /// Bytes of TLS handshakes that all flows together hold until they have told what they can.
    pub hello_bytes: usize,
    /// Nanoseconds of event time after which a silent flow is evicted.
    pub idle_ns: u64,
    /// Processes whose facts are kept.
    pub processes: usize,
    /// Calls that wait for their other end; and as many for a proof of what their socket is.
    pub waiting_calls: usize,
    /// QUIC connections that are remembered, of all sockets, so that none counts twice.
    pub quic_connections: usize,
    /// Programs that have a row of their own in the coverage ledger.
    pub programs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 65_536,
            pending_bytes: 64 * 1024 * 1024,
            hello_bytes: 16 * 1024 * 1024,
            idle_ns: 30 * 60 * 1_000_000_000,
            processes: 16_384,
            waiting_calls: 4096,
            quic_connections: 4096,
            programs: 1024,
        }
    }
}

/// What the flow stage has seen and what it has lost. Totals since the start.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Flows by what they were.
    pub flows: FlowCounts,
    /// Stream bytes that were not captured, by direction (ingress, egress) and
    /// cause, whatever message they belonged to.
    pub lost: [Missing; 2],
    /// Stream bytes that came again, or after they were given up for lost.
    pub late_bytes: u64,
    /// Records that could not be decoded.
    pub decode_errors: u64,
    /// HTTP messages whose head was not seen whole or could not be read.
    pub heads_lost: u64,
    /// Responses for which no request was certain.
    pub responses_unpaired: u64,
    /// Captured bytes in which no message could be told.
    pub skipped_bytes: u64,
    /// Flows evicted because the table was full.
    pub evicted_full: u64,
    /// Flows evicted because they were silent.
    pub evicted_idle: u64,
    /// Processes whose facts were forgotten for want of room.
    pub processes_forgotten: u64,
    /// Calls that were not told, for the library that they came from was found without
    /// symbols and its ciphertext has not proven what was found.
    pub calls_unproven: u64,
    /// TLS hellos that were given up for want of room.
    pub hellos_dropped: u64,
    /// QUIC connections that were forgotten for want of room.
    pub quic_forgotten: u64,
    /// Calls decoded, each end on its own.
    pub calls: u64,
    /// Calls merged from both ends.
    pub joined: u64,
    /// Calls whose other end was waited for and did not come.
    pub join_timeouts: u64,
    /// Calls that could not wait for their other end for want of room.
    pub join_overflows: u64,
    /// Calls over TLS by how their session was bound.
    pub bindings: BindingCounts,
}

/// Flows by what they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowCounts {
    /// HTTP/1.x, plaintext or over TLS.
    pub http1: u64,
    /// HTTP/2, which is not decoded.
    pub http2: u64,
    /// Sockets that carried TLS.
    pub tls: u64,
    /// Of these, the ones that ended without any session of a hooked library
    /// having been bound to them: nothing above TLS was seen.
    pub tls_unbound: u64,
    /// QUIC connections that were answered.
    pub quic: u64,
    /// Something else.
    pub ignored: u64,
}

/// Calls over TLS by how their session was bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BindingCounts {
    /// By a nested system call.
    pub nested_syscall: u64,
    /// By ciphertext.
    pub ciphertext: u64,
    /// By the lengths of records.
    pub record_length: u64,
    /// Not at all.
    pub none: u64,
}
