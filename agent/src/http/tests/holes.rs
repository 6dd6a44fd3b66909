//! Conversations with holes at random: nothing that comes out is wrong.

use proptest::prelude::*;

use super::*;

/// How the body of a message is framed, and its length.
#[derive(Clone, Copy, Debug)]
enum Framed {
    None,
    Length(usize),
    Chunked(usize),
}

#[derive(Clone, Debug)]
struct Pair {
    request: Framed,
    response: Framed,
    interim: bool,
}

fn framed() -> impl Strategy<Value = Framed> {
    prop_oneof![
        Just(Framed::None),
        (1_usize..200).prop_map(Framed::Length),
        (1_usize..200).prop_map(Framed::Chunked),
    ]
}

fn pair_strategy() -> impl Strategy<Value = Pair> {
    (framed(), framed(), prop::bool::weighted(0.2)).prop_map(|(request, response, interim)| Pair {
        request,
        response,
        interim,
    })
}

/// The message's fields on framing, and its body.
fn rest(framed: Framed) -> String {
    match framed {
        Framed::None => "Content-Length: 0\r\n\r\n".into(),
        Framed::Length(len) => format!("Content-Length: {len}\r\n\r\n{}", "b".repeat(len)),
        Framed::Chunked(len) => {
            let (first, second) = (len / 2 + 1, len);
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{first:x}\r\n{}\r\n{second:x}\r\n{}\r\n0\r\n\r\n",
                "c".repeat(first),
                "c".repeat(second)
            )
        }
    }
}

/// Each batch is sent as a whole before its responses come: a pipeline when it is
/// of more than one.
fn calls(batches: &[Vec<Pair>]) -> Vec<(Direction, String)> {
    let mut calls = Vec::new();
    let mut id = 0;
    for batch in batches {
        let first = id;
        for pair in batch {
            let method = if matches!(pair.request, Framed::None) { "GET" } else { "POST" };
            let rest = rest(pair.request);
            calls.push((IN, format!("{method} /{id} HTTP/1.1\r\nX-Id: {id}\r\n{rest}")));
            id += 1;
        }
        for (at, pair) in batch.iter().enumerate() {
            if pair.interim {
                calls.push((OUT, "HTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\n".into()));
            }
            let rest = rest(pair.response);
            let id = first + at;
            let status = 400 + id;
            calls.push((OUT, format!("HTTP/1.1 {status} OK\r\nX-Id: {id}\r\n{rest}")));
        }
    }
    calls
}

/// Cuts `calls` by a list of lengths, of which some are holes.
fn holed(calls: &[(Direction, String)], cuts: &[(usize, bool)]) -> Vec<Input> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut inputs = Vec::new();
    for (direction, call) in calls {
        let mut bytes = call.as_bytes();
        while !bytes.is_empty() {
            let (len, hole) = cuts.next().unwrap_or((bytes.len(), false));
            let (piece, rest) = bytes.split_at(len.clamp(1, bytes.len()));
            inputs.push(if hole {
                Input::Missing(*direction, piece.len() as u64)
            } else {
                Input::Bytes(*direction, piece.to_vec())
            });
            bytes = rest;
        }
    }
    inputs
}

fn batches(longest: usize) -> impl Strategy<Value = Vec<Vec<Pair>>> {
    prop::collection::vec(prop::collection::vec(pair_strategy(), 1..=longest), 1..8)
}

fn cuts(holes: f64) -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((1_usize..300, prop::bool::weighted(holes)), 1..40)
}

