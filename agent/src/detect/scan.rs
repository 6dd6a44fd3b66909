//! Clients that try one path after the other.

use std::net::IpAddr;

use ahash::{AHashMap, RandomState};

use super::{
    rule::NOT_FOUND_SCAN,
    table::{Place, Report, Table},
};
use crate::call::{Call, Timestamp};

/// Length of a window of event time; it begins with a client's first 404.
const WINDOW_NS: u64 = 60_000_000_000;
/// Distinct paths answered 404 that make a scan.
const PATHS_MIN: usize = 20;
/// Paths that are told apart.
const PATHS_MAX: usize = 64;
/// Clients of one generation; two are kept.
const GENERATION: usize = 512;

/// Clients that were answered 404 within the last minute, at most 1024: those that
/// went longest without asking make room for others. A client that never was
/// answered 404 takes no place, so ordinary traffic cannot hide a scan.
#[derive(Debug, Default)]
pub(super) struct Scans {
    hasher: RandomState,
    young: AHashMap<u64, Client>,
    old: AHashMap<u64, Client>,
}

#[derive(Debug)]
struct Client {
    start: Timestamp,
    calls: u32,
    not_found: u32,
    /// Hashes of paths answered 404.
    paths: Vec<u64>,
    /// Facts of this window were taken.
    told: bool,
}

impl Scans {
    /// Counts one answered call of a client and reports the scan it is part of.
    pub(super) fn observe(
        &mut self,
        call: &Call,
        service: &str,
        status: u16,
        at: Timestamp,
        findings: &mut Table,
    ) {
        if status != 404 && self.young.is_empty() && self.old.is_empty() {
            return;
        }
        let Some(address) = call.client().ip() else { return };
        let key = self.hasher.hash_one((service, address));
        let path = (status == 404).then(|| self.hasher.hash_one(call.request.path()));
        let Some(client) = self.client(key, path.is_some(), at) else { return };
        if at.nanos_since(client.start) >= WINDOW_NS {
            client.restart(at);
        }
        client.calls = client.calls.saturating_add(1);
        let Some(path) = path else { return };
        client.not_found = client.not_found.saturating_add(1);
        if client.paths.len() < PATHS_MAX && !client.paths.contains(&path) {
            client.paths.push(path);
        }
        // Four in five.
        let mostly = u64::from(client.not_found) * 5 >= u64::from(client.calls) * 4;
        if client.paths.len() >= PATHS_MIN && mostly {
            client.report(address, service, at, findings);
        }
    }

    /// Forgets clients whose window is over.
    pub(super) fn tick(&mut self, now: Timestamp) {
        for clients in [&mut self.young, &mut self.old] {
            clients.retain(|_, client| now.nanos_since(client.start) < WINDOW_NS);
        }
    }

    fn client(&mut self, key: u64, create: bool, at: Timestamp) -> Option<&mut Client> {
        if !self.young.contains_key(&key) {
            let client = match self.old.remove(&key) {
                Some(client) => client,
                None if create => Client::new(at),
                None => return None,
            };
            if self.young.len() >= GENERATION {
                self.old.clear();
                std::mem::swap(&mut self.young, &mut self.old);
            }
            self.young.insert(key, client);
        }
        self.young.get_mut(&key)
    }
}

impl Client {
    const fn new(start: Timestamp) -> Self {
        Self { start, calls: 0, not_found: 0, paths: Vec::new(), told: false }
    }

    fn restart(&mut self, start: Timestamp) {
        let mut paths = std::mem::take(&mut self.paths);
        paths.clear();
        *self = Self { paths, ..Self::new(start) };
    }

    fn report(&mut self, address: IpAddr, service: &str, at: Timestamp, findings: &mut Table) {
        let report = Report {
            rule: &NOT_FOUND_SCAN,
            place: Place { service, method: "", route: "" },
            severity: NOT_FOUND_SCAN.severity,
            confidence: 0.8,
            at,
            repetitive: false,
        };
        let told = std::mem::replace(&mut self.told, true);
        findings.report(&report, || {
            if told {
                return Vec::new();
            }
            vec![format!("{address} asked for {PATHS_MIN} or more paths answered 404 within 60 s")]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{call::Ends, inventory::testing};

    struct Run {
        scans: Scans,
        findings: Table,
    }

    impl Run {
        fn new() -> Self {
            Self { scans: Scans::default(), findings: Table::default() }
        }

        fn call(&mut self, client: u32, path: &str, status: u16, second: u64) {
            let mut call = testing::call("GET", path, status);
            call.connection.ends = Ends::Tcp {
                local: "10.0.0.1:80".parse().unwrap(),
                remote: (std::net::Ipv4Addr::from_bits(0x0a01_0000 + client), 4000).into(),
            };
            let at = Timestamp((1000 + second) * 1_000_000_000);
            self.scans.observe(&call, "shop", status, at, &mut self.findings);
        }
    }

    #[test]
    fn a_client_that_tries_many_paths_is_found() {
        let mut run = Run::new();
        for number in 0..25 {
            run.call(7, &format!("/try{number}"), 404, number);
        }
        let findings = run.findings.sorted();
        assert_eq!(findings.len(), 1);
        let finding = findings[0];
        assert_eq!((finding.rule.as_str(), finding.count), ("not-found-scan", 6));
        assert_eq!((finding.method.as_str(), finding.route.as_str()), ("", ""));
        let fact = "10.1.0.7 asked for 20 or more paths answered 404 within 60 s";
        assert_eq!(finding.evidence, [fact]);
    }

    #[test]
    fn what_only_looks_like_a_scan_is_not_found() {
        let mut run = Run::new();
        for number in 0..200_u32 {
            let path = format!("/p{number}");
            let second = u64::from(number);
            run.call(1000 + number, &path, 404, 0); // many clients
            run.call(1, "/favicon.ico", 404, 0); // one path
            run.call(2, &format!("/try?{number}"), 404, 0); // one path, many queries
            run.call(3, &path, if number % 2 == 0 { 404 } else { 200 }, 0); // half is there
            run.call(4, &path, 404, second * 4); // slowly
        }
        assert!(run.findings.sorted().is_empty());
    }

    #[test]
    fn clients_are_bounded_and_forgotten() {
        let mut run = Run::new();
        for client in 0..100_000 {
            run.call(client, "/x", 404, 1);
            run.call(client, "/x", 200, 1);
        }
        assert!(run.scans.young.len() + run.scans.old.len() <= 2 * GENERATION);
        for number in 0..1000 {
            run.call(1, &format!("/{number}"), 404, 2);
        }
        assert!(run.scans.young.values().all(|client| client.paths.len() <= PATHS_MAX));
        run.scans.tick(Timestamp(1062 * 1_000_000_000));
        assert!(run.scans.young.is_empty() && run.scans.old.is_empty());
    }

    #[test]
    fn a_client_without_an_address_is_not_blamed() {
        let mut run = Run::new();
        for number in 0..30 {
            let mut call = testing::call("GET", &format!("/{number}"), 404);
            call.connection.ends = Ends::Unknown;
            run.scans.observe(&call, "shop", 404, Timestamp(1), &mut run.findings);
        }
        assert!(run.findings.sorted().is_empty());
    }
}
