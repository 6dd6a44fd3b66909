//! What stack traces and database errors look like.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Occurrences in one body that are looked at.
const CANDIDATES_MAX: usize = 512;
/// Kinds that are told of one body.
const KINDS_MAX: usize = 4;
/// How far around an occurrence is looked.
const NEAR: usize = 400;

/// Text that occurs in an error, and what makes sure of it.
struct Signature {
    text: &'static str,
    label: &'static str,
    /// Gets what comes before and after the text.
    confirm: fn(&[u8], &[u8]) -> bool,
}

const fn signature(
    text: &'static str,
    label: &'static str,
    confirm: fn(&[u8], &[u8]) -> bool,
) -> Signature {
    Signature { text, label, confirm }
}

const PYTHON: &str = "Python stack trace";
const JAVA: &str = "Java stack trace";
const NODE: &str = "JavaScript stack trace";
const GO: &str = "Go stack trace";
const PHP: &str = "PHP error";
const DOTNET: &str = ".NET stack trace";
const RUBY: &str = "Ruby stack trace";
const RUST: &str = "Rust panic";
const POSTGRES: &str = "PostgreSQL error";
const MYSQL: &str = "MySQL error";
const ORACLE: &str = "Oracle error";
const SQLITE: &str = "SQLite error";
const SQL_SERVER: &str = "SQL Server error";
const SQL: &str = "SQL error";
const MONGO: &str = "MongoDB error";

const SIGNATURES: &[Signature] = &[
    signature("Traceback (most recent call last)", PYTHON, |_, after| {
        has(after, b"File ") && has(after, b", line ")
    }),
    signature(".java:", JAVA, is_frame),
    signature(".kt:", JAVA, is_frame),
    signature(".scala:", JAVA, is_frame),
    signature(".js:", NODE, is_script_frame),
    signature(".mjs:", NODE, is_script_frame),
    signature(".cjs:", NODE, is_script_frame),
    signature(".ts:", NODE, is_script_frame),
    signature("goroutine ", GO, |_, after| {
        let rest = after.trim_ascii_start();
        starts_with_digit(rest) && rest.iter().take(12).any(|byte| *byte == b'[')
    }),
    signature(" on line ", PHP, |before, after| {
        has(before, b".php")
            && [b"Fatal error".as_slice(), b"Parse error", b"Warning", b"Notice", b"Uncaught"]
                .iter()
                .any(|word| has(before, word))
            && starts_with_digit(after.strip_prefix(b"<b>").unwrap_or(after))
    }),
    signature(".cs:line ", DOTNET, |before, after| has(before, b"at ") && starts_with_digit(after)),
    signature("   at System.", DOTNET, |_, after| line(after).contains(&b'(')),
    signature("   at Microsoft.", DOTNET, |_, after| line(after).contains(&b'(')),
    signature(".rb:", RUBY, |_, after| {
        starts_with_digit(after) && after.windows(4).take(8).any(|word| word == b":in ")
    }),
    signature("panicked at ", RUST, |_, after| has(line(after), b".rs:")),
    signature("You have an error in your SQL syntax", MYSQL, always),
    signature("MySqlException", MYSQL, always),
    signature("com.mysql.", MYSQL, |_, after| has(line(after), b"Exception")),
    signature("ORA-", ORACLE, |_, after| {
        after.len() >= 6
            && after.iter().take(5).all(u8::is_ascii_digit)
            && after.get(5) == Some(&b':')
    }),
    signature("org.postgresql.util.PSQLException", POSTGRES, always),
    signature("psycopg2.", POSTGRES, is_exception),
    signature("PG::", POSTGRES, |_, after| starts_with_upper(after)),
    signature("pg_query()", POSTGRES, always),
    signature("syntax error at or near ", POSTGRES, always),
    signature("violates unique constraint", POSTGRES, always),
    signature("sqlite3.", SQLITE, is_exception),
    signature("SQLITE_ERROR", SQLITE, always),
    signature("SQLite3::", SQLITE, |_, after| starts_with_upper(after)),
    signature("Unclosed quotation mark after the character string", SQL_SERVER, always),
    signature("Microsoft OLE DB Provider for", SQL_SERVER, always),
    signature("System.Data.SqlClient.SqlException", SQL_SERVER, always),
    signature("SQLSTATE[", SQL, |_, after| {
        after.iter().take(5).filter(|byte| byte.is_ascii_alphanumeric()).count() == 5
    }),
    signature("sqlalchemy.exc.", SQL, is_exception),
    signature("SequelizeDatabaseError", SQL, always),
    signature("java.sql.SQL", SQL, |_, after| has(line(after), b"Exception")),
    signature("MongoServerError", MONGO, always),
];

static PREFILTER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(SIGNATURES.iter().map(|signature| signature.text)).ok());

/// Labels of the errors that a text holds, each once, at most 4. With `only_at_start`
/// what comes after the first few hundred bytes is not an answer but its topic.
pub(super) fn labels(text: &[u8], only_at_start: bool) -> impl Iterator<Item = &'static str> {
    let mut found = [""; KINDS_MAX];
    let mut count = 0;
    let occurrences = PREFILTER.iter().flat_map(|prefilter| prefilter.find_iter(text));
    for occurrence in occurrences.take(CANDIDATES_MAX) {
        if only_at_start && occurrence.start() > NEAR {
            break;
        }
        let Some(signature) = SIGNATURES.get(occurrence.pattern().as_usize()) else { continue };
        if found.contains(&signature.label) {
            continue;
        }
        let (before, after) = around(text, occurrence.start(), occurrence.end());
        if (signature.confirm)(before, after) {
            let Some(slot) = found.get_mut(count) else { break };
            *slot = signature.label;
            count += 1;
        }
    }
    found.into_iter().take(count)
}

fn around(text: &[u8], start: usize, end: usize) -> (&[u8], &[u8]) {
    let before = text.get(start.saturating_sub(NEAR)..start).unwrap_or_default();
    let after = text.get(end..text.len().min(end + NEAR)).unwrap_or_default();
    (before, after)
}

fn always(_: &[u8], _: &[u8]) -> bool {
    true
}

/// `at a.b.C.method(C.java:12)`.
fn is_frame(before: &[u8], after: &[u8]) -> bool {
    let before = line_before(before);
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0
        && after.get(digits) == Some(&b')')
        && has(before, b"at ")
        && before.contains(&b'(')
        && before.contains(&b'.')
}

/// `at f (/app/x.js:1:2)` and `at /app/x.js:1:2`.
fn is_script_frame(before: &[u8], after: &[u8]) -> bool {
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let column = after.get(digits + 1..).unwrap_or_default();
    digits > 0
        && after.get(digits) == Some(&b':')
        && starts_with_digit(column)
        && has(line_before(before), b" at ")
}

/// `Error` or another name of an exception, and a message.
fn is_exception(_: &[u8], after: &[u8]) -> bool {
    has(line(after), b"Error") || has(line(after), b"Exception")
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

fn starts_with_upper(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_uppercase)
}

/// The rest of a line; in JSON and HTML lines end otherwise.
fn line(text: &[u8]) -> &[u8] {
    let end = (0..text.len()).find(|at| is_end(text.get(*at..).unwrap_or_default()));
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

fn line_before(text: &[u8]) -> &[u8] {
    let start = (0..text.len()).rfind(|at| is_end(text.get(*at..).unwrap_or_default()));
    start.and_then(|start| text.get(start..)).unwrap_or(text)
}

fn is_end(text: &[u8]) -> bool {
    [b"\n".as_slice(), b"\\n", b"<br", b"\","].iter().any(|end| text.starts_with(end))
}
