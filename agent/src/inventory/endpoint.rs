//! What is kept of an endpoint.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use sketches_ddsketch::DDSketch;

use super::{
    Dropped,
    auth::{self, AuthScheme},
    schema::Schema,
    template::{Parameter, segment},
};
use crate::{
    call::{Call, Timestamp},
    grpc::{Code, Grpc},
    http::{Body, BodyState, Headers},
    redact,
};

/// Names of query parameters that are kept.
const QUERY_MAX: usize = 64;
/// Longest of them.
const QUERY_NAME_MAX: usize = 64;
/// Media types of request bodies that are kept.
const REQUEST_SCHEMAS_MAX: usize = 4;
/// Pairs of status and media type of responses that are kept.
const RESPONSE_SCHEMAS_MAX: usize = 16;
/// Longest media type.
const MEDIA_TYPE_MAX: usize = 100;
/// Status codes that are kept; a server that makes up more is counted under 0.
const STATUSES_MAX: usize = 64;

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
    /// Calls of gRPC whose status says nothing, by the code that they ended with, at most 18:
    /// those without a name are [`Code::OTHER`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grpc_codes: BTreeMap<Code, u64>,
    /// Durations in seconds.
    pub latency: Latency,
    /// Request body bytes in all.
    pub request_bytes: u64,
    /// Response body bytes in all.
    pub response_bytes: u64,
    /// Calls by authentication scheme that the request carried.
    pub auth: BTreeMap<AuthScheme, u64>,
    /// What carried the credential, by scheme: where, and the name of the field.
    pub credentials: BTreeMap<AuthScheme, Credential>,
    /// Parameters of the route, in order.
    pub path_parameters: Vec<Parameter>,
    /// Names of query parameters with the calls that had them, at most 64.
    pub query_parameters: BTreeMap<String, u64>,
    /// Request bodies by media type, at most 4.
    pub request_schemas: BTreeMap<String, Schema>,
    /// Response bodies by status code and media type, at most 16 pairs.
    pub response_schemas: BTreeMap<u16, BTreeMap<String, Schema>>,
}

/// What carried a credential.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credential {
    /// Where in the request.
    pub place: auth::Place,
    /// Name of the header field, query parameter or cookie, as first sent.
    pub name: String,
}

impl Endpoint {
    /// An endpoint without calls.
    pub(super) fn new(key: EndpointKey, path_parameters: Vec<Parameter>, at: Timestamp) -> Self {
        Self {
            key,
            first_seen: at,
            last_seen: at,
            calls: 0,
            incomplete: 0,
            unanswered: 0,
            statuses: BTreeMap::new(),
            grpc_codes: BTreeMap::new(),
            latency: Latency::default(),
            request_bytes: 0,
            response_bytes: 0,
            auth: BTreeMap::new(),
            credentials: BTreeMap::new(),
            path_parameters,
            query_parameters: BTreeMap::new(),
            request_schemas: BTreeMap::new(),
            response_schemas: BTreeMap::new(),
        }
    }

    /// Counts a call; learns its parameters and bodies when `learn` is set.
    pub(super) fn record(&mut self, call: &Call, learn: bool, dropped: &mut Dropped) {
        self.calls += 1;
        self.first_seen = self.first_seen.min(call.times.request_start);
        self.last_seen = self.last_seen.max(call.times.request_start);
        self.incomplete += u64::from(!call.missing.is_empty());
        self.request_bytes = self.request_bytes.saturating_add(call.request.body.size);
        if let Some(seconds) = call.duration_seconds() {
            self.latency.add(seconds);
        }
        let credential = auth::detect(&call.request);
        *self.auth.entry(credential.scheme).or_default() += 1;
        if credential.scheme.is_credential() && !self.credentials.contains_key(&credential.scheme) {
            let name = redact::name(credential.name).into_owned();
            let carrier = Credential { place: credential.place, name };
            self.credentials.insert(credential.scheme, carrier);
        }
        match &call.response {
            None => self.unanswered += 1,
            Some(response) => {
                self.response_bytes = self.response_bytes.saturating_add(response.body.size);
                let full = self.statuses.len() >= STATUSES_MAX;
                let status = if full && !self.statuses.contains_key(&response.status) {
                    0
                } else {
                    response.status
                };
                *self.statuses.entry(status).or_default() += 1;
            }
        }
        // Where HTTP tells of a failure, that is what is counted.
        if call.status().is_some_and(|status| status < 400)
            && let Some(code) = Grpc::of(call).and_then(|grpc| grpc.code)
        {
            *self.grpc_codes.entry(code).or_default() += 1;
        }
        if learn {
            self.learn(call, dropped);
        }
    }

