//! `apiscope record`: events to a file instead of through the stages.

use anyhow::{Context as _, Result};

use super::{
    Ending, LAST_EVENTS, confine,
    confine::{Needs, Privileged},
    hold_command, raise_descriptors, runtime, settings, start_command, stop_on_signals,
};
use crate::{
    cli::RecordArgs,
    event::file::{Header, Writer},
    probe::launch::CommandOutput,
    run::capture::Capture,
};

/// A recording is at most so long, bytes.
const FILE_MAX: u64 = 16 << 30;

/// Records until the end. Returns the exit code.
pub fn record(args: &RecordArgs) -> Result<u8> {
    let start = Privileged::new();
    let inspector = start.inspector()?;
    let held = hold_command(&start, &args.scope, CommandOutput::Inherit)?;
    raise_descriptors();
    let settings = settings(&args.scope, &args.capture);
    let mut capture = Capture::start(&settings, inspector)?;
    let header = Header {
        start: capture.now(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        apiscope: env!("CARGO_PKG_VERSION").into(),
        scope: settings.scope.describe(),
        clock: capture.clock(),
    };
    let file = &args.file;
    let mut writer = Writer::create(file, &header, FILE_MAX).with_context(|| {
        format!("make {}; a recording is never written over a file that is there", file.display())
    })?;
    let needs = Needs { command: held.is_some(), ..Needs::default() };
    let confined = confine(start, &args.capture, needs);
    capture.detach_in_thread(&confined)?;
    let runtime = runtime(&confined)?;
    let stop = stop_on_signals(&runtime);
    let command = start_command(&mut capture, &args.scope, held)?;
    confined.seal();
    let mut ending = Ending::new(stop, args.duration, command);
    let mut events = Vec::with_capacity(LAST_EVENTS);
    while !ending.reached()? {
        capture.round(&mut events)?;
        for event in events.drain(..) {
            writer.event(&event).with_context(|| format!("write {}", file.display()))?;
        }
    }
    capture.finish(&mut events);
    events.push(capture.counters());
    for event in events.drain(..) {
        writer.event(&event).with_context(|| format!("write {}", file.display()))?;
    }
    writer.flush().with_context(|| format!("write {}", file.display()))?;
    if writer.dropped() > 0 {
        tracing::warn!("{} events did not fit into {FILE_MAX} bytes", writer.dropped());
    }
    Ok(ending.code())
}
