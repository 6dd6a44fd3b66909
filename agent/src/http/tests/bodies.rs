//! Bodies in their framings, whole and with holes.

use super::*;

fn answer(pieces: &[Input]) -> crate::http::Response {
    let mut inputs = vec![request("GET / HTTP/1.1\r\n\r\n")];
    inputs.extend_from_slice(pieces);
    one(&inputs).response.unwrap()
}

#[test]
fn chunked_bodies_lose_their_framing_and_note_their_trailers() {
    let response = answer(&[response(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n",
    )]);
    assert_eq!(body(&response.body), "abcde 5 Complete");
    assert_eq!((response.ended, response.notes), (true, Notes::TRAILERS));
    assert_eq!(response.headers.get("t"), None);
}

#[test]
fn chunked_wins_over_a_length_with_a_note() {
    let out = run(&[
        request(
            "POST /1 HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
        ),
        response("HTTP/1.1 204 A\r\n\r\nHTTP/1.1 204 B\r\n\r\n"),
    ]);
    assert_eq!(pairs(&out), [pair("/1", 204), pair("/2", 204)]);
    assert_eq!(out[0].request.notes, Notes::LENGTH_CONFLICT);
    assert_eq!(out[1].request.notes, Notes::PIPELINED);
}

#[test]
fn a_body_within_one_piece_is_not_copied() {
    let bytes = Bytes::from_static(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody");
    let mut run = Run::new(Limits::default());
    run.connection.bytes(IN, Timestamp(1), &bytes, &mut run.out);
    run.feed(&[response("HTTP/1.1 204 A\r\n\r\n")]);
    let body = &run.out[0].request.body.bytes;
    assert!(bytes.as_ptr_range().contains(&body.as_ptr()));
}

#[test]
fn a_hole_in_a_body_of_known_length_is_passed_exactly() {
    let exchange = one(&[
        request("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nab"),
        Input::Missing(IN, 5),
        request("xyz"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"),
        Input::Missing(OUT, 8),
    ]);
    assert_eq!(body(&exchange.request.body), "ab 10 Truncated");
    let response = exchange.response.unwrap();
    assert_eq!(body(&response.body), " 8 Truncated");
    assert!(exchange.request.ended && response.ended);
    assert_eq!(exchange.missing.iter().collect::<Vec<_>>(), [(Cause::Budget, 13)]);
}

#[test]
fn a_hole_within_one_chunk_is_passed_exactly() {
    let response = answer(&[
        response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n01"),
        Input::Missing(OUT, 8),
        response("\r\n2\r\nxy\r\n0\r\n\r\n"),
    ]);
    assert_eq!(body(&response.body), "01 12 Truncated");
    assert!(response.ended);
}

#[test]
fn a_hole_over_a_chunk_header_leaves_the_message_open_until_the_next_request() {
    let mut run = Run::new(Limits::default());
    run.feed(&[
        request("GET /1 HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n01"),
        Input::Missing(OUT, 20),
        response("rest\r\n0\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\n in a body, at the start of a call"),
    ]);
    assert!(run.out.is_empty());
    run.feed(&[request("GET /2 HTTP/1.1\r\n\r\n")]);
    assert_eq!(body(&run.out[0].response.as_ref().unwrap().body), "01 10 Truncated");
    assert!(!run.out[0].response.as_ref().unwrap().ended);
    assert_eq!(run.out[0].missing.total(), 20);
    run.feed(&[response("HTTP/1.1 204 A\r\n\r\n")]);
    assert_eq!(pairs(&run.out), [pair("/1", 200), pair("/2", 204)]);
}

#[test]
fn an_upload_whose_end_was_lost_is_over_when_it_is_answered() {
    let out = run(&[
        request("POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        Input::Missing(IN, 100_000),
        request("GET /forged HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        request("GET /2 HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 204 A\r\n\r\n"),
    ]);
    assert_eq!(pairs(&out), [pair("/1", 200), pair("/2", 204)]);
    assert_eq!(body(&out[0].request.body), "ab 5 Truncated");
    assert!(!out[0].request.ended);
}

#[test]
fn damaged_chunks_end_what_can_be_read() {
    let out = run(&[
        request("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"),
        response("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"),
    ]);
    assert_eq!(pairs(&out), [pair("/", 400)]);
    assert_eq!(body(&out[0].request.body), "ab 2 Truncated");
}

#[test]
fn bodies_over_the_limit_are_capped_and_counted() {
    let mut run = Run::new(Limits { body_bytes: 4, ..Limits::default() });
    run.feed(&[
        request("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
        request("defghi"),
        response("HTTP/1.1 204 A\r\n\r\n"),
    ]);
    assert_eq!(body(&run.out[0].request.body), "abcd 9 Capped");
    assert_eq!(run.out[0].missing.iter().collect::<Vec<_>>(), [(Cause::Agent, 5)]);
}

#[test]
fn coded_bodies_are_decoded_as_far_as_they_were_captured() {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let text = (0..2000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    gzip.write_all(text.as_bytes()).unwrap();
    let coded = gzip.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        coded.len()
    );
    let whole = answer(&[response([head.as_bytes(), &coded].concat())]);
    assert_eq!(whole.body.bytes, text.as_bytes());
    assert_eq!((whole.body.state, whole.body.size), (BodyState::Complete, coded.len() as u64));
    let (start, rest) = coded.split_at(coded.len() / 2);
    let cut = answer(&[
        response([head.as_bytes(), start].concat()),
        Input::Missing(OUT, rest.len() as u64),
    ]);
    assert_eq!(cut.body.state, BodyState::Truncated);
    assert!(!cut.body.bytes.is_empty() && text.as_bytes().starts_with(&cut.body.bytes));
}

#[test]
fn a_close_delimited_body_goes_on_over_holes() {
    let response = answer(&[
        response("HTTP/1.1 200 OK\r\n\r\nab"),
        Input::Missing(OUT, 3),
        response("HTTP/1.1 500 no head\r\n\r\n"),
        Input::End(OUT),
    ]);
    assert_eq!(body(&response.body), "ab 29 Truncated");
    assert!(response.ended);
}
