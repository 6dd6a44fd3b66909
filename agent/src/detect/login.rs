//! Credentials in the body of a request: login forms and token requests.

use std::ops::ControlFlow;

use super::{json, sensitive};
use crate::{http::Request, redact};

/// Bytes of a form that are looked at: a login is short.
const FORM_MAX: usize = 8 << 10;
/// Fields of a form that are looked at.
const FIELDS_MAX: usize = 64;

/// The field of a request's body that holds a password, secret or token, as it may
/// be shown.
pub(super) fn field(request: &Request) -> Option<String> {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let body = &*request.body.bytes;
    let body = body.get(..FORM_MAX).unwrap_or(body);
    if is_json(body) {
        return in_json(body);
    }
    let form = request
        .headers
        .get("content-type")
        .and_then(|value| value.get(..FORM.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(FORM));
    if form { in_form(body) } else { None }
}

/// Whether bytes begin like a JSON object or array.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn is_credential(name: &[u8]) -> bool {
    sensitive::by_name(name).is_some_and(sensitive::Kind::is_credential)
}

fn in_json(body: &[u8]) -> Option<String> {
    let mut field = None;
    json::scan(body, |path, scalar| {
        let (json::Scalar::Text(value) | json::Scalar::Number(value)) = scalar;
        if !value.is_empty() && is_credential(path.name()) {
            field = Some(path.shown());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    field
}

fn in_form(body: &[u8]) -> Option<String> {
    body.split(|byte| *byte == b'&').take(FIELDS_MAX).find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (name, value) = pair.split_at_checked(equals)?;
        if value.len() < 2 || !is_credential(name) {
            return None;
        }
        std::str::from_utf8(name).ok().map(|name| redact::name(name).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::Headers, inventory::testing};

    fn of(media_type: &str, body: &str) -> Option<String> {
        let mut request = testing::call("POST", "/login", 200).request;
        request.headers = Headers::from_pairs([("Content-Type", media_type)]);
        request.body.bytes = body.to_owned().into();
        field(&request)
    }

    #[test]
    fn passwords_of_logins_are_found() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(of(form, "user=a&Password=b").as_deref(), Some("Password"));
        assert_eq!(of(form, "grant_type=x&client_secret=s").as_deref(), Some("client_secret"));
        assert_eq!(
            of("application/json", r#"{"user":{"password":"b"}}"#).as_deref(),
            Some("$.user.password")
        );
    }

    #[test]
    fn forms_without_a_password_are_not() {
        assert_eq!(of("application/x-www-form-urlencoded", "password=&q=password=1"), None);
        assert_eq!(of("application/json", r#"{"password":"","q":"password"}"#), None);
        assert_eq!(of("text/plain", "password=b"), None);
    }
}
