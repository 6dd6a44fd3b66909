//! The findings that are kept: bounded, one for each rule and place.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use ahash::{AHashMap, RandomState};
use sha2::{Digest as _, Sha256};

use super::{Finding, Severity, rule::Rule};
use crate::{call::Timestamp, redact};

/// Findings that are kept.
pub(super) const FINDINGS_MAX: usize = 4096;
/// Facts that are kept of one finding.
const EVIDENCE_MAX: usize = 8;

/// Where something was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place<'a> {
    /// Service.
    pub(super) service: &'a str,
    /// Method; empty when the whole service is meant.
    pub(super) method: &'a str,
    /// Route; empty when the whole service is meant.
    pub(super) route: &'a str,
}

/// What a detector found in one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    /// By which rule.
    pub(super) rule: &'static Rule,
    /// Where.
    pub(super) place: Place<'a>,
    /// How bad; a finding keeps the worst.
    pub(super) severity: Severity,
    /// How sure; a finding keeps the surest.
    pub(super) confidence: f32,
    /// When.
    pub(super) at: Timestamp,
    /// Nearly every call tells the same: facts are taken from the first calls and
    /// from some of the later ones, so that most cost no memory.
    pub(super) repetitive: bool,
}

/// Findings by rule and place, at most 4096. When full, a finding takes the place of
/// a less severe one that was not seen for longest; if there is none, it is dropped
/// and counted.
#[derive(Debug, Default)]
pub(super) struct Table {
    hasher: RandomState,
    entries: AHashMap<u64, Entry>,
    /// Entries by severity.
    severities: BTreeMap<Severity, usize>,
    /// Keys of entries that changed.
    dirty: Vec<u64>,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    finding: Finding,
    dirty: bool,
    new: bool,
}

