//! Writes the state on disk, in a thread of its own: the stages never wait for it.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    detect::Finding,
    export::store::{State, Store},
    inventory::Changes,
    pipeline::Pipeline,
};

/// What is written at once.
#[derive(Debug, Default)]
struct Batch {
    changes: Changes,
    findings: Vec<Finding>,
}

/// The state on disk.
#[derive(Debug)]
pub struct Keeper {
    sender: Option<SyncSender<Batch>>,
    writer: Option<JoinHandle<Result<()>>>,
}

impl Keeper {
    /// Opens the state and gives what it holds.
    pub fn open(directory: &Path) -> Result<(Self, State)> {
        let mut store = Store::open(directory)?;
        let state = store.load()?;
        // One batch may wait: until it is written, changes gather in the inventory.
        let (sender, receiver): (_, Receiver<Batch>) = sync_channel(1);
        let writer = thread::spawn(move || {
            for batch in receiver {
                store.apply(&batch.changes, &batch.findings)?;
            }
            Ok(())
        });
        Ok((Self { sender: Some(sender), writer: Some(writer) }, state))
    }

    /// Passes on what changed, unless the writer is behind: then it waits for the next
    /// time.
    pub fn save(&self, pipeline: &mut Pipeline, last: bool) -> Result<()> {
        let Some(sender) = &self.sender else { return Ok(()) };
        if !last {
            // An empty batch tells whether there is room, and costs nothing.
            match sender.try_send(Batch::default()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return self.lost(),
            }
        }
        let batch = Batch {
            changes: pipeline.inventory_mut().take_changes(),
            findings: pipeline
                .detectors_mut()
                .take_changes()
                .into_iter()
                .map(|(finding, _)| finding)
                .collect(),
        };
        if sender.send(batch).is_err() { self.lost() } else { Ok(()) }
    }

    fn lost(&self) -> Result<()> {
        let finished = self.writer.as_ref().is_some_and(JoinHandle::is_finished);
        Err(anyhow!("the state is not written any more{}", if finished { "" } else { " yet" }))
    }

    /// Writes what waits and ends.
    pub fn close(mut self) -> Result<()> {
        self.sender = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.context("write the state"),
            Some(Err(_)) => Err(anyhow!("the writer of the state died")),
            None => Ok(()),
        }
    }
}
