//! What the ledger says of connections that the flow table has seen.

use agent_common::record::{DataFlags, Direction, FlowId, Layer, Protocol, Tuple};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    call::Timestamp,
    event::{Data, End, verdict::Unhooked},
    flow::{FlowTable, Limits, sample, tls_record::tests::starts},
    http,
};

const SECOND: u64 = 1_000_000_000;
const PID: u32 = 7;

fn table() -> FlowTable {
    let mut table = FlowTable::new(Limits::default(), http::Limits::default());
    table.process(process(PID, "/usr/bin/app"));
    table
}

fn process(pid: u32, executable: &str) -> Arc<Process> {
    Arc::new(Process {
        pid,
        start_ns: 0,
        comm: "app".into(),
        executable: executable.into(),
        container_id: None,
    })
}

fn verdict(hooked: Option<&str>, unhooked: Option<Unhooked>) -> Arc<ProcessVerdict> {
    let hooked = hooked.map(Arc::from);
    Arc::new(ProcessVerdict { pid: PID, start_ns: 0, looked: true, hooked, unhooked })
}

fn data(id: u64, protocol: Protocol, direction: Direction, offset: u64, payload: &[u8]) -> Data {
    let flow = FlowId { id, generation: 1 };
    Data { flow, direction, protocol, ..sample::data(payload, offset) }
}

fn hello() -> Vec<u8> {
    let hex = include_str!("../../../tests/fixtures/tls/tls13-client.hex").trim();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A call that moved `len` bytes of TLS, in which these records began.
fn records(id: u64, direction: Direction, offset: u64, len: u32, kinds: &[u8]) -> Data {
    let records: Vec<_> = kinds.iter().map(|kind| (*kind, 256)).collect();
    Data {
        flags: DataFlags::TLS_RECORDS,
        len,
        ..data(id, Protocol::TLS, direction, offset, &starts(&records))
    }
}

/// The end of a client's handshake: a change of cipher and a Finished.
fn finished(id: u64, offset: u64) -> Data {
    let payload = starts(&[(20, 1), (23, 53)]).into();
    Data { payload, ..records(id, Direction::EGRESS, offset, 80, &[]) }
}

/// A client's connection over which a request and a response went.
fn used(table: &mut FlowTable, id: u64) {
    let mut out = Vec::new();
    let hello = hello();
    let end = hello.len() as u64;
    table.data(data(id, Protocol::TLS, Direction::EGRESS, 0, &hello), &mut out);
    table.data(records(id, Direction::INGRESS, 0, 2000, &[22, 20, 23, 23]), &mut out);
    table.data(finished(id, end), &mut out);
    table.data(records(id, Direction::EGRESS, end + 80, 500, &[23]), &mut out);
    table.data(records(id, Direction::INGRESS, 2000, 3000, &[23]), &mut out);
}

/// A record of a TLS session's plaintext, which is on socket `socket` when not 0.
fn session(id: u64, socket: u64, payload: &'static [u8]) -> Data {
    let flags = if socket == 0 { DataFlags(0) } else { DataFlags::NESTED };
    Data {
        layer: Layer::TLS,
        tuple: Tuple::default(),
        socket: FlowId { id: socket, generation: u64::from(socket != 0) },
        flags,
        payload: Bytes::from_static(payload),
        len: u32::try_from(payload.len()).unwrap(),
        ..data(id, Protocol::UNKNOWN, Direction::EGRESS, 0, b"")
    }
}

fn end(table: &mut FlowTable, id: u64, offsets: [u64; 2]) {
    let direction = Direction::BOTH;
    let (time, layer) = (Timestamp(1_000_000), Layer::SOCKET);
    let flow = FlowId { id, generation: 1 };
    table.end(&End { time, direction, layer, tgid: 0, flow, offsets }, &mut Vec::new());
}

fn tick(table: &mut FlowTable, seconds: u64) {
    // The sweep passes all slots of a small table at once.
    table.tick(Timestamp(1_000_000 + seconds * SECOND), &mut Vec::new());
}

/// Fate, connections, bytes; of the only row.
fn fates(table: &FlowTable) -> Vec<(Fate, u64, [u64; 2])> {
    let rows = table.coverage().rows();
    assert!(rows.len() < 2, "{rows:?}");
    let row = rows.first();
    let fates = row.iter().flat_map(|row| row.fates());
    fates.map(|(fate, count)| (fate, count.connections, count.bytes)).collect()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// What a socket of QUIC moved: the start of a datagram. The later, the more has moved.
fn quic(direction: Direction, offset: u64, other_offset: u64, payload: &[u8]) -> Data {
    let time = Timestamp(1_000_000 + offset + other_offset);
    Data { time, other_offset, ..data(1, Protocol::QUIC, direction, offset, payload) }
}

fn sample_of_rfc_9001(text: &str) -> Vec<u8> {
    let hex = text.trim();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn quic_counts_once_a_server_answers_and_its_bytes_are_those_of_the_socket() {
    let client =
        sample_of_rfc_9001(include_str!("../../../tests/fixtures/quic/rfc9001-client.hex"));
    let server =
        sample_of_rfc_9001(include_str!("../../../tests/fixtures/quic/rfc9001-server.hex"));
    let mut table = table();
    table.data(quic(Direction::EGRESS, 0, 0, &client), &mut Vec::new());
    tick(&mut table, 1);
    assert_eq!(fates(&table), [], "nobody has answered");
    table.data(quic(Direction::INGRESS, 0, 1200, &server), &mut Vec::new());
    tick(&mut table, 2);
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::Quic), 1, [135, 1200])]);
    let news = table.coverage_mut().take_news();
    let [news] = &news[..] else { panic!("{news:?}") };
    assert_eq!(news.server_name.as_deref(), Some("example.com"));
    assert_eq!(news.detail.as_deref(), Some("alpn, encrypted in the process"));
    assert!(news.ja4.as_ref().is_some_and(|ja4| ja4.starts_with("q13d0211an_")));
    assert_eq!(table.stats().flows.quic, 1);
    // A record of one direction tells how far the other has come.
    table.data(quic(Direction::INGRESS, 9000, 70_000, b""), &mut Vec::new());
    end(&mut table, 1, [20_000, 70_000]);
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::Quic), 1, [20_000, 70_000])]);
    // It is open elsewhere.
    table.data(quic(Direction::INGRESS, 20_000, 70_000, &server), &mut Vec::new());
    table.data(quic(Direction::EGRESS, 75_000, 25_000, b""), &mut Vec::new());
    end(&mut table, 1, [30_000, 80_000]);
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::Quic), 1, [30_000, 80_000])]);
    assert_eq!(table.stats().flows.quic, 1);
}

