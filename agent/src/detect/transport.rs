//! Credentials that can be read on the way, and passwords in every request.

use super::{
    Seen, Severity,
    endpoints::Memory,
    login,
    rule::{BASIC_AUTH, PLAINTEXT_CREDENTIALS},
    table::Table,
};
use crate::{
    call::{Call, Ends},
    inventory::{
        AuthScheme,
        auth::{Credential, Place},
    },
    redact,
};

/// Who can read what a connection carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// Only its ends: TLS.
    Encrypted,
    /// Whoever is on the way.
    Plain,
    /// Plaintext that does not leave the host.
    Loopback,
    /// A unix socket.
    Local,
    /// Not known.
    Unknown,
}

fn link(call: &Call) -> Link {
    if call.tls.is_some() {
        return Link::Encrypted;
    }
    match &call.connection.ends {
        Ends::Unknown => Link::Unknown,
        Ends::Unix { .. } => Link::Local,
        Ends::Tcp { local, remote } => {
            let (local, remote) = (local.ip().to_canonical(), remote.ip().to_canonical());
            // A host reaches its own addresses through the loopback interface.
            if local.is_loopback() || remote.is_loopback() || local == remote {
                Link::Loopback
            } else {
                Link::Plain
            }
        }
    }
}

/// Looks for credentials of a request on a connection without TLS.
pub(super) fn plaintext(seen: &Seen<'_>, memory: &mut Memory, findings: &mut Table) {
    let link = link(seen.call);
    let (severity, suffix) = match link {
        Link::Plain => (PLAINTEXT_CREDENTIALS.severity, ""),
        Link::Loopback => (Severity::Low, ", on the loopback interface only"),
        Link::Encrypted | Link::Local | Link::Unknown => return,
    };
    let request = &seen.call.request;
    let credential = is_reusable(seen.call, seen.credential).then_some(seen.credential);
    let look = !request.body.bytes.is_empty() && memory.requests.pick();
    let field = if look { login::field(request) } else { None };
    if credential.is_none() && field.is_none() {
        return;
    }
    let report = seen.report(&PLAINTEXT_CREDENTIALS, severity, 0.9);
    findings.report(&report, || {
        let field = field.map(|field| format!("body field {field}"));
        credential.map(words).into_iter().chain(field).map(|fact| fact + suffix).collect()
    });
}

/// Looks for HTTP Basic authentication that the server takes or asks for.
pub(super) fn basic(seen: &Seen<'_>, findings: &mut Table) {
    if seen.credential.scheme != AuthScheme::Basic || !is_reusable(seen.call, seen.credential) {
        return;
    }
    let refused = matches!(seen.status, Some(401 | 403 | 404));
    if refused && !asks_for_basic(seen.call) {
        return;
    }
    let plain = link(seen.call) == Link::Plain;
    let severity = if plain { Severity::Medium } else { BASIC_AUTH.severity };
    let confidence = if seen.status.is_some() { 0.9 } else { 0.5 };
    let report = seen.report(&BASIC_AUTH, severity, confidence);
    findings.report(&report, || {
        let how = if refused { "the server asks for it" } else { "the server takes it" };
        let transport = match link(seen.call) {
            Link::Encrypted => ", over TLS",
            Link::Plain => ", without TLS",
            Link::Loopback => ", on the loopback interface",
            Link::Local => ", on a unix socket",
            Link::Unknown => "",
        };
        vec![format!("{how}{transport}")]
    });
}

