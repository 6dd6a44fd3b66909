//! Records that never came, and records that overtook each other.

use agent_common::record::{Layer, Protocol};
use proptest::prelude::*;

use super::*;
use crate::{
    call::{Call, Timestamp},
    event::Data,
    flow::{FlowTable, Limits, sample},
};

/// Calls on one connection, each a record per message.
struct Conversation {
    records: Vec<Data>,
    offsets: [u64; 2],
    time: u64,
}

impl Conversation {
    fn of(calls: usize) -> Self {
        let mut made = Self { records: Vec::new(), offsets: [0; 2], time: 0 };
        for number in 0..calls {
            made.record(Direction::INGRESS, &format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let status = 200 + number;
            made.record(
                Direction::EGRESS,
                &format!("HTTP/1.1 {status} OK\r\nContent-Length: 2\r\n\r\nok"),
            );
        }
        made
    }

    fn record(&mut self, direction: Direction, text: &str) {
        self.time += 1_000_000;
        let flags = if self.records.is_empty() { DataFlags::FIRST } else { DataFlags(0) };
        let [ingress, egress] = &mut self.offsets;
        let (own, other) =
            if direction == Direction::INGRESS { (ingress, egress) } else { (egress, ingress) };
        self.records.push(Data {
            time: Timestamp(self.time),
            direction,
            flags,
            other_offset: *other,
            ..sample::data(text.as_bytes(), *own)
        });
        *own += text.len() as u64;
    }
}

/// Targets and statuses of the calls that records give.
fn calls(records: Vec<Data>) -> Vec<(String, Option<u16>)> {
    let mut table = FlowTable::new(Limits::default(), http::Limits::default());
    let mut out = Vec::new();
    for record in records {
        table.data(record, &mut out);
    }
    table.finish(&mut out);
    let mut calls: Vec<_> =
        out.iter().map(|call: &Call| (call.request.target.to_string(), call.status())).collect();
    calls.sort();
    calls
}

fn call(number: u16) -> (String, Option<u16>) {
    (format!("/{number}"), Some(200 + number))
}

#[test]
fn a_lost_response_costs_its_own_call_alone() {
    let mut records = Conversation::of(4).records;
    records.remove(3);
    assert_eq!(calls(records), [call(0), ("/1".into(), None), call(2), call(3)]);
}

#[test]
fn a_lost_request_costs_its_own_call_alone() {
    let mut records = Conversation::of(4).records;
    records.remove(2);
    assert_eq!(calls(records), [call(0), call(2), call(3)]);
}

#[test]
fn calls_that_are_lost_whole_cost_one_more_at_most() {
    for lost in 1..6 {
        for from in 1..5 {
            let mut records = Conversation::of(10).records;
            records.drain(2 * from..2 * (from + lost).min(9));
            let found = calls(records);
            let told = found.iter().filter(|call| call.1.is_some()).count();
            assert!(told + lost + 1 >= 10, "{from} {lost} {found:?}");
            for (target, status) in found {
                let number: u16 = target.trim_start_matches('/').parse().unwrap();
                assert!(status.is_none_or(|status| status == 200 + number), "{target} {status:?}");
            }
        }
    }
}

#[test]
fn any_records_may_be_lost_and_no_pair_is_wrong() {
    // Each bit of the number is a record that is lost.
    for lost in 0_u32..1 << 12 {
        let records = Conversation::of(6).records;
        let kept = records.into_iter().enumerate().filter(|(at, _)| lost & (1 << at) == 0);
        for (target, status) in calls(kept.map(|(_, record)| record).collect()) {
            let number: u16 = target.trim_start_matches('/').parse().unwrap();
            assert!(status.is_none_or(|status| status == 200 + number), "{lost:b} {target}");
        }
    }
}

#[test]
fn records_that_overtake_each_other_are_put_in_order() {
    let mut conversation = Conversation::of(1);
    // Two threads write at once: the second one's bytes have the earlier time.
    conversation.record(Direction::INGRESS, "GET /1 HTTP/1.1\r\n");
    conversation.record(Direction::INGRESS, "Host: a\r\n\r\n");
    conversation.record(Direction::EGRESS, "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
    let mut records = conversation.records;
    for (record, time) in records.iter_mut().skip(2).zip([2_000_100, 2_000_000, 2_000_200]) {
        record.time = Timestamp(time);
    }
    records.swap(2, 3);
    assert_eq!(calls(records), [call(0), call(1)]);
}

#[test]
fn writers_may_disagree_about_how_far_the_other_direction_was() {
    let mut conversation = Conversation::of(1);
    conversation.record(Direction::INGRESS, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    conversation.record(Direction::EGRESS, "HTTP/1.1 201 OK\r\nContent-");
    conversation.record(Direction::EGRESS, "Length: 0\r\n\r\n");
    let mut records = conversation.records;
    // The second writer looked before the request was read, and is told of first.
    records[4].other_offset = 0;
    records.swap(3, 4);
    assert_eq!(calls(records), [call(0), call(1)]);
}

#[test]
fn a_response_waits_for_its_request() {
    // The writer was interrupted after its bytes had left: the response is told of first,
    // and does not know of the request.
    for (moment, role) in [("entry", Layer::TLS), ("return", Layer::SOCKET)] {
        let mut records = Conversation::of(3).records;
        for pair in 0..3 {
            let response = records[2 * pair + 1].clone();
            records[2 * pair + 1].other_offset = records[2 * pair].offset;
            if role == Layer::SOCKET {
                // What it says of the other direction is of the moment of its return.
                records[2 * pair].other_offset = response.offset + response.payload.len() as u64;
            }
            records.swap(2 * pair, 2 * pair + 1);
        }
        for record in &mut records {
            record.layer = role;
            record.protocol = Protocol::HTTP1;
        }
        records[0].flags = DataFlags::FIRST;
        assert_eq!(calls(records), [call(0), call(1), call(2)], "position at {moment}");
    }
}

#[test]
fn a_response_to_nothing_is_let_go_after_a_while() {
    let mut records = Conversation::of(3).records;
    records.remove(2);
    for record in &mut records {
        record.time = Timestamp(record.time.0 * 200);
    }
    assert_eq!(calls(records), [call(0), call(2)]);
}

/// Records that come later than others by a few places; the first stays first.
fn delayed(records: Vec<Data>, delays: &[usize]) -> Vec<Data> {
    let mut keyed: Vec<_> = records.into_iter().enumerate().collect();
    keyed.sort_by_key(|(at, _)| if *at == 0 { 0 } else { *at + delays[*at] });
    keyed.into_iter().map(|(_, record)| record).collect()
}

proptest! {
    #[test]
    fn records_may_come_late_from_either_direction(
        delays in prop::collection::vec(0_usize..12, 40),
    ) {
        let records = Conversation::of(20).records;
        prop_assert_eq!(calls(delayed(records.clone(), &delays)), calls(records));
    }

    #[test]
    fn records_may_come_late_or_never_and_no_pair_is_wrong(
        delays in prop::collection::vec(0_usize..12, 40),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 40),
    ) {
        let records = delayed(Conversation::of(20).records, &delays);
        let kept = records.into_iter().zip(lost).filter(|(_, lost)| !lost);
        for (target, status) in calls(kept.map(|(record, _)| record).collect()) {
            let number: u16 = target.trim_start_matches('/').parse().unwrap();
            prop_assert!(status.is_none_or(|status| status == 200 + number), "{}", target);
        }
    }
}
