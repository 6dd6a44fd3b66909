//! Metrics: rates, errors and durations of endpoints, what capture saw and lost, and
//! what the agent itself costs. Cardinality is bounded.

mod cost;
mod coverage;
mod grpc;
mod labels;
mod process;

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, atomic::AtomicU64},
    time::Duration,
};

use agent_common::{counter::Counter as Slot, record::Direction};
use ahash::RandomState;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use self::{
    cost::CostMetrics,
    coverage::CoverageMetrics,
    grpc::GrpcMetrics,
    labels::{
        Binding, Buffer, Incomplete, Lost, Name, Place, Program, Protocol, Queue, Requests,
        SeverityLabel, Stage,
    },
    process::ProcessMetrics,
};
use crate::{
    call::Cause,
    detect::Severity,
    flow::{FlowCounts, Stats},
    inventory::EndpointKey,
    pipeline::Observed,
    probe::ProgramStatistics,
    run::capture::Losses,
};

/// Endpoints that have series of their own; the others share `route="other"`.
const ENDPOINTS_MAX: usize = 2000;

/// Methods that are labels; the others are `_OTHER`.
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE", "QUERY"];

/// Bounds of the duration histogram, seconds: OpenTelemetry's advice for
/// `http.server.request.duration`.
const BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds of the time to a probe, seconds: a tenth is what it may take.
const TIME_TO_PROBE: [f64; 11] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Handles of one endpoint, so that a call costs one look-up.
#[derive(Clone, Debug)]
struct Handles {
    place: Place,
    duration: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    /// By role (server, client) and status class (none, 1xx to 5xx).
    requests: [[Option<Counter>; 6]; 2],
    grpc: grpc::Counters,
}

type HistogramFamily = Family<Place, Histogram, fn() -> Histogram>;

/// Why a call is incomplete of which no byte is missing: the connection ended, or no
/// response came.
const CUT_SHORT: &str = "cut_short";

