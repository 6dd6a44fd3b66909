//! `apiscope replay`: a recording or an HTTP archive through the same stages,
//! without privileges.

use std::{fs::File, io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use tracing::warn;

use super::sinks::Sinks;
use crate::{
    call::Timestamp,
    cli::ReplayArgs,
    event::{
        Event,
        file::{FileError, Reader},
        har,
    },
    pipeline::Observed,
};

/// Events between two looks at the sinks.
const BATCH: usize = 1024;

/// Replays a file.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    let mut sinks = Sinks::for_replay(args)?;
    let mut pipeline = sinks.pipeline();
    let mut observed: Vec<Observed> = Vec::new();
    let path = &args.file;
    if is_archive(path)? {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let archive = har::read(file).with_context(|| format!("read {}", path.display()))?;
        if archive.skipped > 0 {
            warn!("{} entries say too little to be a call", archive.skipped);
        }
        for call in archive.calls {
            pipeline.call(call, &mut observed);
            sinks.calls(&mut observed);
        }
    } else {
        let mut reader = Reader::open(path).with_context(|| format!("open {}", path.display()))?;
        let mut refused = 0_u64;
        let mut count = 0;
        let mut last = Timestamp::default();
        for event in &mut reader {
            match event {
                Ok(event) => {
                    last = event.time().map_or(last, |time| last.max(time));
                    let counters = matches!(event, Event::Counters(..));
                    pipeline.event(event, &mut observed);
                    if !counters {
                        pipeline.tick(last, &mut observed);
                    }
                }
                Err(FileError::Io(error)) => {
                    return Err(error).with_context(|| format!("read {}", path.display()));
                }
                Err(_) => refused += 1,
            }
            count += 1;
            if count % BATCH == 0 {
                sinks.calls(&mut observed);
            }
        }
        if refused > 0 {
            warn!("{refused} frames of {} were refused", path.display());
        }
        if reader.cut_off() {
            warn!("{} ends in the middle of a frame: it was cut off", path.display());
        }
    }
    pipeline.finish(&mut observed);
    sinks.calls(&mut observed);
    sinks.close_replay(&mut pipeline)
}

/// A recording starts with its magic; anything that starts as JSON is an archive.
fn is_archive(path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut start = Vec::new();
    file.take(64).read_to_end(&mut start).with_context(|| format!("read {}", path.display()))?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    Ok(text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'))
}
