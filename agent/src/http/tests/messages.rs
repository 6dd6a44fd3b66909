//! The features of messages, one by one.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_and_its_response_come_out_once_both_are_over() {
    let exchange = one(&[request(GET), response(OK)]);
    assert_eq!(
        summary(&exchange),
        "@0 GET / 1.1 [Host=a.example]  0 Complete ended=true notes=0 | \
         200 1.1 [Content-Length=2] ok 2 Complete ended=true notes=0 | missing 0"
    );
    assert_eq!(exchange.request_direction, IN);
}

#[test]
fn times_are_those_of_first_and_last_bytes() {
    let exchange = one(&[
        request("POST / HT"),
        request("TP/1.1\r\nContent-Length: 4\r\n\r\nab"),
        request("cd"),
        response("HTTP/1.1 200 OK\r\nContent-Le"),
        response("ngth: 2\r\n\r\no"),
        response("k"),
    ]);
    assert_eq!(exchange.times.request_start, Timestamp(1));
    assert_eq!(exchange.times.request_end, Timestamp(3));
    assert_eq!(exchange.times.response_start, Some(Timestamp(4)));
    assert_eq!(exchange.times.response_end, Some(Timestamp(6)));
}

#[test]
fn the_direction_of_requests_is_learned_from_either_head() {
    let client = [Input::Bytes(OUT, GET.into()), Input::Bytes(IN, OK.into())];
    assert_eq!(one(&client).request_direction, OUT);
    let joined = [Input::Bytes(IN, OK.into()), client[0].clone(), client[1].clone()];
    let exchange = one(&joined);
    assert_eq!(exchange.request_direction, OUT);
    assert_eq!(exchange.response.unwrap().status, 200);
}

#[test]
fn keep_alive_gives_each_pair_its_offset() {
    let out = run(&[request(GET), response(OK), request(GET), response(OK)]);
    let offsets: Vec<_> = out.iter().map(|it| it.request_offset).collect();
    assert_eq!(offsets, [0, GET.len() as u64]);
    assert!(out.iter().all(|it| it.response.as_ref().unwrap().notes == Notes::default()));
}

#[test]
fn interim_responses_are_noted_only() {
    let exchange = one(&[
        request("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"),
        response("HTTP/1.1 100 Continue\r\n\r\n"),
        request("hi"),
        response(
            "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        ),
    ]);
    let response = exchange.response.unwrap();
    assert_eq!((response.status, response.notes), (201, Notes::INTERIM));
    assert_eq!(&exchange.request.body.bytes[..], b"hi");
}

#[test]
fn responses_without_body_end_with_their_head() {
    for (method, status) in [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Same")] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\n");
        let out = run(&[
            request(format!("{method} /1 HTTP/1.1\r\n\r\n")),
            response(head),
            request(GET),
            response(OK),
        ]);
        assert_eq!(out.len(), 2);
        assert!(out.iter().all(|it| it.response.as_ref().unwrap().ended));
        assert_eq!(out[0].response.as_ref().unwrap().body.size, 0);
    }
}

#[test]
fn a_connection_that_became_another_protocol_is_finished() {
    for (asked, answer) in [
        (
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 Switching\r\n\r\n\x01\x02",
        ),
        ("CONNECT a:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n\x16\x03"),
    ] {
        let mut run = Run::new(Limits::default());
        run.feed(&[request(asked), response(answer)]);
        assert!(run.connection.finished());
        let upgraded = run.out[0].response.as_ref().unwrap();
        assert!(upgraded.notes.contains(Notes::UPGRADED) && upgraded.ended);
        run.feed(&[request(GET), response(OK)]).close();
        assert_eq!(run.out.len(), 1);
    }
}

#[test]
fn requests_go_on_after_a_refused_tunnel() {
    let out = run(&[
        request("CONNECT a:443 HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"),
        request(GET),
        response(OK),
    ]);
    assert_eq!(pairs(&out), [pair("a:443", 407), pair("/", 200)]);
}

#[test]
fn another_protocol_is_not_this_one() {
    let mut run = Run::new(Limits::default());
    run.feed(&[request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]);
    assert!(run.connection.finished());
}

#[test]
fn a_response_may_begin_before_the_request_is_over() {
    let early = [request("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"), response(OK)];
    let mut run = Run::new(Limits::default());
    run.feed(&early);
    assert!(run.out.is_empty());
    run.feed(&[request("cd")]);
    let exchange = &run.out[0];
    assert_eq!(exchange.response.as_ref().unwrap().notes, Notes::EARLY_RESPONSE);
    assert_eq!(&exchange.request.body.bytes[..], b"abcd");
}