impl Table {
    /// Adds what was found. `evidence` is asked only when its facts may be new; they
    /// must hold no values.
    pub(super) fn report(&mut self, report: &Report<'_>, evidence: impl FnOnce() -> Vec<String>) {
        let Some(key) = self.find(report) else {
            self.insert(report, evidence());
            return;
        };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let finding = &mut entry.finding;
        finding.count = finding.count.saturating_add(1);
        finding.first_seen = finding.first_seen.min(report.at);
        finding.last_seen = finding.last_seen.max(report.at);
        finding.confidence = finding.confidence.max(report.confidence);
        let worse = report.severity > finding.severity;
        if worse {
            leave(&mut self.severities, finding.severity);
            *self.severities.entry(report.severity).or_default() += 1;
            finding.severity = report.severity;
        }
        if !report.repetitive || worse || is_sampled(finding.count) {
            add_evidence(&mut finding.evidence, evidence());
        }
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(key);
        }
    }

    /// All findings, most severe first, then by time.
    pub(super) fn sorted(&self) -> Vec<&Finding> {
        let mut findings: Vec<_> = self.entries.values().map(|entry| &entry.finding).collect();
        findings.sort_unstable_by(|a, b| order(a, b));
        findings
    }

    /// Findings that are new or changed since the last call, in the same order; the
    /// flag says that it is new.
    pub(super) fn take_changes(&mut self) -> Vec<(Finding, bool)> {
        let mut changes = Vec::with_capacity(self.dirty.len());
        for key in self.dirty.drain(..) {
            if let Some(entry) = self.entries.get_mut(&key)
                && entry.dirty
            {
                changes.push((entry.finding.clone(), entry.new));
                entry.dirty = false;
                entry.new = false;
            }
        }
        changes.sort_unstable_by(|(a, _), (b, _)| order(a, b));
        changes
    }

    /// Puts back a finding of an earlier run. It is neither new nor changed.
    pub(super) fn restore(&mut self, mut finding: Finding) {
        let place =
            Place { service: &finding.service, method: &finding.method, route: &finding.route };
        finding.id = id(&finding.rule, place);
        let key = self.key(&finding.rule, place);
        if let Some(rule) = Rule::named(&finding.rule) {
            // The words are those of this version.
            rule.title.clone_into(&mut finding.title);
            rule.owasp.clone_into(&mut finding.owasp);
            finding.cwe = rule.cwe;
            rule.description.clone_into(&mut finding.description);
            rule.remediation.clone_into(&mut finding.remediation);
        }
        finding.evidence.truncate(EVIDENCE_MAX);
        if let Some(entry) = self.entries.get_mut(&key) {
            let own = &mut entry.finding;
            own.count = own.count.saturating_add(finding.count);
            own.first_seen = own.first_seen.min(finding.first_seen);
            own.last_seen = own.last_seen.max(finding.last_seen);
            own.confidence = own.confidence.max(finding.confidence);
            add_evidence(&mut own.evidence, finding.evidence);
            if finding.severity > own.severity {
                leave(&mut self.severities, own.severity);
                *self.severities.entry(finding.severity).or_default() += 1;
                own.severity = finding.severity;
            }
            entry.new = false;
        } else if self.make_room(finding.severity) {
            *self.severities.entry(finding.severity).or_default() += 1;
            self.entries.insert(key, Entry { finding, dirty: false, new: false });
        }
    }

    /// Findings that there was no room for.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn key(&self, rule: &str, place: Place<'_>) -> u64 {
        self.hasher.hash_one((rule, place))
    }

    /// Key of the finding of this rule and place, if there is one.
    fn find(&self, report: &Report<'_>) -> Option<u64> {
        let key = self.key(report.rule.name, report.place);
        if self.entries.contains_key(&key) {
            return Some(key);
        }
        // A route with a secret in it is kept, and known, without.
        match redact::path(report.place.route) {
            Cow::Borrowed(_) => None,
            Cow::Owned(route) => {
                let key = self.key(report.rule.name, Place { route: &route, ..report.place });
                self.entries.contains_key(&key).then_some(key)
            }
        }
    }

    fn insert(&mut self, report: &Report<'_>, evidence: Vec<String>) {
        if !self.make_room(report.severity) {
            return;
        }
        let (rule, route) = (report.rule, redact::path(report.place.route));
        let place = Place { route: &route, ..report.place };
        let mut finding = Finding {
            id: id(rule.name, place),
            rule: rule.name.to_owned(),
            title: rule.title.to_owned(),
            severity: report.severity,
            confidence: report.confidence,
            owasp: rule.owasp.to_owned(),
            cwe: rule.cwe,
            service: place.service.to_owned(),
            method: place.method.to_owned(),
            route: place.route.to_owned(),
            first_seen: report.at,
            last_seen: report.at,
            count: 1,
            evidence: Vec::new(),
            description: rule.description.to_owned(),
            remediation: rule.remediation.to_owned(),
        };
        add_evidence(&mut finding.evidence, evidence);
        let key = self.key(rule.name, place);
        *self.severities.entry(report.severity).or_default() += 1;
        self.entries.insert(key, Entry { finding, dirty: true, new: true });
        self.dirty.push(key);
    }

    /// Whether a finding of this severity may be added; makes room when full.
    fn make_room(&mut self, severity: Severity) -> bool {
        if self.entries.len() < FINDINGS_MAX {
            return true;
        }
        self.dropped = self.dropped.saturating_add(1);
        let least = self.severities.iter().find(|(_, count)| **count > 0);
        if least.is_none_or(|(least, _)| *least >= severity) {
            return false;
        }
        let rank = |entry: &Entry| (entry.finding.severity, entry.finding.last_seen);
        let victim = self.entries.iter().min_by_key(|(_, entry)| rank(entry)).map(|(key, _)| *key);
        if let Some(entry) = victim.and_then(|key| self.entries.remove(&key)) {
            leave(&mut self.severities, entry.finding.severity);
            if entry.dirty {
                self.dirty.retain(|key| Some(*key) != victim);
            }
        }
        true
    }
}

/// Whether the call that is the `count`-th of its kind is looked at: the first 32,
/// then one in 64.
pub(super) const fn is_sampled(count: u64) -> bool {
    count <= 32 || count.is_multiple_of(64)
}

fn leave(severities: &mut BTreeMap<Severity, usize>, severity: Severity) {
    if let Some(count) = severities.get_mut(&severity) {
        *count = count.saturating_sub(1);
    }
}

fn order(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    b.severity
        .cmp(&a.severity)
        .then_with(|| a.first_seen.cmp(&b.first_seen))
        .then_with(|| a.id.cmp(&b.id))
}

fn add_evidence(evidence: &mut Vec<String>, facts: Vec<String>) {
    for fact in facts {
        if evidence.len() >= EVIDENCE_MAX {
            break;
        }
        if !evidence.contains(&fact) {
            evidence.push(fact);
        }
    }
}

/// Names a finding: the same on every agent and in every run.
fn id(rule: &str, place: Place<'_>) -> String {
    let mut digest = Sha256::new();
    for part in [rule, place.service, place.method, place.route] {
        digest.update(part);
        digest.update([0]);
    }
    digest.finalize().iter().take(8).fold(String::with_capacity(16), |mut hex, byte| {
        // Writing to a string cannot fail.
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
