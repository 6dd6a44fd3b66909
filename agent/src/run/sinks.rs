//! Where observed calls go, and what is told of the run.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::runtime::Runtime;
use tracing::{error, info, warn};

use crate::{
    call::{Missing, Timestamp},
    cli::{OutputArg, ReplayArgs, RunArgs},
    detect::Severity,
    event::Event,
    export::{
        coverage,
        endpoint::{self, Server},
        json::JsonLines,
        lines,
        metrics::Metrics,
        store::{State, Store},
    },
    pipeline::{self, Observed, Pipeline},
    run::{
        budget::Budget,
        capture::Capture,
        confine::{Confined, Helper},
        keeper::Keeper,
        live::Live,
        printer::Printer,
    },
};

/// How often counters, gauges and the state on disk are brought up to date.
const TURN: Duration = Duration::from_millis(500);

/// How long the end of a run waits for a slow reader of its output.
const PATIENCE: Duration = Duration::from_secs(5);

/// Programs and reasons that are warned of when TLS is not readable.
const WARNINGS_MAX: u32 = 100;

/// What may take privileges to open: before any is given up, and before the threads that
/// use it.
#[derive(Debug, Default)]
pub struct Opened {
    listener: Option<TcpListener>,
    store: Option<(Store, State)>,
}

impl Opened {
    /// Listens on an address, and opens the state in a directory with what it holds.
    pub fn open(listen: Option<SocketAddr>, directory: Option<&Path>) -> Result<Self> {
        let listener = listen.map(endpoint::listen).transpose()?;
        let store = directory.map(Store::open).transpose()?;
        let store = store.map(|store| store.load().map(|state| (store, state))).transpose()?;
        Ok(Self { listener, store })
    }
}

/// Everything that a run feeds.
#[derive(Debug)]
pub struct Sinks {
    output: OutputArg,
    printer: Printer,
    json: JsonLines,
    metrics: Arc<Metrics>,
    server: Option<Server>,
    keeper: Option<Keeper>,
    live: Option<Live>,
    restored: State,
    next: Instant,
    /// Warnings that may still be given.
    warnings: u32,
}

