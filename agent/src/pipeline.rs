//! The pure stages in one: events in, observed calls and findings out.

use std::sync::Arc;

use crate::{
    call::{Call, Timestamp},
    detect::Detectors,
    event::Event,
    flow::{self, FlowTable, coverage::Coverage},
    http,
    inventory::{self, Inventory, Observation},
};

pub use crate::flow::Stats;

/// A call with what the inventory made of it: what sinks receive.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The call.
    pub call: Arc<Call>,
    /// Its endpoint.
    pub observation: Observation,
}

/// Bounds of the stages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Of flows.
    pub flow: flow::Limits,
    /// Of each HTTP connection.
    pub http: http::Limits,
    /// Of the inventory.
    pub inventory: inventory::Limits,
}

/// The stages from flow to detect. It reads no clock: time is that of the events,
/// and what `tick` is told.
#[derive(Debug)]
pub struct Pipeline {
    flows: FlowTable,
    inventory: Inventory,
    detectors: Detectors,
    /// Calls between the stages; empty between calls.
    calls: Vec<Call>,
    last_id: u64,
    /// Latest absolute counters of the kernel side.
    counters: Vec<u64>,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Self {
            flows: FlowTable::new(settings.flow, settings.http),
            inventory: Inventory::new(settings.inventory),
            detectors: Detectors::default(),
            calls: Vec::new(),
            last_id: 0,
            counters: Vec::new(),
        }
    }

    /// Takes the next event; calls that it completes go to `out`.
    pub fn event(&mut self, event: Event, out: &mut Vec<Observed>) {
        match event {
            Event::Data(data) => self.flows.data(data, &mut self.calls),
            Event::End(end) => self.flows.end(&end, &mut self.calls),
            Event::Unix(unix) => self.flows.unix(&unix),
            Event::Process(_, process) => self.flows.process(process),
            Event::Verdict(_, verdict) => self.flows.verdict(verdict),
            Event::Exit(time, pid) => self.flows.exit(time, pid, &mut self.calls),
            Event::Library(index, name) => self.flows.library(index, name),
            Event::Counters(_, counters) => self.counters = counters,
        }
        self.observe(out);
    }

    /// Takes a call that did not come from events. It gets its id here.
    pub fn call(&mut self, call: Call, out: &mut Vec<Observed>) {
        self.calls.push(call);
        self.observe(out);
    }

    /// Counts a record that could not be decoded.
    pub const fn decode_error(&mut self) {
        self.flows.stats_mut().decode_errors += 1;
    }

    /// Lets time pass while no events come: waits and windows end. All events up to
    /// `now`, of their clock, have been handed in.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Observed>) {
        self.flows.tick(now, &mut self.calls);
        self.observe(out);
        self.detectors.tick(now);
    }

    /// Ends every flow; for the end of a run or of a recording.
    pub fn finish(&mut self, out: &mut Vec<Observed>) {
        self.flows.finish(&mut self.calls);
        self.observe(out);
    }

    /// What was learned of services and endpoints.
    pub const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// For the store: restoring, and taking changes.
    pub const fn inventory_mut(&mut self) -> &mut Inventory {
        &mut self.inventory
    }

    /// What was found.
    pub const fn detectors(&self) -> &Detectors {
        &self.detectors
    }

    /// For the store and for rules: restoring, and taking changes.
    pub const fn detectors_mut(&mut self) -> &mut Detectors {
        &mut self.detectors
    }

    /// What was seen and lost. Totals since the start.
    pub const fn stats(&self) -> &Stats {
        self.flows.stats()
    }

    /// Libraries whose probes are of no use: see [`FlowTable::take_given_up`].
    pub fn take_given_up(&mut self) -> Vec<u16> {
        self.flows.take_given_up()
    }

    /// What became of each program's connections.
    pub const fn coverage(&self) -> &Coverage {
        self.flows.coverage()
    }

    /// For taking what is new.
    pub const fn coverage_mut(&mut self) -> &mut Coverage {
        self.flows.coverage_mut()
    }

    /// Flows that are open.
    pub fn open_flows(&self) -> usize {
        self.flows.len()
    }

    /// Latest counters of the kernel side, by `Counter` slot; empty before the
    /// first.
    pub fn counters(&self) -> &[u64] {
        &self.counters
    }

    fn observe(&mut self, out: &mut Vec<Observed>) {
        for mut call in self.calls.drain(..) {
            self.last_id += 1;
            call.id = self.last_id;
            let observation = self.inventory.observe(&call);
            if let Some(endpoint) = self.inventory.endpoint(&observation.endpoint) {
                self.detectors.observe(&call, &observation, endpoint);
            }
            out.push(Observed { call: Arc::new(call), observation });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::har;

    const ARCHIVE: &[u8] = br#"{"log":{"entries":[
        {"startedDateTime":"2026-01-02T03:04:05Z","request":{"method":"GET","url":"http://a.example/1"}},
        {"startedDateTime":"2026-01-02T03:04:06Z","request":{"method":"GET","url":"http://a.example/2"}}
    ]}}"#;

    #[test]
    fn every_call_comes_out_once_and_ids_ascend() {
        let mut pipeline = Pipeline::new(&Settings::default());
        let mut out = Vec::new();
        for call in har::read(ARCHIVE).unwrap().calls {
            pipeline.call(call, &mut out);
        }
        pipeline.finish(&mut out);
        let seen: Vec<_> = out.iter().map(|o| (o.call.id, &*o.call.request.target)).collect();
        assert_eq!(seen, [(1, "/1"), (2, "/2")]);
    }

    #[test]
    fn damaged_records_are_counted_and_kernel_counters_kept() {
        let mut pipeline = Pipeline::new(&Settings::default());
        pipeline.decode_error();
        pipeline.event(Event::Counters(Timestamp(1), vec![4, 5]), &mut Vec::new());
        assert_eq!((pipeline.stats().decode_errors, pipeline.counters()), (1, [4, 5].as_slice()));
    }
}