#[test]
fn what_is_decoded_is_counted_with_its_bytes_while_it_lasts() {
    let mut table = table();
    table.data(data(1, Protocol::HTTP1, Direction::INGRESS, 0, GET), &mut Vec::new());
    tick(&mut table, 1);
    assert_eq!(fates(&table), [(Fate::Decoded, 1, [18, 0])]);
    assert_eq!(&*table.coverage().rows()[0].program.name, "/usr/bin/app");
    end(&mut table, 1, [18, 40]);
    assert_eq!(fates(&table), [(Fate::Decoded, 1, [18, 40])]);
    let lost: Vec<_> = table.coverage().rows()[0].lost.iter().collect();
    assert_eq!(lost, [(crate::call::Cause::Transport, 40)]);
}

#[test]
fn bytes_that_the_kernel_side_does_not_count_are_unknown_and_not_zero() {
    let mut table = table();
    table.data(data(1, Protocol::IGNORED, Direction::EGRESS, 0, b"PRI"), &mut Vec::new());
    table.finish(&mut Vec::new());
    let count = Count { connections: 1, unmeasured: 1, bytes: [0; 2] };
    assert_eq!(table.coverage().rows()[0].count(Fate::Other), count);
}

#[test]
fn tls_of_a_program_without_a_known_library_is_opaque_when_it_ends() {
    let mut table = table();
    table.verdict(verdict(None, None));
    used(&mut table, 1);
    end(&mut table, 1, [5000, 2000]);
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::NoKnownLibrary), 1, [5000, 2000])]);
    assert_eq!(table.coverage().rows()[0].server_names, [Arc::from("api.example.com")]);
    let news = table.coverage_mut().take_news();
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].reason, Reason::NoKnownLibrary);
    // Known by now.
    used(&mut table, 2);
    end(&mut table, 2, [5000, 2000]);
    assert!(table.coverage_mut().take_news().is_empty());
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::NoKnownLibrary), 2, [10_000, 4000])]);
}

