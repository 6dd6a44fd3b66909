//! Standard output, behind a bounded queue: a reader that is slow costs lines,
//! counted, never events.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::confine::Helper;

/// Blocks of lines that may wait, and the size at which a block is passed on.
const BLOCKS: usize = 256;
const BLOCK_BYTES: usize = 64 * 1024;

/// Passes lines to a thread that writes them.
#[derive(Debug)]
pub struct Printer {
    block: Vec<u8>,
    lines: u64,
    sender: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    dropped: Arc<AtomicU64>,
}

impl Printer {
    /// Writes to standard output.
    pub fn stdout(helper: Helper) -> Self {
        Self::new(io::stdout(), helper)
    }

    fn new(mut to: impl io::Write + Send + 'static, helper: Helper) -> Self {
        let (sender, receiver) = sync_channel::<Vec<u8>>(BLOCKS);
        let writer = thread::spawn(move || {
            helper.enter();
            for block in receiver {
                to.write_all(&block)?;
                to.flush()?;
            }
            Ok(())
        });
        Self {
            block: Vec::new(),
            lines: 0,
            sender: Some(sender),
            writer: Some(writer),
            dropped: Arc::default(),
        }
    }

    /// The block that lines are appended to; `line` is called once for each.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.block);
        self.lines += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    /// Passes on what was appended. When the queue is full, it is dropped and counted.
    pub fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let lines = std::mem::take(&mut self.lines);
        let Some(sender) = &self.sender else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(block) {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The reader has gone away: nothing that is written arrives.
    pub fn closed(&self) -> bool {
        self.writer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Writes all that waits. At the end of a run there is time to wait for a reader,
    /// but not for ever.
    pub fn finish(mut self, patience: Duration) {
        self.flush();
        self.sender = None;
        let Some(writer) = self.writer.take() else { return };
        let deadline = std::time::Instant::now() + patience;
        while !writer.is_finished() && std::time::Instant::now() < deadline {
            thread::park_timeout(Duration::from_millis(1));
        }
        if writer.is_finished() {
            // A reader that went away is no error of ours.
            drop(writer.join());
        }
        drop(io::stdout().flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut printer = Printer::new(writer, Helper::default());
        for number in 0..1000 {
            printer.line(|out| out.extend_from_slice(format!("{number}\n").as_bytes()));
        }
        printer.finish(Duration::from_secs(5));
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.starts_with("0\n1\n") && text.ends_with("999\n"));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_that_are_counted() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut printer = Printer::new(writer, Helper::default());
        let line = vec![b'x'; BLOCK_BYTES];
        for _ in 0..BLOCKS + 20 {
            printer.line(|out| out.extend_from_slice(&line));
        }
        assert!(printer.dropped() > 0);
    }
}
