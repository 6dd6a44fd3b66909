//! Connections that were open before they were observed.

use super::*;

#[test]
fn a_call_joined_midway_is_known_as_far_as_its_fields_are() {
    let mut run = Run::joined();
    // The authority, and a field of the response, were in the tables before.
    run.client(head(3, &[&[GET, NEWEST][..], &literal(PATH, "/orders/3")].concat()));
    run.server(head(3, &[&[NEWEST][..], &literal(STATUS, "201")].concat()));
    // From here on new fields are known by their index too.
    run.client(head(5, &[GET, NEXT, NEWEST]));
    run.server(head(5, &[OK, NEXT]));
    assert_eq!(pairs(&run.out), [pair("/orders/3", 201), pair("/orders/3", 200)]);
    for exchange in &run.out {
        let Exchange { request, response, .. } = exchange;
        assert_eq!((&*request.method, request.notes), ("GET", Notes::FIELDS_UNKNOWN));
        assert_eq!(request.authority(), None);
        assert!(response.is_some());
    }
    run.client(head(7, &[&[GET, NEWEST][..], &literal(AUTHORITY, "shop.example")].concat()));
    run.server(head(7, &[OK]));
    let request = &run.out[2].request;
    assert_eq!((request.authority(), request.notes), (Some("shop.example"), Notes::default()));
}

#[test]
fn a_path_from_before_is_unknown_and_the_call_is_counted() {
    let mut run = Run::joined();
    run.client(head(3, &[NEWEST, NEXT]));
    run.server(head(3, &[NEWEST]));
    // Neither says of itself what it is: which direction is which is told by the next.
    assert_eq!(run.connection.losses().heads, 2);
    run.client(head(5, &[GET, NEXT]));
    run.server(head(5, &[NEWEST]));
    run.client(head(7, &[&[NEXT][..], &literal(PATH, "/after")].concat()));
    run.server(head(7, &[OK]));
    assert_eq!(pairs(&run.out), [pair("(unknown)", None), pair("/after", 200)]);
    let [first, second] = &run.out[..] else { panic!() };
    let notes = first.request.notes;
    assert!(notes.contains(Notes::PATH_UNKNOWN) && notes.contains(Notes::STATUS_UNKNOWN));
    assert!(!notes.contains(Notes::METHOD_UNKNOWN));
    assert!(first.times.response_end.is_some());
    assert!(second.request.notes.contains(Notes::METHOD_UNKNOWN));
}

#[test]
fn responses_to_requests_from_before_are_counted() {
    let mut peers = Peers::new();
    let mut run = Run::joined();
    run.server([peers.response(1, 0, "200"), data(1, END_STREAM, b"late")].concat());
    run.client(peers.request(3, END_STREAM, "GET", "/a"));
    run.server(peers.response(3, END_STREAM, "200")).close();
    assert_eq!(pairs(&run.out), [pair("/a", 200)]);
    assert_eq!(run.connection.losses().responses, 1);
}

#[test]
fn a_promise_tells_which_end_is_the_server() {
    let mut run = Run::joined();
    let promise = [&[0, 0, 0, 2, GET][..], &literal(PATH, "/style")].concat();
    run.server([frame(5, END_HEADERS, 1, &promise), head(2, &[OK])].concat());
    run.client(head(3, &[&[GET][..], &literal(PATH, "/a")].concat())).server(head(3, &[OK]));
    assert_eq!(pairs(&run.out), [pair("/style", 200), pair("/a", 200)]);
}

#[test]
fn an_interim_response_that_is_unknown_hides_no_status() {
    let mut run = Run::joined();
    run.client(head(3, &[&[GET][..], &literal(PATH, "/a")].concat()));
    run.server(frame(1, END_HEADERS, 3, &[NEWEST])).server(head(3, &[OK]));
    assert_eq!(pairs(&run.out), [pair("/a", 200)]);
}

#[test]
fn a_body_whose_coding_may_be_unknown_is_not_taken_for_plain() {
    let mut run = Run::joined();
    run.client(head(3, &[&[GET][..], &literal(PATH, "/a")].concat()));
    run.server([frame(1, END_HEADERS, 3, &[OK, NEWEST]), data(3, END_STREAM, b"{}")].concat());
    let response = run.out[0].response.as_ref().unwrap();
    assert_eq!((response.body.state, response.body.size), (BodyState::Corrupt, 2));
}

#[test]
fn in_the_midst_of_a_body_the_next_frame_is_found() {
    let mut peers = Peers::new();
    let request = peers.request(9, END_STREAM, "GET", "/a");
    let mut run = Run::joined();
    run.client([b"the rest of a body, then".as_slice(), &request].concat());
    run.server(b"more of another").server(peers.response(9, END_STREAM, "200"));
    assert_eq!(pairs(&run.out), [pair("/a", 200)]);
    assert_eq!(run.connection.losses().skipped, 24 + 15);
    assert_eq!(run.out[0].request_offset, 24);
}

#[test]
fn what_is_not_http2_is_given_up() {
    let mut run = Run::joined();
    for _ in 0..200 {
        run.client([0xff; 16 * 1024]);
    }
    assert!(run.connection.finished() && run.out.is_empty());
}
