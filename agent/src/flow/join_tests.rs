//! Scenarios of the joiner.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    call::{Cause, Connection, Ends, Missing, Process, Times},
    flow::sample,
    http::{Headers, Version},
};

fn body(text: &'static str) -> Body {
    let bytes = Bytes::from_static(text.as_bytes());
    Body { size: bytes.len() as u64, bytes, ..Body::default() }
}

fn process(pid: u32) -> Arc<Process> {
    let comm = String::new();
    Arc::new(Process { pid, start_ns: 1, comm, executable: String::new(), container_id: None })
}

/// One view of a call that begins at `start`: the client's lies around the server's.
fn view_of(role: Role, target: &str, start: u64) -> Call {
    let client = role == Role::Client;
    let request_start = if client { start } else { start + 10 };
    let response_end = if client { start + 100 } else { start + 90 };
    Call {
        id: 0,
        role,
        both_ends: false,
        times: Times {
            request_start: Timestamp(request_start),
            request_end: Timestamp(request_start),
            response_start: Some(Timestamp(response_end)),
            response_end: Some(Timestamp(response_end)),
        },
        request: Request {
            method: "GET".into(),
            target: target.into(),
            version: Version::Http11,
            headers: Headers::from_pairs([("host", "a")]),
            body: Body::default(),
            ended: true,
            notes: Notes::default(),
        },
        response: Some(Response {
            status: 200,
            version: Version::Http11,
            headers: Headers::default(),
            trailers: Headers::default(),
            body: body("hello"),
            ended: true,
            notes: Notes::default(),
        }),
        process: Some(process(if client { 1 } else { 2 })),
        peer_process: None,
        connection: Connection { id: if client { 1 } else { 2 }, ends: Ends::Unknown },
        tls: None,
        missing: Missing::default(),
    }
}

fn at(role: Role, offset: Option<u64>) -> View {
    let (local, remote) = if role == Role::Server { (80, 4000) } else { (4000, 80) };
    let ends = EndsKey::new(&sample::tuple(local, remote)).unwrap();
    View { ends, offset, mirrored: true }
}

struct Scene {
    joiner: Joiner,
    stats: Stats,
    out: Vec<Call>,
}

impl Scene {
    fn new(limit: usize) -> Self {
        Self { joiner: Joiner::new(limit), stats: Stats::default(), out: Vec::new() }
    }

    fn call(&mut self, call: Call, view: View) {
        let now = call.times.response_end.unwrap();
        self.joiner.call(call, Some(view), now, &mut self.stats, &mut self.out);
    }

    fn see(&mut self, role: Role, target: &str, start: u64, offset: Option<u64>) {
        self.call(view_of(role, target, start), at(role, offset));
    }
}

#[test]
fn two_views_become_one_call_of_the_server() {
    let mut scene = Scene::new(10);
    scene.see(Role::Server, "/a", 0, Some(0));
    assert_eq!((scene.out.len(), scene.joiner.waiting()), (0, 1));
    scene.see(Role::Client, "/a", 0, Some(0));
    assert_eq!((scene.out.len(), scene.joiner.waiting(), scene.stats.joined), (1, 0, 1));
    let call = &scene.out[0];
    assert!(call.both_ends && call.role == Role::Server);
    assert_eq!(call.process.as_ref().unwrap().pid, 2);
    assert_eq!(call.peer_process.as_ref().unwrap().pid, 1);
    assert_eq!(call.times.request_start, Timestamp(10));
}

#[test]
fn the_more_complete_message_and_the_smaller_loss_are_kept() {
    let mut scene = Scene::new(10);
    let mut server = view_of(Role::Server, "/a", 0);
    let response = server.response.as_mut().unwrap();
    response.body = Body { state: BodyState::Truncated, ..body("hel") };
    server.missing.add(Cause::Budget, 2);
    scene.call(server, at(Role::Server, None));
    scene.call(view_of(Role::Client, "/a", 0), at(Role::Client, None));
    let call = &scene.out[0];
    assert_eq!(call.response.as_ref().unwrap().body.bytes, "hello");
    assert!(call.missing.is_empty());
}

#[test]
fn a_head_that_was_cut_at_one_end_is_that_of_the_other() {
    for cut in [Role::Server, Role::Client] {
        for (fields, joined) in [(&[("host", "a")][..], 1), (&[("host", "b")], 2)] {
            let mut scene = Scene::new(10);
            for role in [Role::Server, Role::Client] {
                let mut call = view_of(role, "/a", 0);
                call.request.headers = Headers::from_pairs([("host", "a"), ("x", "y")]);
                if role == cut {
                    call.request.headers = Headers::from_pairs(fields.iter().copied());
                    call.request.notes.insert(Notes::HEAD_CUT);
                }
                scene.call(call, at(role, None));
            }
            scene.joiner.finish(&mut scene.stats, &mut scene.out);
            assert_eq!(scene.out.len(), joined);
            let whole = scene.out.iter().find(|call| call.request.headers.iter().count() == 2);
            assert!(!whole.unwrap().request.notes.contains(Notes::HEAD_CUT));
        }
    }
}

