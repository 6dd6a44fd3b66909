//! Authentication schemes as the specification defines them.

use serde_json::{Map, Value, json};

use crate::inventory::{AuthScheme, Endpoint, auth::Place, endpoint::Credential};

/// Definitions of the schemes of a document, by name.
#[derive(Debug, Default)]
pub(super) struct Schemes(Map<String, Value>);

impl Schemes {
    /// What the calls of an endpoint had to prove who they come from, any of which is
    /// enough; nothing when no call had anything that can be defined.
    pub(super) fn requirements(&mut self, endpoint: &Endpoint) -> Vec<Value> {
        let mut requirements = Vec::new();
        let mut defined = false;
        for &scheme in endpoint.auth.keys() {
            if scheme == AuthScheme::None {
                requirements.push(json!({}));
            } else if let Some((name, value)) =
                definition(scheme, endpoint.credentials.get(&scheme))
            {
                defined = true;
                requirements.push(json!({ self.named(name, value): [] }));
            }
        }
        if defined { requirements } else { Vec::new() }
    }

    pub(super) fn into_definitions(self) -> Map<String, Value> {
        self.0
    }

    /// The name of a definition: as given, with a number when another has it.
    fn named(&mut self, name: &str, value: Value) -> String {
        let mut unique = name.to_owned();
        let mut number = 2;
        while self.0.get(&unique).is_some_and(|known| !same(known, &value)) {
            unique = format!("{name}{number}");
            number += 1;
        }
        self.0.entry(unique.clone()).or_insert(value);
        unique
    }
}

/// Names of header fields have no case.
fn same(one: &Value, other: &Value) -> bool {
    one == other
        || one.get("in") == Some(&json!("header"))
            && one.get("in") == other.get("in")
            && text(one).eq_ignore_ascii_case(text(other))
}

fn text(definition: &Value) -> &str {
    definition.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// A scheme as the specification defines it; what it has no word for is left out.
fn definition(scheme: AuthScheme, carrier: Option<&Credential>) -> Option<(&'static str, Value)> {
    let http = |name| json!({ "type": "http", "scheme": name });
    let key = |place: &str, name: &str| json!({ "type": "apiKey", "in": place, "name": name });
    let carried =
        |usual: &str| carrier.map_or_else(|| usual.to_owned(), |known| known.name.clone());
    Some(match scheme {
        AuthScheme::Basic => ("basic", http("basic")),
        AuthScheme::Digest => ("digest", http("digest")),
        AuthScheme::Bearer => ("bearer", http("bearer")),
        AuthScheme::Negotiate => ("negotiate", http("negotiate")),
        AuthScheme::ApiKeyHeader => ("apiKeyHeader", key("header", &carried("X-API-Key"))),
        AuthScheme::ApiKeyQuery => ("apiKeyQuery", key("query", &carried("api_key"))),
        AuthScheme::Cookie => ("cookie", key("cookie", &carried("session"))),
        AuthScheme::Jwt => match carrier {
            Some(Credential { place: Place::Query, name }) => ("jwtQuery", key("query", name)),
            Some(Credential { place: Place::Cookie, name }) => ("jwtCookie", key("cookie", name)),
            Some(Credential { place: Place::Header, name })
                if !name.eq_ignore_ascii_case("authorization") =>
            {
                ("jwtHeader", key("header", name))
            }
            _ => ("jwt", json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" })),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defined(scheme: AuthScheme, place: Place, name: &str) -> (&'static str, Value) {
        definition(scheme, Some(&Credential { place, name: name.to_owned() })).unwrap()
    }

    #[test]
    fn a_key_is_defined_where_it_was_sent() {
        let (name, value) = defined(AuthScheme::Jwt, Place::Cookie, "sid");
        assert_eq!(
            (name, &value["in"], &value["name"]),
            ("jwtCookie", &json!("cookie"), &json!("sid"))
        );
        let (name, value) = defined(AuthScheme::Jwt, Place::Header, "Authorization");
        assert_eq!((name, &value["scheme"]), ("jwt", &json!("bearer")));
        let (_, value) = defined(AuthScheme::ApiKeyHeader, Place::Header, "Private-Token");
        assert_eq!(value["name"], "Private-Token");
    }

    #[test]
    fn fields_of_two_names_are_two_schemes() {
        let mut schemes = Schemes::default();
        let mut named = |field: &str| {
            let (name, value) = defined(AuthScheme::ApiKeyHeader, Place::Header, field);
            schemes.named(name, value)
        };
        let names = ["X-API-Key", "x-api-key", "Private-Token", "X-Api-Key"].map(&mut named);
        assert_eq!(names, ["apiKeyHeader", "apiKeyHeader", "apiKeyHeader2", "apiKeyHeader"]);
        assert_eq!(schemes.into_definitions().len(), 2);
    }
}
