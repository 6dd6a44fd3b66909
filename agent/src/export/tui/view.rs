//! The pipeline's side of the view: follows calls, and makes snapshots.
//!
//! A snapshot costs what has changed since the one before: rows of endpoints
//! without new calls and findings without new evidence are shared with it.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{
    recent::RecentCalls,
    snapshot::{BodyFacts, EndpointFacts, EndpointRow, Run, Snapshot, Traffic},
    window::Window,
};
use crate::{
    call::Timestamp,
    detect::Finding,
    grpc,
    inventory::{Endpoint, EndpointKey, Inventory, schema::Schema},
    pipeline::Observed,
};

/// Endpoints in one snapshot; the latest used come first.
const ENDPOINTS_MAX: usize = 5000;

/// Findings in one snapshot; the most severe come first.
const FINDINGS_MAX: usize = 1000;

/// Endpoints whose rates are tracked. More than are shown, for those come and go.
const TRACKED_MAX: usize = 10_000;

/// Follows the calls of a run for the live view.
///
/// Bounded: rates of at most 10,000 endpoints, of which idle ones make room and
/// calls beyond are counted as untracked; and the latest 200 calls.
pub struct View {
    schema_lines: fn(&Schema) -> Vec<String>,
    traffic: Traffic,
    window: Window,
    tracked: HashMap<EndpointKey, Tracked, ahash::RandomState>,
    /// When idle endpoints were looked for.
    forgot: Timestamp,
    recent: RecentCalls,
    facts: HashMap<EndpointKey, Arc<EndpointFacts>, ahash::RandomState>,
    findings: HashMap<String, Arc<Finding>, ahash::RandomState>,
}

/// What is followed of one endpoint.
#[derive(Default)]
struct Tracked {
    window: Window,
    tls: u64,
    plain: u64,
}

impl View {
    /// Follows calls from now on. `schema_lines` puts a schema into lines for the
    /// detail of an endpoint.
    pub fn new(schema_lines: fn(&Schema) -> Vec<String>) -> Self {
        Self {
            schema_lines,
            traffic: Traffic::default(),
            window: Window::default(),
            tracked: HashMap::default(),
            forgot: Timestamp::default(),
            recent: RecentCalls::default(),
            facts: HashMap::default(),
            findings: HashMap::default(),
        }
    }

    /// Counts one call.
    pub fn calls(&mut self, observed: &Observed) {
        let call = &*observed.call;
        let end = call.times.response_end.unwrap_or(call.times.request_end);
        let traffic = &mut self.traffic;
        traffic.calls += 1;
        if let Some(status) = call.status() {
            traffic.answered += 1;
            traffic.errors += u64::from(status >= 400 || grpc::error(call).is_some());
        }
        traffic.incomplete += u64::from(!call.missing.is_empty());
        traffic.missing.merge(&call.missing);
        traffic.tls += u64::from(call.tls.is_some());
        traffic.last_call = traffic.last_call.max(Some(end));
        self.window.add(end);
        self.recent.push(call, &observed.observation.endpoint);

        let key = &observed.observation.endpoint;
        if !self.tracked.contains_key(key) {
            if self.tracked.len() >= TRACKED_MAX {
                self.forget_idle(end);
            }
            if self.tracked.len() >= TRACKED_MAX {
                self.traffic.untracked += 1;
                return;
            }
            self.tracked.insert(key.clone(), Tracked::default());
        }
        if let Some(tracked) = self.tracked.get_mut(key) {
            tracked.window.add(end);
            match call.tls {
                Some(_) => tracked.tls += 1,
                None => tracked.plain += 1,
            }
        }
    }

    /// What there is to show at `now`. `findings` are taken in the order given.
    pub fn snapshot(
        &mut self,
        run: &Run,
        inventory: &Inventory,
        findings: &[&Finding],
        now: Timestamp,
    ) -> Snapshot {
        let (endpoints, endpoints_hidden) =
            self.endpoints(run, inventory.endpoints().collect(), now);
        let shown = findings.get(..FINDINGS_MAX).unwrap_or(findings);
        let rows = shown.iter().map(|finding| self.finding(finding)).collect::<Vec<_>>();
        if self.findings.len() > rows.len() {
            self.findings = rows.iter().map(|row| (row.id.clone(), Arc::clone(row))).collect();
        }
        let mut traffic = self.traffic.clone();
        traffic.rate = self.window.rate(run.started, now);
        Snapshot {
            time: now,
            run: run.clone(),
            traffic,
            endpoints,
            endpoints_hidden,
            findings: rows,
            findings_hidden: findings.len() - shown.len(),
            calls: self.recent.rows(),
        }
    }