/// All metrics.
pub struct Metrics {
    registry: Registry,
    handles: Mutex<HashMap<EndpointKey, Handles, RandomState>>,
    requests: Family<Requests, Counter>,
    duration: HistogramFamily,
    request_bytes: Family<Place, Counter>,
    response_bytes: Family<Place, Counter>,
    incomplete: Family<Incomplete, Counter>,
    grpc: GrpcMetrics,
    bindings: Family<Binding, Counter>,
    services: Gauge,
    endpoints: Gauge,
    findings: Family<SeverityLabel, Gauge>,
    records: Counter,
    bytes: Counter,
    connections: Counter,
    flows: Family<Protocol, Counter>,
    coverage: CoverageMetrics,
    cost: CostMetrics,
    lost_bytes: Family<Lost, Counter>,
    lost_records: Family<Buffer, Counter>,
    kernel: Family<Name, Counter>,
    program_runs: Family<Program, Counter>,
    program_seconds: Family<Program, Counter<f64, AtomicU64>>,
    program_misses: Family<Program, Counter>,
    decode_errors: Family<Stage, Counter>,
    queue_dropped: Family<Queue, Counter>,
    probes: Gauge,
    time_to_probe: Histogram,
    dropped_series: Counter,
    process: ProcessMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start at zero.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            handles: Mutex::default(),
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            request_bytes: Family::default(),
            response_bytes: Family::default(),
            incomplete: Family::default(),
            grpc: GrpcMetrics::default(),
            bindings: Family::default(),
            services: Gauge::default(),
            endpoints: Gauge::default(),
            findings: Family::default(),
            records: Counter::default(),
            bytes: Counter::default(),
            connections: Counter::default(),
            flows: Family::default(),
            coverage: CoverageMetrics::default(),
            cost: CostMetrics::default(),
            lost_bytes: Family::default(),
            lost_records: Family::default(),
            kernel: Family::default(),
            program_runs: Family::default(),
            program_seconds: Family::default(),
            program_misses: Family::default(),
            decode_errors: Family::default(),
            queue_dropped: Family::default(),
            probes: Gauge::default(),
            time_to_probe: Histogram::new(TIME_TO_PROBE),
            dropped_series: Counter::default(),
            process: ProcessMetrics::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let mut root = Registry::default();
        let own = root.sub_registry_with_prefix("apiscope");
        own.register("http_requests", "Calls seen", self.requests.clone());
        own.register_with_unit(
            "http_request_duration",
            "From the first byte of a request to the last of its response",
            Unit::Seconds,
            self.duration.clone(),
        );
        own.register("http_request_body_bytes", "Request bodies", self.request_bytes.clone());
        own.register("http_response_body_bytes", "Response bodies", self.response_bytes.clone());
        own.register(
            "http_requests_incomplete",
            "Calls of which bytes were not captured, by cause",
            self.incomplete.clone(),
        );
        self.grpc.register(own);
        own.register(
            "tls_bindings",
            "Calls over TLS by how they were bound",
            self.bindings.clone(),
        );
        own.register("services", "Services known", self.services.clone());
        own.register("endpoints", "Endpoints known", self.endpoints.clone());
        own.register("findings", "Findings known, by severity", self.findings.clone());
        own.register("capture_records", "Records from the kernel", self.records.clone());
        own.register("capture_bytes", "Payload bytes from the kernel", self.bytes.clone());
        own.register("capture_connections", "Connections first seen", self.connections.clone());
        own.register("flows", "Connections and sessions by protocol", self.flows.clone());
        self.coverage.register(own);
        self.cost.register(own);
        own.register(
            "capture_lost_bytes",
            "Stream bytes that were not captured, by cause",
            self.lost_bytes.clone(),
        );
        own.register(
            "capture_lost_records",
            "Records dropped because a buffer was full",
            self.lost_records.clone(),
        );
        own.register("kernel_counter", "Counters of the kernel programs", self.kernel.clone());
        own.register(
            "kernel_program_runs",
            "Runs of a kernel program, of those that were measured",
            self.program_runs.clone(),
        );
        own.register_with_unit(
            "kernel_program",
            "Time in these runs",
            Unit::Seconds,
            self.program_seconds.clone(),
        );
        own.register(
            "kernel_program_misses",
            "Runs of a kernel program that the kernel left out; what they would have seen is lost",
            self.program_misses.clone(),
        );
        own.register("decode_errors", "What could not be decoded", self.decode_errors.clone());
        own.register("queue_dropped", "Items dropped at a full queue", self.queue_dropped.clone());
        own.register(
            "probes_attached",
            "Places that kernel programs are attached to",
            self.probes.clone(),
        );
        own.register_with_unit(
            "time_to_probe",
            "From the execution or mapping of a file until its TLS functions were hooked",
            Unit::Seconds,
            self.time_to_probe.clone(),
        );
        own.register(
            "dropped_series",
            "Calls of endpoints that got no series of their own",
            self.dropped_series.clone(),
        );
        own.register(
            "build",
            "The program",
            Info::new([
                ("version", env!("CARGO_PKG_VERSION")),
                ("revision", option_env!("APISCOPE_REVISION").unwrap_or("unknown")),
                ("rustc", option_env!("APISCOPE_RUSTC").unwrap_or("unknown")),
            ]),
        );
        self.process.register(&mut root);
        self.registry = root;
    }

    /// Counts a call.
    pub fn call(&self, observed: &Observed) {
        let call = &observed.call;
        let Ok(mut handles) = self.handles.lock() else { return };
        let key = &observed.observation.endpoint;
        if !handles.contains_key(key) {
            let known = handles.len() < ENDPOINTS_MAX;
            if !known {
                self.dropped_series.inc();
            }
            let mut made = self.handles_of(key, known);
            if known {
                handles.insert(key.clone(), made);
            } else {
                // Looked up again by each such call: rare by construction.
                self.count(&mut made, observed);
                return;
            }
        }
        if let Some(found) = handles.get_mut(key) {
            self.count(found, observed);
        }
        drop(handles);
        for (cause, _) in call.missing.iter() {
            let labels = Incomplete { service: key.service.to_string(), cause: cause.as_str() };
            self.incomplete.get_or_create(&labels).inc();
        }
        if call.missing.is_empty() && !call.complete() {
            let labels = Incomplete { service: key.service.to_string(), cause: CUT_SHORT };
            self.incomplete.get_or_create(&labels).inc();
        }
        if let Some(tls) = &call.tls {
            self.bindings.get_or_create(&Binding { binding: tls.binding.as_str().into() }).inc();
        }
    }

    fn count(&self, handles: &mut Handles, observed: &Observed) {
        let call = &observed.call;
        self.grpc.call(call, &handles.place, &mut handles.grpc);
        if let Some(seconds) = call.duration_seconds() {
            handles.duration.observe(seconds);
        }
        handles.request_bytes.inc_by(call.request.body.size);
        if let Some(response) = &call.response {
            handles.response_bytes.inc_by(response.body.size);
        }
        let class = call.status().map_or(0, |status| usize::from(status / 100)).min(5);
        let role = usize::from(call.role == crate::call::Role::Client);
        let slot = handles.requests.get_mut(role).and_then(|classes| classes.get_mut(class));
        let Some(slot) = slot else { return };
        let place = &handles.place;
        slot.get_or_insert_with(|| {
            let class = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].get(class);
            let labels = Requests {
                role: call.role.as_str(),
                service: place.service.clone(),
                method: place.method.clone(),
                route: place.route.clone(),
                status_class: class.copied().unwrap_or("none"),
            };
            self.requests.get_or_create(&labels).clone()
        })
        .inc();
    }

    fn handles_of(&self, key: &EndpointKey, known: bool) -> Handles {
        let method = if METHODS.contains(&&*key.method) { &*key.method } else { "_OTHER" };
        let place = Place {
            service: if known { key.service.to_string() } else { "other".into() },
            method: method.into(),
            route: if known { key.route.to_string() } else { "other".into() },
        };
        Handles {
            duration: self.duration.get_or_create(&place).clone(),
            request_bytes: self.request_bytes.get_or_create(&place).clone(),
            response_bytes: self.response_bytes.get_or_create(&place).clone(),
            place,
            requests: Default::default(),
            grpc: grpc::Counters::default(),
        }
    }

    /// Sets the counters of the kernel side, by slot.
    pub fn kernel(&self, counters: &[u64]) {
        let value = |slot: Slot| counters.get(slot.0 as usize).copied().unwrap_or(0);
        for (slot, name) in Slot::NAMES {
            raise(&self.kernel.get_or_create(&Name { name: name.into() }), value(slot));
        }
        raise(&self.records, value(Slot::RECORDS));
        raise(&self.bytes, value(Slot::BYTES));
        raise(&self.connections, value(Slot::CONNECTIONS));
        let data = Buffer { buffer: "data".into() };
        raise(&self.lost_records.get_or_create(&data), value(Slot::LOST_FULL));
        let lifecycle = Buffer { buffer: "lifecycle".into() };
        raise(&self.lost_records.get_or_create(&lifecycle), value(Slot::LOST_LIFECYCLE));
    }

    /// Sets what the kernel keeps of a program.
    pub fn program(&self, program: &ProgramStatistics) {
        let label = Program { program: program.name.as_str().into() };
        raise(&self.program_runs.get_or_create(&label), program.runs);
        raise(&self.program_misses.get_or_create(&label), program.misses);
        let seconds = self.program_seconds.get_or_create(&label);
        let now = program.time.as_secs_f64();
        if now > seconds.get() {
            seconds.inc_by(now - seconds.get());
        }
    }

    /// Sets what the flow stage counted.
    pub fn flow(&self, stats: &Stats, losses: Losses) {
        for (lost, direction) in stats.lost.iter().zip(["ingress", "egress"]) {
            for cause in Cause::ALL {
                let bytes = lost.iter().find(|&(found, _)| found == cause).map_or(0, |(_, n)| n);
                let cause = cause.as_str();
                raise(&self.lost_bytes.get_or_create(&Lost { cause, direction }), bytes);
            }
        }
        let FlowCounts { http1, http2, tls, tls_unbound, quic, ignored } = stats.flows;
        for (protocol, count) in [
            ("http/1", http1),
            ("http/2", http2),
            ("tls", tls),
            ("tls without plaintext", tls_unbound),
            ("quic", quic),
            ("other", ignored),
        ] {
            raise(&self.flows.get_or_create(&Protocol { protocol }), count);
        }
        for (stage, count) in [
            ("event", losses.undecoded),
            ("http_head", stats.heads_lost),
            ("http_response", stats.responses_unpaired),
            ("tls_proof", stats.calls_unproven),
        ] {
            raise(&self.decode_errors.get_or_create(&Stage { stage: stage.into() }), count);
        }
        self.queue("flows", stats.evicted_full);
        self.queue("joins", stats.join_overflows);
        self.queue("processes", stats.processes_forgotten);
        self.queue("tls_hellos", stats.hellos_dropped);
        self.queue("quic_connections", stats.quic_forgotten);
    }

    /// Sets how many services, endpoints and findings are known.
    pub fn known(&self, services: usize, endpoints: usize, findings: &[(Severity, usize)]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.services.set(number(services));
        self.endpoints.set(number(endpoints));
        for &(severity, count) in findings {
            let label = SeverityLabel { severity: severity.as_str().into() };
            self.findings.get_or_create(&label).set(number(count));
        }
    }

    /// Sets how many places programs are attached to.
    pub fn probes(&self, count: usize) {
        self.probes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Adds how long files were executed or mapped before probes were in them.
    pub fn delays(&self, delays: impl Iterator<Item = Duration>) {
        for delay in delays {
            self.time_to_probe.observe(delay.as_secs_f64());
        }
    }

    /// Sets what was dropped at a queue.
    pub fn queue(&self, queue: &str, dropped: u64) {
        raise(&self.queue_dropped.get_or_create(&Queue { queue: queue.into() }), dropped);
    }

    /// The text format of `OpenMetrics`.
    pub fn render(&self) -> String {
        self.process.read();
        let mut text = String::new();
        // Writing to a string does not fail.
        _ = encode(&mut text, &self.registry);
        text
    }
}