#[test]
fn empty_lines_between_messages_are_passed_over() {
    let out = run(&[request(GET), response(OK), request("\r\n"), request(GET), response(OK)]);
    assert_eq!(pairs(&out), [pair("/", 200), pair("/", 200)]);
}

#[test]
fn a_head_over_the_limit_is_lost_and_counted() {
    let limits = Limits { head_bytes: 100, ..Limits::default() };
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200));
    for pieces in [vec![long.clone()], long.chars().map(String::from).collect()] {
        let mut run = Run::new(limits);
        let pieces: Vec<_> = pieces.iter().map(request).collect();
        run.feed(&pieces).feed(&[response(OK), request(GET), response(OK)]);
        assert_eq!(pairs(&run.out), [pair("/", 200)]);
        let losses = run.connection.losses();
        assert!(losses.heads >= 1 && losses.responses == 1);
        assert!(losses.missing.iter().all(|(cause, _)| cause == Cause::Agent));
        assert!(losses.missing.total() > 0);
    }
}

#[test]
fn a_head_that_is_cut_behind_its_first_line_begins_its_message() {
    let out = run(&[
        request("POST /a HTTP/1.1\r\nHost: a\r\nAuthori"),
        Input::Missing(IN, 500),
        response("HTTP/1.1 201 Made\r\nServer: s\r\nCont"),
        Input::Missing(OUT, 300),
        request("GET /without-its-line"),
        Input::Missing(IN, 100),
        response(OK),
        request(GET),
        response(OK),
    ]);
    assert_eq!(pairs(&out), [pair("/a", 201), pair("/", 200)]);
    let (request, response) = (&out[0].request, out[0].response.as_ref().unwrap());
    assert_eq!((request.notes, response.notes), (Notes::HEAD_CUT, Notes::HEAD_CUT));
    assert_eq!((request.headers.get_str("host"), request.headers.iter().count()), (Some("a"), 1));
    assert_eq!((request.body_size(), response.body_size()), (None, None));
    // Where the request ended is not known: the hole behind it may be its own too.
    assert_eq!(out[0].missing.total(), 900);
    assert!(!request.ended && !response.ended);
}

#[test]
fn bytes_before_the_first_head_are_skipped() {
    let out = run(&[
        request("tail of a body"),
        response("more of a body"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nof one that was not seen"),
        request(GET),
        response(OK),
    ]);
    assert_eq!(pairs(&out), [pair("/", 200)]);
}

#[test]
fn a_method_that_nobody_knows_is_one_at_the_start_and_at_proven_boundaries() {
    let brew = "BREW /pot HTTP/1.1\r\n\r\n";
    let out = run(&[request(brew), response(OK), request(brew), response(OK)]);
    assert_eq!(pairs(&out), [pair("/pot", 200), pair("/pot", 200)]);
    assert_eq!(&*out[0].request.method, "BREW");
}

#[test]
fn what_waits_comes_out_at_close_as_it_is() {
    let out = run(&[
        request("POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nde"),
    ]);
    let exchange = &out[0];
    assert!(!exchange.request.ended && !exchange.response.as_ref().unwrap().ended);
    assert_eq!(exchange.request.body.state, BodyState::Truncated);
    assert_eq!(body(&exchange.response.as_ref().unwrap().body), "de 2 Truncated");
    assert_eq!(pairs(&run(&[request(GET)])), [pair("/", None)]);
}

#[test]
fn version_1_0_is_told_apart() {
    let exchange = one(&[
        request("GET / HTTP/1.0\r\n\r\n"),
        response("HTTP/1.0 200 OK\r\n\r\nall of it"),
        Input::End(OUT),
    ]);
    assert_eq!(exchange.request.version, Version::Http10);
    let response = exchange.response.unwrap();
    assert_eq!((response.ended, response.notes), (true, Notes::CLOSE_DELIMITED));
    assert_eq!(&response.body.bytes[..], b"all of it");
}

#[test]
fn what_looks_like_a_request_in_the_direction_of_responses_is_none() {
    let mut run = Run::new(Limits::default());
    run.feed(&[
        Input::Bytes(OUT, b"GET /of-nobody HTTP/1.1\r\nHo".to_vec()),
        request("GET /1 HTTP/1.1\r\n\r\n"),
        Input::Missing(OUT, 1),
        request("GET /2 HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 204 No Content\r\n\r\n"),
    ])
    .close();
    let targets: Vec<_> = run.out.iter().map(|it| &*it.request.target).collect();
    assert_eq!(targets, ["/1", "/2"]);
    assert!(run.out.iter().all(|it| it.times.request_start <= it.times.request_end));
    assert_eq!(run.connection.losses().heads, 1);
}