    /// Calls that failed: by their status of 4xx or 5xx, or by the code of gRPC.
    pub fn errors(&self) -> u64 {
        let statuses = self.statuses.iter().filter(|&(&status, _)| status >= 400);
        let codes = self.grpc_codes.iter().filter(|(code, _)| code.is_error());
        statuses.map(|(_, calls)| calls).chain(codes.map(|(_, calls)| calls)).sum()
    }

    fn learn(&mut self, call: &Call, dropped: &mut Dropped) {
        for name in call.request.query().into_iter().flat_map(query_names) {
            if let Some(calls) = self.query_parameters.get_mut(&*name) {
                *calls += 1;
            } else if self.query_parameters.len() < QUERY_MAX {
                self.query_parameters.insert(name.into_owned(), 1);
            } else {
                dropped.query_parameters += 1;
            }
        }
        if let Some(media_type) = media_type(&call.request.headers, &call.request.body) {
            let room = self.request_schemas.len() < REQUEST_SCHEMAS_MAX;
            match schema_of(&mut self.request_schemas, &media_type, room) {
                Some(schema) => observe(schema, &media_type, &call.request.body),
                None => dropped.schemas += 1,
            }
        }
        if let Some(response) = &call.response
            && let Some(media_type) = media_type(&response.headers, &response.body)
        {
            let count: usize = self.response_schemas.values().map(BTreeMap::len).sum();
            let room = count < RESPONSE_SCHEMAS_MAX;
            if !room && !self.response_schemas.contains_key(&response.status) {
                dropped.schemas += 1;
                return;
            }
            let schemas = self.response_schemas.entry(response.status).or_default();
            match schema_of(schemas, &media_type, room) {
                Some(schema) => observe(schema, &media_type, &response.body),
                None => dropped.schemas += 1,
            }
        }
    }

    /// Adds all that `other` knows; its name is forgotten.
    pub(super) fn merge(&mut self, other: Self, dropped: &mut Dropped) {
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.calls += other.calls;
        self.incomplete += other.incomplete;
        self.unanswered += other.unanswered;
        self.latency.merge(&other.latency);
        self.request_bytes = self.request_bytes.saturating_add(other.request_bytes);
        self.response_bytes = self.response_bytes.saturating_add(other.response_bytes);
        for (status, calls) in other.statuses {
            let full = self.statuses.len() >= STATUSES_MAX;
            let status = if full && !self.statuses.contains_key(&status) { 0 } else { status };
            *self.statuses.entry(status).or_default() += calls;
        }
        for (code, calls) in other.grpc_codes {
            *self.grpc_codes.entry(code).or_default() += calls;
        }
        for (scheme, calls) in other.auth {
            *self.auth.entry(scheme).or_default() += calls;
        }
        for (scheme, credential) in other.credentials {
            self.credentials.entry(scheme).or_insert(credential);
        }
        for (name, calls) in other.query_parameters {
            if self.query_parameters.len() < QUERY_MAX || self.query_parameters.contains_key(&name)
            {
                *self.query_parameters.entry(name).or_default() += calls;
            } else {
                dropped.query_parameters += calls;
            }
        }
        for (media_type, schema) in other.request_schemas {
            let room = self.request_schemas.len() < REQUEST_SCHEMAS_MAX;
            match schema_of(&mut self.request_schemas, &media_type, room) {
                Some(own) => own.merge(schema),
                None => dropped.schemas += schema.bodies,
            }
        }
        for (status, schemas) in other.response_schemas {
            for (media_type, schema) in schemas {
                let count: usize = self.response_schemas.values().map(BTreeMap::len).sum();
                let room = count < RESPONSE_SCHEMAS_MAX;
                let own = if room {
                    Some(self.response_schemas.entry(status).or_default())
                } else {
                    self.response_schemas.get_mut(&status)
                };
                match own.and_then(|own| schema_of(own, &media_type, room)) {
                    Some(own) => own.merge(schema),
                    None => dropped.schemas += schema.bodies,
                }
            }
        }
    }
}

