//! Builds the stages, owns their threads and their end.

pub mod budget;
pub mod capture;
pub mod child;
pub mod confine;
pub mod keeper;
pub mod live;
mod loads;
pub mod printer;
pub mod read;
pub mod record;
pub mod replay;
mod safety;
pub mod sinks;
mod verdicts;

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::info;

use crate::{
    call::Timestamp,
    cli::{CaptureArgs, OutputArg, RunArgs, ScopeArgs, SocketBackendArg, TransportArg},
    probe::{
        Scope, Settings, Sockets, Transport,
        launch::{self, CommandOutput, Held},
    },
    run::{
        budget::Budget,
        capture::Capture,
        child::Command,
        confine::{Confined, Needs, Privileged},
        sinks::{Opened, Sinks},
    },
};

/// How long records may still come after a command has ended: those of processes
/// that outlive it, and those on their way.
const LAST_RECORDS: Duration = Duration::from_millis(150);

/// Events of one round, usually.
const LAST_EVENTS: usize = 1024;

/// Processes to observe, as they were typed.
pub fn scope(args: &ScopeArgs) -> Scope {
    Scope {
        all: args.all,
        pids: args.pid.clone(),
        cgroup: args.cgroup.clone(),
        comms: args.comm.clone(),
        exes: args.exe.clone(),
        no_follow: args.no_follow,
        command: !args.command.is_empty(),
    }
}

/// Settings of capture, as they were typed.
pub fn settings(scope_args: &ScopeArgs, capture: &CaptureArgs) -> Settings {
    Settings {
        scope: scope(scope_args),
        transport: match capture.transport {
            TransportArg::Auto => Transport::Auto,
            TransportArg::Ring => Transport::Ring,
            TransportArg::Perf => Transport::Perf,
        },
        sockets: match capture.socket_backend {
            SocketBackendArg::Auto => Sockets::Auto,
            SocketBackendArg::Syscall => Sockets::Syscall,
            SocketBackendArg::Function => Sockets::Function,
        },
        message_budget: capture.message_budget,
        buffer_bytes: capture.buffer,
        no_return_probes: capture.no_return_probes,
        empty: capture.empty_programs,
        ..Settings::default()
    }
}

/// Why a run ends.
#[derive(Debug)]
pub struct Ending {
    stop: Arc<AtomicBool>,
    deadline: Option<Instant>,
    command: Option<Command>,
    ended: Option<Instant>,
    code: u8,
}

impl Ending {
    /// A run ends with its command, at its deadline, or when it is told to stop.
    pub fn new(stop: Arc<AtomicBool>, seconds: Option<u64>, command: Option<Command>) -> Self {
        let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        Self { stop, deadline, command, ended: None, code: 0 }
    }

    /// Whether it is time to end. A command is asked to end first, and waited for.
    pub fn reached(&mut self) -> Result<bool> {
        let told = self.stop.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let Some(command) = &mut self.command else { return Ok(told) };
        if told && self.ended.is_none() {
            command.terminate();
        }
        if self.ended.is_none()
            && let Some(status) = command.ended()?
        {
            self.code = child::exit_code(status);
            self.ended = Some(Instant::now());
        }
        Ok(self.ended.is_some_and(|ended| ended.elapsed() >= LAST_RECORDS))
    }

    /// Nobody looks any more: the run is told to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Exit code of the run: that of the command.
    pub const fn code(&self) -> u8 {
        self.code
    }
}

/// Forks the command of a scope, if it has one: it inherits all that the run was started
/// with, and waits until it is observed.
fn hold_command(_: &Privileged, args: &ScopeArgs, output: CommandOutput) -> Result<Option<Held>> {
    let wanted = !args.command.is_empty();
    wanted.then(|| launch::hold(&args.command, output)).transpose()
}

/// Gives up what the rest of a run does not need, unless told not to.
fn confine(start: Privileged, capture: &CaptureArgs, needs: Needs<'_>) -> Confined {
    if capture.no_confine { start.go_on() } else { start.confine(needs) }
}

/// Lets the command of a scope run, observed.
fn start_command(
    capture: &mut Capture,
    args: &ScopeArgs,
    held: Option<Held>,
) -> Result<Option<Command>> {
    let Some(held) = held else { return Ok(None) };
    if let Some(program) = args.command.first().and_then(|name| launch::find(name))
        && !args.no_follow
    {
        capture.expect(&program);
    }
    capture.admit(held.pid, !args.no_follow)?;
    Ok(Some(Command::new(held.release()?)))
}

