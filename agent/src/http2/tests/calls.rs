//! Conversations that are seen whole, in pieces of every length.

use super::*;

/// Two requests at once, the first with a body, padding, priority and a block in three frames;
/// trailer fields, an interim response, frames that say nothing.
fn conversation() -> Vec<Input> {
    let mut peers = Peers::new();
    let first = peers.request(1, 0, "POST", "/orders?id=1");
    let block = &first[9..];
    let (start, rest) = block.split_at(2);
    let (middle, end) = rest.split_at(1);
    let padded = [&[3][..], &[0, 0, 0, 0, 15], start, &[0; 3]].concat();
    let client = [
        hello(),
        frame(1, 0x20 | 0x8, 1, &padded),
        frame(9, 0, 1, middle),
        frame(9, END_HEADERS, 1, end),
        frame(8, 0, 0, &[0, 0, 4, 0]),
        data(1, 0, b"{\"a\":"),
        peers.request(3, END_STREAM, "GET", "/orders/3"),
        frame(0, END_STREAM | 0x8, 1, b"\x021}\0\0"),
    ];
    let server = [
        frame(4, 0, 0, &[]),
        frame(4, 1, 0, &[]),
        peers.response(1, 0, "100"),
        peers.response(3, 0, "404"),
        data(3, 0, b"no"),
        frame(6, 0, 0, &[0; 8]),
        peers.response(1, 0, "201"),
        data(1, 0, b"{}"),
        data(3, END_STREAM, b"ne"),
        frame(0xfa, 0, 0, b"an extension"),
        peers.trailers(1, &[("grpc-status", "0")]),
    ];
    vec![Input::Bytes(IN, client.concat()), Input::Bytes(OUT, server.concat())]
}

#[test]
fn streams_are_paired_whatever_their_order() {
    let mut run = Run::new();
    run.feed(&conversation());
    assert_eq!(pairs(&run.out), [pair("/orders/3", 404), pair("/orders?id=1", 201)]);
    let [get, post] = &run.out[..] else { panic!() };
    assert_eq!((&*get.request.method, get.request.authority()), ("GET", Some("shop.example")));
    let response = get.response.as_ref().unwrap();
    assert_eq!((&response.body.bytes[..], response.body.size), (&b"none"[..], 4));
    assert_eq!((&post.request.body.bytes[..], post.request.ended), (&b"{\"a\":1}"[..], true));
    let response = post.response.as_ref().unwrap();
    assert_eq!(response.trailers.get("grpc-status"), Some(&b"0"[..]));
    assert!(response.notes.contains(Notes::TRAILERS) && response.notes.contains(Notes::INTERIM));
    assert_eq!(post.request_offset, hello().len() as u64);
    assert_eq!(post.request.version.as_str(), "2");
    assert_eq!(*run.connection.losses(), Losses::default());
}

#[test]
fn pieces_of_every_length_give_the_same_exchanges() {
    let whole: Vec<_> = Run::new().feed(&conversation()).out.iter().map(summary).collect();
    for len in 1..80 {
        let mut run = Run::new();
        for input in conversation() {
            let Input::Bytes(direction, bytes) = input else { continue };
            for piece in bytes.chunks(len) {
                run.feed(&[Input::Bytes(direction, piece.to_vec())]);
            }
        }
        assert_eq!(run.out.iter().map(summary).collect::<Vec<_>>(), whole, "{len}");
    }
}

#[test]
fn every_prefix_comes_out_as_far_as_it_goes() {
    let [Input::Bytes(_, client), Input::Bytes(_, server)] = &conversation()[..] else { panic!() };
    for len in 0..client.len() {
        let mut run = Run::new();
        run.client(&client[..len]).close();
        assert!(run.out.len() <= 2 && run.out.iter().all(|it| it.response.is_none()));
    }
    for len in 0..server.len() {
        let mut run = Run::new();
        run.client(client).server(&server[..len]).close();
        assert_eq!(run.out.len(), 2, "{len}");
    }
}

#[test]
fn a_response_may_come_before_its_request_is_seen() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    let request = peers.request(1, END_STREAM, "GET", "/a");
    run.client(hello()).server(peers.response(1, END_STREAM, "200"));
    assert!(run.out.is_empty());
    run.client(request);
    assert_eq!(pairs(&run.out), [pair("/a", 200)]);
    assert_eq!(run.connection.losses().responses, 0);
}

