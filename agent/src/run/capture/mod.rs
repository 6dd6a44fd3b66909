//! From the kernel's buffers to events in order, with what /proc adds to them.

mod spare;
mod witness;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_common::{
    record::{Layer, Protocol},
    scope::{FileKey, ScopeFlags},
};
use ahash::AHashMap;
use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use tracing::{debug, warn};

use crate::{
    call::{Process, Timestamp},
    event::{
        Clock, Event, Merger, Raw, decode,
        decode::{Lifecycle, Mapped},
        verdict::{FileVerdict, Unhooked},
    },
    flow::coverage::Program,
    inspect::Inspector,
    probe::{self, Attached, Candidate, Probes, Record, Settings, Source, is_gone, mappings},
    redact::printable,
    run::{loads::Loads, safety::Safety, verdicts::Verdicts},
    shed::Load,
};

/// How long the loop sleeps while nothing comes. Records do not wake it one by one:
/// a wake-up costs the observed process more than the record does.
const TICK: Duration = Duration::from_millis(10);

/// The same after [`QUIET_ROUNDS`] without a record. Full buffers wake it anyway.
const QUIET_TICK: Duration = Duration::from_millis(50);

/// Rounds without a record after which nobody waits for the next one.
const QUIET_ROUNDS: u32 = 100;

/// Bytes taken from one buffer before the others get their turn.
const BATCH: usize = 4 << 20;

/// How far behind the clock events are released: a program takes the time first and
/// hands its record over a moment later.
pub const SETTLE_NS: u64 = 5_000_000;

/// Events that wait to be put in order, at most.
const ORDER_MAX: usize = 1 << 18;

/// Processes whose facts are remembered, at most.
const PROCESSES_MAX: usize = 65536;

/// Time between two looks for files that probes may be taken away from.
const LET_GO: Duration = Duration::from_secs(10);

/// Files attached to since the last look at how long that took, at most.
const DELAYS_MAX: usize = 4096;

/// Losses that only this side sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    /// Records that perf buffers dropped: data.
    pub data_records: u64,
    /// Records that perf buffers dropped: lifecycle.
    pub lifecycle_records: u64,
    /// Records that could not be decoded.
    pub undecoded: u64,
}

/// The probes and what is read from them.
#[derive(Debug)]
pub struct Capture {
    probes: Probes,
    sources: Vec<Source>,
    merger: Merger,
    clock: Clock,
    processes: HashMap<u32, Arc<Process>>,
    verdicts: Verdicts,
    losses: Losses,
    loads: Loads,
    safety: Safety,
    witnessed: witness::Witnessed,
    /// Capture budgets of one message, of programs that have a smaller one than the rest.
    budgets: AHashMap<Program, u32>,
    /// How long files were executed or mapped before probes were in them.
    delays: Vec<Duration>,
    /// Events made before the first round.
    early: Vec<Event>,
    scope_all: bool,
    /// Rounds since the latest record.
    quiet: u32,
    /// When files are looked for that probes may be taken away from.
    let_go: Instant,
}

impl Capture {
    /// Attaches the probes and finds the TLS libraries of what is in scope.
    pub fn start(settings: &Settings, inspector: Inspector) -> Result<Self> {
        let mut probes = Probes::attach(settings, inspector)?;
        let sources = probes.sources(settings)?;
        let mut capture = Self {
            probes,
            sources,
            merger: Merger::new(ORDER_MAX),
            clock: Clock::system(),
            processes: HashMap::new(),
            verdicts: Verdicts::default(),
            losses: Losses::default(),
            loads: Loads::default(),
            safety: Safety::default(),
            witnessed: witness::Witnessed::default(),
            budgets: AHashMap::new(),
            delays: Vec::new(),
            early: Vec::new(),
            quiet: 0,
            let_go: Instant::now() + LET_GO,
            scope_all: settings.scope.all || settings.scope.cgroup.is_some(),
        };
        let now = capture.now();
        for pid in capture.in_scope() {
            capture.meet(pid, now);
            capture.look_at(pid, None);
        }
        capture.try_probes()?;
        if !settings.scope.is_fixed() {
            for path in probe::installed() {
                capture.attach(&path, &path, None, None);
            }
        }
        Ok(capture)
    }

