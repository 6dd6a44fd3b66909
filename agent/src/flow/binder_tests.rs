//! Scenarios of the binder.

use super::*;
use crate::flow::{sample, tls_record::tests::starts};

const A: Session = session(1);
const B: Session = session(2);
const X: FlowId = FlowId { id: 100, generation: 1 };
const Y: FlowId = FlowId { id: 200, generation: 1 };

const fn session(id: u64) -> Session {
    Session { tgid: 7, flow: FlowId { id, generation: 1 } }
}

/// A binder with a running clock, all in thread 7 unless told.
#[derive(Default)]
struct Scene {
    binder: Binder,
    now: u64,
}

impl Scene {
    fn with_hello() -> Self {
        let mut scene = Self::default();
        scene.binder.hello(X, Some(17));
        scene.binder.hello(Y, Some(17));
        scene
    }

    fn plain(&mut self, session: Session, direction: Direction, len: u64, tid: u32) {
        self.now += 1000;
        let time = Timestamp(self.now);
        self.binder.plaintext(Plaintext { time, session, tid, direction, len });
    }

    fn write(&mut self, session: Session, len: u64) {
        self.plain(session, Direction::EGRESS, len, 7);
    }

    fn read(&mut self, session: Session, len: u64) {
        self.plain(session, Direction::INGRESS, len, 7);
    }

    fn records(&mut self, socket: FlowId, direction: Direction, lens: &[u16]) {
        self.now += 1000;
        let records: Vec<_> = lens.iter().map(|len| (23, *len)).collect();
        let data = Data { flow: socket, direction, ..sample::data(&starts(&records), 0) };
        self.binder.records(&Data { time: Timestamp(self.now), ..data });
    }

    fn sent(&mut self, socket: FlowId, lens: &[u16]) {
        self.records(socket, Direction::EGRESS, lens);
    }

    fn received(&mut self, socket: FlowId, lens: &[u16]) {
        self.records(socket, Direction::INGRESS, lens);
    }

    /// Socket and percents of confidence.
    fn bound(&self, session: Session) -> Option<(FlowId, i32)> {
        let (socket, binding) = self.binder.binding(session)?;
        let percent =
            (0..=100).find(|p| (*p as f32 / 100.0 - binding.confidence()).abs() < 0.001)?;
        Some((socket, percent))
    }
}

#[test]
fn confidence_rises_with_agreement_in_either_direction() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    assert_eq!(scene.bound(A), None);
    scene.sent(X, &[117]);
    assert_eq!(scene.bound(A), Some((X, 90)));
    scene.received(X, &[317]);
    scene.read(A, 300);
    assert_eq!(scene.bound(A), Some((X, 99)));
}

#[test]
fn a_long_write_is_one_vote_for_all_its_records() {
    let mut scene = Scene::with_hello();
    scene.write(A, 40_000);
    scene.sent(X, &[16_401, 16_401]);
    assert_eq!(scene.bound(A), None);
    scene.sent(X, &[7_249]);
    assert_eq!(scene.bound(A), Some((X, 90)));
}

#[test]
fn writes_that_leave_together_vote_each() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    scene.write(A, 50);
    scene.sent(X, &[117, 67]);
    assert_eq!(scene.bound(A), Some((X, 99)));
}

#[test]
fn equal_lengths_of_two_sessions_say_nothing() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    scene.write(B, 100);
    scene.sent(X, &[117]);
    scene.sent(Y, &[117]);
    assert_eq!((scene.bound(A), scene.bound(B)), (None, None));
}

#[test]
fn equal_lengths_on_two_sockets_say_nothing() {
    let mut scene = Scene::with_hello();
    scene.received(X, &[117]);
    scene.received(Y, &[117]);
    scene.read(A, 100);
    scene.read(B, 100);
    assert_eq!((scene.bound(A), scene.bound(B)), (None, None));
}

#[test]
fn a_session_that_has_its_socket_leaves_the_other_to_the_other() {
    let mut scene = Scene::with_hello();
    scene.write(A, 10);
    scene.sent(X, &[27]);
    scene.write(A, 100);
    scene.write(B, 100);
    // Y can only be B's, for A has X.
    scene.sent(Y, &[117]);
    scene.sent(X, &[117]);
    assert_eq!(scene.bound(A).map(|(socket, _)| socket), Some(X));
    assert_ne!(scene.bound(B).map(|(socket, _)| socket), Some(X));
}