fn asks_for_basic(call: &Call) -> bool {
    call.response.as_ref().is_some_and(|response| {
        response
            .headers
            .get_all("www-authenticate")
            .any(|value| value.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic")))
    })
}

/// Whether who reads the credential can use it: it is there, and it is no signature
/// or answer to a challenge.
fn is_reusable(call: &Call, credential: Credential<'_>) -> bool {
    match credential.scheme {
        AuthScheme::Basic | AuthScheme::Bearer => call
            .request
            .headers
            .get("authorization")
            .is_some_and(|value| value.trim_ascii().contains(&b' ')),
        AuthScheme::Jwt
        | AuthScheme::ApiKeyHeader
        | AuthScheme::ApiKeyQuery
        | AuthScheme::Cookie => true,
        AuthScheme::None
        | AuthScheme::Digest
        | AuthScheme::Negotiate
        | AuthScheme::AwsSigV4
        | AuthScheme::Other
        | AuthScheme::Unknown => false,
    }
}

fn words(credential: Credential<'_>) -> String {
    let what = match credential.scheme {
        AuthScheme::Basic => "user and password",
        AuthScheme::Bearer => "bearer token",
        AuthScheme::Jwt => "JSON web token",
        AuthScheme::Cookie => "session",
        _ => "key",
    };
    let place = match credential.place {
        Place::Header => "header field",
        Place::Query => "query parameter",
        Place::Cookie => "cookie",
    };
    format!("{what} in {place} {}", redact::name(credential.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Binding, Tls},
        detect::{Finding, testing::run},
        http::Headers,
        inventory::testing::{self, json},
    };

    fn call(name: &str, value: &str) -> Call {
        let mut call = testing::call("GET", "/x", 200);
        call.request.headers = Headers::from_pairs([("Host", "shop.example"), (name, value)]);
        call
    }

    fn tls(mut call: Call) -> Call {
        let (library, binding) = ("libssl.so.3".into(), Binding::NestedSyscall);
        call.tls = Some(Tls { library, handshake: std::sync::Arc::default(), binding });
        call
    }

    fn over(mut call: Call, local: &str, remote: &str) -> Call {
        call.connection.ends =
            Ends::Tcp { local: local.parse().unwrap(), remote: remote.parse().unwrap() };
        call
    }

    fn found(rule: &str, call: Call) -> Option<Finding> {
        run([call]).into_iter().find(|finding| finding.rule == rule)
    }

    #[test]
    fn credentials_without_tls_are_found() {
        for (name, value, fact) in [
            ("Authorization", "Basic dTpw", "user and password in header field Authorization"),
            ("Authorization", "Bearer o", "bearer token in header field Authorization"),
            ("X-Api-Key", "k", "key in header field X-Api-Key"),
            ("Cookie", "a=b; PHPSESSID=x", "session in cookie PHPSESSID"),
        ] {
            let finding = found("plaintext-credentials", call(name, value)).unwrap();
            assert_eq!((finding.severity, finding.cwe), (Severity::High, Some(319)));
            assert_eq!(finding.evidence, [fact]);
        }
        let login = json(testing::call("POST", "/login", 200), r#"{"password":"hunter2"}"#, "{}");
        let finding = found("plaintext-credentials", login).unwrap();
        assert_eq!(finding.evidence, ["body field $.password"]);
    }

    #[test]
    fn what_cannot_be_read_or_used_on_the_way_is_not() {
        let basic = || call("Authorization", "Basic dTpw");
        let mut unknown = basic();
        unknown.connection.ends = Ends::Unknown;
        let mut unix = basic();
        unix.connection.ends = Ends::Unix { path: None };
        for call in [
            tls(basic()),
            unknown,
            unix,
            call("Authorization", "Basic "),
            call("Authorization", "Digest username=\"u\""),
            call("Cookie", "theme=dark"),
        ] {
            assert_eq!(found("plaintext-credentials", call), None);
        }
    }

    #[test]
    fn on_the_loopback_interface_it_is_low() {
        for (local, remote) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("[::1]:1", "[::1]:2"),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"),
            ("10.0.0.1:1", "10.0.0.1:2"),
        ] {
            let call = over(call("X-Api-Key", "k"), local, remote);
            let finding = found("plaintext-credentials", call).unwrap();
            assert_eq!(finding.severity, Severity::Low);
            assert!(finding.evidence[0].ends_with(", on the loopback interface only"));
        }
    }

    #[test]
    fn basic_authentication_is_worse_without_tls() {
        let basic = || call("Authorization", "basic dTpw");
        let finding = found("basic-auth", tls(basic())).unwrap();
        assert_eq!((finding.severity, finding.cwe), (Severity::Low, Some(522)));
        assert_eq!(finding.evidence, ["the server takes it, over TLS"]);
        assert_eq!(found("basic-auth", basic()).unwrap().severity, Severity::Medium);
    }

    #[test]
    fn basic_authentication_that_the_server_does_not_know_is_not_its_weakness() {
        let mut refused = call("Authorization", "Basic dTpw");
        let response = refused.response.as_mut().unwrap();
        response.status = 401;
        response.headers = Headers::from_pairs([("WWW-Authenticate", "Bearer")]);
        assert_eq!(found("basic-auth", refused.clone()), None);
        let response = refused.response.as_mut().unwrap();
        response.headers = Headers::from_pairs([("WWW-Authenticate", "Basic realm=x")]);
        assert!(found("basic-auth", refused).is_some());
        assert_eq!(found("basic-auth", call("Authorization", "Bearer x")), None);
        assert_eq!(found("basic-auth", call("X-Note", "Basic dTpw")), None);
    }
}
