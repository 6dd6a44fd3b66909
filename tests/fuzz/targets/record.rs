//! What `replay` reads, through all the pure stages: no panic, and nothing beyond
//! the limits is held.
//!
//! The input is what its start says, as for `replay`: a recording, an HTTP archive,
//! or else kernel records, each after its length in two bytes, little-endian.

#![no_main]

use apiscope::{
    call::Timestamp,
    event::{Clock, Event, Raw, decode, file::Reader, har},
    flow, http, inventory,
    pipeline::{Observed, Pipeline, Settings},
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Small, so that short inputs reach them.
const SETTINGS: Settings = Settings {
    flow: flow::Limits {
        flows: 6,
        pending_bytes: 1024,
        hello_bytes: 300,
        idle_ns: 60_000_000_000,
        processes: 3,
        waiting_calls: 2,
        quic_connections: 4,
        programs: 2,
    },
    http: http::Limits { head_bytes: 512, body_bytes: 256, decoded_bytes: 4096, pipeline_depth: 3 },
    inventory: inventory::Limits { services: 2, endpoints_per_service: 4 },
};

/// Events or calls of one input that are looked at.
const EVENTS_MAX: usize = 512;

fuzz_target!(|input: &[u8]| {
    let mut stages = Stages {
        pipeline: Pipeline::new(&SETTINGS),
        observed: Vec::new(),
        last: Timestamp::default(),
        last_id: 0,
    };
    if input.starts_with(b"APISCOPE") {
        if let Ok(mut reader) = Reader::new(input) {
            for event in reader.by_ref().take(EVENTS_MAX) {
                match event {
                    Ok(event) => stages.event(event),
                    Err(_) => stages.pipeline.decode_error(),
                }
            }
        }
    } else if input.trim_ascii_start().starts_with(b"{") || input.starts_with(b"\xef\xbb\xbf") {
        if let Ok(archive) = har::read(input) {
            for call in archive.calls.into_iter().take(EVENTS_MAX) {
                stages.pipeline.call(call, &mut stages.observed);
                stages.check();
            }
        }
    } else {
        records(input, &mut stages);
    }
    stages.pipeline.finish(&mut stages.observed);
    stages.check();
    assert_eq!(stages.pipeline.open_flows(), 0);
});

fn records(mut rest: &[u8], stages: &mut Stages) {
    let clock = Clock::from_readings(0, Timestamp(1_750_000_000_000_000_000));
    for _ in 0..EVENTS_MAX {
        let [low, high, tail @ ..] = rest else { break };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (record, tail) = tail.split_at(len.min(tail.len()));
        rest = tail;
        match decode(&Bytes::copy_from_slice(record), &clock).map(Raw::into_event) {
            Ok(Some(event)) => stages.event(event),
            Ok(None) => {}
            Err(_) => stages.pipeline.decode_error(),
        }
    }
}

struct Stages {
    pipeline: Pipeline,
    observed: Vec<Observed>,
    /// Latest time of an event.
    last: Timestamp,
    last_id: u64,
}

impl Stages {
    fn event(&mut self, event: Event) {
        self.last = event.time().map_or(self.last, |time| self.last.max(time));
        self.pipeline.event(event, &mut self.observed);
        self.pipeline.tick(self.last, &mut self.observed);
        self.check();
    }

    /// Looks at what came out, and at what is held.
    fn check(&mut self) {
        for Observed { call, .. } in self.observed.drain(..) {
            assert!(call.id > self.last_id, "ids ascend");
            self.last_id = call.id;
        }
        assert!(self.pipeline.open_flows() <= SETTINGS.flow.flows);
        // One more for programs beyond the limit, and one for unknown processes.
        assert!(self.pipeline.coverage().rows().len() <= SETTINGS.flow.programs + 2);
    }
}
