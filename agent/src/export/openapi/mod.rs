//! The OpenAPI 3.1 document of a service, from what was learned of it. Deterministic;
//! without any value that was seen.

mod security;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use self::security::Schemes;
use super::json::rfc3339;
use crate::inventory::{
    Endpoint, NOT_FOUND, OTHER, Service,
    schema::{Place, Schema},
};

/// Methods that a path item may have, in the order of the specification.
const METHODS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];

/// Deepest schema that is written.
const DEPTH_MAX: usize = 40;

/// The document of a service with its endpoints, in any order.
pub fn document(service: &Service, endpoints: &[&Endpoint]) -> Value {
    let mut paths: BTreeMap<&str, BTreeMap<usize, Value>> = BTreeMap::new();
    let mut schemes = Schemes::default();
    let mut tags = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for endpoint in endpoints {
        let route = &*endpoint.key.route;
        let method = METHODS.iter().position(|method| *method == &*endpoint.key.method);
        let (Some(method), true) = (method, route.starts_with('/')) else { continue };
        if route == NOT_FOUND || route == OTHER {
            continue;
        }
        let tag = tag(route);
        let operation = operation(endpoint, &tag, &mut ids, &mut schemes);
        tags.insert(tag);
        paths.entry(route).or_default().insert(method, operation);
    }
    let paths: Map<String, Value> = paths
        .into_iter()
        .map(|(route, operations)| {
            let item: Map<String, Value> = operations
                .into_iter()
                .filter_map(|(method, value)| Some((METHODS.get(method)?.to_lowercase(), value)))
                .collect();
            (route.to_owned(), Value::Object(item))
        })
        .collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": plain(&service.name),
            "version": "observed",
            "description": "Inferred by apiscope from the traffic of the service.",
        },
        "servers": servers(service),
        "tags": tags.iter().map(|tag| json!({ "name": tag })).collect::<Vec<_>>(),
        "paths": paths,
    });
    let definitions = schemes.into_definitions();
    if !definitions.is_empty()
        && let Some(object) = document.as_object_mut()
    {
        object.insert("components".into(), json!({ "securitySchemes": definitions }));
    }
    document
}

/// The JSON Schema of what was learned of bodies.
pub fn schema(schema: &Schema) -> Value {
    place(&schema.root, 0)
}

/// The document as YAML.
pub fn yaml(document: &Value) -> Result<String> {
    serde_yaml_ng::to_string(document).context("write YAML")
}

fn servers(service: &Service) -> Vec<Value> {
    let scheme = if service.tls { "https" } else { "http" };
    let usable = |host: &&String| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
            })
    };
    let mut urls: Vec<String> =
        service.hosts.iter().filter(usable).map(|host| format!("{scheme}://{host}")).collect();
    if urls.is_empty() {
        let port = service.port.map(|port| format!(":{port}")).unwrap_or_default();
        urls.push(format!("{scheme}://localhost{port}"));
    }
    urls.into_iter().map(|url| json!({ "url": url })).collect()
}

fn operation(
    endpoint: &Endpoint,
    tag: &str,
    ids: &mut BTreeSet<String>,
    schemes: &mut Schemes,
) -> Value {
    let mut operation = Map::new();
    operation.insert("operationId".into(), identifier(endpoint, ids).into());
    operation.insert("tags".into(), json!([tag]));
    let parameters = parameters(endpoint);
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    if !endpoint.request_schemas.is_empty() {
        let content = content(&endpoint.request_schemas);
        operation.insert("requestBody".into(), json!({ "content": content }));
    }
    operation.insert("responses".into(), responses(endpoint));
    let security = schemes.requirements(endpoint);
    if !security.is_empty() {
        operation.insert("security".into(), security.into());
    }
    operation.insert(
        "x-observed".into(),
        json!({
            "firstSeen": rfc3339(endpoint.first_seen),
            "lastSeen": rfc3339(endpoint.last_seen),
            "calls": endpoint.calls,
            "incomplete": endpoint.incomplete,
            "p50Seconds": endpoint.latency.quantile(0.5),
            "p95Seconds": endpoint.latency.quantile(0.95),
        }),
    );
    Value::Object(operation)
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let in_path = placeholders(&endpoint.key.route).map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let in_query = endpoint.query_parameters.iter().map(|(name, &calls)| {
        json!({
            "name": name,
            "in": "query",
            "required": calls == endpoint.calls,
            "schema": { "type": "string" },
        })
    });
    in_path.chain(in_query).collect()
}

