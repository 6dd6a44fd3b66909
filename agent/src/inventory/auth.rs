//! How a request says who it comes from. Looks at names and at the shape of
//! credentials; never keeps one.

use serde::{Deserialize, Serialize};

use crate::http::Request;

/// Authentication scheme that a request carried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// No credential was recognised.
    None,
    /// `Authorization: Basic` (RFC 7617).
    Basic,
    /// `Authorization: Digest` (RFC 7616).
    Digest,
    /// `Authorization: Bearer` with an opaque token (RFC 6750).
    Bearer,
    /// A JSON web token (RFC 7519), as bearer token or elsewhere.
    Jwt,
    /// An API key in a header.
    ApiKeyHeader,
    /// An API key in the query.
    ApiKeyQuery,
    /// A session cookie.
    Cookie,
    /// `Authorization: Negotiate` or `NTLM`.
    Negotiate,
    /// AWS Signature Version 4.
    AwsSigV4,
    /// Another scheme of the `Authorization` field.
    Other,
    /// Not known: no credential among the header fields that were captured, which are not
    /// all.
    Unknown,
}

impl AuthScheme {
    /// Whether a credential was recognised.
    pub const fn is_credential(self) -> bool {
        !matches!(self, Self::None | Self::Unknown)
    }

    /// The scheme in few letters, for a column.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Digest => "digest",
            Self::Bearer => "bearer",
            Self::Jwt => "jwt",
            Self::ApiKeyHeader => "key",
            Self::ApiKeyQuery => "key-in-query",
            Self::Cookie => "cookie",
            Self::Negotiate => "negotiate",
            Self::AwsSigV4 => "aws",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// Where in a request a credential is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A header field.
    Header,
    /// The query.
    Query,
    /// A cookie.
    Cookie,
}

/// A credential that a request carried, without its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credential<'a> {
    /// Its scheme.
    pub scheme: AuthScheme,
    /// Where it is; without meaning where there is none.
    pub place: Place,
    /// Name of the field, query parameter or cookie, as sent.
    pub name: &'a str,
}

/// Header fields that carry keys.
const KEY_HEADERS: [&str; 12] = [
    "x-api-key",
    "api-key",
    "apikey",
    "x-apikey",
    "x-auth-token",
    "x-access-token",
    "x-api-token",
    "x-functions-key",
    "ocp-apim-subscription-key",
    "x-goog-api-key",
    "private-token",
    "x-vault-token",
];

/// Query parameters that carry keys.
const KEY_PARAMETERS: [&str; 10] = [
    "api_key",
    "apikey",
    "api-key",
    "access_token",
    "auth_token",
    "token",
    "key",
    "subscription-key",
    "x-api-key",
    "app_key",
];

/// Parts of the names of session cookies.
const SESSION_PARTS: [&str; 5] = ["session", "sessid", "auth", "token", "jwt"];
/// Whole names of session cookies.
const SESSION_NAMES: [&str; 4] = ["connect.sid", "sid", "laravel_identity", "remember_me"];
/// Longest name of a cookie that is looked at.
const COOKIE_NAME_MAX: usize = 64;

/// The credential of a request: the `Authorization` field before other header
/// fields, these before the query, cookies last.
pub fn detect(request: &Request) -> Credential<'_> {
    let mut key = None;
    let mut cookie = None;
    for (name, value) in request.headers.iter() {
        // By length first: this runs for each field of each request.
        if name.len() == 13 && name.eq_ignore_ascii_case("authorization") {
            let scheme = authorization(value);
            return Credential { scheme, place: Place::Header, name };
        }
        if name.len() == 6 && name.eq_ignore_ascii_case("cookie") {
            cookie = cookie.or_else(|| session(value));
        } else if key.is_none()
            && name.len() >= 6
            && !value.is_empty()
            && KEY_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known))
        {
            let scheme = if is_jwt(value) { AuthScheme::Jwt } else { AuthScheme::ApiKeyHeader };
            key = Some(Credential { scheme, place: Place::Header, name });
        }
    }
    let cut = request.notes.fields_missing();
    key.or_else(|| request.query().and_then(in_query)).or(cookie).unwrap_or(Credential {
        scheme: if cut { AuthScheme::Unknown } else { AuthScheme::None },
        place: Place::Header,
        name: "",
    })
}

fn authorization(value: &[u8]) -> AuthScheme {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, credentials) = value.split_at_checked(end).unwrap_or((value, &[]));
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    if is("bearer") || is("token") {
        if is_jwt(credentials.trim_ascii()) { AuthScheme::Jwt } else { AuthScheme::Bearer }
    } else if is("basic") {
        AuthScheme::Basic
    } else if is("digest") {
        AuthScheme::Digest
    } else if is("negotiate") || is("ntlm") {
        AuthScheme::Negotiate
    } else if is("aws4-hmac-sha256") {
        AuthScheme::AwsSigV4
    } else if is_jwt(value) {
        AuthScheme::Jwt
    } else if value.is_empty() {
        AuthScheme::None
    } else {
        AuthScheme::Other
    }
}