#[test]
fn equal_requests_in_a_row_are_joined_each_with_its_own() {
    for offsets in [true, false] {
        let mut scene = Scene::new(100);
        let offset = |number: u64| offsets.then_some(number * 50);
        for number in 0..10 {
            scene.see(Role::Server, "/poll", number * 1000, offset(number));
        }
        for number in 0..10 {
            scene.see(Role::Client, "/poll", number * 1000, offset(number));
        }
        assert_eq!(scene.out.len(), 10);
        for (number, call) in (0..).zip(&scene.out) {
            assert_eq!(call.times.request_start, Timestamp(number * 1000 + 10));
        }
    }
}

#[test]
fn when_one_view_is_lost_the_others_keep_their_partners() {
    for offsets in [true, false] {
        let mut scene = Scene::new(100);
        let offset = |number: u64| offsets.then_some(number * 50);
        for number in 1..4 {
            scene.see(Role::Server, "/poll", number * 1000, offset(number));
        }
        for number in 0..3 {
            scene.see(Role::Client, "/poll", number * 1000, offset(number));
        }
        let joined: Vec<_> = scene.out.iter().map(|call| call.times.request_start.0).collect();
        assert_eq!(joined, [1010, 2010]);
        let Scene { mut joiner, mut stats, mut out } = scene;
        joiner.finish(&mut stats, &mut out);
        assert_eq!((out.len(), stats.join_timeouts, joiner.waiting()), (4, 2, 0));
    }
}

#[test]
fn calls_that_differ_in_anything_both_ends_see_stay_two() {
    let differ: [fn(&mut Call); 5] = [
        |call| call.request.target = "/b".into(),
        |call| call.request.method = "PUT".into(),
        |call| call.request.headers = Headers::from_pairs([("host", "b")]),
        |call| call.response.as_mut().unwrap().status = 500,
        |call| call.role = Role::Server,
    ];
    for change in differ {
        let mut scene = Scene::new(10);
        scene.see(Role::Server, "/a", 0, Some(0));
        let mut client = view_of(Role::Client, "/a", 0);
        change(&mut client);
        scene.call(client, at(Role::Client, Some(0)));
        assert_eq!((scene.stats.joined, scene.joiner.waiting()), (0, 2));
    }
}

#[test]
fn equal_pipelined_requests_without_positions_stay_two() {
    let mut scene = Scene::new(10);
    scene.see(Role::Server, "/a", 0, None);
    let mut client = view_of(Role::Client, "/a", 0);
    client.request.notes.insert(Notes::PIPELINED);
    scene.call(client, at(Role::Client, None));
    assert_eq!(scene.stats.joined, 0);
}

#[test]
fn a_call_waits_only_for_a_flow_that_is_there_and_not_for_ever() {
    let mut scene = Scene::new(10);
    let alone = View { mirrored: false, ..at(Role::Server, None) };
    scene.call(view_of(Role::Server, "/a", 0), alone);
    assert_eq!(scene.out.len(), 1);

    scene.see(Role::Server, "/b", 0, None);
    let Scene { joiner, stats, out } = &mut scene;
    joiner.expire(Timestamp(89 + WAIT_NS), stats, out);
    assert_eq!(out.len(), 1);
    joiner.expire(Timestamp(90 + WAIT_NS), stats, out);
    assert_eq!((out.len(), stats.join_timeouts), (2, 1));

    scene.see(Role::Server, "/c", 0, None);
    let Scene { joiner, stats, out } = &mut scene;
    joiner.closed(at(Role::Client, None).ends, stats, out);
    assert_eq!((out.len(), joiner.waiting()), (3, 0));
}

#[test]
fn what_waits_is_bounded_and_nothing_is_lost() {
    let mut scene = Scene::new(100);
    for number in 0..1000 {
        scene.see(Role::Server, "/a", number, Some(number));
        assert!(scene.joiner.waiting() <= PER_FLOW);
        assert!(scene.joiner.deadlines.len() <= 201);
    }
    let Scene { mut joiner, mut stats, mut out } = scene;
    joiner.finish(&mut stats, &mut out);
    assert_eq!(out.len(), 1000);
    assert!(joiner.waiting.is_empty());
}