#[test]
fn a_stream_that_is_reset_comes_out_as_far_as_it_came() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client([hello(), peers.request(1, 0, "POST", "/a"), data(1, 0, b"half")].concat());
    run.server(frame(3, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(pairs(&run.out), [pair("/a", None)]);
    assert!(!run.out[0].request.ended);
    assert_eq!(run.out[0].request.body.state, BodyState::Truncated);
}

#[test]
fn what_a_server_refuses_when_it_goes_away_comes_out_without_a_response() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    let requests = [1, 3, 5].map(|id| peers.request(id, END_STREAM, "GET", &format!("/{id}")));
    run.client([hello(), requests.concat()].concat());
    run.server(frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    assert_eq!(pairs(&run.out), [pair("/5", None)]);
    run.server([1, 3].map(|id| peers.response(id, END_STREAM, "204")).concat());
    assert_eq!(pairs(&run.out)[1..], [pair("/1", 204), pair("/3", 204)]);
}

#[test]
fn what_a_server_pushes_is_a_call_of_its_own() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client([hello(), peers.request(1, END_STREAM, "GET", "/page")].concat());
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/style"), ("x", "y")];
    let promise = Peers::block(&mut peers.server, &fields);
    run.server(frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2], &promise[..]].concat()));
    run.server(
        [peers.response(2, END_STREAM, "200"), peers.response(1, END_STREAM, "200")].concat(),
    );
    assert_eq!(pairs(&run.out), [pair("/style", 200), pair("/page", 200)]);
}

#[test]
fn cookies_in_crumbs_are_one() {
    let mut peers = Peers::new();
    let fields = [(":method", "GET"), (":path", "/"), ("cookie", "a=1"), ("cookie", "b=2")];
    let block = Peers::block(&mut peers.client, &fields);
    let mut run = Run::new();
    run.client([hello(), frame(1, END_HEADERS | END_STREAM, 1, &block)].concat()).close();
    assert_eq!(run.out[0].request.headers.get("cookie"), Some(&b"a=1; b=2"[..]));
}

#[test]
fn streams_and_bodies_are_bounded_and_none_is_forgotten() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client(hello());
    let body = vec![b'x'; 16 * 1024];
    for id in (1..6001).step_by(2) {
        let head = peers.request(id, 0, "POST", "/upload");
        run.client([head, data(id, 0, &body)].concat());
        assert!(run.connection.streams.len() <= STREAMS_MAX);
        assert!(run.connection.kept <= BODIES_MAX * Limits::default().body_bytes);
    }
    run.close();
    assert_eq!(run.out.len(), 3000);
    let total: u64 = run.out.iter().map(|it| it.request.body.size).sum();
    assert_eq!(total, 3000 * 16 * 1024);
    assert_eq!(run.connection.kept, 0);
}

#[test]
fn heads_are_bounded_whatever_they_refer_to() {
    let mut run = Run::new();
    let long = "x".repeat(120);
    let block = [&[GET][..], &literal(PATH, "/a"), &literal(METHOD, &long)].concat();
    run.client([hello(), frame(1, END_HEADERS, 1, &block)].concat());
    for id in (3..4001).step_by(2) {
        // Every byte is a field.
        let block = [&[GET, NEXT][..], &[0x80 | 16; 2000]].concat();
        run.client(frame(1, END_HEADERS, id, &block));
        assert!(run.connection.heads <= HEADS_MAX + 2 * Limits::default().head_bytes);
    }
    run.close();
    assert_eq!(run.out.len(), 2000);
    assert_eq!(run.connection.heads, 0);
    assert!(run.out[1].request.notes.is_cut());
}

#[test]
fn the_target_of_a_tunnel_is_its_authority() {
    let mut run = Run::new();
    let block = [literal(METHOD, "CONNECT"), literal(AUTHORITY, "shop.example:443")].concat();
    run.client([hello(), frame(1, END_HEADERS, 1, &block)].concat()).close();
    assert_eq!(pairs(&run.out), [pair("shop.example:443", None)]);
}

#[test]
fn bytes_of_a_path_that_are_not_utf8_are_percent_encoded() {
    let mut run = Run::new();
    let block = [&[GET, 0x40 | PATH, 3][..], b"/\xff\xfe"].concat();
    run.client([hello(), head(1, &block)].concat()).close();
    assert_eq!(pairs(&run.out), [pair("/%FF%FE", None)]);
}
