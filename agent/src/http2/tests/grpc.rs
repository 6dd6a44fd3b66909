//! Messages of gRPC in bodies.

use super::*;
use crate::grpc::Messages;

/// A message of so many bytes.
fn message(flag: u8, len: u8) -> Vec<u8> {
    [&[flag, 0, 0, 0, len][..], &vec![b'm'; len.into()]].concat()
}

/// The head of a request of gRPC, and that of its response.
fn heads() -> (Vec<u8>, Vec<u8>) {
    let mut peers = Peers::new();
    let media_type = ("content-type", "application/grpc+proto");
    let request = [(":method", "POST"), (":scheme", "http"), (":path", "/a.B/C"), media_type];
    let request = Peers::block(&mut peers.client, &request);
    let response = Peers::block(&mut peers.server, &[(":status", "200"), media_type]);
    let trailers = peers.trailers(1, &[("grpc-status", "0")]);
    let request = [hello(), frame(1, END_HEADERS, 1, &request)].concat();
    (request, [frame(1, END_HEADERS, 1, &response), trailers].concat())
}

/// Messages of the request and of the response.
fn messages(run: &Run) -> (Option<Messages>, Option<Messages>) {
    let [exchange] = &run.out[..] else { panic!("{:?}", run.out) };
    let response = exchange.response.as_ref();
    (exchange.request.body.messages, response.and_then(|it| it.body.messages))
}

#[test]
fn messages_are_counted_across_frames() {
    let (head, answer) = heads();
    let body = [message(0, 30), message(1, 2), message(0, 0)].concat();
    for at in 0..body.len() {
        let (first, rest) = body.split_at(at);
        let mut run = Run::new();
        run.client(&head).client(data(1, 0, first)).client(data(1, END_STREAM, rest));
        run.server(&answer);
        let counted = Messages { count: 3, bytes: 32, compressed: 1, cut: false };
        assert_eq!(messages(&run), (Some(counted), Some(Messages::default())), "cut at {at}");
    }
}

#[test]
fn messages_are_counted_across_a_hole_within_one_and_no_further() {
    let (head, answer) = heads();
    let body = data(1, END_STREAM, &[message(0, 100), message(0, 50)].concat());
    // Within the first message; across the start of the second; the rest of the frame and more.
    for (from, len, count, cut) in [(20, 60, 2, false), (20, 95, 1, true), (20, 400, 1, true)] {
        let mut run = Run::new();
        run.client(&head).client(&body[..from]);
        run.feed(&[Input::Missing(IN, len)]);
        let behind = from + usize::try_from(len).unwrap();
        run.client(body.get(behind..).unwrap_or_default());
        run.server(&answer).close();
        let (request, _) = messages(&run);
        let request = request.unwrap();
        assert_eq!((request.count, request.cut), (count, cut), "{from} {len}: {request:?}");
    }
}

#[test]
fn bodies_of_other_calls_have_none() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client([hello(), peers.request(1, END_STREAM, "GET", "/a.B/C")].concat());
    run.server([peers.response(1, 0, "200"), data(1, END_STREAM, &message(0, 3))].concat());
    assert_eq!(messages(&run), (None, None));
}
