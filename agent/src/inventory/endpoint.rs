//! What is kept of a service and of an endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{auth::AuthScheme, schema::Schema};
use crate::call::{Role, Timestamp};

/// A program that serves or is called: by executable and listening port when it
/// was observed, by its address when only its clients were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Unique display name, e.g. `nginx:8080`, `python3.11:unix:/run/app.sock`,
    /// or for a service seen from its clients only `api.example.com:443`.
    pub name: Arc<str>,
    /// How it was seen: `server` when the process itself was observed.
    pub seen_from: Role,
    /// Executable of the server process, or empty when it was not observed.
    pub executable: String,
    /// Listening port, when internet sockets were used.
    pub port: Option<u16>,
    /// Names that clients called it by (`Host`, TLS server name), at most 16.
    pub hosts: BTreeSet<String>,
    /// Some of its calls came over TLS.
    pub tls: bool,
    /// First call.
    pub first_seen: Timestamp,
    /// Latest call.
    pub last_seen: Timestamp,
    /// Calls in all.
    pub calls: u64,
}

/// Names an endpoint.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct EndpointKey {
    /// Name of the service.
    pub service: Arc<str>,
    /// Templated path, e.g. `/users/{userId}`: OpenTelemetry `http.route`.
    pub route: Arc<str>,
    /// Method.
    pub method: Arc<str>,
}

/// What is known of an endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its name.
    pub key: EndpointKey,
    /// First call.
    pub first_seen: Timestamp,
    /// Latest call.
    pub last_seen: Timestamp,
    /// Calls in all.
    pub calls: u64,
    /// Of these, calls of which bytes are missing.
    pub incomplete: u64,
    /// Of these, calls without a response.
    pub unanswered: u64,
    /// Calls by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Durations in seconds.
    pub latency: Latency,
    /// Request body bytes in all.
    pub request_bytes: u64,
    /// Response body bytes in all.
    pub response_bytes: u64,
    /// Calls by authentication scheme that the request carried.
    pub auth: BTreeMap<AuthScheme, u64>,
    /// Names of query parameters with the calls that had them, at most 64.
    pub query_parameters: BTreeMap<String, u64>,
    /// Request bodies by media type, at most 4.
    pub request_schemas: BTreeMap<String, Schema>,
    /// Response bodies by status code and media type, at most 16.
    pub response_schemas: BTreeMap<(u16, String), Schema>,
}

/// Mergeable quantile sketch of durations, relative error 1 %.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    sketch: sketches_ddsketch::DDSketch,
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency").field("count", &self.sketch.count()).finish()
    }
}

impl Latency {
    /// Adds one duration.
    pub fn add(&mut self, seconds: f64) {
        self.sketch.add(seconds);
    }

    /// Quantile `q` (0 to 1) in seconds; `None` without data.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.sketch.quantile(q).ok().flatten()
    }

    /// Durations added.
    pub fn count(&self) -> u64 {
        u64::try_from(self.sketch.count()).unwrap_or(u64::MAX)
    }

    /// Sum of the durations, seconds.
    pub fn sum(&self) -> f64 {
        self.sketch.sum().unwrap_or(0.0)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        // Both sketches have the same configuration, so merging cannot fail.
        drop(self.sketch.merge(&other.sketch));
    }
}
