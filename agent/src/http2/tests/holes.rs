//! Conversations with holes: nothing that comes out is wrong.

use proptest::prelude::*;

use super::*;

#[test]
fn a_hole_in_a_body_is_in_its_call_alone() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client([hello(), peers.request(1, END_STREAM, "GET", "/a")].concat());
    let body = data(1, END_STREAM, &[b'x'; 100]);
    run.server([peers.response(1, 0, "200"), body[..29].to_vec()].concat());
    run.feed(&[Input::Missing(OUT, 60)]).server(&body[89..]);
    run.client(peers.request(3, END_STREAM, "GET", "/b"))
        .server(peers.response(3, END_STREAM, "200"));
    assert_eq!(pairs(&run.out), [pair("/a", 200), pair("/b", 200)]);
    let response = run.out[0].response.as_ref().unwrap();
    assert_eq!((response.body.size, response.body.bytes.len()), (100, 20));
    assert_eq!((response.body.state, response.ended), (BodyState::Truncated, true));
    assert_eq!(run.out[0].missing.total(), 60);
    assert!(run.out[1].missing.is_empty() && run.out[1].request.notes == Notes::default());
}

#[test]
fn a_hole_in_a_head_cuts_it_and_makes_the_table_unknown() {
    let mut run = Run::new();
    let block = [&[GET][..], &literal(METHOD, "LINK"), &literal(PATH, "/a")].concat();
    run.client([hello(), head(1, &block)].concat()).server(head(1, &[OK]));
    let second = head(3, &[&[GET, NEWEST][..], &literal(AUTHORITY, "shop.example")].concat());
    run.client(&second[..second.len() - 9]).feed(&[Input::Missing(IN, 9)]);
    run.server(head(3, &[OK]));
    // Whether the authority was inserted is not known, nor so what any index leads to.
    run.client(head(5, &[GET, NEXT])).server(head(5, &[OK]));
    assert_eq!(pairs(&run.out), [pair("/a", 200), pair("/a", 200), pair("(unknown)", 200)]);
    assert!(run.out[1].request.notes.contains(Notes::HEAD_CUT));
    assert!(run.out[2].request.notes.contains(Notes::PATH_UNKNOWN));
    assert_eq!(run.connection.losses().missing.total(), 9);
}

#[test]
fn padding_that_is_missing_is_no_body() {
    let mut run = Run::new();
    run.client([hello(), head(1, &[&[GET][..], &literal(PATH, "/a")].concat())].concat());
    let body = frame(0, END_STREAM | 0x8, 1, &[&[10][..], &[b'x'; 80], &[0; 10]].concat());
    run.server([&frame(1, END_HEADERS, 1, &[OK])[..], &body[..30]].concat());
    run.feed(&[Input::Missing(OUT, body.len() as u64 - 30)]);
    assert_eq!(run.out[0].response.as_ref().unwrap().body.size, 80);
    assert_eq!(run.out[0].missing.total() + run.connection.losses().missing.total(), 70);
}

#[test]
fn what_is_lost_before_a_response_is_not_missing_of_it() {
    let mut run = Run::new();
    run.client([hello(), head(1, &[&[GET][..], &literal(PATH, "/a")].concat())].concat());
    run.server(frame(4, 1, 0, &[])).feed(&[Input::Missing(OUT, 9)]);
    run.server([frame(1, END_HEADERS, 1, &[OK]), data(1, END_STREAM, b"{}")].concat());
    let response = run.out[0].response.as_ref().unwrap();
    assert_eq!((&response.body.bytes[..], response.notes.is_cut()), (&b"{}"[..], false));
}

#[test]
fn bytes_that_look_like_a_request_behind_a_hole_make_no_call() {
    let mut run = Run::new();
    run.client([hello(), head(1, &[&[GET][..], &literal(PATH, "/a")].concat())].concat());
    run.server(head(1, &[OK])).feed(&[Input::Missing(IN, 10)]);
    // A block that no encoder makes; streams that no client opens.
    run.client([&b"x"[..], &head(101, &[0x80; 8])].concat());
    run.client([head(2, &[GET, 0x84]), head(1, &[GET, 0x84])].concat()).close();
    assert_eq!(pairs(&run.out), [pair("/a", 200)]);
    assert_eq!(run.connection.highest, 1);
}

