//! Sensitive data in answers to requests that say nothing of who asks.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use super::{
    Seen, Severity,
    endpoints::Memory,
    json::{self, Scalar},
    login,
    rule::UNAUTHENTICATED_SENSITIVE_DATA,
    sensitive::{self, Kind, Verdict},
    table::Table,
    url,
};
use crate::{http::Request, inventory::AuthScheme, redact::shape};

/// Fields that are told apart.
const FIELDS_MAX: usize = 8;
/// Sensitive values of one body that are looked at.
const HITS_MAX: u32 = 256;
/// Bare card numbers that an endpoint must show before one is believed.
const CARDS_MIN: u8 = 3;

/// Looks for sensitive data in the answer of a call without a credential.
pub(super) fn observe(seen: &Seen<'_>, memory: &mut Memory, findings: &mut Table) {
    let Some(response) = &seen.call.response else { return };
    if !(200..300).contains(&response.status)
        || seen.credential.scheme != AuthScheme::None
        || !login::is_json(&response.body.bytes)
        || !memory.open.pick()
        || is_vouched_for(&seen.call.request)
    {
        return;
    }
    let Some(found) = fields(&response.body.bytes, &seen.call.request, seen.place.route, memory)
    else {
        return;
    };
    let strong = found.iter().any(|(kind, ..)| kind.is_strong());
    let severity = if strong || found.len() >= 2 { Severity::High } else { Severity::Medium };
    let confidence = if has_odd_cookie(&seen.call.request) { 0.5 } else { 0.8 };
    let report = seen.report(&UNAUTHENTICATED_SENSITIVE_DATA, severity, confidence);
    findings.report(&report, || {
        found.iter().map(|(kind, _, path)| format!("{path}: {}", kind.label())).collect()
    });
}

type Fields = SmallVec<[(Kind, u64, String); 2]>;