#[test]
fn a_connection_that_stays_open_is_opaque_after_five_seconds() {
    let mut table = table();
    table.verdict(verdict(None, Some(Unhooked::Go("built without symbols".into()))));
    used(&mut table, 1);
    tick(&mut table, 4);
    assert_eq!(fates(&table), []);
    tick(&mut table, 5);
    let reached = [5000, hello().len() as u64 + 580];
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::Go), 1, reached)]);
    let detail = table.coverage().rows()[0].detail(Reason::Go).unwrap();
    assert_eq!(&**detail, "a Go program: built without symbols");
    // It is one connection, whatever is learned later.
    end(&mut table, 1, [9000, 9000]);
    assert_eq!(fates(&table), [(Fate::Opaque(Reason::Go), 1, [9000, 9000])]);
}

#[test]
fn a_late_binding_corrects_the_row() {
    let mut table = table();
    table.verdict(verdict(Some("libssl.so.3"), None));
    used(&mut table, 1);
    tick(&mut table, 6);
    let opaque = Fate::Opaque(Reason::SessionNotSeen);
    assert_eq!(fates(&table)[0].0, opaque);
    assert_eq!(table.coverage_mut().take_news()[0].detail.as_deref(), Some("libssl.so.3"));
    table.data(session(100, 1, GET), &mut Vec::new());
    tick(&mut table, 7);
    let bytes = [5000, hello().len() as u64 + 580];
    assert_eq!(fates(&table), [(Fate::Decoded, 1, bytes), (opaque, 0, [0; 2])]);
    // The session ends before the socket, and what it carried stays known.
    table.exit(Timestamp(8 * SECOND), PID, &mut Vec::new());
    end(&mut table, 1, [6000, 3000]);
    assert_eq!(fates(&table), [(Fate::Decoded, 1, [6000, 3000]), (opaque, 0, [0; 2])]);
}

#[test]
fn a_connection_is_what_its_session_carries() {
    for (payload, fate) in [
        (GET, Fate::Decoded),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), Fate::Decoded),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", Fate::Other),
    ] {
        let mut table = table();
        used(&mut table, 1);
        table.data(session(100, 1, payload), &mut Vec::new());
        end(&mut table, 1, [5000, 2000]);
        table.finish(&mut Vec::new());
        assert_eq!(fates(&table), [(fate, 1, [5000, 2000])]);
    }
}

#[test]
fn a_session_whose_socket_was_not_seen_is_a_connection() {
    let mut table = table();
    table.data(session(100, 1, GET), &mut Vec::new());
    table.finish(&mut Vec::new());
    assert_eq!(fates(&table), [(Fate::Decoded, 1, [0, 18])]);
}

#[test]
fn plaintext_that_is_not_bound_makes_a_connection_unattributed_and_not_opaque() {
    for ended in [false, true] {
        let mut table = table();
        table.verdict(verdict(Some("libssl.so.3"), None));
        used(&mut table, 1);
        table.data(session(100, 0, GET), &mut Vec::new());
        if ended {
            table.exit(Timestamp(1_000_000), PID, &mut Vec::new());
        }
        end(&mut table, 1, [5000, 2000]);
        table.finish(&mut Vec::new());
        assert_eq!(fates(&table), [(Fate::Unattributed, 1, [5000, 2000])], "{ended}");
    }
}

