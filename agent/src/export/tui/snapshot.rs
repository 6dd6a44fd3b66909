//! What the view shows: plain values, owned by nobody else.

use std::sync::Arc;

use agent_common::counter::Counter;

use crate::{
    call::{Handshake, Missing, Role, Timestamp},
    detect::Finding,
    export::coverage::Gap,
    grpc::Code,
    inventory::EndpointKey,
};

/// Everything on the screen, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The moment.
    pub time: Timestamp,
    /// The run.
    pub run: Run,
    /// What was seen in all.
    pub traffic: Traffic,
    /// Endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// Endpoints that are known and not among `endpoints`, which is bounded.
    pub endpoints_hidden: usize,
    /// Findings, most severe first.
    pub findings: Vec<Arc<Finding>>,
    /// Findings that are known and not among `findings`, which is bounded.
    pub findings_hidden: usize,
    /// The latest calls, newest first.
    pub calls: Vec<Arc<CallRow>>,
}

/// What the pipeline knows of the run itself.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What is observed, in words, e.g. `pid 4711 and its children`.
    pub scope: String,
    /// Start of the run.
    pub started: Timestamp,
    /// Processes seen in scope; `None` when not known.
    pub processes: Option<u64>,
    /// Connections seen; `None` when not known.
    pub connections: Option<u64>,
    /// Load of the agent, percent of one processor; `None` when not known.
    pub cpu_percent: Option<f64>,
    /// Memory of the agent; `None` when not known.
    pub resident_bytes: Option<u64>,
    /// Counters of the kernel side by [`Counter`] slot; empty when not known yet.
    pub counters: Vec<u64>,
    /// File names of the TLS libraries that probes were attached to.
    pub libraries: Vec<Arc<str>>,
    /// What was not decoded, by program and reason.
    pub gaps: Vec<Gap>,
    /// Programs of which less is captured, for the CPU budget, and what still is.
    pub shed: Vec<(String, &'static str)>,
}

impl Run {
    /// One counter of the kernel side; `None` when it was not reported.
    pub fn counter(&self, counter: Counter) -> Option<u64> {
        self.counters.get(usize::try_from(counter.0).ok()?).copied()
    }
}

/// Totals over the calls of this run.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Calls.
    pub calls: u64,
    /// Calls per second over the last seconds.
    pub rate: f64,
    /// Calls with a response.
    pub answered: u64,
    /// Of these, with a 4xx or 5xx status, or a code of gRPC that is one of an error.
    pub errors: u64,
    /// Calls of which bytes are missing.
    pub incomplete: u64,
    /// The missing bytes of these, by cause.
    pub missing: Missing,
    /// Calls that came over TLS.
    pub tls: u64,
    /// End of the latest call.
    pub last_call: Option<Timestamp>,
    /// Calls of endpoints whose rate is not tracked, for there are too many.
    pub untracked: u64,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// What changes with its calls only.
    pub facts: Arc<EndpointFacts>,
    /// Calls per second over the last seconds; `None` when not tracked.
    pub rate: Option<f64>,
    /// Calls of this run over TLS.
    pub tls: u64,
    /// Calls of this run in plaintext.
    pub plain: u64,
}

impl EndpointRow {
    /// Whether its calls came over TLS: `yes`, `no`, `both`, or `-` when none
    /// was seen in this run.
    pub const fn tls_text(&self) -> &'static str {
        match (self.tls > 0, self.plain > 0) {
            (true, false) => "yes",
            (false, true) => "no",
            (true, true) => "both",
            (false, false) => "-",
        }
    }
}

/// What is known of an endpoint, from the inventory.
#[derive(Clone, Debug)]
pub struct EndpointFacts {
    /// Its name.
    pub key: EndpointKey,
    /// First call.
    pub first_seen: Timestamp,
    /// Latest call.
    pub last_seen: Timestamp,
    /// Calls in all, of earlier runs too when the inventory was restored.
    pub calls: u64,
    /// Of these, calls of which bytes are missing.
    pub incomplete: u64,
    /// Of these, calls without a response.
    pub unanswered: u64,
    /// Calls with a response.
    pub answered: u64,
    /// Of these, with a 4xx or 5xx status.
    pub errors: u64,
    /// Calls by status code.
    pub statuses: Vec<(u16, u64)>,
    /// Calls of gRPC by code.
    pub grpc_codes: Vec<(Code, u64)>,
    /// Durations: median in seconds.
    pub p50: Option<f64>,
    /// Durations: 95th percentile in seconds.
    pub p95: Option<f64>,
    /// Durations: 99th percentile in seconds.
    pub p99: Option<f64>,
    /// Durations: mean in seconds.
    pub mean: Option<f64>,
    /// Request body bytes in all.
    pub bytes_in: u64,
    /// Response body bytes in all.
    pub bytes_out: u64,
    /// Calls by authentication scheme.
    pub auth: Vec<(&'static str, u64)>,
    /// Names of query parameters with the calls that had them.
    pub query_parameters: Vec<(String, u64)>,
    /// Bodies that were learned from.
    pub bodies: Vec<BodyFacts>,
}

impl EndpointFacts {
    /// The schemes in short, most used first: `jwt`, `basic+none`, or `-`.
    pub fn auth_text(&self) -> String {
        let mut schemes = self.auth.clone();
        schemes.sort_by_key(|&(_, calls)| std::cmp::Reverse(calls));
        if schemes.is_empty() {
            return "-".to_owned();
        }
        schemes.iter().map(|&(name, _)| name).collect::<Vec<_>>().join("+")
    }

    /// Share of answered calls with a 4xx or 5xx status, 0 to 1; `None` when none
    /// was answered.
    pub fn error_share(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.errors as f64 / self.answered as f64)
    }
}

/// What is known of the bodies of one kind.
#[derive(Clone, Debug)]
pub struct BodyFacts {
    /// Status code of the response; `None` of a request.
    pub status: Option<u16>,
    /// Media type.
    pub media_type: String,
    /// Its schema in lines.
    pub schema: Vec<String>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct CallRow {
    /// Unique within a run.
    pub id: u64,
    /// First byte of the request.
    pub time: Timestamp,
    /// Which end the observed process was.
    pub role: Role,
    /// Both ends were observed.
    pub both_ends: bool,
    /// Method, as sent.
    pub method: Arc<str>,
    /// Path without its secrets.
    pub path: String,
    /// Endpoint that it was counted under.
    pub endpoint: EndpointKey,
    /// Status of the response; `None` when none was seen.
    pub status: Option<u16>,
    /// First byte of the request to last of the response, in seconds.
    pub duration: Option<f64>,
    /// Body bytes of the request; `None` when not known.
    pub bytes_in: Option<u64>,
    /// Body bytes of the response; `None` when not known.
    pub bytes_out: Option<u64>,
    /// Name and id of the observed process.
    pub process: Option<(Arc<str>, u32)>,
    /// Name and id of the process at the other end.
    pub peer_process: Option<(Arc<str>, u32)>,
    /// Address of the other end.
    pub peer: String,
    /// TLS library; `None` in plaintext.
    pub tls: Option<Arc<str>>,
    /// How the TLS session was bound to its socket, in words; empty in plaintext.
    pub binding: String,
    /// What the TLS handshake said.
    pub handshake: Arc<Handshake>,
    /// Bytes that were not captured, by cause.
    pub missing: Missing,
}
