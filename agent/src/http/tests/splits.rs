//! However a stream is cut into calls, the same exchanges come out.

use super::*;

/// Two keep-alive exchanges and a pipeline, with most features.
fn conversation() -> Vec<Input> {
    vec![
        request("GET /a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        response(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;e\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n",
        ),
        request("POST /b HTTP/1.1\r\nHost : a\r\nX: 1\r\n 2\r\nContent-Length: 4\r\n\r\nbody"),
        response("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\nContent-Length: 2\n\nok"),
        request(
            "HEAD /c HTTP/1.1\r\n\r\nBREW /d HTTP/1.1\r\n\r\n\r\nPUT /e HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        response(
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nHTTP/1.1 204 None\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end",
        ),
        Input::End(OUT),
    ]
}

fn summaries(inputs: &[Input]) -> Vec<String> {
    run(inputs).iter().map(summary).collect()
}

/// Cuts each piece at `at`, where it is that long.
fn cut(inputs: &[Input], mut pieces: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Vec<Input> {
    let mut out = Vec::new();
    for input in inputs {
        match input {
            Input::Bytes(direction, bytes) => {
                out.extend(pieces(bytes).into_iter().map(|piece| Input::Bytes(*direction, piece)));
            }
            other => out.push(other.clone()),
        }
    }
    out
}

#[test]
fn every_cut_in_two_gives_the_same_exchanges() {
    let inputs = conversation();
    let expected = summaries(&inputs);
    assert_eq!(expected.len(), 5);
    assert!(expected.iter().all(|it| it.contains("| missing 0") && !it.contains("none")));
    for at in 1..150 {
        let halves = cut(&inputs, |bytes| {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            vec![head.to_vec(), tail.to_vec()]
        });
        assert_eq!(summaries(&halves), expected, "cut at {at}");
    }
}

#[test]
fn pieces_of_every_length_give_the_same_exchanges() {
    let inputs = conversation();
    let expected = summaries(&inputs);
    for len in 1..80 {
        let pieces = cut(&inputs, |bytes| bytes.chunks(len).map(<[u8]>::to_vec).collect());
        assert_eq!(summaries(&pieces), expected, "pieces of {len}");
    }
}

#[test]
fn every_prefix_comes_out_as_far_as_it_goes() {
    let inputs = cut(&conversation(), |bytes| bytes.chunks(1).map(<[u8]>::to_vec).collect());
    let whole = run(&inputs);
    for len in 0..inputs.len() {
        let out = run(&inputs[..len]);
        assert!(out.len() <= whole.len());
        for (part, whole) in out.iter().zip(&whole) {
            assert_eq!(part.request.target, whole.request.target, "at {len} inputs");
            if let (Some(part), Some(whole)) = (&part.response, &whole.response) {
                assert_eq!(part.status, whole.status, "at {len} inputs");
                assert!(whole.body.bytes.starts_with(&part.body.bytes));
            }
        }
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let inputs = conversation();
    for (index, input) in inputs.iter().enumerate() {
        let Input::Bytes(direction, bytes) = input else { continue };
        for at in 0..bytes.len() {
            for byte in [0, b'\r', b'\n', b' ', b'0', b'f', b':', 0x7f, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                let mut inputs = inputs.clone();
                inputs[index] = Input::Bytes(*direction, damaged);
                run(&inputs);
            }
        }
    }
}
