//! Pairing: pipelines, and what is given up where it is not certain.

use super::*;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n\r\n")
}

fn status(status: u16) -> String {
    format!("HTTP/1.1 {status} Text\r\nContent-Length: 3\r\n\r\nabc")
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let out = run(&[
        request([get("/1"), get("/2"), get("/3")].concat()),
        response([status(201), status(202), status(203)].concat()),
    ]);
    assert_eq!(pairs(&out), [pair("/1", 201), pair("/2", 202), pair("/3", 203)]);
    let notes: Vec<_> = out.iter().map(|it| it.request.notes).collect();
    assert_eq!(notes, [Notes::default(), Notes::PIPELINED, Notes::PIPELINED]);
}

#[test]
fn a_response_without_a_request_is_never_paired_with_a_later_one() {
    let mut run = Run::new(Limits::default());
    run.feed(&[
        response(status(201)),
        request(get("/1")),
        response(status(202)),
        response(status(408)),
        request(get("/2")),
        response(status(203)),
    ]);
    assert_eq!(pairs(&run.out), [pair("/1", 202), pair("/2", 203)]);
    assert_eq!(run.connection.losses().responses, 2);
}

#[test]
fn a_lost_response_head_leaves_its_request_alone() {
    let out = run(&[
        request(get("/1")),
        Input::Missing(OUT, 40),
        request(get("/2")),
        response(status(202)),
    ]);
    assert_eq!(pairs(&out), [pair("/1", None), pair("/2", 202)]);
}

#[test]
fn a_lost_request_head_gives_up_its_response() {
    let out = run(&[
        request(get("/1")),
        response(status(201)),
        Input::Missing(IN, 40),
        response(status(202)),
        request(get("/3")),
        response(status(203)),
    ]);
    assert_eq!(pairs(&out), [pair("/1", 201), pair("/3", 203)]);
}

#[test]
fn requests_behind_a_lost_one_are_not_paired_until_the_pipeline_is_empty() {
    let out = run(&[
        Input::Missing(IN, 18),
        request(get("/2")),
        response(status(201)),
        response(status(202)),
        request(get("/3")),
        response(status(203)),
    ]);
    assert_eq!(pairs(&out), [pair("/2", None), pair("/3", 203)]);
}

#[test]
fn a_request_before_a_lost_one_keeps_its_response() {
    let out = run(&[
        request(get("/1")),
        Input::Missing(IN, 18),
        request(get("/3")),
        response([status(201), status(202), status(203)].concat()),
    ]);
    assert_eq!(pairs(&out), [pair("/3", None), pair("/1", 201)]);
}

#[test]
fn of_a_client_that_pipelines_pairs_are_certain_when_all_lost_ones_are_answered() {
    let mut inputs = vec![request(get("/1")), Input::Missing(IN, 18), request(get("/3"))];
    inputs.push(response([status(201), status(202), status(203)].concat()));
    // Two requests fit the hole; the one that was not there is waited for.
    inputs.extend([request(get("/4")), response(status(204)), request(get("/5"))]);
    let out = run(&inputs);
    assert!(
        out.iter().all(|it| { it.response.as_ref().is_none_or(|response| response.status == 201) })
    );
}

#[test]
fn a_pipeline_over_the_limit_gives_up_what_is_over_it_only() {
    let mut run = Run::new(Limits { pipeline_depth: 2, ..Limits::default() });
    let empty = |status: u16| format!("HTTP/1.1 {status} Text\r\nContent-Length: 0\r\n\r\n");
    run.feed(&[
        request([get("/1"), get("/2"), get("/3")].concat()),
        response([empty(201), empty(202), empty(203)].concat()),
        request(get("/4")),
        response(empty(204)),
    ]);
    let expected = [pair("/3", None), pair("/1", 201), pair("/2", 202), pair("/4", 204)];
    assert_eq!(pairs(&run.out), expected);
}

#[test]
fn a_response_while_a_head_is_coming_in_is_paired_with_nothing() {
    let out = run(&[
        request("GET /1 HTTP/1.1\r\nHo"),
        response(status(201)),
        request("st: a\r\n\r\n"),
        request(get("/2")),
        response(status(202)),
    ]);
    assert_eq!(pairs(&out), [pair("/1", None), pair("/2", 202)]);
}

#[test]
fn text_that_looks_like_a_head_within_a_body_is_body() {
    let forged = get("/forged");
    let out = run(&[
        request(format!("POST /1 HTTP/1.1\r\nContent-Length: {}\r\n\r\n", forged.len())),
        request(&forged),
        response(status(201)),
    ]);
    assert_eq!(pairs(&out), [pair("/1", 201)]);
}

#[test]
fn responses_after_the_end_of_their_direction_do_not_come() {
    let mut run = Run::new(Limits::default());
    run.feed(&[request([get("/1"), get("/2")].concat()), response(status(201)), Input::End(OUT)]);
    run.feed(&[request(get("/3"))]);
    assert_eq!(pairs(&run.out), [pair("/1", 201), pair("/2", None), pair("/3", None)]);
}
