//! Which words are fixed, and which could be names.

/// Words that stay fixed at any level: actions and aliases, not names of things.
const FIXED: [&str; 44] = [
    "active", "all", "archive", "batch", "bulk", "cancel", "check", "config", "count", "create",
    "current", "default", "delete", "download", "edit", "export", "filter", "health", "import",
    "info", "latest", "list", "login", "logout", "me", "metadata", "metrics", "new", "ping",
    "preview", "query", "recent", "refresh", "register", "schema", "search", "self", "settings",
    "stats", "status", "summary", "sync", "update", "upload",
];

/// A word that names an action or a fixed thing, so that no number of siblings
/// makes it a value.
pub(super) fn is_fixed(segment: &str) -> bool {
    FIXED.binary_search(&segment).is_ok()
        || is_version(segment)
        || segment.starts_with(['$', '.', '_'])
}

/// `v1`, `v2.1`, `1.0`, `api`.
pub(super) fn is_version(segment: &str) -> bool {
    if segment.eq_ignore_ascii_case("api") || segment.eq_ignore_ascii_case("rest") {
        return true;
    }
    let marked = segment.strip_prefix(['v', 'V']);
    let digits = marked.unwrap_or(segment);
    digits.len() <= 5
        && digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && (marked.is_some() || digits.contains('.'))
}

/// Prefixes of technical terms that end in a number: `sha256`, `base64`.
const TERMS: [&str; 16] = [
    "aes", "base", "crc", "dynamics", "http", "ipv", "iso", "mp", "oauth", "office", "rsa", "sha",
    "tls", "utf", "web", "x",
];

/// A word that is more likely a name than a fixed term: `alice42`. A few of them
/// under one parent are values.
pub(super) fn is_numbered_word(segment: &str) -> bool {
    let words = segment.trim_end_matches(|last: char| last.is_ascii_digit());
    segment.len() - words.len() >= 2
        && words.len() >= 3
        && words.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'_' | b'.'))
        && !TERMS.contains(&words.trim_end_matches(['-', '_']))
}

/// A word that could be a name when its siblings are: lower case, no ending.
pub(super) fn is_plain_word(segment: &str) -> bool {
    !is_fixed(segment)
        && segment.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_are_not_terms() {
        assert!(is_numbered_word("alice42") && is_numbered_word("mary-ann07"));
        assert!(!is_numbered_word("sha256") && !is_numbered_word("base64"));
        assert!(FIXED.is_sorted());
    }
}
