use super::*;

const REQUEST: &[u8] = b"GET /orders/7?x=1 HTTP/1.1\r\nHost: a.example\r\nX-Id:  7 \r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\nX-Id: 7\r\n\r\n";

fn whole(kind: Kind, bytes: &[u8]) -> Head {
    match parse(kind, &Bytes::copy_from_slice(bytes)) {
        Parsed::Whole(head, len) => {
            assert_eq!(len, bytes.len());
            head
        }
        other => panic!("{other:?} for {:?}", bytes.escape_ascii().to_string()),
    }
}

fn target(head: &Head) -> &str {
    match &head.line {
        Line::Request { target, .. } => target,
        Line::Response { .. } => panic!("a response"),
    }
}

#[test]
fn every_prefix_waits_for_more() {
    for (kind, message) in [(Kind::Request, REQUEST), (Kind::Response, RESPONSE)] {
        for len in 0..message.len() {
            let prefix = &message[..len];
            let parsed = parse(kind, &Bytes::copy_from_slice(prefix));
            assert!(matches!(parsed, Parsed::Partial), "{parsed:?} at {len} bytes");
            assert_ne!(look(prefix, None, true), Look::No, "at {len} bytes");
            assert_eq!(Scan::default().end(prefix), None);
        }
        whole(kind, message);
        assert_eq!(look(message, None, true), Look::Is(kind));
        assert_eq!(Scan::default().end(message), Some(message.len()));
    }
}

#[test]
fn heads_are_slices_of_the_bytes_they_came_in() {
    let bytes = Bytes::from_static(REQUEST);
    let Parsed::Whole(head, _) = parse(Kind::Request, &bytes) else { panic!("no head") };
    let value = head.headers.get("x-id").unwrap();
    assert_eq!(value, b"7");
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn folded_lines_become_one_in_either_kind() {
    let tail = "X-Long: one\r\n  two\r\n\tthree\r\nY: z\r\n\r\n";
    for (kind, line) in
        [(Kind::Request, "GET / HTTP/1.1\r\n"), (Kind::Response, "HTTP/1.1 200 OK\r\n")]
    {
        let head = whole(kind, format!("{line}{tail}").as_bytes());
        assert_eq!(head.headers.get_str("x-long"), Some("one two three"));
        assert_eq!(head.headers.get_str("y"), Some("z"));
        assert!(head.notes.contains(Notes::OBS_FOLD));
    }
}

#[test]
fn bare_line_feeds_are_noted() {
    let head = whole(Kind::Request, b"GET / HTTP/1.0\nHost: a\n\n");
    assert_eq!(head.version, Version::Http10);
    assert!(head.notes.contains(Notes::BARE_LF));
    assert_eq!(whole(Kind::Request, REQUEST).notes, Notes::default());
}

#[test]
fn bytes_of_a_target_that_are_not_utf8_are_percent_encoded() {
    let head = whole(Kind::Request, b"GET /caf\xe9/\xc3\xa9?q=a b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(target(&head), "/caf%E9/\u{e9}?q=a%20b");
    assert!(head.notes.contains(Notes::LENIENT));
}

#[test]
fn white_space_before_a_colon_and_lines_without_one_are_tolerated() {
    let head = whole(Kind::Request, b"GET / HTTP/1.1\r\nHost : a\r\nnonsense\r\nX: a\x01b\r\n\r\n");
    assert_eq!(head.headers.get_str("host"), Some("a"));
    assert_eq!(head.headers.get_str("x"), Some("a b"));
    assert_eq!(head.headers.len(), 2);
    assert!(head.notes.contains(Notes::LENIENT));
}

#[test]
fn many_fields_are_read_and_too_many_are_not_a_head() {
    let with = |fields: usize| {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(fields));
        parse(Kind::Request, &Bytes::from(text))
    };
    let Parsed::Whole(head, _) = with(500) else { panic!("no head") };
    assert_eq!(head.headers.len(), 500);
    assert!(matches!(with(FIELDS_MAX + 1), Parsed::Bad));
}

#[test]
fn a_strict_look_takes_common_methods_only() {
    for (text, strict, expected) in [
        ("BREW /pot HTTP/1.1\r\n", true, Look::No),
        ("BREW /pot HTTP/1.1\r\n", false, Look::Is(Kind::Request)),
        ("ET /x HTTP/1.1\r\n", true, Look::No),
        ("GET /x HTTP/1.1\r\n", true, Look::Is(Kind::Request)),
        ("GET /x HTTP/2.0\r\n", true, Look::No),
        ("GET /x\r\n", true, Look::No),
        ("GET  HTTP/1.1\r\n", true, Look::Is(Kind::Request)),
        ("HTTP/1.1 20\r\n", true, Look::No),
        ("HTTP/1.1 2000\r\n", true, Look::No),
        ("HTTP/2 200\r\n", true, Look::No),
        ("HTTP/1.1 200\r\n", true, Look::Is(Kind::Response)),
        ("HTTP/1.1 200", true, Look::Maybe),
        ("HTTP/1.1 200\r", true, Look::Maybe),
        ("{\"a\":1}", false, Look::No),
        ("H", true, Look::Maybe),
    ] {
        assert_eq!(look(text.as_bytes(), None, strict), expected, "{text:?}");
    }
    assert_eq!(look(RESPONSE, Some(Kind::Request), true), Look::No);
    assert_eq!(look(REQUEST, Some(Kind::Response), true), Look::No);
}

#[test]
fn damaged_heads_never_panic() {
    for (kind, message) in [(Kind::Request, REQUEST), (Kind::Response, RESPONSE)] {
        for at in 0..message.len() {
            for byte in 0..=255 {
                let mut bytes = message.to_vec();
                bytes[at] = byte;
                look(&bytes, None, false);
                parse(kind, &bytes.into());
            }
        }
    }
}