fn schema_of<'a>(
    schemas: &'a mut BTreeMap<String, Schema>,
    media_type: &str,
    room: bool,
) -> Option<&'a mut Schema> {
    // A known media type costs no copy of it.
    if !schemas.contains_key(media_type) {
        return room.then(|| schemas.entry(media_type.to_owned()).or_default());
    }
    schemas.get_mut(media_type)
}

fn observe(schema: &mut Schema, media_type: &str, body: &Body) {
    let json = media_type == "application/json"
        || media_type.ends_with("+json")
        || media_type == "text/json";
    let partial = body.state != BodyState::Complete;
    if json && !partial {
        schema.observe_json(&body.bytes);
    } else {
        schema.count(partial);
    }
}

/// Media type of a body, lower case and without parameters; `None` without a body
/// and when there is no type that could be one.
fn media_type<'a>(headers: &'a Headers, body: &Body) -> Option<Cow<'a, str>> {
    if body.size == 0 && body.bytes.is_empty() {
        return None;
    }
    let value = headers.get_str("content-type")?;
    let value = value.split(';').next().unwrap_or(value).trim();
    let (kind, subtype) = value.split_once('/')?;
    let token = |text: &str| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !text.is_empty() && text.bytes().all(valid)
    };
    if value.len() > MEDIA_TYPE_MAX || !token(kind) || !token(subtype) {
        return None;
    }
    Some(if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    })
}

/// Names of query parameters, decoded. Left out is what may be a value: names too
/// long or of a value's shape, and words without `=`.
fn query_names(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query.split('&').filter_map(|pair| {
        let (name, _) = pair.split_once('=')?;
        let name = if name.contains(['%', '+']) {
            percent_encoding::percent_decode_str(name).decode_utf8().ok()?
        } else {
            Cow::Borrowed(name)
        };
        let fits = !name.is_empty()
            && name.len() <= QUERY_NAME_MAX
            && !name.contains(char::is_control)
            && !redact::is_secret(&name)
            && segment::detect(&name).is_none();
        fits.then_some(name)
    })
}

/// Mergeable quantile sketch of durations, relative error 1 %.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Latency {
    /// `None` without data: JSON has no way to write an empty sketch's infinities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sketch: Option<DDSketch>,
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latency").field("count", &self.count()).finish()
    }
}

impl Latency {
    /// Adds one duration.
    pub fn add(&mut self, seconds: f64) {
        self.sketch.get_or_insert_default().add(seconds);
    }

