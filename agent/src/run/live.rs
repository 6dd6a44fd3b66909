//! Feeds the live view and learns when it was left.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_common::counter::Counter;
use tokio::{
    runtime::Runtime,
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tracing::error;

use crate::{
    call::Timestamp,
    export::{
        coverage, openapi,
        tui::{self, Run, Snapshot, View},
    },
    inventory::Schema,
    log,
    pipeline::{Observed, Pipeline},
    run::{
        budget::{Budget, detail},
        capture::Capture,
    },
    shed::Detail,
};

/// Rows of programs that are not fully decoded.
const GAPS_MAX: usize = 200;

/// The live view of a run.
pub struct Live {
    view: View,
    run: Run,
    snapshots: watch::Sender<Arc<Snapshot>>,
    left: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Takes the terminal.
    pub fn start(runtime: &Runtime, scope: String, started: Timestamp) -> Self {
        let run = Run { scope, started, ..Run::default() };
        let first = Snapshot { time: started, run: run.clone(), ..Snapshot::default() };
        let (snapshots, shown) = watch::channel(Arc::new(first));
        let (stop, stopped) = oneshot::channel::<()>();
        log::hold();
        let left = Arc::new(AtomicBool::new(false));
        let leaving = Arc::clone(&left);
        let task = runtime.spawn(async move {
            let stopped = async {
                // An error means that the run is gone, which means the same.
                drop(stopped.await);
            };
            if let Err(problem) = tui::run(shown, stopped).await {
                error!("the live view ended: {problem:#}");
            }
            leaving.store(true, Ordering::Relaxed);
        });
        Self {
            view: View::new(schema_lines),
            run,
            snapshots,
            left,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// Counts a call.
    pub fn call(&mut self, observed: &Observed) {
        self.view.calls(observed);
    }

    /// Shows how things stand.
    pub fn show(&mut self, pipeline: &Pipeline, capture: &mut Capture, budget: Option<&Budget>) {
        let (now, counters) = (capture.now(), capture.probes().counters());
        let libraries = capture.libraries().into_iter();
        self.run.libraries = libraries.map(|library| library.name).collect();
        let shed = budget.map(Budget::shed).unwrap_or_default();
        let words = |(program, it): (String, Detail)| (program, detail(it));
        self.run.shed = shed.into_iter().take(GAPS_MAX).map(words).collect();
        self.run.gaps = coverage::gaps(pipeline.coverage());
        self.run.gaps.truncate(GAPS_MAX);
        self.run.connections = counters.get(Counter::CONNECTIONS.0 as usize).copied();
        self.run.counters = counters;
        if let Ok(process) = procfs::process::Process::myself().and_then(|own| own.stat()) {
            self.run.resident_bytes = Some(process.rss.saturating_mul(procfs::page_size()));
            let ticks = procfs::ticks_per_second().max(1) as f64;
            let elapsed = now.seconds_since(self.run.started).max(1.0);
            let used = (process.utime + process.stime) as f64 / ticks;
            self.run.cpu_percent = Some(100.0 * used / elapsed);
        }
        let findings = pipeline.detectors().findings();
        let snapshot = self.view.snapshot(&self.run, pipeline.inventory(), &findings, now);
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// The person at the terminal has left it.
    pub fn left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Gives the terminal back.
    pub fn close(mut self, runtime: &Runtime) {
        // An error means that the view has ended.
        _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(task) = self.task.take() {
            drop(runtime.block_on(task));
        }
        log::release();
    }
}

/// A schema as indented JSON Schema, line by line.
fn schema_lines(schema: &Schema) -> Vec<String> {
    let text = serde_json::to_string_pretty(&openapi::schema(schema)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