fn in_query(query: &str) -> Option<Credential<'_>> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').filter(|(_, value)| !value.is_empty())?;
        let scheme = if name.eq_ignore_ascii_case("x-amz-signature") {
            AuthScheme::AwsSigV4
        } else if !KEY_PARAMETERS.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return None;
        } else if is_jwt(value.as_bytes()) {
            AuthScheme::Jwt
        } else {
            AuthScheme::ApiKeyQuery
        };
        Some(Credential { scheme, place: Place::Query, name })
    })
}

fn session(value: &[u8]) -> Option<Credential<'_>> {
    std::str::from_utf8(value).ok()?.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        if value.is_empty() || name.len() > COOKIE_NAME_MAX || is_csrf(name) {
            return None;
        }
        let scheme = if is_jwt(value.as_bytes()) {
            AuthScheme::Jwt
        } else if SESSION_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
            || SESSION_PARTS.iter().any(|part| contains(name, part))
        {
            AuthScheme::Cookie
        } else {
            return None;
        };
        Some(Credential { scheme, place: Place::Cookie, name })
    })
}

/// A token against forged requests: it says nothing about who asks.
fn is_csrf(name: &str) -> bool {
    contains(name, "csrf") || contains(name, "xsrf")
}

fn contains(name: &str, part: &str) -> bool {
    name.as_bytes().windows(part.len()).any(|slice| slice.eq_ignore_ascii_case(part.as_bytes()))
}

/// Three parts of base64url, the first of which is a JSON object.
fn is_jwt(value: &[u8]) -> bool {
    value.starts_with(b"eyJ")
        && value.len() >= 20
        && memchr::memchr_iter(b'.', value).count() == 2
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Body, Headers, Notes, Version};

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";

    fn scheme(target: &str, headers: &[(&str, &str)]) -> (AuthScheme, String) {
        scheme_of(target, headers, Notes::default())
    }

    fn scheme_of(target: &str, headers: &[(&str, &str)], notes: Notes) -> (AuthScheme, String) {
        let request = Request {
            method: "GET".into(),
            target: target.into(),
            version: Version::Http11,
            headers: Headers::from_pairs(headers.iter().copied()),
            body: Body::default(),
            ended: true,
            notes,
        };
        let found = detect(&request);
        (found.scheme, found.name.to_owned())
    }

    #[test]
    fn the_authorization_field_names_its_scheme() {
        let bearer = format!("bearer {JWT}");
        for (value, expected) in [
            ("Basic dTpw", AuthScheme::Basic),
            ("Digest username=\"u\"", AuthScheme::Digest),
            ("Bearer opaque", AuthScheme::Bearer),
            (&bearer, AuthScheme::Jwt),
            (JWT, AuthScheme::Jwt),
            ("NTLM TlRM", AuthScheme::Negotiate),
            ("AWS4-HMAC-SHA256 Credential=x", AuthScheme::AwsSigV4),
            ("Hawk id=1", AuthScheme::Other),
            ("", AuthScheme::None),
        ] {
            assert_eq!(scheme("/", &[("Authorization", value)]).0, expected, "{value}");
        }
    }

    #[test]
    fn that_there_is_no_credential_is_known_of_whole_heads_only() {
        let cut = |headers| scheme_of("/", headers, Notes::HEAD_CUT).0;
        assert_eq!(cut(&[]), AuthScheme::Unknown);
        assert_eq!(cut(&[("Authorization", "Basic dTpw")]), AuthScheme::Basic);
        assert_eq!(scheme("/", &[]).0, AuthScheme::None);
    }

    #[test]
    fn keys_tokens_and_sessions_are_found_elsewhere() {
        let key = |name: &str| (AuthScheme::ApiKeyHeader, name.to_owned());
        assert_eq!(scheme("/", &[("X-API-Key", "k")]), key("X-API-Key"));
        assert_eq!(scheme("/", &[("x-access-token", JWT)]).0, AuthScheme::Jwt);
        assert_eq!(scheme("/?a=1&api_key=k", &[]).0, AuthScheme::ApiKeyQuery);
        assert_eq!(scheme("/?X-Amz-Signature=k", &[]).0, AuthScheme::AwsSigV4);
        let cookie = |value: &str| scheme("/", &[("Cookie", value)]).0;
        assert_eq!(cookie("theme=dark; JSESSIONID=x"), AuthScheme::Cookie);
        assert_eq!(cookie("connect.sid=x"), AuthScheme::Cookie);
        assert_eq!(cookie(&format!("a={JWT}")), AuthScheme::Jwt);
        assert_eq!(cookie("csrftoken=x; theme=dark"), AuthScheme::None);
        assert_eq!(scheme("/?key=&q=token", &[("X-Api-Key", "")]).0, AuthScheme::None);
    }

    #[test]
    fn the_authorization_field_comes_first() {
        let headers = [("X-Api-Key", "k"), ("Cookie", "sid=1"), ("authorization", "Basic x")];
        assert_eq!(scheme("/?key=1", &headers).0, AuthScheme::Basic);
    }
}
