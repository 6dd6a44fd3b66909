//! Stack traces and database errors in responses.

use super::{Seen, endpoints::Memory, json, rule::VERBOSE_ERROR, signature, table::Table};
use crate::http::Headers;

/// Looks for the inside of the server in a response.
pub(super) fn observe(seen: &Seen<'_>, memory: &mut Memory, findings: &mut Table) {
    let Some(response) = &seen.call.response else { return };
    let body = &*response.body.bytes;
    if body.is_empty() || !is_text(&response.headers) {
        return;
    }
    let picked = match response.status {
        500.. => memory.rate.take_body() || memory.errors.pick(),
        400.. => memory.errors.pick(),
        200..300 => memory.answers.pick(),
        _ => false,
    };
    if !picked {
        return;
    }
    let body = body.get(..json::BODY_MAX).unwrap_or(body);
    let successful = response.status < 400;
    let mut labels = signature::labels(body, successful)
        // A page may be about errors; what PHP prints comes before the page.
        .filter(|label| !successful || !is_html(&response.headers) || label.starts_with("PHP"))
        .peekable();
    if labels.peek().is_none() {
        return;
    }
    let confidence = if successful { 0.6 } else { 0.9 };
    let report = seen.report(&VERBOSE_ERROR, VERBOSE_ERROR.severity, confidence);
    findings.report(&report, || {
        labels.map(|label| format!("{label}, status {}", response.status)).collect()
    });
}

fn is_text(headers: &Headers) -> bool {
    const OTHER: [&[u8]; 11] = [
        b"image/",
        b"video/",
        b"audio/",
        b"font/",
        b"text/css",
        b"text/javascript",
        b"application/javascript",
        b"application/octet-stream",
        b"application/pdf",
        b"application/zip",
        b"application/wasm",
    ];
    headers.get("content-type").is_none_or(|value| {
        !OTHER.iter().any(|kind| {
            value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
        })
    })
}

fn is_html(headers: &Headers) -> bool {
    headers
        .get("content-type")
        .and_then(|value| value.get(..9))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
}

#[cfg(test)]
mod tests {
    use crate::{
        call::Call,
        detect::{Severity, testing::run},
        http::Headers,
        inventory::testing::call,
    };

    fn answer(status: u16, media_type: &str, body: &str) -> Call {
        let mut call = call("GET", "/x", status);
        let response = call.response.as_mut().unwrap();
        response.headers = Headers::from_pairs([("Content-Type", media_type)]);
        response.body.bytes = body.to_owned().into();
        call
    }

    fn evidence(status: u16, media_type: &str, body: &str) -> Vec<String> {
        let findings = run([answer(status, media_type, body)]);
        let finding = findings.into_iter().find(|finding| finding.rule == "verbose-error");
        finding.map_or_else(Vec::new, |finding| {
            assert_eq!((finding.severity, finding.cwe), (Severity::Medium, Some(209)));
            finding.evidence
        })
    }

    const PYTHON: &str = "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in f\n";

    #[test]
    fn traces_and_database_errors_are_found() {
        for (body, label) in [
            (PYTHON, "Python stack trace"),
            ("Exception\n\tat com.shop.Cart.add(Cart.java:42)\n", "Java stack trace"),
            (r#"{"stack":"E\n    at f (/app/x.js:10:15)\n"}"#, "JavaScript stack trace"),
            (r#"{"stack":"E\n    at async /app/src/x.ts:1:2"}"#, "JavaScript stack trace"),
            ("goroutine 17 [running]:\nmain.f()", "Go stack trace"),
            (
                "<b>Fatal error</b>: Uncaught E in <b>/var/www/a.php</b> on line <b>12</b>",
                "PHP error",
            ),
            ("   at Shop.Cart.Add(Int32 x) in C:\\src\\Cart.cs:line 12", ".NET stack trace"),
            ("   at System.Linq.Enumerable.First(IEnumerable`1 s)", ".NET stack trace"),
            ("app/models/cart.rb:12:in `add'", "Ruby stack trace"),
            ("thread 'main' panicked at src/main.rs:2:5:\nx", "Rust panic"),
            ("ORA-00933: SQL command not properly ended", "Oracle error"),
            ("You have an error in your SQL syntax; check", "MySQL error"),
            ("psycopg2.errors.SyntaxError: x", "PostgreSQL error"),
            ("ERROR: syntax error at or near \"x\"", "PostgreSQL error"),
            ("sqlite3.OperationalError: no such table: x", "SQLite error"),
            ("SQLSTATE[42000]: Syntax error", "SQL error"),
            ("Unclosed quotation mark after the character string ''", "SQL Server error"),
        ] {
            assert_eq!(evidence(500, "text/plain", body), [format!("{label}, status 500")]);
        }
        let both = format!("{PYTHON}\npsycopg2.OperationalError: x");
        let expected = ["Python stack trace, status 400", "PostgreSQL error, status 400"];
        assert_eq!(evidence(400, "text/plain", &both), expected);
        assert_eq!(evidence(200, "text/plain", PYTHON).len(), 1);
    }

    #[test]
    fn talk_of_errors_is_not_one() {
        for body in [
            "In Python a Traceback (most recent call last) tells where it went wrong.",
            "A Traceback is printed, see File menu.",
            "Main.java:12 is a good place to start",
            "see https://shop.example/app.js:1:2",
            "goroutine leaks are hard to find",
            "the rent is due on line 5",
            "ORA-NGE juice",
            "internal error, id 3fa85f64-5717-4562-b3fc-2c963f66afa6",
            "panicked at the sight of it",
        ] {
            assert!(evidence(500, "text/plain", body).is_empty(), "{body}");
        }
    }

    #[test]
    fn pages_about_errors_are_not_errors() {
        let blog = format!("<html><h1>Debugging</h1><pre>{PYTHON}</pre>");
        assert!(evidence(200, "text/html; charset=utf-8", &blog).is_empty());
        assert_eq!(evidence(500, "text/html", &blog).len(), 1);
        let late = format!(r#"{{"post":"{} {PYTHON}"}}"#, "word ".repeat(200));
        assert!(evidence(200, "application/json", &late).is_empty());
        assert!(evidence(500, "image/png", PYTHON).is_empty());
        assert!(evidence(302, "text/plain", PYTHON).is_empty());
    }
}
