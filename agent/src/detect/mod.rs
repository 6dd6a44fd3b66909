//! Weaknesses and attacks that calls show: findings.
//!
//! A detector looks at one call at a time and tells the table what it found. What
//! it tells names fields, schemes and counts, never a value. Headers and the target
//! are looked at in every call, bodies and paths in the first calls of an endpoint
//! and some of the later ones.

mod endpoints;
mod exposure;
mod json;
mod jwt;
mod login;
mod rate;
mod rule;
mod scan;
mod sensitive;
mod signature;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod url;
mod verbose;

use serde::{Deserialize, Serialize};

use self::{
    endpoints::Endpoints,
    rule::Rule,
    scan::Scans,
    table::{Place, Report, Table},
};
use crate::{
    call::{Call, Timestamp},
    inventory::{
        Endpoint, Observation,
        auth::{self, Credential},
    },
};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// The word in outputs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What is wrong, where, since when, how sure, why, and what to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Same on every agent and every run for the same rule and place.
    pub id: String,
    /// Name of the rule, e.g. `basic-auth`.
    pub rule: String,
    /// One line.
    pub title: String,
    /// How bad.
    pub severity: Severity,
    /// How sure, 0 to 1.
    pub confidence: f32,
    /// OWASP API Security Top 10 2023, e.g. `API2:2023`.
    pub owasp: String,
    /// Common Weakness Enumeration number.
    pub cwe: Option<u32>,
    /// Where: service.
    pub service: String,
    /// Where: method; empty when the whole service is meant.
    pub method: String,
    /// Where: route; empty when the whole service is meant.
    pub route: String,
    /// First evidence.
    pub first_seen: Timestamp,
    /// Latest evidence.
    pub last_seen: Timestamp,
    /// Calls that showed it.
    pub count: u64,
    /// Why: facts, redacted, at most 8.
    pub evidence: Vec<String>,
    /// What it means.
    pub description: String,
    /// How to fix it.
    pub remediation: String,
}

/// Runs every detector over calls and keeps the findings, bounded.
#[derive(Debug, Default)]
pub struct Detectors {
    findings: Table,
    endpoints: Endpoints,
    scans: Scans,
}

/// A call, as the detectors see it.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    call: &'a Call,
    place: Place<'a>,
    credential: Credential<'a>,
    status: Option<u16>,
    /// When the last of it was seen.
    at: Timestamp,
}

impl<'a> Seen<'a> {
    fn new(call: &'a Call, observation: &'a Observation) -> Self {
        let key = &observation.endpoint;
        Self {
            call,
            place: Place { service: &key.service, method: &key.method, route: &key.route },
            credential: auth::detect(&call.request),
            status: call.status(),
            at: call.times.response_end.unwrap_or(call.times.request_end),
        }
    }

    /// A report of a rule that many calls of an endpoint break in the same way.
    const fn report(&self, rule: &'static Rule, severity: Severity, confidence: f32) -> Report<'a> {
        let (place, at) = (self.place, self.at);
        Report { rule, place, severity, confidence, at, repetitive: true }
    }
}

impl Detectors {
    /// Looks at one call, after the inventory has counted it under `endpoint`.
    pub fn observe(&mut self, call: &Call, observation: &Observation, endpoint: &Endpoint) {
        let seen = Seen::new(call, observation);
        let memory = self.endpoints.of(&observation.endpoint);
        let findings = &mut self.findings;
        transport::plaintext(&seen, memory, findings);
        transport::basic(&seen, findings);
        url::observe(&seen, memory, findings);
        jwt::observe(&seen, jwt::is_open(endpoint), findings);
        if let Some(status) = seen.status {
            memory.rate.observe(seen.place, status, seen.at, findings);
            self.scans.observe(call, seen.place.service, status, seen.at, findings);
        }
        verbose::observe(&seen, memory, findings);
        exposure::observe(&seen, memory, findings);
    }

    /// Lets time pass: windows close.
    pub fn tick(&mut self, now: Timestamp) {
        // The windows of endpoints close with their next call, to the same effect.
        self.scans.tick(now);
    }

    /// All findings, most severe first, then by time.
    pub fn findings(&self) -> Vec<&Finding> {
        self.findings.sorted()
    }

    /// Findings that are new or changed since the last call, cloned; the flag says
    /// that it is new.
    pub fn take_changes(&mut self) -> Vec<(Finding, bool)> {
        self.findings.take_changes()
    }

    /// Puts back what a store held.
    pub fn restore(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.findings.restore(finding);
        }
    }

    /// Findings that were left out or given up because the table was full.
    pub const fn dropped(&self) -> u64 {
        self.findings.dropped()
    }
}
