//! Takes values out of what is shown: paths and queries without their secrets, text
//! without control characters.
//!
//! Every output of the agent goes through here. When in doubt a value is taken out.

mod printable;
pub(crate) mod shape;

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

pub use printable::printable;

/// What stands in the place of a value that was taken out.
pub const REDACTED: &str = "REDACTED";

/// Longest name that is shown; a longer one is data.
const NAME_MAX: usize = 64;

/// Parameters of one query that are shown; what follows is cut off as a whole.
const PARAMETERS_MAX: usize = 64;

/// Segments of a path after which a secret is expected.
const SECRET_WORDS: [&str; 14] = [
    "activate",
    "activation",
    "api_key",
    "apikey",
    "confirm",
    "invite",
    "magic",
    "passwd",
    "password",
    "reset",
    "secret",
    "session",
    "token",
    "verify",
];

/// The shortest of these secrets.
const SECRET_MIN: usize = 6;

/// A query string with every value replaced by `REDACTED`, names kept.
///
/// A name that itself looks like a secret, or has no `=`, is replaced as well. The
/// result has no control characters.
pub fn query(query: &str) -> String {
    let mut shown = String::new();
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            shown.push('&');
        }
        if index == PARAMETERS_MAX {
            shown.push_str(REDACTED);
            break;
        }
        match pair.split_once('=') {
            None if pair.is_empty() => {}
            // Padding: the whole is base64, not a name with a value.
            None | Some((_, "=")) => shown.push_str(REDACTED),
            Some((name, _)) => {
                shown.push_str(&self::name(name));
                shown.push('=');
                shown.push_str(REDACTED);
            }
        }
    }
    shown
}

/// A path with the segments that look like secrets (tokens, e-mail addresses, card
/// numbers) and the values of `key=value` segments and parameters replaced by
/// `REDACTED`. The result has no control characters.
pub fn path(path: &str) -> Cow<'_, str> {
    let follows = path.split('/').zip(path.split('/').skip(1));
    if !path.split('/').any(has_secret)
        && !follows.into_iter().any(|(before, segment)| is_secret_after(before, segment))
    {
        return printable(path);
    }
    let mut shown = String::new();
    let mut before = "";
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        if is_secret_after(std::mem::replace(&mut before, segment), segment) {
            shown.push_str(REDACTED);
            continue;
        }
        for (index, part) in segment.split(';').enumerate() {
            if index > 0 {
                shown.push(';');
            }
            match part.split_once('=') {
                Some((name, _)) => {
                    shown.push_str(&self::name(name));
                    shown.push('=');
                    shown.push_str(REDACTED);
                }
                None if looks_secret(part) => shown.push_str(REDACTED),
                None => shown.push_str(&printable(part)),
            }
        }
    }
    Cow::Owned(shown)
}

/// A name that a stranger chose (of a parameter, a cookie, a field) as it may be
/// shown: `REDACTED` when it looks like a secret or is too long for a name.
pub fn name(name: &str) -> Cow<'_, str> {
    if name.len() > NAME_MAX || looks_secret(name) {
        return Cow::Borrowed(REDACTED);
    }
    printable(name)
}

/// Whether text from a URL (a segment of a path, a name) looks like a secret, so that
/// it must not be kept.
pub fn is_secret(text: &str) -> bool {
    looks_secret(text)
}

fn has_secret(segment: &str) -> bool {
    segment.contains('=') || segment.split(';').any(looks_secret)
}

/// Whether text from a URL, percent-encoded at most twice, looks like a secret.
fn looks_secret(text: &str) -> bool {
    if !text.contains('%') {
        return shape::looks_secret(text);
    }
    let once = percent_decode_str(text).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy();
    // A delimiter that was encoded hides a query or a parameter, with its value.
    twice.contains(['?', '=', '&', ';', '#'])
        || shape::looks_secret(&once)
        || shape::looks_secret(&twice)
}

/// Whether a segment of a path is a secret by the one before it: `/reset/a1b2c3d4`.
pub fn is_secret_after(before: &str, segment: &str) -> bool {
    let letters = segment.bytes().any(|byte| byte.is_ascii_alphabetic());
    let digits = segment.bytes().any(|byte| byte.is_ascii_digit());
    letters
        && digits
        && segment.len() >= SECRET_MIN
        && SECRET_WORDS.iter().any(|word| before.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJlLWJ5dGVz";

    #[test]
    fn query_keeps_names_and_no_value() {
        assert_eq!(query("page=2&token=abc"), "page=REDACTED&token=REDACTED");
        assert_eq!(query("debug&x="), "REDACTED&x=REDACTED");
        assert_eq!(query("alice%40example.com=1"), "REDACTED=REDACTED");
        assert_eq!(query("c2VjcmV0LXZhbHVl=="), "REDACTED");
        assert_eq!(query(""), "");
        assert_eq!(query("a\u{1b}[2J=1"), "a\\u{1b}[2J=REDACTED");
    }

    #[test]
    fn query_of_very_many_parameters_is_cut() {
        let shown = query(&"a=1&".repeat(10_000));
        assert!(shown.len() < 1000, "{}", shown.len());
    }

    #[test]
    fn plain_paths_are_not_copied() {
        for plain in [
            "/",
            "*",
            "/users/42/orders",
            "/v1/items/3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "/posts/how-to-build-a-rest-api-in-2024",
            "/@scope/react@18.2.0/index.min.js",
            "/objects/507f1f77bcf86cd799439011",
            "/orders/1234567890123456",
            "/users/{userId}",
        ] {
            assert!(matches!(path(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }

    #[test]
    fn secrets_are_taken_out_of_paths() {
        for (raw, shown) in [
            (format!("/verify/{JWT}"), "/verify/REDACTED"),
            ("/u/alice@example.com/x".into(), "/u/REDACTED/x"),
            ("/u/alice%40example.com".into(), "/u/REDACTED"),
            ("/u/alice%2540example.com".into(), "/u/REDACTED"),
            ("/cards/4111111111111111".into(), "/cards/REDACTED"),
            ("/cards/4111-1111-1111-1111".into(), "/cards/REDACTED"),
            ("/app;jsessionid=1A2B3C/home".into(), "/app;jsessionid=REDACTED/home"),
            ("/reset/f3Kq9Zt7Lw2Xc8Vb5Nm1Pd6R".into(), "/reset/REDACTED"),
            ("/reset/9f86d081884c7d659a2feaa0c55ad015".into(), "/reset/REDACTED"),
            ("/ssn/123-45-6789".into(), "/ssn/REDACTED"),
            ("/login%3Fpassword=x".into(), "/REDACTED=REDACTED"),
            ("/a%253Btoken%253Dx".into(), "/REDACTED"),
            ("/reset/s3cr3t-word/x1".into(), "/reset/REDACTED/x1"),
            ("/keys/AKIAIOSFODNN7EXAMPLE".into(), "/keys/REDACTED"),
        ] {
            assert_eq!(path(&raw), shown, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_control_character_survives(text in "(\\PC|[\u{0}-\u{9f}\u{202a}-\u{202e}/&=;?%]){0,60}") {
            for shown in [
                query(&text),
                path(&text).into_owned(),
            ] {
                prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            }
        }
    }
}