/// The sensitive fields of a body, each once; `None` when there is none.
fn fields(body: &[u8], request: &Request, route: &str, memory: &mut Memory) -> Option<Fields> {
    let mut found = Fields::new();
    let mut hits = 0;
    json::scan(body, |path, scalar| {
        let kind = match sensitive::judge(path, scalar) {
            // A description of an API is full of examples.
            Verdict::Plain if path.depth() == 1 && is_description(path.name()) => {
                return ControlFlow::Break(());
            }
            Verdict::Plain => return ControlFlow::Continue(()),
            Verdict::NotCard => {
                memory.cards.1 = memory.cards.1.saturating_add(1);
                return ControlFlow::Continue(());
            }
            Verdict::MaybeCard => {
                memory.cards.0 = memory.cards.0.saturating_add(1);
                if memory.cards.0 < CARDS_MIN || memory.cards.1 > 0 {
                    return ControlFlow::Continue(());
                }
                Kind::Card
            }
            Verdict::Sensitive(kind) => kind,
        };
        hits += 1;
        let hash = path.hash();
        let known = found.iter().any(|(k, h, _)| (*k, *h) == (kind, hash));
        let meant = || is_echo(request, scalar) || kind == Kind::Token && is_login(route);
        if !known && !meant() {
            found.push((kind, hash, path.shown()));
        }
        if hits < HITS_MAX && found.len() < FIELDS_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    (!found.is_empty()).then_some(found)
}

fn is_description(name: &[u8]) -> bool {
    matches!(name, b"openapi" | b"swagger" | b"$schema")
}

/// Whether a request says who asks in another way than the common ones: in its body,
/// a field of its own, or a URL that is itself a secret.
fn is_vouched_for(request: &Request) -> bool {
    let by_field = request.headers.iter().any(|(name, value)| {
        let has = |part: &str| contains(name, part);
        !value.is_empty()
            && (has("auth") || has("token") || has("api-key") || has("apikey"))
            && !has("csrf")
            && !has("xsrf")
            && !has("authority")
    });
    by_field
        || request
            .query()
            .is_some_and(|query| contains(query, "sig=") || contains(query, "signature="))
        || url::path_secret(request.path()).is_some()
        || login::field(request).is_some()
}

/// Whether a cookie of no known name looks like a session.
fn has_odd_cookie(request: &Request) -> bool {
    let Some(cookies) = request.headers.get_str("cookie") else { return false };
    cookies
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .any(|(_, value)| shape::is_random(value.trim()))
}

/// Whether the client sent the value itself.
fn is_echo(request: &Request, scalar: Scalar<'_>) -> bool {
    let (Scalar::Text(value) | Scalar::Number(value)) = scalar;
    let body = request.body.bytes.get(..json::BODY_MAX).unwrap_or(&request.body.bytes);
    value.len() >= 6
        && (memchr::memmem::find(body, value).is_some()
            || memchr::memmem::find(request.target.as_bytes(), value).is_some())
}

/// Whether handing out tokens is what the endpoint is for.
fn is_login(route: &str) -> bool {
    ["login", "signin", "sign-in", "signup", "sign-up", "register", "token", "auth", "session"]
        .iter()
        .any(|part| contains(route, part))
}

fn contains(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|slice| slice.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::{
        call::Call,
        detect::{Finding, Severity, testing::run},
        http::Headers,
        inventory::testing::{call, json},
    };

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
    const RULE: &str = "unauthenticated-sensitive-data";

    fn answer(target: &str, status: u16, body: &str) -> Call {
        json(call("GET", target, status), "", body)
    }

    fn found(call: Call) -> Option<Finding> {
        run([call]).into_iter().find(|finding| finding.rule == RULE)
    }

    fn evidence(body: &str) -> Vec<String> {
        found(answer("/x", 200, body)).map_or_else(Vec::new, |finding| finding.evidence)
    }

    #[test]
    fn an_open_list_of_users_is_found() {
        let body = r#"{"users":[{"id":1,"email":"alice@example.com","ssn":"123-45-6789"},
            {"id":2,"email":"bob@example.com","ssn":"321-45-6789"}]}"#;
        let finding = found(answer("/users", 200, body)).unwrap();
        assert_eq!(finding.severity, Severity::High);
        assert_eq!((finding.owasp.as_str(), finding.cwe), ("API2:2023", Some(306)));
        let expected = ["$.users[].email: e-mail address", "$.users[].ssn: social security number"];
        assert_eq!(finding.evidence, expected);
    }

    #[test]
    fn an_address_alone_is_less_severe() {
        let one = found(answer("/x", 200, r#"[{"email":"alice@example.com"}]"#)).unwrap();
        assert_eq!(one.severity, Severity::Medium);
        let body = r#"{"email":"alice@example.com","phone":"+14155552671"}"#;
        assert_eq!(found(answer("/x", 200, body)).unwrap().severity, Severity::High);
    }

    #[test]
    fn authenticated_refused_and_plain_answers_are_not() {
        let body = r#"{"email":"alice@example.com","password":"hunter2"}"#;
        assert!(found(answer("/x", 200, body)).is_some());
        assert!(found(answer("/x", 404, body)).is_none());
        assert!(found(answer("/x", 500, body)).is_none());
        assert!(found(answer("/x?sig=abc", 200, body)).is_none());
        for (name, value) in
            [("Authorization", "Bearer x"), ("Cookie", "session=x"), ("X-Shop-Access-Token", "x")]
        {
            let mut call = answer("/x", 200, body);
            call.request.headers = Headers::from_pairs([("Host", "shop.example"), (name, value)]);
            assert!(found(call).is_none(), "{name}");
        }
        assert!(evidence(r#"{"id":"3fa85f64-5717-4562-b3fc-2c963f66afa6","n":5}"#).is_empty());
        assert!(evidence(r#"{"openapi":"3.1.0","example":"alice@example.com"}"#).is_empty());
    }

    #[test]
    fn a_login_may_answer_with_a_token() {
        let token = format!(r#"{{"access_token":"{JWT}"}}"#);
        let request = r#"{"user":"alice","password":"hunter2"}"#;
        assert!(found(json(call("POST", "/enter", 200), request, &token)).is_none());
        assert!(found(answer("/oauth/token", 200, &token)).is_none());
        assert!(found(answer("/config", 200, &token)).is_some());
    }

    #[test]
    fn what_the_client_sent_itself_is_not_disclosed() {
        let sent = r#"{"email":"alice@example.com"}"#;
        assert!(found(json(call("POST", "/subscribe", 201), sent, sent)).is_none());
    }

    #[test]
    fn bare_numbers_are_cards_only_when_all_of_them_are() {
        let card = r#"["4111111111111111","5555555555554444","378282246310005"]"#;
        assert_eq!(evidence(card), ["$[]: payment card number"]);
        let orders = r#"["4111111111111112","4111111111111111","5555555555554444",
            "378282246310005","4012888888881881"]"#;
        assert!(evidence(orders).is_empty());
        assert!(evidence(r#"{"order":"4111111111111111"}"#).is_empty());
    }
}