    /// Brings a process that this agent started into scope.
    pub fn admit(&mut self, pid: u32, follow: bool) -> Result<()> {
        let flags = if follow { ScopeFlags::FOLLOW } else { ScopeFlags(0) };
        self.probes.admit(pid, flags)?;
        let now = self.now();
        self.meet(pid, now);
        Ok(())
    }

    /// Attaches to a program that is about to be started: its first TLS call may come
    /// sooner than it takes to hear of it.
    pub fn expect(&mut self, program: &Path) {
        self.attach(program, program, None, None);
    }

    /// Waits a moment for records and gives what is in order by now.
    pub fn round(&mut self, out: &mut Vec<Event>) -> Result<()> {
        self.wait()?;
        #[cfg(feature = "kernel-log")]
        self.probes.pass_log();
        if self.let_go <= Instant::now() {
            self.let_go = Instant::now() + LET_GO;
            self.probes.let_go();
        }
        // Whatever was handed over before this moment is in the buffers now.
        let until = Timestamp(self.now().0.saturating_sub(SETTLE_NS));
        let more = self.drain(out);
        // Libraries have no time: they come before the data that names them.
        out.append(&mut self.early);
        if !more {
            self.merger.release(until, out);
        }
        Ok(())
    }

    /// Takes all that is left in the buffers.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        while self.drain(out) {}
        out.append(&mut self.early);
        self.merger.release(Timestamp(u64::MAX), out);
    }

    /// The kernel side's counters.
    pub fn counters(&self) -> Event {
        Event::Counters(self.now(), self.probes.counters())
    }

    /// Losses that only this side sees.
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// Of each file that was attached to since the last time: how long after it was
    /// executed or mapped its probes were in place.
    pub fn take_delays(&mut self) -> std::vec::Drain<'_, Duration> {
        self.delays.drain(..)
    }

    /// Functions of TLS libraries that probes are attached to, by library.
    pub fn libraries(&self) -> Vec<Attached> {
        self.probes.libraries().to_vec()
    }

    /// The probes.
    pub const fn probes(&self) -> &Probes {
        &self.probes
    }

    /// What was captured of each program since the last time.
    pub fn take_loads(&mut self) -> Vec<(Program, Load)> {
        self.loads.take(|tgid| self.processes.get(&tgid).cloned())
    }

    /// Sets the capture budget of each message of a program, of the processes that run it
    /// and of those that will; without one it has the usual.
    pub fn limit_program(&mut self, program: &Program, budget: Option<u32>) {
        match budget {
            Some(budget) => self.budgets.insert(program.clone(), budget),
            None => self.budgets.remove(program),
        };
        let running = self.processes.values().filter(|it| Program::of(it) == *program);
        for pid in running.map(|process| process.pid).collect::<Vec<_>>() {
            self.limit(pid, budget);
        }
        if let Err(error) = self.probes.message_budgets().enable(!self.budgets.is_empty()) {
            warn!("{error:#}");
        }
    }

    fn limit(&mut self, pid: u32, budget: Option<u32>) {
        if let Err(error) = self.probes.message_budgets().set(pid, budget) {
            warn!("{error:#}");
        }
    }

    /// Time of day, by the clock that events have.
    pub fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let nanos = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000)
            + u64::try_from(time.tv_nsec).unwrap_or(0);
        self.clock.timestamp(nanos)
    }

    /// The clock that events have.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Processes in scope now.
    fn in_scope(&self) -> Vec<u32> {
        if !self.scope_all {
            return self.probes.admitted();
        }
        let own = std::process::id();
        let processes = procfs::process::all_processes().into_iter().flatten();
        processes
            .filter_map(|process| u32::try_from(process.ok()?.pid()).ok())
            .filter(|&pid| pid != own)
            .collect()
    }

    fn wait(&self) -> Result<()> {
        let descriptors: Vec<_> = self.sources.iter().map(Source::descriptor).collect();
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        let tick = if self.quiet < QUIET_ROUNDS { TICK } else { QUIET_TICK };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(tick.subsec_nanos()) };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for records"),
        }
    }

    /// Moves what waits in the buffers to the merger; whether more may wait.
    fn drain(&mut self, out: &mut Vec<Event>) -> bool {
        let mut more = false;
        self.quiet = self.quiet.saturating_add(1);
        let mut records = Vec::new();
        for index in 0..self.sources.len() {
            let Some(source) = self.sources.get_mut(index) else { break };
            let lifecycle = source.lifecycle;
            let mut lost = 0;
            more |= source.drain(BATCH, |record| match record {
                Record::Record(bytes) => records.push(bytes),
                Record::Lost(count) => lost += count,
            });
            if lifecycle {
                self.losses.lifecycle_records += lost;
            } else {
                self.losses.data_records += lost;
            }
            if !records.is_empty() {
                self.quiet = 0;
            }
            for record in records.drain(..) {
                match decode(&record, &self.clock) {
                    Ok(raw) => self.take(raw, out),
                    Err(error) => {
                        debug!("record refused: {error}");
                        self.losses.undecoded += 1;
                    }
                }
            }
        }
        more
    }

    fn take(&mut self, raw: Raw, out: &mut Vec<Event>) {
        match raw {
            Raw::Fork(fork) => self.forked(&fork),
            Raw::Exec(exec) => self.executed(&exec),
            Raw::Mapped(mapped) => {
                self.mapped(&mapped);
                self.judged(mapped.tgid, mapped.time, out);
            }
            Raw::Exit(ref exit) => {
                let own = self.probes.left(exit.tgid);
                self.witnessed.left(exit.tgid);
                if let Some(process) = self.processes.remove(&exit.tgid) {
                    self.loads.ended(&process);
                    self.ended(&process, exit.signal, own);
                }
                if let Some(event) = raw.into_event() {
                    self.merger.push(event, out);
                }
            }
            Raw::Data(mut data) => {
                if !self.processes.contains_key(&data.tgid) {
                    self.meet(data.tgid, data.time);
                }
                self.loads.add(data.tgid, data.payload.len());
                self.witness(&data);
                if data.protocol == Protocol::TLS
                    && data.layer == Layer::SOCKET
                    && self.verdicts.is_due(data.tgid, data.time)
                {
                    // What is known of it may have been forgotten where it is used.
                    self.meet(data.tgid, data.time);
                    let found = self.look_at(data.tgid, None);
                    self.verdicts.looked(data.tgid, data.time, found);
                    self.judged(data.tgid, data.time, out);
                }
                data.start_ns = probe::process::whole_ticks(data.start_ns);
                self.merger.push(Event::Data(data), out);
            }
            _ => {
                if let Some(event) = raw.into_event() {
                    self.merger.push(event, out);
                }
            }
        }
    }

    fn forked(&mut self, fork: &Lifecycle) {
        let child = match self.processes.get(&fork.parent_tgid) {
            Some(parent) => probe::process::child(parent, fork.tgid, fork.start_ns),
            None => match probe::process::look(fork.tgid) {
                Some(process) => process,
                None => return,
            },
        };
        self.remember(fork.time, child);
        self.verdicts.forked(fork.parent_tgid, fork.tgid);
        self.witnessed.left(fork.tgid);
        let spared = self.safety.spares(self.processes.get(&fork.tgid));
        self.probes.forked(fork.parent_tgid, fork.tgid, spared);
    }

    fn executed(&mut self, exec: &Lifecycle) {
        // The record's name is of this exec; /proc may tell of a later one already,
        // or of none when the process is gone.
        let process = match probe::process::look(exec.tgid) {
            Some(mut process) if process.comm == exec.comm => {
                // One that has ended and was not waited for has no executable any more.
                if process.executable.is_empty() {
                    process.executable.clone_from(&exec.filename);
                }
                process
            }
            _ => probe::process::from_record(exec),
        };
        self.remember(exec.time, process);
        self.verdicts.executed(exec.tgid);
        self.probes.left(exec.tgid);
        self.witnessed.left(exec.tgid);
        let file = PathBuf::from(format!("/proc/{}/exe", exec.tgid));
        let name = PathBuf::from(&exec.filename);
        self.attach(&file, &name, Some(exec.tgid), Some(exec.time));
    }

    fn mapped(&mut self, mapped: &Mapped) {
        if !self.look_at(mapped.tgid, Some(mapped.time)) {
            // Gone before it could be looked at: the next process that maps the
            // file must be told of again.
            self.probes.forget_mapped(FileKey { inode: mapped.inode, device: mapped.device });
        }
    }

    /// Attaches to the TLS libraries that a running process maps, one of them since the
    /// given time. False when nothing was found: it has ended.
    fn look_at(&mut self, pid: u32, since: Option<Timestamp>) -> bool {
        let mappings = mappings(pid);
        for mapping in &mappings {
            self.attach(&mapping.file, &mapping.name, Some(pid), since);
        }
        !mappings.is_empty()
    }

    /// Tells what the TLS of a process is, when that is new.
    fn judged(&mut self, pid: u32, time: Timestamp, out: &mut Vec<Event>) {
        let start_ns = self.processes.get(&pid).map_or(0, |process| process.start_ns);
        if let Some(verdict) = self.verdicts.news(pid, start_ns) {
            // Before what its data lets the flow stage conclude.
            let time = Timestamp(time.0.saturating_sub(1));
            self.merger.push(Event::Verdict(time, verdict), out);
        }
    }

    /// Attaches to a file that a process executes or maps, `since` when, if that was just
    /// heard of.
    fn attach(&mut self, file: &Path, name: &Path, pid: Option<u32>, since: Option<Timestamp>) {
        let process = pid.and_then(|pid| self.processes.get(&pid)).cloned();
        let spared = self.safety.spares(process.as_ref());
        let program = self.safety.kind(process.as_ref());
        let candidate = Candidate { file, name, pid, program, spared };
        let verdict = match self.probes.mapped(candidate) {
            Ok(outcome) => {
                if let Some(library) = outcome.news {
                    debug!("attached to {}", printable(&name.to_string_lossy()));
                    if let Some(since) = since
                        && self.delays.len() < DELAYS_MAX
                    {
                        let nanos = self.now().nanos_since(since);
                        self.delays.push(Duration::from_nanos(nanos));
                    }
                    self.early.push(Event::Library(library.index, library.name));
                }
                if let (Some(process), Some(key)) = (&process, outcome.key) {
                    self.safety.maps(process, key);
                    if spared {
                        self.part(key);
                    }
                }
                outcome.verdict
            }
            // A process that ended meanwhile is no matter.
            Err(error) if is_gone(file) => {
                debug!("{}", printable(&format!("{error:#}")));
                return;
            }
            Err(error) => {
                let error = printable(&format!("{error:#}")).into_owned();
                // A path that a process chose.
                let name = printable(&name.to_string_lossy()).into_owned();
                warn!("TLS of {name} is not captured: {error}");
                FileVerdict::Unhooked(Unhooked::Unreadable(error.into()))
            }
        };
        if let Some(pid) = pid {
            self.verdicts.add(pid, verdict);
        }
    }

    /// Looks up a process that was not met before.
    fn meet(&mut self, pid: u32, time: Timestamp) {
        if let Some(process) = probe::process::look(pid) {
            self.remember(time, process);
        }
    }

    fn remember(&mut self, time: Timestamp, process: Process) {
        if self.processes.len() >= PROCESSES_MAX {
            self.processes.clear();
        }
        let process = Arc::new(process);
        if !self.budgets.is_empty() {
            let budget = self.budgets.get(&Program::of(&process)).copied();
            self.limit(process.pid, budget);
        }
        self.processes.insert(process.pid, Arc::clone(&process));
        // Its own time would let data of the same moment pass before it.
        let time = Timestamp(time.0.saturating_sub(1));
        let mut out = Vec::new();
        self.merger.push(Event::Process(time, process), &mut out);
        self.early.append(&mut out);
    }
}