/// Brings a counter up to an absolute value.
fn raise(counter: &Counter, value: u64) {
    let now = counter.get();
    if value > now {
        counter.inc_by(value - now);
    }
}

/// The word for a direction in labels.
pub const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::INGRESS => "ingress",
        _ => "egress",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_dashboards_expect() {
        let metrics = Metrics::new();
        let mut counters = vec![0; Slot::COUNT as usize];
        counters[Slot::RECORDS.0 as usize] = 7;
        counters[Slot::LOST_FULL.0 as usize] = 2;
        metrics.kernel(&counters);
        metrics.kernel(&counters);
        metrics.known(1, 2, &[(Severity::High, 3)]);
        metrics.queue("output", 4);
        let text = metrics.render();
        for line in [
            "apiscope_capture_records_total 7",
            "apiscope_capture_lost_records_total{buffer=\"data\"} 2",
            "apiscope_kernel_counter_total{name=\"records\"} 7",
            "apiscope_services 1",
            "apiscope_endpoints 2",
            "apiscope_findings{severity=\"high\"} 3",
            "apiscope_queue_dropped_total{queue=\"output\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
        assert!(text.contains("apiscope_build_info{version=\""), "{text}");
    }

    #[test]
    fn label_values_cannot_leave_their_quotes() {
        let metrics = Metrics::new();
        metrics.queue("a\"} 1\nevil 2", 1);
        let text = metrics.render();
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    }
}
