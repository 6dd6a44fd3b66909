//! Keeps capture within its CPU budget: measures what it costs, has less captured of the
//! programs that cost more than their share, and says so.

use std::time::{Duration, Instant};

use agent_common::counter::Counter;
use aya::sys::{Stats, enable_stats};
use rustix::{
    fd::OwnedFd,
    time::{ClockId, clock_gettime},
};
use tracing::{info, warn};

use super::capture::Capture;
use crate::{
    export::coverage,
    probe::Probes,
    shed::{Change, Controller, Detail, Sample},
};

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the kernel measures its programs, and how often. Measuring costs each run of a
/// program two readings of the clock, so most runs are not measured.
const WINDOW: Duration = Duration::from_millis(200);
const WINDOW_EVERY: Duration = Duration::from_secs(5);

/// Changes that are told; what comes after them is told by the metrics alone.
const NEWS_MAX: u32 = 200;

/// Processor time that capture takes, in cores.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Usage {
    /// Of the agent, all of it.
    pub agent: f64,
    /// Of the kernel programs, in whatever process they run; `None` when the kernel does
    /// not tell.
    pub kernel: Option<f64>,
}

impl Usage {
    /// Both.
    pub fn cores(self) -> f64 {
        self.agent + self.kernel.unwrap_or(0.0)
    }
}

/// The CPU budget of a run.
#[derive(Debug)]
pub struct Budget {
    controller: Controller,
    kernel: KernelTime,
    usage: Usage,
    since: Instant,
    agent: Duration,
    lost: u64,
    news: u32,
    /// Whether it was said that nothing is left to shed.
    exhausted: bool,
}

impl Budget {
    /// A run that may take so many cores.
    pub fn new(cores: f64) -> Self {
        Self {
            controller: Controller::new(cores),
            kernel: KernelTime::new(),
            usage: Usage::default(),
            since: Instant::now(),
            agent: agent_time(),
            lost: 0,
            news: NEWS_MAX,
            exhausted: false,
        }
    }

    /// Cores that capture may take.
    pub const fn cores(&self) -> f64 {
        self.controller.budget()
    }

    /// What it took in the latest interval.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Programs of which less is captured, and how much still is.
    pub fn shed(&self) -> Vec<(String, Detail)> {
        let shed = self.controller.shed();
        let mut shed: Vec<_> = shed.map(|(it, detail)| (coverage::program(it), detail)).collect();
        shed.sort_unstable();
        shed
    }

    /// Called every round: does what is due.
    pub fn turn(&mut self, capture: &mut Capture) {
        self.kernel.turn(capture.probes());
        let elapsed = self.since.elapsed();
        if elapsed < INTERVAL {
            return;
        }
        self.since = Instant::now();
        let agent = agent_time();
        let spent = agent.saturating_sub(std::mem::replace(&mut self.agent, agent));
        self.usage =
            Usage { agent: spent.as_secs_f64() / elapsed.as_secs_f64(), kernel: self.kernel.cores };
        let lost = lost_records(capture);
        let overrun = lost > std::mem::replace(&mut self.lost, lost);
        let loads = capture.take_loads();
        let sample = Sample { cores: self.usage.cores(), overrun, loads };
        let changes = self.controller.sample(&sample);
        if !changes.is_empty() {
            // What was measured is of another load.
            self.kernel.measure_now();
        }
        for change in changes {
            capture.limit_program(&change.program, change.to.message_budget());
            self.tell(&change, overrun);
        }
        if self.controller.exhausted() && !self.exhausted {
            warn!(
                "{} and all is shed that may be: calls are always counted; a wider --cpu-budget, \
                 or a narrower scope, is needed",
                self.reason(overrun)
            );
        }
        self.exhausted = self.controller.exhausted();
    }

    fn reason(&self, overrun: bool) -> String {
        let (used, may) = (self.usage.cores(), self.cores());
        if overrun && used <= may {
            return "the agent does not keep up".to_owned();
        }
        format!("capture takes {used:.2} cores of the {may:.2} that it may (--cpu-budget)")
    }

    fn tell(&mut self, change: &Change, overrun: bool) {
        let Some(left) = self.news.checked_sub(1) else { return };
        self.news = left;
        let program = coverage::program(&change.program);
        let what = detail(change.to);
        if change.to > change.from {
            let why = self.reason(overrun);
            warn!("{why}: of {program} {what} from here on, and all its calls are counted");
        } else {
            info!("within the CPU budget again: of {program} {what}");
        }
        if left == 0 {
            warn!("what more is shed is told by the metrics alone");
        }
    }

    /// Says at the end of a run that it was not all captured.
    pub fn summarize(&self) {
        for (program, shed) in self.shed() {
            info!("at the end, for the CPU budget: of {program} {}", detail(shed));
        }
    }
}

/// What is captured, in words.
pub const fn detail(detail: Detail) -> &'static str {
    match detail {
        Detail::Full => "all is captured",
        Detail::Heads => "the heads of messages are captured and their bodies are not",
        Detail::Lines => "the first lines of messages are captured and the rest is not",
    }
}

/// Processor time of the agent.
fn agent_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Records that were lost because their buffer was full.
fn lost_records(capture: &Capture) -> u64 {
    let counters = capture.probes().counters();
    let kernel = counters.get(Counter::LOST_FULL.0 as usize).copied().unwrap_or(0);
    kernel.saturating_add(capture.losses().data_records)
}

/// Time in the kernel programs, measured now and then.
#[derive(Debug)]
struct KernelTime {
    /// As of the latest window, in cores.
    cores: Option<f64>,
    window: Option<Window>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Window {
    /// The kernel measures as long as this is open.
    _measuring: OwnedFd,
    since: Instant,
    before: Duration,
}

impl KernelTime {
    fn new() -> Self {
        Self { cores: None, window: None, next: Some(Instant::now()) }
    }

    /// Does not wait for the next window.
    fn measure_now(&mut self) {
        self.next = self.next.map(|next| next.min(Instant::now()));
    }

    fn turn(&mut self, probes: &Probes) {
        if let Some(window) = self.window.take_if(|window| window.since.elapsed() >= WINDOW) {
            let spent = probes.run_time().saturating_sub(window.before);
            self.cores = Some(spent.as_secs_f64() / window.since.elapsed().as_secs_f64());
        }
        let Some(next) = self.next else { return };
        let now = Instant::now();
        if self.window.is_some() || now < next {
            return;
        }
        match enable_stats(Stats::RunTime) {
            Ok(measuring) => {
                self.next = Some(now + WINDOW_EVERY);
                let before = probes.run_time();
                self.window = Some(Window { _measuring: measuring, since: now, before });
            }
            Err(error) => {
                self.next = None;
                self.cores = None;
                info!(
                    "the kernel does not tell the time of its programs ({error}): the CPU budget \
                     is that of the agent alone"
                );
            }
        }
    }
}