#[test]
fn tls_over_which_nothing_was_sent_is_not_opaque() {
    let mut table = table();
    let hello = hello();
    let mut out = Vec::new();
    table.data(data(1, Protocol::TLS, Direction::EGRESS, 0, &hello), &mut out);
    table.data(records(1, Direction::INGRESS, 0, 2000, &[22, 20, 23, 23]), &mut out);
    let sent = hello.len() as u64;
    table.data(finished(1, sent), &mut out);
    tick(&mut table, 60);
    // It says that it closes, in a record like any other.
    let alert = Data {
        payload: starts(&[(23, 19)]).into(),
        ..records(1, Direction::EGRESS, sent + 80, 24, &[])
    };
    table.data(alert, &mut out);
    end(&mut table, 1, [2000, sent + 104]);
    assert_eq!(fates(&table), [(Fate::Unused, 1, [2000, sent + 104])]);
    assert!(table.coverage_mut().take_news().is_empty());
}

#[test]
fn the_reason_is_the_likeliest_that_is_known() {
    let (ssl, java) = (Some("libssl.so.3"), Some(Unhooked::Java));
    for (verdict, from_start, reason) in [
        (None, true, Reason::NotLookedAt),
        (Some(ProcessVerdict::default().into()), true, Reason::NotLookedAt),
        (Some(verdict(None, None)), true, Reason::NoKnownLibrary),
        (Some(verdict(ssl, None)), true, Reason::SessionNotSeen),
        (Some(verdict(None, java.clone())), false, Reason::Java),
        (Some(verdict(ssl, java.clone())), true, Reason::Java),
        (Some(verdict(ssl, java)), false, Reason::SessionNotSeen),
        (Some(verdict(None, Some(Unhooked::Bits32))), true, Reason::Bits32),
        (Some(verdict(None, Some(Unhooked::Unreadable("no".into())))), true, Reason::Unreadable),
    ] {
        let verdict: Option<Arc<ProcessVerdict>> = verdict;
        assert_eq!(Reason::of(verdict.as_deref(), from_start), reason, "{verdict:?}");
    }
}

#[test]
fn programs_beyond_the_limit_share_a_row() {
    let limits = Limits { programs: 2, ..Limits::default() };
    let mut table = FlowTable::new(limits, http::Limits::default());
    for id in 0..5 {
        let pid = u32::try_from(id).unwrap() + 10;
        table.process(process(pid, &format!("/usr/bin/{}", id.min(3))));
        let http = data(id, Protocol::HTTP1, Direction::INGRESS, 0, GET);
        table.data(Data { tgid: pid, ..http }, &mut Vec::new());
    }
    table.data(
        Data { tgid: 99, ..data(9, Protocol::HTTP1, Direction::INGRESS, 0, GET) },
        &mut Vec::new(),
    );
    table.finish(&mut Vec::new());
    let rows = table.coverage().rows().iter();
    let rows: Vec<_> =
        rows.map(|row| (&*row.program.name, row.count(Fate::Decoded).connections)).collect();
    assert_eq!(rows, [("/usr/bin/0", 1), ("/usr/bin/1", 1), (OTHER, 3), (UNKNOWN, 1)]);
    assert!(table.coverage().is_full());
}

#[test]
fn server_names_of_a_row_are_bounded() {
    let mut coverage = Coverage::new(1);
    let row = coverage.row(&process(1, "/usr/bin/app"));
    for number in 0..100 {
        let name: Arc<str> = format!("{number}.example").into();
        coverage.opaque(row, Reason::Java, None, Some(&name));
        let entry = Entry { row, fate: Fate::Opaque(Reason::Java), connections: 1, bytes: None };
        coverage.set(None, Some(entry));
    }
    assert_eq!(coverage.rows()[0].server_names.len(), SERVER_NAMES_MAX);
    assert_eq!(coverage.take_news().len(), 1);
}

#[test]
fn data_is_data_where_the_end_of_the_handshake_was_not_seen() {
    let mut table = table();
    table.verdict(verdict(None, None));
    let hello = hello();
    let mut out = Vec::new();
    let sent = hello.len() as u64;
    table.data(data(1, Protocol::TLS, Direction::EGRESS, 0, &hello), &mut out);
    table.data(records(1, Direction::INGRESS, 0, 2000, &[22, 20, 23, 23]), &mut out);
    // Of several buffers the first is looked at, with the change of cipher alone.
    table.data(records(1, Direction::EGRESS, sent, 80, &[20]), &mut out);
    table.data(records(1, Direction::EGRESS, sent + 80, 500, &[23]), &mut out);
    end(&mut table, 1, [2000, sent + 580]);
    assert_eq!(fates(&table)[0].0, Fate::Opaque(Reason::NoKnownLibrary));
}

