//! Weaknesses and attacks that calls show: findings.

use serde::{Deserialize, Serialize};

use crate::{
    call::{Call, Timestamp},
    inventory::{Endpoint, Observation},
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
pub struct Detectors {}

impl Detectors {
    /// Looks at one call, after the inventory has counted it under `endpoint`.
    pub fn observe(&mut self, call: &Call, observation: &Observation, endpoint: &Endpoint) {
        _ = (call, observation, endpoint);
    }

    /// Lets time pass: windows close.
    pub fn tick(&mut self, now: Timestamp) {
        _ = now;
    }

    /// All findings, most severe first, then by time.
    pub fn findings(&self) -> Vec<&Finding> {
        Vec::new()
    }

    /// Findings that are new or changed since the last call, cloned; the flag says
    /// that it is new.
    pub fn take_changes(&mut self) -> Vec<(Finding, bool)> {
        Vec::new()
    }

    /// Puts back what a store held.
    pub fn restore(&mut self, findings: Vec<Finding>) {
        drop(findings);
    }
}