    /// Quantile `q` (0 to 1) in seconds; `None` without data.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.sketch.as_ref()?.quantile(q).ok().flatten()
    }

    /// Durations added.
    pub fn count(&self) -> u64 {
        let count = self.sketch.as_ref().map_or(0, DDSketch::count);
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Sum of the durations, seconds.
    pub fn sum(&self) -> f64 {
        self.sketch.as_ref().and_then(DDSketch::sum).unwrap_or(0.0)
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        if let Some(other) = &other.sketch {
            // Both sketches have the same configuration, so merging cannot fail.
            drop(self.sketch.get_or_insert_default().merge(other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::testing::{call, grpc, json};

    fn endpoint() -> Endpoint {
        let text: Arc<str> = "x".into();
        let key =
            EndpointKey { service: Arc::clone(&text), route: Arc::clone(&text), method: text };
        Endpoint::new(key, Vec::new(), Timestamp(u64::MAX))
    }

    #[test]
    fn an_endpoint_without_answers_survives_the_store() {
        let text = serde_json::to_string(&endpoint()).unwrap();
        let read: Endpoint = serde_json::from_str(&text).unwrap();
        assert_eq!((read.latency.count(), read.latency.quantile(0.5)), (0, None));
    }

    #[test]
    fn counts_of_merged_endpoints_are_sums() {
        let calls = [
            call("GET", "/?a=1&b=2", 200),
            json(call("POST", "/?a=3", 201), r#"{"a":1}"#, r#"{"b":2}"#),
            json(call("POST", "/", 500), "1", "2"),
            grpc("/a.B/C", "0"),
            grpc("/a.B/C", "5"),
            grpc("/a.B/C", "99"),
            grpc("/a.B/C", "5"),
        ];
        let mut all = endpoint();
        let (mut one, mut two) = (endpoint(), endpoint());
        let mut dropped = Dropped::default();
        for (at, call) in calls.iter().enumerate() {
            all.record(call, true, &mut dropped);
            if at % 2 == 1 { &mut one } else { &mut two }.record(call, true, &mut dropped);
        }
        one.merge(two, &mut dropped);
        // The sum of durations may differ in its last bit.
        let text = |endpoint: &Endpoint| {
            let mut value = serde_json::to_value(endpoint).unwrap();
            value.as_object_mut().unwrap().remove("latency");
            value.to_string()
        };
        assert_eq!(text(&one), text(&all));
        assert_eq!(one.latency.count(), calls.len() as u64);
        let codes = BTreeMap::from([(Code::new(0), 1), (Code::new(5), 2), (Code::OTHER, 1)]);
        let read: Endpoint = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!((&one.grpc_codes, &read.grpc_codes), (&codes, &codes));
        // With the 500; what HTTP tells is not told again.
        assert_eq!(one.errors(), 4);
        let mut unavailable = grpc("/a.B/C", "14");
        unavailable.response.as_mut().unwrap().status = 503;
        one.record(&unavailable, true, &mut dropped);
        assert_eq!(one.errors(), 5);
        assert_eq!(dropped, Dropped::default());
    }

    #[test]
    fn query_names_that_may_be_values_are_left_out() {
        let query = "sk_live_51HxK2eZvKYlo2C0aBcDeFgH=1&a=1&secret&%62+=2&550e8400-e29b-41d4-a716-446655440000=1&=3&page%5Bsize%5D=9";
        let names: Vec<_> = query_names(query).collect();
        assert_eq!(names, ["a", "b+", "page[size]"]);
    }

    #[test]
    fn tables_have_bounds_and_count_what_they_leave_out() {
        let mut endpoint = endpoint();
        let mut dropped = Dropped::default();
        for number in 0..100 {
            let names: Vec<_> = (0..10).map(|n| format!("q{number}x{n}=1")).collect();
            let query = names.join("&");
            let mut call = call("POST", &format!("/?{query}"), 200 + number);
            let media_type = format!("text/x{number}");
            call.request.headers = Headers::from_pairs([("Content-Type", &*media_type)]);
            call.request.body.size = 1;
            if let Some(response) = &mut call.response {
                response.headers = call.request.headers.clone();
                response.body.size = 1;
            }
            endpoint.record(&call, true, &mut dropped);
        }
        assert_eq!(endpoint.query_parameters.len(), 64);
        assert_eq!(endpoint.request_schemas.len(), 4);
        assert_eq!(endpoint.response_schemas.len(), 16);
        assert_eq!(endpoint.statuses.len(), 65);
        assert_eq!(endpoint.statuses.values().sum::<u64>(), 100);
        assert_eq!((dropped.schemas, dropped.query_parameters), (96 + 84, 936));
    }
}