impl Sinks {
    /// Starts what writes, prints, serves and shows.
    pub fn start(
        args: &RunArgs,
        output: OutputArg,
        opened: Opened,
        runtime: &Runtime,
        confined: &Confined,
        capture: &Capture,
    ) -> Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let _guard = runtime.enter();
        let server = opened
            .listener
            .map(|listener| Server::start(listener, Arc::clone(&metrics)))
            .transpose()?;
        let (keeper, restored) = keep(opened.store, &confined.helper());
        Ok(Self {
            output,
            printer: Printer::stdout(confined.helper()),
            json: JsonLines { body_hash: args.print.body_hash },
            metrics,
            server,
            keeper,
            live: (output == OutputArg::Tui)
                .then(|| Live::start(runtime, super::scope(&args.scope).describe(), capture.now())),
            restored: restored.unwrap_or_default(),
            next: Instant::now() + TURN,
            warnings: WARNINGS_MAX,
        })
    }

    /// Opens what a replay was asked for.
    pub fn for_replay(args: &ReplayArgs) -> Result<Self> {
        let opened = Opened::open(None, args.state.as_deref())?;
        let (keeper, restored) = keep(opened.store, &Helper::default());
        Ok(Self {
            output: super::choose_lines(args.output),
            printer: Printer::stdout(Helper::default()),
            json: JsonLines { body_hash: args.body_hash },
            metrics: Arc::new(Metrics::new()),
            server: None,
            keeper,
            live: None,
            restored: restored.unwrap_or_default(),
            next: Instant::now() + TURN,
            warnings: WARNINGS_MAX,
        })
    }

    /// A pipeline that goes on from the state on disk.
    pub fn pipeline(&mut self) -> Pipeline {
        let mut pipeline = Pipeline::new(&pipeline::Settings::default());
        let State { services, endpoints, findings, damaged, coverage: _ } =
            std::mem::take(&mut self.restored);
        if damaged > 0 {
            tracing::warn!("{damaged} rows of the state are damaged and left out");
        }
        pipeline.inventory_mut().restore(services, endpoints);
        pipeline.detectors_mut().restore(findings);
        pipeline
    }

    /// Everything is observed from here on.
    pub fn ready(&self) {
        if let Some(server) = &self.server {
            server.ready();
        }
    }

    /// The reader of the output has gone away, or the live view was left.
    pub fn closed(&self) -> bool {
        match &self.live {
            Some(live) => live.left(),
            None => self.output != OutputArg::None && self.printer.closed(),
        }
    }

    /// Takes calls.
    pub fn calls(&mut self, observed: &mut Vec<Observed>) {
        for call in observed.drain(..) {
            self.metrics.call(&call);
            if let Some(live) = &mut self.live {
                live.call(&call);
            }
            match self.output {
                OutputArg::Json => self.printer.line(|out| self.json.write(&call, out)),
                OutputArg::Lines => self.printer.line(|out| lines::call(&call, out)),
                OutputArg::Auto | OutputArg::Tui | OutputArg::None => {}
            }
        }
        self.printer.flush();
    }

    /// Called every round: does what is due.
    pub fn turn(
        &mut self,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
        budget: Option<&Budget>,
    ) {
        if Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + TURN;
        self.warn(pipeline);
        self.measure(capture, pipeline);
        if let Some(budget) = budget {
            self.metrics.budget(budget.cores(), budget.usage(), &budget.shed());
        }
        if let Some(live) = &mut self.live {
            live.show(pipeline, capture, budget);
        }
        if let Some(keeper) = &mut self.keeper
            && let Err(problem) = keeper.save(pipeline, false)
        {
            // Said once: without a keeper nothing tries again.
            error!("what is learned is not kept any more: {problem:#}");
            self.keeper = None;
        }
    }

    /// Says of which programs the TLS is not readable: each once for each reason.
    fn warn(&mut self, pipeline: &mut Pipeline) {
        for news in pipeline.coverage_mut().take_news() {
            let Some(left) = self.warnings.checked_sub(1) else { return };
            self.warnings = left;
            warn!("{}", coverage::news(&news));
            if left == 0 {
                warn!("more programs whose TLS is not readable are told by the metrics alone");
            }
        }
    }

    fn measure(&self, capture: &mut Capture, pipeline: &mut Pipeline) {
        if let Event::Counters(_, counters) = capture.counters() {
            self.metrics.kernel(&counters);
        }
        for program in capture.probes().program_statistics() {
            self.metrics.program(&program);
        }
        self.metrics.flow(pipeline.stats(), capture.losses());
        self.metrics.coverage(pipeline.coverage());
        self.metrics.probes(capture.probes().attached());
        self.metrics.spared(capture.spared());
        self.metrics.ciphertext(capture.probes().witnessed());
        self.metrics.delays(capture.take_delays());
        self.metrics.queue("output", self.printer.dropped());
        self.metrics.queue("findings", pipeline.detectors().dropped());
        let left_out = pipeline.inventory().dropped();
        self.metrics.queue("services", left_out.services);
        self.metrics.queue("endpoints", left_out.endpoints);
        self.metrics.queue("schemas", left_out.schemas);
        self.metrics.queue("query_parameters", left_out.query_parameters);
        let findings = pipeline.detectors().findings();
        let by_severity =
            [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
                .map(|severity| {
                    (
                        severity,
                        findings.iter().filter(|finding| finding.severity == severity).count(),
                    )
                });
        let inventory = pipeline.inventory();
        let (services, endpoints) = (inventory.services().count(), inventory.endpoints().count());
        self.metrics.known(services, endpoints, &by_severity);
    }

    /// Ends a run in order.
    pub fn close(
        mut self,
        runtime: &Runtime,
        capture: &mut Capture,
        pipeline: &mut Pipeline,
    ) -> Result<()> {
        self.warn(pipeline);
        self.measure(capture, pipeline);
        if let Some(live) = self.live.take() {
            live.close(runtime);
        }
        summarize(pipeline, self.keeper.is_some());
        self.end(pipeline, PATIENCE)
    }

    /// Ends a replay, for which there is all the time of the world.
    pub fn close_replay(self, pipeline: &mut Pipeline) -> Result<()> {
        summarize_gaps(pipeline);
        self.end(pipeline, Duration::from_hours(1))
    }

    fn end(self, pipeline: &mut Pipeline, patience: Duration) -> Result<()> {
        // A reader that has gone wanted no more.
        let dropped = if self.printer.closed() { 0 } else { self.printer.dropped() };
        self.printer.finish(patience);
        if dropped > 0 {
            tracing::warn!("{dropped} lines were dropped: their reader was too slow");
        }
        let Some(mut keeper) = self.keeper else { return Ok(()) };
        keeper.save(pipeline, true)?;
        keeper.close()
    }
}

/// Starts the keeper of a state; what it holds.
fn keep(store: Option<(Store, State)>, helper: &Helper) -> (Option<Keeper>, Option<State>) {
    let since = Timestamp::now();
    store.map(|(store, state)| (Keeper::start(store, helper.clone(), since), state)).unzip()
}

/// Says what a run has seen.
fn summarize(pipeline: &Pipeline, kept: bool) {
    let stats = pipeline.stats();
    let calls = stats.calls.saturating_sub(stats.joined);
    let endpoints = pipeline.inventory().endpoints().count();
    let findings = pipeline.detectors().findings().len();
    let missing: u64 = stats.lost.iter().map(Missing::total).sum();
    let hint = if kept { "; apiscope inventory and apiscope findings show them" } else { "" };
    info!(
        "{calls} calls seen, {missing} bytes of them not captured; \
         {endpoints} endpoints and {findings} findings known{hint}"
    );
    summarize_gaps(pipeline);
}

/// Says what of a run could not be read.
fn summarize_gaps(pipeline: &Pipeline) {
    for line in coverage::summary(pipeline.coverage()) {
        info!("{line}");
    }
}