    pub(super) fn endpoints(
        &mut self,
        run: &Run,
        mut known: Vec<&Endpoint>,
        now: Timestamp,
    ) -> (Vec<EndpointRow>, usize) {
        let hidden = known.len().saturating_sub(ENDPOINTS_MAX);
        if hidden > 0 {
            known.select_nth_unstable_by_key(ENDPOINTS_MAX, |known| Reverse(known.last_seen));
            known.truncate(ENDPOINTS_MAX);
        }
        let rows = known
            .into_iter()
            .map(|endpoint| {
                let tracked = self.tracked.get(&endpoint.key);
                EndpointRow {
                    rate: match tracked {
                        Some(tracked) => Some(tracked.window.rate(run.started, now)),
                        // All calls were counted, and none was of this endpoint.
                        None => (self.traffic.untracked == 0).then_some(0.0),
                    },
                    tls: tracked.map_or(0, |tracked| tracked.tls),
                    plain: tracked.map_or(0, |tracked| tracked.plain),
                    facts: cached_facts(&mut self.facts, endpoint, self.schema_lines),
                }
            })
            .collect::<Vec<_>>();
        if self.facts.len() > rows.len() {
            self.facts =
                rows.iter().map(|row| (row.facts.key.clone(), Arc::clone(&row.facts))).collect();
        }
        (rows, hidden)
    }

    fn finding(&mut self, finding: &Finding) -> Arc<Finding> {
        match self.findings.get(&finding.id) {
            Some(cached) if **cached == *finding => Arc::clone(cached),
            _ => {
                let shared = Arc::new(finding.clone());
                self.findings.insert(finding.id.clone(), Arc::clone(&shared));
                shared
            }
        }
    }

    /// Makes room by dropping endpoints without a call in the window; looks at
    /// most once a second, for it looks at all.
    fn forget_idle(&mut self, now: Timestamp) {
        if now.nanos_since(self.forgot) >= 1_000_000_000 {
            self.forgot = now;
            self.tracked.retain(|_, tracked| !tracked.window.idle(now));
        }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("traffic", &self.traffic)
            .field("tracked", &self.tracked.len())
            .finish_non_exhaustive()
    }
}

/// The facts of an endpoint, made anew only when it had calls since.
fn cached_facts(
    cache: &mut HashMap<EndpointKey, Arc<EndpointFacts>, ahash::RandomState>,
    endpoint: &Endpoint,
    schema_lines: fn(&Schema) -> Vec<String>,
) -> Arc<EndpointFacts> {
    match cache.get(&endpoint.key) {
        Some(cached)
            if cached.calls == endpoint.calls && cached.last_seen == endpoint.last_seen =>
        {
            Arc::clone(cached)
        }
        _ => {
            let made = Arc::new(facts(endpoint, schema_lines));
            cache.insert(endpoint.key.clone(), Arc::clone(&made));
            made
        }
    }
}

fn facts(endpoint: &Endpoint, schema_lines: fn(&Schema) -> Vec<String>) -> EndpointFacts {
    let latency = &endpoint.latency;
    let requests = endpoint.request_schemas.iter().map(|(media_type, schema)| BodyFacts {
        status: None,
        media_type: media_type.clone(),
        schema: schema_lines(schema),
    });
    let responses = endpoint.response_schemas.iter().flat_map(|(&status, bodies)| {
        bodies.iter().map(move |(media_type, schema)| BodyFacts {
            status: Some(status),
            media_type: media_type.clone(),
            schema: schema_lines(schema),
        })
    });
    EndpointFacts {
        key: endpoint.key.clone(),
        first_seen: endpoint.first_seen,
        last_seen: endpoint.last_seen,
        calls: endpoint.calls,
        incomplete: endpoint.incomplete,
        unanswered: endpoint.unanswered,
        answered: endpoint.statuses.values().sum(),
        errors: endpoint.errors(),
        statuses: endpoint.statuses.iter().map(|(&status, &calls)| (status, calls)).collect(),
        grpc_codes: endpoint.grpc_codes.iter().map(|(&code, &calls)| (code, calls)).collect(),
        p50: latency.quantile(0.5),
        p95: latency.quantile(0.95),
        p99: latency.quantile(0.99),
        mean: (latency.count() > 0).then(|| latency.sum() / latency.count() as f64),
        bytes_in: endpoint.request_bytes,
        bytes_out: endpoint.response_bytes,
        auth: endpoint.auth.iter().map(|(&scheme, &calls)| (scheme.short_name(), calls)).collect(),
        query_parameters: endpoint
            .query_parameters
            .iter()
            .map(|(name, &calls)| (name.clone(), calls))
            .collect(),
        bodies: requests.chain(responses).collect(),
    }
}