fn ids_agree(out: &[Exchange]) -> Result<(), TestCaseError> {
    for exchange in out {
        let id = exchange.request.target.strip_prefix('/').unwrap_or_default();
        let of_it = |headers: &Headers, notes: Notes| match headers.get_str("x-id") {
            Some(other) => other == id,
            // Of a head that was cut the field may be missing.
            None => notes.contains(Notes::HEAD_CUT),
        };
        let request = &exchange.request;
        prop_assert!(of_it(&request.headers, request.notes), "{}", summary(exchange));
        if let Some(response) = &exchange.response {
            prop_assert!(of_it(&response.headers, response.notes), "{}", summary(exchange));
            prop_assert_eq!((response.status - 400).to_string(), id, "{}", summary(exchange));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn without_holes_every_request_has_its_response(batches in batches(4), cuts in cuts(0.0)) {
        let calls = calls(&batches);
        let out = run(&holed(&calls, &cuts));
        prop_assert_eq!(out.len(), batches.iter().map(Vec::len).sum::<usize>());
        ids_agree(&out)?;
        for exchange in &out {
            let response = exchange.response.as_ref();
            prop_assert!(exchange.request.ended && response.is_some_and(|it| it.ended));
        }
    }

    #[test]
    fn with_holes_no_response_is_paired_with_another_request(
        batches in batches(4),
        cuts in cuts(0.15),
    ) {
        let inputs = holed(&calls(&batches), &cuts);
        let mut run = Run::new(Limits::default());
        run.feed(&inputs).close();
        ids_agree(&run.out)?;
        // Every byte that is missing is missing of one exchange or of none.
        let holes: u64 = inputs.iter().map(|it| if let Input::Missing(_, len) = it { *len } else { 0 }).sum();
        let told: u64 = run.out.iter().map(|it| it.missing.total()).sum();
        prop_assert_eq!(holes, told + run.connection.losses().missing.total());
    }

    #[test]
    fn without_pipelining_pairs_are_found_again_after_holes(
        before in batches(1),
        cuts in cuts(0.3),
        after in batches(1),
    ) {
        let ids = before.len();
        let all: Vec<_> = before.into_iter().chain(after).collect();
        let calls = calls(&all);
        let start = calls.iter().rposition(|(_, call)| call.contains(&format!("/{ids} HTTP"))).unwrap();
        let mut inputs = holed(&calls[..start], &cuts);
        inputs.extend(calls[start..].iter().map(|(way, call)| Input::Bytes(*way, call.clone().into())));
        let out = run(&inputs);
        ids_agree(&out)?;
        // One exchange may be needed to see that what was lost is over.
        for id in ids + 1..all.len() {
            let target = format!("/{id}");
            let found = out.iter().find(|it| *it.request.target == *target);
            prop_assert!(found.is_some_and(|it| it.response.is_some()), "{} is not paired", target);
        }
    }

    #[test]
    fn where_messages_are_cut_every_call_is_counted_with_its_status(
        batches in batches(1),
        kept in 24_usize..200,
    ) {
        let calls = calls(&batches);
        let mut inputs = Vec::new();
        for (way, call) in &calls {
            let (first, rest) = call.as_bytes().split_at(kept.min(call.len()));
            inputs.push(Input::Bytes(*way, first.to_vec()));
            if !rest.is_empty() {
                inputs.push(Input::Missing(*way, rest.len() as u64));
            }
        }
        let out = run(&inputs);
        ids_agree(&out)?;
        prop_assert_eq!(out.len(), batches.len());
        for (exchange, batch) in out.iter().zip(&batches) {
            // Behind an interim response that was cut the final one may have been lost.
            let doubt = batch.iter().any(|pair| pair.interim);
            prop_assert!(doubt || exchange.response.is_some(), "{}", summary(exchange));
        }
    }

    #[test]
    fn inputs_of_any_kind_never_panic(
        inputs in prop::collection::vec((0_u8..8, any::<u64>(), ".{0,40}"), 0..40),
    ) {
        let inputs: Vec<_> = inputs.into_iter().map(|(kind, len, text)| {
            let way = if kind % 2 == 0 { IN } else { OUT };
            match kind / 2 {
                0 => Input::Missing(way, len),
                1 => Input::End(way),
                2 => Input::Bytes(way, text.into_bytes()),
                _ if way == IN => request(format!("POST /{len} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n")),
                _ => response(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n")),
            }
        }).collect();
        run(&inputs);
    }
}
