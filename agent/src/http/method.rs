//! Method names that are shared instead of copied, and those that may start a
//! message where a boundary is not proven.

use std::sync::Arc;

/// Methods in use. None but the last is the end of another, so a method that was
/// cut in front is never taken for a whole one.
const KNOWN: [&str; 21] = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "QUERY",
    "PROPFIND",
    "MKCOL",
    "MKCALENDAR",
    "COPY",
    "MOVE",
    "REPORT",
    "SEARCH",
    "UNLOCK",
    "PURGE",
    "MERGE",
    "LOCK",
];

/// How many of [`KNOWN`] are not the end of another of them.
const DISTINCT: usize = KNOWN.len() - 1;

/// Longest method that is looked for.
pub(super) const LONGEST: usize = 32;

thread_local! {
    static NAMES: [Arc<str>; KNOWN.len()] = KNOWN.map(Arc::from);
}

/// The method's name, shared when it is a common one.
pub(crate) fn intern(method: &str) -> Arc<str> {
    let known = NAMES.with(|names| names.iter().find(|name| ***name == *method).map(Arc::clone));
    known.unwrap_or_else(|| method.into())
}

/// Whether `token` is a method that may start a message after a hole.
pub(super) fn known(token: &[u8]) -> bool {
    KNOWN.iter().take(DISTINCT).any(|name| name.as_bytes() == token)
}

/// Whether `start` is how such a method begins.
pub(super) fn begins_known(start: &[u8]) -> bool {
    KNOWN.iter().take(DISTINCT).any(|name| name.as_bytes().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_distinct_method_is_the_end_of_another() {
        for (at, name) in KNOWN[..DISTINCT].iter().enumerate() {
            for (other_at, other) in KNOWN.iter().enumerate() {
                assert!(at == other_at || !other.ends_with(name), "{name} ends {other}");
            }
        }
    }

    #[test]
    fn common_methods_share_one_string() {
        assert!(Arc::ptr_eq(&intern("GET"), &intern("GET")));
        assert_eq!(&*intern("BREW"), "BREW");
    }
}
