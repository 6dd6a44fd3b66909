//! Writes the state on disk, in a thread of its own: the stages never wait for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    call::Timestamp,
    detect::Finding,
    export::{ledger::Line, store::Store},
    inventory::Changes,
    pipeline::Pipeline,
    run::confine::Helper,
};

/// What is written at once.
#[derive(Debug, Default)]
struct Batch {
    changes: Changes,
    findings: Vec<Finding>,
    coverage: Vec<Line>,
}

/// The state on disk.
#[derive(Debug)]
pub struct Keeper {
    sender: Option<SyncSender<Batch>>,
    writer: Option<JoinHandle<Result<()>>>,
    /// A batch is being written, or waits to be.
    busy: Arc<AtomicBool>,
    /// When the run began.
    since: Timestamp,
}

impl Keeper {
    /// Starts the thread that writes to an open state.
    pub fn start(mut store: Store, helper: Helper, since: Timestamp) -> Self {
        let busy = Arc::new(AtomicBool::new(false));
        let (sender, receiver): (_, Receiver<Batch>) = sync_channel(1);
        let writing = Arc::clone(&busy);
        let writer = thread::spawn(move || {
            helper.enter();
            store.begin_coverage()?;
            for batch in receiver {
                store.apply(&batch.changes, &batch.findings)?;
                store.cover(&batch.coverage)?;
                writing.store(false, Ordering::Release);
            }
            Ok(())
        });
        Self { sender: Some(sender), writer: Some(writer), busy, since }
    }

    /// Passes on what changed, unless the writer is behind: then changes gather where
    /// they are, and it waits for the next time. Only the last time waits for the disk.
    pub fn save(&mut self, pipeline: &mut Pipeline, last: bool) -> Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        if self.busy.swap(true, Ordering::AcqRel) && !last {
            if self.writer.as_ref().is_some_and(JoinHandle::is_finished) {
                return self.lost();
            }
            return Ok(());
        }
        let findings = pipeline.detectors_mut().take_changes();
        let batch = Batch {
            changes: pipeline.inventory_mut().take_changes(),
            findings: findings.into_iter().map(|(finding, _)| finding).collect(),
            coverage: pipeline
                .coverage_mut()
                .take_changes()
                .map(|row| Line::of(row, self.since))
                .collect(),
        };
        if sender.send(batch).is_err() { self.lost() } else { Ok(()) }
    }

    /// Why the writer has ended.
    fn lost(&mut self) -> Result<()> {
        self.sender = None;
        self.join().and_then(|()| Err(anyhow!("the writer of the state has ended")))
    }

    /// Writes what waits and ends.
    pub fn close(mut self) -> Result<()> {
        self.sender = None;
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("write the state"),
            Some(Err(_)) => Err(anyhow!("the writer of the state died")),
            None => Ok(()),
        }
    }
}
