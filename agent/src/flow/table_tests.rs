//! Scenarios of the flow table: what it keeps, closes, binds and counts.

use agent_common::record::Direction;
use bytes::Bytes;
use proptest::prelude::*;

use super::{super::binder::Plaintext, *};
use crate::{
    call::{Binding, Cause},
    flow::{carrier::WAIT_NS, sample, tls_record::tests::starts},
};

fn table(limits: Limits) -> FlowTable {
    FlowTable::new(limits, http::Limits::default())
}

fn small() -> FlowTable {
    table(Limits { flows: 16, pending_bytes: 1000, ..Limits::default() })
}

/// A record of socket `id`.
fn socket(id: u64, protocol: Protocol) -> Data {
    Data { flow: FlowId { id, generation: 1 }, protocol, ..sample::data(b"GET ", 0) }
}

/// A record of a TLS session.
fn session(id: u64, tgid: u32, payload: &'static [u8]) -> Data {
    Data {
        tgid,
        layer: Layer::TLS,
        protocol: Protocol::UNKNOWN,
        tuple: Tuple::default(),
        payload: Bytes::from_static(payload),
        len: u32::try_from(payload.len()).unwrap(),
        ..socket(id, Protocol::UNKNOWN)
    }
}

fn end_of(data: &Data, offsets: [u64; 2]) -> End {
    End {
        time: data.time,
        direction: Direction::BOTH,
        layer: data.layer,
        tgid: data.tgid,
        flow: data.flow,
        offsets,
    }
}

/// Every index of the table agrees with its slots.
fn check(table: &FlowTable) {
    let open = table.slots.iter().flatten().count();
    assert_eq!(table.index.len(), open);
    assert_eq!(table.free.len() + open, table.slots.len());
    let sessions = table.slots.iter().flatten().filter(|flow| flow.key.is_session()).count();
    assert_eq!(table.sessions.values().map(Vec::len).sum::<usize>(), sessions);
    let known = table.slots.iter().flatten().filter(|flow| flow.ends_key.is_some()).count();
    assert_eq!(table.by_ends.values().map(|alike| alike.0 as usize).sum::<usize>(), known);
}

#[test]
fn flows_are_counted_by_what_they_are() {
    let (mut table, mut out) = (small(), Vec::new());
    let protocols =
        [Protocol::HTTP1, Protocol::HTTP2, Protocol::TLS, Protocol::IGNORED, Protocol::UNKNOWN];
    for (id, protocol) in (1..).zip(protocols) {
        table.data(socket(id, protocol), &mut out);
        table.data(socket(id, protocol), &mut out);
    }
    table.data(session(9, 7, b"GET / HTTP/1.1\r\n"), &mut out);
    table.data(session(10, 7, b"PRI * HTTP/2.0\r\n\r\n"), &mut out);
    check(&table);
    table.finish(&mut out);
    check(&table);
    assert!(table.is_empty());
    let flows = table.stats().flows;
    assert_eq!(
        (flows.http1, flows.http2, flows.tls, flows.tls_unbound, flows.ignored),
        (2, 2, 1, 1, 1)
    );
}

#[test]
fn a_full_table_evicts_and_counts_but_keeps_what_is_used() {
    let (mut table, mut out) = (small(), Vec::new());
    for id in 0..500 {
        for (id, time) in [(1_000_000, id * 2 + 1), (id, id * 2)] {
            let time = Timestamp(time);
            table.data(Data { time, ..socket(id, Protocol::HTTP1) }, &mut out);
        }
        assert!(table.len() <= 16);
    }
    check(&table);
    assert_eq!(table.stats().evicted_full, 501 - 16);
    assert_eq!(table.stats().flows.http1, 501, "the flow in use was not evicted");
}

#[test]
fn silent_flows_are_evicted() {
    let (mut table, mut out) = (small(), Vec::new());
    table.data(socket(1, Protocol::HTTP1), &mut out);
    table.tick(Timestamp(Limits::default().idle_ns), &mut out);
    assert_eq!(table.len(), 1);
    table.tick(Timestamp(Limits::default().idle_ns + 2_000_000), &mut out);
    assert_eq!((table.len(), table.stats().evicted_idle), (0, 1));
    check(&table);
}

#[test]
fn bytes_that_never_came_are_counted_by_direction_and_cause() {
    let (mut table, mut out) = (small(), Vec::new());
    let first = Data { flags: DataFlags::FIRST, ..socket(1, Protocol::HTTP1) };
    table.data(first.clone(), &mut out);
    let cut = Data { offset: 4, len: 10, flags: DataFlags::BUDGET, ..first.clone() };
    table.data(cut, &mut out);
    table.end(&end_of(&first, [20, 30]), &mut out);
    let [ingress, egress] = &table.stats().lost;
    assert_eq!(ingress.iter().collect::<Vec<_>>(), [(Cause::Budget, 6), (Cause::Transport, 6)]);
    assert_eq!(egress.iter().collect::<Vec<_>>(), [(Cause::Transport, 30)]);
    assert!(table.is_empty());
}