#[test]
fn certificates_of_a_client_are_no_data() {
    let mut table = table();
    let hello = hello();
    let mut out = Vec::new();
    let sent = hello.len() as u64;
    table.data(data(1, Protocol::TLS, Direction::EGRESS, 0, &hello), &mut out);
    table.data(records(1, Direction::INGRESS, 0, 2000, &[22, 20, 23, 23]), &mut out);
    // Certificate, CertificateVerify, Finished.
    let flight = Data {
        payload: starts(&[(20, 1), (23, 1024), (23, 280), (23, 53)]).into(),
        ..records(1, Direction::EGRESS, sent, 1400, &[])
    };
    table.data(flight, &mut out);
    // Tickets.
    table.data(records(1, Direction::INGRESS, 2000, 500, &[23, 23]), &mut out);
    tick(&mut table, 60);
    assert_eq!(fates(&table), []);
    end(&mut table, 1, [2500, sent + 1400]);
    assert_eq!(fates(&table), [(Fate::Unused, 1, [2500, sent + 1400])]);
}

#[test]
fn a_connection_that_was_evicted_and_goes_on_is_one_connection() {
    let limits = Limits { flows: 1, ..Limits::default() };
    let mut table = FlowTable::new(limits, http::Limits::default());
    table.process(process(PID, "/usr/bin/app"));
    let mut out = Vec::new();
    for round in 0..3 {
        for id in 1..3 {
            let at = round * GET.len() as u64;
            table.data(data(id, Protocol::HTTP1, Direction::INGRESS, at, GET), &mut out);
        }
    }
    table.finish(&mut out);
    assert!(table.stats().evicted_full > 2);
    assert_eq!(fates(&table), [(Fate::Decoded, 2, [108, 0])]);
}

#[test]
fn containers_of_one_program_share_a_row_when_they_are_many() {
    let mut coverage = Coverage::new(100);
    for number in 0..40_u32 {
        let mut process = Process::clone(&process(number + 1, "/usr/bin/job"));
        process.container_id = Some(format!("{number:064x}"));
        coverage.row(&process);
    }
    let rows = coverage.rows();
    assert_eq!(rows.len(), 17);
    assert_eq!(rows.iter().filter(|row| row.program.container.is_none()).count(), 1);
}

proptest! {
    /// Whatever is learned in whatever order: every connection is in the ledger once.
    #[test]
    fn every_connection_has_one_fate(steps in prop::collection::vec((0_u8..6, 1_u64..4), 0..40)) {
        let mut table = table();
        let mut open: Vec<u64> = vec![1, 2, 3];
        for id in 1..4 {
            used(&mut table, id);
        }
        for (at, (step, id)) in (1..).zip(steps) {
            let now = Timestamp(1_000_000 + at * SECOND);
            let at_now = |data: Data| Data { time: now, ..data };
            match step {
                0 if open.contains(&id) => {
                    table.data(at_now(session(100 + id, id, GET)), &mut Vec::new());
                }
                1 => table.data(at_now(session(200 + id, 0, GET)), &mut Vec::new()),
                2 => table.exit(now, PID, &mut Vec::new()),
                3 => table.verdict(verdict((id == 1).then_some("libssl.so.3"), None)),
                4 => {
                    open.retain(|other| *other != id);
                    end(&mut table, id, [9000, 9000]);
                }
                _ => tick(&mut table, at),
            }
        }
        table.finish(&mut Vec::new());
        let fates = fates(&table);
        prop_assert_eq!(fates.iter().map(|(_, count, _)| count).sum::<u64>(), 3, "{:?}", fates);
        for (fate, count, bytes) in fates {
            prop_assert_eq!(count == 0, bytes == [0; 2], "{:?}", fate);
        }
    }
}