#[test]
fn another_thread_or_a_late_record_does_not_count() {
    let mut scene = Scene::with_hello();
    scene.plain(A, Direction::EGRESS, 100, 8);
    scene.sent(X, &[117]);
    scene.write(A, 100);
    scene.now += WAIT_NS;
    scene.sent(X, &[117]);
    assert_eq!(scene.bound(A), None);
}

#[test]
fn one_contradiction_lowers_confidence_and_two_rebind() {
    let mut scene = Scene::with_hello();
    for _ in 0..2 {
        scene.write(A, 100);
        scene.sent(X, &[117]);
    }
    scene.write(A, 60);
    scene.sent(Y, &[77]);
    assert_eq!(scene.bound(A), Some((X, 50)));
    scene.write(A, 61);
    scene.sent(Y, &[78]);
    assert_eq!(scene.bound(A), Some((Y, 90)));
    assert!(!scene.binder.is_bound(X));
}

#[test]
fn an_agreeing_vote_after_a_contradiction_restores() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    scene.sent(X, &[117]);
    scene.write(A, 60);
    scene.sent(Y, &[77]);
    scene.write(A, 100);
    scene.sent(X, &[117]);
    assert_eq!(scene.bound(A), Some((X, 99)));
}

#[test]
fn a_socket_goes_to_another_session_only_after_two_votes() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    scene.sent(X, &[117]);
    scene.write(B, 60);
    scene.sent(X, &[77]);
    assert_eq!((scene.bound(A), scene.bound(B)), (Some((X, 50)), None));
    scene.write(B, 61);
    scene.sent(X, &[78]);
    assert_eq!((scene.bound(A), scene.bound(B)), (None, Some((X, 90))));
}

#[test]
fn nested_evidence_wins_over_lengths() {
    let mut scene = Scene::with_hello();
    scene.binder.nested(A, X);
    for _ in 0..3 {
        scene.write(B, 60);
        scene.sent(X, &[77]);
        scene.write(A, 60);
        scene.sent(Y, &[77]);
    }
    assert_eq!((scene.bound(A), scene.bound(B)), (Some((X, 100)), None));
    assert!(scene.binder.is_bound(X));
}

#[test]
fn a_session_whose_nested_evidence_conflicts_stays_unbound() {
    let mut scene = Scene::with_hello();
    scene.binder.nested(A, X);
    scene.binder.conflict(A);
    scene.write(A, 60);
    scene.sent(X, &[77]);
    assert_eq!(scene.bound(A), None);
    assert!(!scene.binder.is_bound(X));
}

#[test]
fn without_a_hello_two_votes_with_one_overhead_are_needed() {
    let mut scene = Scene::default();
    scene.write(A, 100);
    scene.sent(X, &[124]);
    assert_eq!(scene.bound(A), None);
    scene.write(A, 50);
    scene.sent(X, &[67]);
    assert_eq!(scene.bound(A), None);
    scene.write(A, 51);
    scene.sent(X, &[68]);
    assert_eq!(scene.bound(A), Some((X, 90)));
}

#[test]
fn lengths_of_a_cipher_that_pads_are_not_looked_at() {
    let mut scene = Scene::default();
    scene.binder.hello(X, None);
    for _ in 0..3 {
        scene.write(A, 100);
        scene.sent(X, &[117]);
    }
    assert_eq!(scene.bound(A), None);
}

#[test]
fn handshake_records_and_odd_bytes_are_skipped() {
    let mut scene = Scene::with_hello();
    scene.write(A, 100);
    let mut records = starts(&[(22, 117), (23, 117), (23, 117)]);
    records[25] = 9;
    records.pop();
    let data = Data { flow: X, direction: Direction::EGRESS, ..sample::data(&records, 0) };
    scene.binder.records(&Data { time: Timestamp(scene.now), ..data });
    assert_eq!(scene.bound(A), None);
}

#[test]
fn what_is_remembered_of_a_thread_is_bounded() {
    let mut scene = Scene::with_hello();
    for len in 0..10_000 {
        scene.write(A, 1 + len);
        scene.received(X, &[1, 2, 3]);
    }
    let thread = scene.binder.threads.entry(&7);
    assert!(thread.writes.len() <= PER_THREAD && thread.reads.len() <= PER_THREAD);
}

#[test]
fn forked_processes_with_one_address_are_two_sessions() {
    let mut scene = Scene::with_hello();
    let child = Session { tgid: 8, ..A };
    scene.write(A, 100);
    scene.sent(X, &[117]);
    scene.plain(child, Direction::EGRESS, 60, 8);
    assert_eq!((scene.bound(A), scene.bound(child)), (Some((X, 90)), None));
}