#[test]
fn a_hole_is_given_up_when_time_passes_without_records() {
    let (mut table, mut out) = (small(), Vec::new());
    table.data(socket(1, Protocol::HTTP1), &mut out);
    table.data(Data { offset: 9, ..socket(1, Protocol::HTTP1) }, &mut out);
    assert!(table.stats().lost[0].is_empty() && table.pending_bytes == 4);
    table.tick(Timestamp(1_000_000 + WAIT_NS), &mut out);
    assert_eq!((table.stats().lost[0].total(), table.pending_bytes), (5, 0));
    assert!(table.waiting.is_empty());
}

#[test]
fn a_record_of_an_earlier_time_does_not_keep_what_waits() {
    let (mut table, mut out) = (small(), Vec::new());
    table.data(socket(1, Protocol::HTTP1), &mut out);
    let late = Timestamp(60_000_000);
    table.data(Data { offset: 9, time: late, ..socket(1, Protocol::HTTP1) }, &mut out);
    // It comes again, from before.
    table.data(socket(1, Protocol::HTTP1), &mut out);
    table.tick(Timestamp(late.0 + WAIT_NS - 1), &mut out);
    assert_eq!(table.pending_bytes, 4);
    table.tick(Timestamp(late.0 + WAIT_NS), &mut out);
    assert_eq!(table.pending_bytes, 0);
}

#[test]
fn what_all_flows_hold_back_together_is_bounded() {
    let (mut table, mut out) = (small(), Vec::new());
    for id in 0..10 {
        table.data(socket(id, Protocol::HTTP1), &mut out);
        for offset in [1000, 2000, 3000] {
            let payload = Bytes::from(vec![7; 200]);
            let data = Data { offset, len: 200, payload, ..socket(id, Protocol::HTTP1) };
            table.data(data, &mut out);
            assert!(table.pending_bytes <= 1000);
        }
    }
    table.finish(&mut out);
    assert_eq!(table.pending_bytes, 0);
}

#[test]
fn the_end_of_a_process_ends_its_sessions_and_no_others() {
    let (mut table, mut out) = (small(), Vec::new());
    // One address in two processes: a fork.
    table.data(session(1, 7, b"GET / HTTP/1.1\r\n"), &mut out);
    table.data(session(1, 8, b"GET / HTTP/1.1\r\n"), &mut out);
    table.data(socket(2, Protocol::HTTP1), &mut out);
    table.exit(Timestamp(2_000_000), 7, &mut out);
    assert_eq!(table.len(), 2);
    check(&table);
}

#[test]
fn a_nested_call_binds_and_a_conflict_unbinds() {
    let (mut table, mut out) = (small(), Vec::new());
    let tls = socket(5, Protocol::TLS);
    table.data(tls.clone(), &mut out);
    let mut data = session(1, 7, b"GET / HTTP/1.1\r\n");
    data.flags = DataFlags::NESTED;
    data.socket = tls.flow;
    data.tuple = sample::tuple(443, 40000);
    table.data(data.clone(), &mut out);
    let session = Session { tgid: 7, flow: data.flow };
    assert_eq!(table.binder.binding(session), Some((tls.flow, Binding::NestedSyscall)));
    let key = EndsKey::new(&data.tuple).unwrap();
    assert!(table.by_ends.contains_key(&key));

    data.flags = DataFlags::NESTED.union(DataFlags::CONFLICT);
    data.offset = 16;
    table.data(data, &mut out);
    assert_eq!(table.binder.binding(session), None);
    assert!(!table.by_ends.contains_key(&key), "its ends are not known any more");
    check(&table);
    table.finish(&mut out);
    assert_eq!(table.stats().flows.tls_unbound, 1);
}

#[test]
fn one_tls_call_in_several_records_is_one_observation() {
    let (mut table, mut out) = (small(), Vec::new());
    table.binder.hello(FlowId { id: 5, generation: 1 }, Some(17));
    let mut data = session(1, 7, b"GET /");
    data.direction = Direction::EGRESS;
    data.call_len = 10;
    table.data(data.clone(), &mut out);
    data.offset = 5;
    table.data(data.clone(), &mut out);
    let records = Data {
        direction: Direction::EGRESS,
        flags: DataFlags::TLS_RECORDS,
        payload: starts(&[(23, 27), (23, 27)]).into(),
        ..socket(5, Protocol::TLS)
    };
    table.data(records, &mut out);
    let (socket, binding) =
        table.binder.binding(Session { tgid: 7, flow: data.flow }).expect("bound");
    assert_eq!((socket.id, binding), (5, Binding::RecordLength { confidence: 0.9 }));
}

#[test]
fn a_process_with_another_start_is_not_the_one_reported() {
    let mut processes = Processes::new(10);
    let process = Process {
        pid: 7,
        start_ns: 100,
        comm: "a".into(),
        executable: String::new(),
        container_id: None,
    };
    processes.update(Arc::new(process));
    assert!(processes.get(7, 0).is_some() && processes.get(7, 100).is_some());
    assert!(processes.get(7, 200).is_none() && processes.get(8, 0).is_none());
}