/// Names in braces of a template.
fn placeholders(route: &str) -> impl Iterator<Item = &str> {
    route.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

fn responses(endpoint: &Endpoint) -> Value {
    let responses: Map<String, Value> = endpoint
        .statuses
        .keys()
        .filter(|status| (100..600).contains(*status))
        .map(|status| {
            let mut response = json!({ "description": reason(*status) });
            if let Some(bodies) = endpoint.response_schemas.get(status).filter(|b| !b.is_empty())
                && let Some(object) = response.as_object_mut()
            {
                object.insert("content".into(), content(bodies));
            }
            (status.to_string(), response)
        })
        .collect();
    if responses.is_empty() {
        return json!({ "default": { "description": "No response was seen." } });
    }
    Value::Object(responses)
}

fn content(bodies: &BTreeMap<String, Schema>) -> Value {
    let content: Map<String, Value> = bodies
        .iter()
        .map(|(media_type, schema)| {
            let known = schema.inferred > 0;
            let value = if known { json!({ "schema": place(&schema.root, 0) }) } else { json!({}) };
            (media_type.clone(), value)
        })
        .collect();
    Value::Object(content)
}

/// A JSON Schema of what was seen at one place.
fn place(at: &Place, depth: usize) -> Value {
    let types = &at.types;
    let seen = [
        ("null", types.null),
        ("boolean", types.boolean),
        // An integer is a number too.
        ("integer", if types.number > 0 { 0 } else { types.integer }),
        ("number", types.number),
        ("string", types.string),
        ("array", types.array),
        ("object", types.object),
    ];
    let names: Vec<&str> = seen.iter().filter(|(_, n)| *n > 0).map(|(name, _)| *name).collect();
    let mut schema = Map::new();
    match names.as_slice() {
        [] => return json!({}),
        [one] => drop(schema.insert("type".into(), (*one).into())),
        several => drop(schema.insert("type".into(), json!(several))),
    }
    if let Some(format) = at.text.as_ref().and_then(|text| text.format(types.string)) {
        schema.insert("format".into(), format.as_str().into());
    }
    if depth >= DEPTH_MAX {
        return Value::Object(schema);
    }
    if types.array > 0
        && let Some(items) = &at.items
    {
        schema.insert("items".into(), place(items, depth + 1));
    }
    if types.object > 0 && !at.properties.is_empty() {
        let properties: Map<String, Value> = at
            .properties
            .iter()
            .map(|(name, property)| (name.to_string(), place(property, depth + 1)))
            .collect();
        let required: Vec<&str> = at
            .properties
            .iter()
            .filter(|(_, property)| at.requires(property))
            .map(|(name, _)| &**name)
            .collect();
        schema.insert("properties".into(), properties.into());
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
    }
    if types.object > 0
        && let Some(additional) = &at.additional
    {
        schema.insert("additionalProperties".into(), place(additional, depth + 1));
    }
    Value::Object(schema)
}

/// The first segment of a route that is a noun.
fn tag(route: &str) -> String {
    let version = |segment: &str| {
        segment == "api" || segment.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let noun = route
        .split('/')
        .find(|segment| !segment.is_empty() && !segment.starts_with('{') && !version(segment));
    plain(noun.unwrap_or("root"))
}

/// A name for an operation that no other has.
fn identifier(endpoint: &Endpoint, ids: &mut BTreeSet<String>) -> String {
    let mut name = endpoint.key.method.to_lowercase();
    for word in endpoint.key.route.split(|c: char| !c.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            name.push(first.to_ascii_uppercase());
            name.extend(letters);
        }
    }
    let mut unique = name.clone();
    let mut number = 2;
    while !ids.insert(unique.clone()) {
        unique = format!("{name}{number}");
        number += 1;
    }
    unique
}

/// Text without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// What a status code means; a description must not be empty.
fn reason(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    known.unwrap_or(match status {
        100..=199 => "Informational",
        200..=299 => "Successful",
        300..=399 => "Redirection",
        400..=499 => "Client Error",
        _ => "Server Error",
    })
}
