//! Secrets in URLs.

use super::{Seen, endpoints::Memory, rule::SECRET_IN_URL, sensitive::plain_name, table::Table};
use crate::redact::{self, shape};

/// Parameters of one query that are looked at.
const PARAMETERS_MAX: usize = 64;
/// Segments of one path that are looked at.
const SEGMENTS_MAX: usize = 64;

/// Looks for secrets in the query, by name and form, and in the path.
pub(super) fn observe(seen: &Seen<'_>, memory: &mut Memory, findings: &mut Table) {
    // What is not there leaks nothing of the service; scans ask for it.
    if seen.status == Some(404) {
        return;
    }
    let report = seen.report(&SECRET_IN_URL, SECRET_IN_URL.severity, 0.8);
    let request = &seen.call.request;
    let pairs = request.query().into_iter().flat_map(|query| query.split('&'));
    let mut secrets = pairs.take(PARAMETERS_MAX).filter_map(parameter_secret).peekable();
    let in_path = if memory.paths.pick() { path_secret(request.path()) } else { None };
    if secrets.peek().is_none() && in_path.is_none() {
        return;
    }
    findings.report(&report, || {
        let words = |(name, what)| format!("query parameter {}: {what}", redact::name(name));
        secrets.map(words).chain(in_path.map(|secret| secret.words())).collect()
    });
}

/// Name and kind of a parameter that holds a secret.
fn parameter_secret(pair: &str) -> Option<(&str, &'static str)> {
    let (name, value) = pair.split_once('=')?;
    if value.is_empty() || ["true", "false", "null", "undefined", "none"].contains(&value) {
        return None;
    }
    let what = match &*plain_name(name.as_bytes()).unwrap_or_default() {
        b"password" | b"passwd" | b"pwd" | b"passphrase" => "password",
        b"token" | b"accesstoken" | b"authtoken" | b"idtoken" | b"refreshtoken"
        | b"sessiontoken" | b"apitoken" | b"usertoken" | b"resettoken" | b"jwt"
        | b"authorization" => "token",
        b"apikey" | b"xapikey" | b"appkey" | b"subscriptionkey" | b"secretkey" | b"privatekey"
        | b"accesskey" => "key",
        b"secret" | b"clientsecret" | b"appsecret" | b"apisecret" => "secret",
        b"sessionid" | b"jsessionid" | b"phpsessid" => "session",
        // Names of many things.
        b"key" | b"auth" if shape::is_random(value) => "key",
        b"sid" | b"session" if shape::is_random(value) => "session",
        _ => token(value)?,
    };
    Some((name, what))
}

/// What a word is whose form alone tells that it is a secret.
fn token(word: &str) -> Option<&'static str> {
    if shape::vendor(word).is_some() {
        Some("vendor token")
    } else if shape::is_jwt(word) {
        Some("JSON web token")
    } else {
        None
    }
}

/// A secret in a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathSecret<'a> {
    /// Name of the matrix parameter that it is the value of.
    parameter: Option<&'a str>,
    what: &'static str,
}

impl PathSecret<'_> {
    fn words(&self) -> String {
        match self.parameter {
            Some(name) => format!("path parameter {}: {}", redact::name(name), self.what),
            // The segment before it may be a value too.
            None => format!("path: {}", self.what),
        }
    }
}

/// A token of a known form, or a random word after one that says what it is for.
pub(super) fn path_secret(path: &str) -> Option<PathSecret<'_>> {
    let mut before = "";
    for segment in path.split('/').take(SEGMENTS_MAX) {
        for part in segment.split(';').skip(1).take(SEGMENTS_MAX) {
            if let Some((name, what)) = parameter_secret(part) {
                return Some(PathSecret { parameter: Some(name), what });
            }
        }
        let word = segment.split(';').next().unwrap_or(segment);
        let random = || {
            let secret = is_secret_word(before) && !word.contains('.') && shape::is_random(word);
            secret.then_some("random secret")
        };
        if let Some(what) = token(word).or_else(random) {
            return Some(PathSecret { parameter: None, what });
        }
        before = word;
    }
    None
}

/// Whether what follows a segment of this name, if random, is a secret: elsewhere
/// it is more often the id of a thing or a hash of its content.
fn is_secret_word(name: &str) -> bool {
    let Some(name) = plain_name(name.as_bytes()) else { return false };
    [
        b"reset".as_slice(),
        b"verify",
        b"verification",
        b"confirm",
        b"activat",
        b"invit",
        b"unsubscribe",
        b"token",
        b"secret",
        b"session",
        b"password",
        b"magic",
        b"recover",
        b"apikey",
        b"webhook",
        b"auth",
    ]
    .iter()
    .any(|part| name.windows(part.len()).any(|slice| slice == *part))
}

#[cfg(test)]
mod tests {
    use crate::{
        detect::{Severity, testing::run},
        inventory::testing::call,
    };

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

    fn evidence(target: &str, status: u16) -> Vec<String> {
        let findings = run([call("GET", target, status)]);
        let finding = findings.into_iter().find(|finding| finding.rule == "secret-in-url");
        finding.map_or_else(Vec::new, |finding| {
            assert_eq!((finding.severity, finding.cwe), (Severity::Medium, Some(598)));
            finding.evidence
        })
    }

    #[test]
    fn secrets_in_urls_are_found() {
        for (target, fact) in [
            ("/x?a=1&token=abc123", "query parameter token: token"),
            ("/x?API-KEY=abc123", "query parameter API-KEY: key"),
            ("/x?Password=hunter2", "query parameter Password: password"),
            ("/x?key=f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R", "query parameter key: key"),
            (&format!("/x?next={JWT}"), "query parameter next: JSON web token"),
            ("/x?q=AKIAIOSFODNN7ABCDEFG", "query parameter q: vendor token"),
            (&format!("/files/{JWT}/raw"), "path: JSON web token"),
            ("/k/sk_live_abcdefgh12345678", "path: vendor token"),
            ("/reset/f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R", "path: random secret"),
            ("/app;jsessionid=1A2B3C/home", "path parameter jsessionid: session"),
        ] {
            assert_eq!(evidence(target, 200), [fact], "{target}");
        }
    }

    #[test]
    fn lookalikes_are_not() {
        for target in [
            "/",
            "/x?token=",
            "/x?token",
            "/x?token=true&page_token=abcdef&csrf_token=abcdef",
            "/x?key=name&session=spring&sid=42&sort=password",
            "/x?id=3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "/reset/3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "/commit/9f86d081884c7d659a2feaa0c55ad0159f86d081",
            "/static/main.f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R.js",
            "/tokens/how-to-build-2-apis-in-2024-quickly",
            "/x?X-Amz-Signature=9f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert!(evidence(target, 200).is_empty(), "{target}");
        }
        assert!(evidence("/x?token=abc123", 404).is_empty());
    }
}