#[test]
fn a_session_that_moves_to_a_socket_never_seen_has_no_ends() {
    let (mut table, mut out) = (small(), Vec::new());
    let seen = socket(5, Protocol::TLS);
    let unseen = FlowId { id: 6, generation: 1 };
    table.data(seen.clone(), &mut out);
    let data = session(1, 7, b"GET / HTTP/1.1\r\n");
    table.data(data.clone(), &mut out);
    let ends_when_bound_to = |table: &mut FlowTable, socket: FlowId| {
        let session = Session { tgid: 7, flow: data.flow };
        for len in [100_u8, 101] {
            let (time, tid, direction) = (data.time, 7, Direction::EGRESS);
            table.binder.hello(socket, Some(17));
            table.binder.plaintext(Plaintext {
                time,
                session,
                tid,
                direction,
                len: u64::from(len),
            });
            let payload = starts(&[(23, u16::from(len) + 17)]).into();
            table.binder.records(&Data { flow: socket, direction, payload, ..data.clone() });
        }
        let slot = table.index[&Key::new(Layer::TLS, data.flow, 7)];
        let mut flow = table.slots[slot].take().unwrap();
        table.refresh(&mut flow);
        let ends = flow.ends.clone();
        table.put(slot, flow);
        check(table);
        ends
    };
    assert!(matches!(ends_when_bound_to(&mut table, seen.flow), Ends::Tcp { .. }));
    assert_eq!(ends_when_bound_to(&mut table, unseen), Ends::Unknown);
}

/// Any event: few flows, so that they meet each other; few offsets, some of them
/// at the end of the number line.
fn any_event() -> impl Strategy<Value = (Data, u8)> {
    let payload = prop::sample::select(vec![
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x17\x03\x03\x00\x2c\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"G",
        b"",
    ]);
    let offset = prop_oneof![0u64..60, Just(u64::MAX - 3), Just(u64::MAX)];
    let names = (1u64..5, 0u8..2, 0u8..2, 0u8..5, 7u32..9);
    let rest = (offset, 0u32..40, any::<u16>(), 0u64..400_000_000, 0u8..10, any::<bool>());
    (names, rest, payload).prop_map(|(names, rest, payload)| {
        let (id, direction, layer, protocol, tgid) = names;
        let (offset, more, flags, time, act, known) = rest;
        let len = u32::try_from(payload.len()).unwrap();
        let data = Data {
            time: Timestamp(time),
            tgid,
            tid: tgid,
            direction: Direction(direction),
            layer: Layer(layer),
            protocol: Protocol(protocol),
            flags: DataFlags(flags),
            offset,
            len: len + more,
            call_len: len,
            socket: FlowId { id: id ^ 1, generation: 1 },
            tuple: if known {
                sample::tuple(u16::try_from(id).unwrap(), 5)
            } else {
                Tuple::default()
            },
            payload: Bytes::from_static(payload),
            ..socket(id, Protocol::HTTP1)
        };
        (data, act)
    })
}

proptest! {
    #[test]
    fn no_sequence_of_events_breaks_the_table(events in prop::collection::vec(any_event(), 0..120)) {
        let mut table = table(Limits { flows: 6, pending_bytes: 200, ..Limits::default() });
        let mut out = Vec::new();
        for (data, act) in events {
            match act {
                0 => table.end(&End { direction: data.direction, ..end_of(&data, [data.offset; 2]) }, &mut out),
                1 => table.end(&end_of(&data, [70; 2]), &mut out),
                2 => table.exit(data.time, data.tgid, &mut out),
                _ => table.data(data, &mut out),
            }
            check(&table);
            prop_assert!(table.len() <= 6);
        }
        table.finish(&mut out);
        check(&table);
        prop_assert!(table.is_empty() && table.by_ends.is_empty() && table.sessions.is_empty());
        prop_assert_eq!((table.pending_bytes, table.joiner.waiting()), (0, 0));
        let joined = table.stats().joined;
        prop_assert_eq!(out.len() as u64, table.stats().calls - joined, "no call is lost or doubled");
    }
}

#[test]
fn hellos_that_never_end_are_bounded_together() {
    let limits = Limits { hello_bytes: 1000, ..Limits::default() };
    let (mut table, mut out) = (table(limits), Vec::new());
    for id in 0..100 {
        let start = [22, 3, 1, 4, 0, 1, 0, 3, 252].into_iter().chain([0; 100]);
        let (len, payload) = (109, start.collect());
        table.data(Data { len, payload, ..socket(id, Protocol::TLS) }, &mut out);
        assert!(table.hello_bytes <= 1000);
    }
    assert_eq!(table.stats().hellos_dropped, 91);
    table.finish(&mut out);
    assert_eq!(table.hello_bytes, 0);
}
