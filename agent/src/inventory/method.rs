//! Methods as numbers, so that their number has a bound.

/// Registered methods in use; the last one stands for all others, as OpenTelemetry
/// has it.
const METHODS: [&str; 21] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "PURGE",
    "_OTHER",
];

/// Number of a method.
pub(super) fn index(method: &str) -> u8 {
    let found = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
    u8::try_from(found).unwrap_or(u8::MAX)
}

/// Name of a number.
pub(super) fn name(index: u8) -> &'static str {
    METHODS.get(usize::from(index)).copied().unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_methods_are_one() {
        assert_eq!(name(index("PATCH")), "PATCH");
        assert_eq!(name(index("get")), "_OTHER");
        assert_eq!(index("XYZZY"), index(""));
    }
}