#[test]
fn behind_a_hole_of_frames_the_next_ones_are_found() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    let first = peers.request(1, END_STREAM, "GET", "/a");
    let second = peers.request(3, END_STREAM, "GET", "/b");
    let third = peers.request(5, END_STREAM, "GET", "/c");
    run.client([hello(), first].concat()).feed(&[Input::Missing(IN, second.len() as u64)]);
    run.client(third);
    run.server([1, 3, 5].map(|id| peers.response(id, END_STREAM, "200")).concat()).close();
    assert_eq!(pairs(&run.out), [pair("/a", 200), pair("/c", 200)]);
    assert_eq!(run.connection.losses().responses, 1);
}

#[test]
fn where_the_end_of_a_response_is_lost_its_call_does_not_wait_for_ever() {
    let mut peers = Peers::new();
    let mut run = Run::new();
    run.client([hello(), peers.request(1, END_STREAM, "GET", "/a")].concat());
    let lost = peers.response(1, END_STREAM, "200");
    run.server(frame(4, 0, 0, &[])).feed(&[Input::Missing(OUT, lost.len() as u64)]);
    for id in (3..600).step_by(2) {
        run.client(peers.request(id, END_STREAM, "GET", "/b"));
        run.server(peers.response(id, END_STREAM, "200"));
    }
    assert!(run.out.iter().any(|it| &*it.request.target == "/a" && it.response.is_none()));
    assert_eq!(run.connection.streams.len(), 0);
}

/// Requests and their responses, each with its id as path, as frames with their directions.
fn frames(bodies: &[(usize, usize)]) -> Vec<(Direction, Vec<u8>)> {
    let mut peers = Peers::new();
    let mut all = vec![(IN, hello()), (OUT, frame(4, 0, 0, &[]))];
    for (at, (upload, download)) in bodies.iter().enumerate() {
        let id = u32::try_from(at * 2 + 1).unwrap();
        all.push((IN, peers.request(id, 0, "POST", &format!("/{id}"))));
        all.push((IN, data(id, END_STREAM, &vec![b'u'; *upload])));
        let fields = [(":status", "200".to_owned()), ("x-id", id.to_string())];
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let block = peers.server.encode(pairs);
        all.push((OUT, frame(1, END_HEADERS, id, &block)));
        all.push((OUT, data(id, END_STREAM, &vec![b'd'; *download])));
    }
    all
}

proptest! {
    #[test]
    fn with_any_holes_no_pair_is_wrong_and_every_byte_is_told(
        bodies in prop::collection::vec((0_usize..60, 0_usize..60), 1..20),
        holes in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..50), 0..6),
    ) {
        // Pieces are frames, and parts of them where there are holes.
        let frames = frames(&bodies);
        let mut lost = 0;
        let mut run = Run::new();
        for (at, (direction, bytes)) in frames.iter().enumerate() {
            let hole = holes.iter().find(|(index, _)| index.index(frames.len()) == at);
            let Some((_, len)) = hole else {
                run.feed(&[Input::Bytes(*direction, bytes.clone())]);
                continue;
            };
            let (start, len) = (bytes.len() / 3, (*len).min(bytes.len() - bytes.len() / 3));
            let missing = len as u64;
            lost += missing;
            for input in [
                Input::Bytes(*direction, bytes[..start].to_vec()),
                Input::Missing(*direction, missing),
                Input::Bytes(*direction, bytes[start + len..].to_vec()),
            ] {
                if !matches!(&input, Input::Bytes(_, bytes) if bytes.is_empty()) {
                    run.feed(&[input]);
                }
            }
        }
        run.close();
        let mut told = run.connection.losses().missing.total();
        for exchange in &run.out {
            told += exchange.missing.total();
            let Some(response) = &exchange.response else { continue };
            if let (Some(id), true) = (response.headers.get_str("x-id"), exchange.request.target.starts_with('/')) {
                prop_assert_eq!(&*exchange.request.target, format!("/{}", id));
            }
        }
        prop_assert_eq!(told, lost);
        prop_assert!(!holes.is_empty() || run.out.len() == bodies.len());
        prop_assert!(run.out.len() <= bodies.len());
    }

    #[test]
    fn inputs_of_any_kind_never_panic(
        inputs in prop::collection::vec((0_u8..6, 0_u8..12, any::<u8>(), 0_u32..6, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        whole in any::<bool>(),
    ) {
        let mut run = if whole { Run::new() } else { Run::joined() };
        for (what, kind, flags, stream, payload) in inputs {
            let way = if what % 2 == 0 { IN } else { OUT };
            run.feed(&[match what / 2 {
                0 => Input::Missing(way, u64::from(flags)),
                1 => Input::Bytes(way, payload),
                _ => Input::Bytes(way, frame(kind, flags, stream, &payload)),
            }]);
        }
        run.close();
        prop_assert!(run.out.iter().all(|it| it.times.request_start <= it.times.request_end));
    }
}
