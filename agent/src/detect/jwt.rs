//! JSON web tokens without a signature.

use std::{ops::ControlFlow, sync::LazyLock};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::memmem::Finder;
use smallvec::SmallVec;

use super::{
    Seen, Severity, json,
    rule::JWT_ALG_NONE,
    table::{Report, Table},
};
use crate::{
    inventory::{AuthScheme, Endpoint},
    redact,
};

/// Longest header of a token that is decoded, encoded.
const HEADER_MAX: usize = 1024;
/// Beginnings of a token that are looked at in one value.
const CANDIDATES_MAX: usize = 16;

/// As lenient as the most lenient library that may accept the token.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

static START: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("ey"));

/// Looks for unsigned tokens in every header field and in the query.
pub(super) fn observe(seen: &Seen<'_>, open: bool, findings: &mut Table) {
    let request = &seen.call.request;
    let mut found = SmallVec::<[(&str, &str); 4]>::new();
    for (name, value) in request.headers.iter() {
        if is_unsigned(value) {
            found.push(("header field", name));
        }
    }
    if let Some(query) = request.query().filter(|query| is_unsigned(query.as_bytes())) {
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            // OpenID Connect lets a client describe its request in an unsigned token.
            if name != "request" && is_unsigned(value.as_bytes()) {
                found.push(("query parameter", name));
            }
        }
    }
    if found.is_empty() {
        return;
    }
    // An endpoint that answers without a credential too may not look at the token.
    let (severity, confidence, outcome) = match seen.status {
        Some(200..300) if open => (Severity::Critical, 0.5, "accepted"),
        Some(200..300) => (Severity::Critical, 0.8, "accepted"),
        Some(401 | 403) => (Severity::Info, 0.9, "sent and refused"),
        _ => (Severity::Medium, 0.5, "sent"),
    };
    // Refused and accepted tokens are told apart by the evidence.
    let report = Report { repetitive: false, ..seen.report(&JWT_ALG_NONE, severity, confidence) };
    findings.report(&report, || {
        let status = seen.status.map_or_else(String::new, |status| format!(" (status {status})"));
        let words = |(place, name)| format!("{outcome}{status}, in {place} {}", redact::name(name));
        found.into_iter().map(words).collect()
    });
}

/// Whether requests without a credential are among those of an endpoint.
pub(super) fn is_open(endpoint: &Endpoint) -> bool {
    endpoint.auth.contains_key(&AuthScheme::None)
}

/// Whether a text holds a token whose algorithm is `none`.
fn is_unsigned(text: &[u8]) -> bool {
    // Shorter texts hold no header with an algorithm.
    text.len() >= 16
        && START
            .find_iter(text)
            .filter(|at| {
                // `{"` and `{ `; and not in the middle of a word.
                matches!(text.get(at + 2), Some(b'J' | b'A'))
                    && !at
                        .checked_sub(1)
                        .and_then(|at| text.get(at))
                        .is_some_and(|byte| is_base64url(*byte))
            })
            .take(CANDIDATES_MAX)
            .any(|at| text.get(at..).is_some_and(begins_unsigned))
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn begins_unsigned(text: &[u8]) -> bool {
    let mut parts = text.splitn(3, |byte| *byte == b'.');
    let (Some(header), Some(payload), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if header.len() > HEADER_MAX || !header.iter().chain(payload).all(|byte| is_base64url(*byte)) {
        return false;
    }
    let mut decoded = [0; HEADER_MAX];
    let Ok(len) = BASE64.decode_slice(header, &mut decoded) else { return false };
    let mut none = false;
    json::scan(decoded.get(..len).unwrap_or_default(), |path, scalar| {
        if let json::Scalar::Text(value) = scalar
            && path.depth() == 1
            && path.name() == b"alg"
            && value.eq_ignore_ascii_case(b"none")
        {
            none = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    none
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::Call,
        detect::{Finding, testing::run},
        http::Headers,
        inventory::testing::call,
    };

    fn token(header: &str) -> String {
        format!("{}.eyJzdWIiOiIxIn0.", BASE64.encode(header).trim_end_matches('='))
    }

    fn with(name: &str, value: &str, status: u16) -> Call {
        let mut call = call("GET", "/x", status);
        call.request.headers = Headers::from_pairs([("Host", "shop.example"), (name, value)]);
        call
    }

    fn found(call: Call) -> Option<Finding> {
        run([call]).into_iter().find(|finding| finding.rule == "jwt-alg-none")
    }

    #[test]
    fn unsigned_tokens_are_found_wherever_they_are() {
        let plain = token(r#"{"alg":"none"}"#);
        let finding = found(with("Authorization", &format!("Bearer {plain}"), 200)).unwrap();
        assert_eq!((finding.severity, finding.cwe), (Severity::Critical, Some(347)));
        assert_eq!(finding.evidence, ["accepted (status 200), in header field Authorization"]);
        assert!(found(with("Cookie", &format!("a=b; id={plain}; c=d"), 200)).is_some());
        assert!(found(with("X-Api-Key", &plain, 200)).is_some());
        let finding = found(call("GET", &format!("/x?a=1&jwt={plain}"), 200)).unwrap();
        assert_eq!(finding.evidence, ["accepted (status 200), in query parameter jwt"]);
        for header in [
            r#"{"typ":"JWT","alg":"NoNe"}"#,
            r#"{ "alg": "none" }"#,
            r#"{"alg":"HS256","alg":"NONE"}"#,
        ] {
            assert!(found(with("Authorization", &token(header), 200)).is_some(), "{header}");
        }
    }

    #[test]
    fn the_answer_decides_how_bad_it_is() {
        let value = format!("Bearer {}", token(r#"{"alg":"none"}"#));
        let severity = |status| found(with("Authorization", &value, status)).unwrap().severity;
        assert_eq!(severity(204), Severity::Critical);
        assert_eq!(severity(401), Severity::Info);
        assert_eq!(severity(403), Severity::Info);
        assert_eq!(severity(500), Severity::Medium);
        let mut unanswered = with("Authorization", &value, 200);
        unanswered.response = None;
        assert_eq!(found(unanswered).unwrap().severity, Severity::Medium);
        let refused = found(with("Authorization", &value, 401)).unwrap();
        assert!(refused.evidence[0].starts_with("sent and refused"));
    }

    #[test]
    fn signed_tokens_and_other_texts_are_not() {
        for value in [
            format!("Bearer {}sig", token(r#"{"alg":"HS256"}"#)),
            format!("Bearer {}", token(r#"{"kid":"none","alg":"ES256"}"#)),
            format!("Bearer {}", token(r#"{"x":{"alg":"none"},"alg":"ES256"}"#)),
            format!("Bearer x{}", token(r#"{"alg":"none"}"#)),
            "Bearer eyJhbGciOiJub25lIn0".to_owned(),
            "the eyes. of. none".to_owned(),
            "eyJ.eyJ.eyJ.".repeat(1000),
        ] {
            assert_eq!(found(with("Authorization", &value, 200)), None, "{value}");
        }
    }
}