/// The runtime of everything that waits: signals, the metrics endpoint, the view.
fn runtime(confined: &Confined) -> Result<tokio::runtime::Runtime> {
    let helper = confined.helper();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || helper.enter())
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Sets a flag on SIGINT, SIGTERM and SIGHUP.
pub fn stop_on_signals(runtime: &tokio::runtime::Runtime) -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = Arc::new(AtomicBool::new(false));
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let stop = Arc::clone(&stop);
        let _guard = runtime.enter();
        match signal(kind) {
            Ok(mut signals) => {
                drop(runtime.spawn(async move {
                    while signals.recv().await.is_some() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }));
            }
            Err(error) => tracing::warn!("signals are not handled: {error}"),
        }
    }
    stop
}

/// `apiscope run`. Returns the exit code.
pub fn run(args: &RunArgs) -> Result<u8> {
    let output = choose(args.print.output);
    let command_output = match output {
        OutputArg::Tui => CommandOutput::Discard,
        OutputArg::None => CommandOutput::Inherit,
        _ => CommandOutput::ToStderr,
    };
    let start = Privileged::new();
    let inspector = start.inspector()?;
    let held = hold_command(&start, &args.scope, command_output)?;
    raise_descriptors();
    let settings = settings(&args.scope, &args.capture);
    let mut capture = Capture::start(&settings, inspector)?;
    info!("observing {}", settings.scope.describe());
    let directory = (!args.print.no_state).then_some(&*args.print.state);
    let opened = Opened::open(args.listen, directory)?;
    let terminal = output == OutputArg::Tui;
    let needs = Needs { directory, terminal, command: held.is_some() };
    let confined = confine(start, &args.capture, needs);
    capture.detach_in_thread(&confined)?;
    let runtime = runtime(&confined)?;
    let stop = stop_on_signals(&runtime);
    let mut sinks = Sinks::start(args, output, opened, &runtime, &confined, &capture)?;
    let mut pipeline = sinks.pipeline();
    let command = start_command(&mut capture, &args.scope, held)?;
    release_memory();
    confined.seal();
    sinks.ready();
    let mut ending = Ending::new(stop, args.duration, command);
    let mut budget = args.cpu_budget.0.map(Budget::new);
    let mut events = Vec::new();
    let mut observed = Vec::new();
    loop {
        if sinks.closed() {
            ending.stop();
        }
        if ending.reached()? {
            break;
        }
        capture.round(&mut events)?;
        for event in events.drain(..) {
            pipeline.event(event, &mut observed);
        }
        pipeline.tick(Timestamp(capture.now().0.saturating_sub(capture::SETTLE_NS)), &mut observed);
        sinks.calls(&mut observed);
        capture.give_up(pipeline.take_given_up());
        if let Some(budget) = &mut budget {
            budget.turn(&mut capture);
        }
        sinks.turn(&mut capture, &mut pipeline, budget.as_ref());
    }
    capture.finish(&mut events);
    for event in events.drain(..) {
        pipeline.event(event, &mut observed);
    }
    pipeline.finish(&mut observed);
    sinks.calls(&mut observed);
    sinks.close(&runtime, &mut capture, &mut pipeline)?;
    if let Some(budget) = &budget {
        budget.summarize();
    }
    Ok(ending.code())
}

/// Lets the run open as many files as it may: each hooked function of a library is one. A
/// command was forked before, and keeps what it was given.
fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now }) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
}

/// Gives back what the start needed: looking through the kernel's types takes several
/// times the memory of a run.
fn release_memory() {
    // SAFETY: it takes no pointers, and may be called at any time by any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// What `auto` means here.
fn choose(output: OutputArg) -> OutputArg {
    match output {
        OutputArg::Auto if std::io::stdout().is_terminal() => OutputArg::Tui,
        OutputArg::Auto => OutputArg::Lines,
        output => output,
    }
}

/// What `auto` means where nothing is live.
fn choose_lines(output: OutputArg) -> OutputArg {
    match output {
        OutputArg::Auto | OutputArg::Tui => OutputArg::Lines,
        output => output,
    }
}
