//! The live view in a terminal: like `top`, for APIs.
//!
//! [`View`] is fed by the pipeline and makes [`Snapshot`]s; [`run`] shows them.
//! Between the two there is only a channel, so a slow terminal slows nothing.

mod capture;
mod document;
mod draw;
mod model;
mod recent;
mod rows;
mod snapshot;
mod table;
mod terminal;
mod text;
mod theme;
mod view;
mod window;

#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal as _, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use crossterm::event::{self, Event};
use ratatui::{Terminal, backend::CrosstermBackend};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{oneshot, watch},
    time::timeout,
};

pub use draw::draw;
pub use model::{Action, Id, List, Model, Tab};
pub use snapshot::{BodyFacts, CallRow, EndpointFacts, EndpointRow, Run, Snapshot, Traffic};
pub use theme::Theme;
pub use view::View;

/// How long a new snapshot or the end of the run may wait for a key.
const POLL: Duration = Duration::from_millis(100);

/// How long a terminal that takes no output may hold up the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the view has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The person at the terminal asked for it.
    Quit,
    /// `stop` completed.
    Stopped,
    /// SIGTERM, SIGINT or SIGHUP came.
    Signal,
}

/// Shows the latest snapshot until a key, `stop` or a signal ends it; when no
/// more snapshots can come, the last one stays and is marked as such.
///
/// Takes standard output and the terminal: nothing else may write there in the
/// meantime. They are given back however it ends.
pub async fn run(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Exit> {
    ensure!(stdout().is_terminal(), "standard output is not a terminal");
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("watch SIGHUP")?;

    let flag = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let (sender, mut result) = oneshot::channel();
    let stopped = Arc::clone(&flag.0);
    // A thread of its own: a terminal may block whoever writes to it.
    thread::Builder::new()
        .name("tui".to_owned())
        .spawn(move || {
            // Nobody waits any more once the flag was set: then it goes nowhere.
            drop(sender.send(show(snapshots, &stopped)));
        })
        .context("start thread of the terminal view")?;

    let exit = tokio::select! {
        shown = &mut result => return shown.context("show snapshots")?,
        () = stop => Exit::Stopped,
        _ = terminate.recv() => Exit::Signal,
        _ = interrupt.recv() => Exit::Signal,
        _ = hangup.recv() => Exit::Signal,
    };
    drop(flag);
    match timeout(PATIENCE, result).await {
        // A terminal that is gone is what a hangup is about.
        Ok(_) => {}
        Err(_) => terminal::abandon(),
    }
    Ok(exit)
}

/// Ends the thread of the view, also when [`run`] is dropped midway.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The loop: draws what has changed, takes keys.
fn show(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    stopped: &AtomicBool,
) -> anyhow::Result<Exit> {
    let _guard = terminal::Guard::take()?;
    let theme = Theme::from_env();
    let mut screen = Terminal::new(CrosstermBackend::new(stdout())).context("open terminal")?;
    let mut model = Model::default();
    let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
    let mut changed = true;
    loop {
        if stopped.load(Ordering::SeqCst) {
            return Ok(Exit::Stopped);
        }
        if !terminal::taken() {
            bail!("a thread panicked");
        }
        let (news, ended) = match snapshots.has_changed() {
            Ok(news) => (news, false),
            // The last value may not have been seen yet.
            Err(_) => (!Arc::ptr_eq(&snapshots.borrow(), &snapshot), true),
        };
        changed |= ended != model.ended;
        model.ended = ended;
        // While paused, what is new stays unseen in the channel.
        if news && !model.paused {
            snapshot = Arc::clone(&snapshots.borrow_and_update());
            changed = true;
        }
        if changed {
            let size = screen.size().context("measure terminal")?;
            model.size = (size.width, size.height);
            screen
                .draw(|frame| draw(frame, &model, &snapshot, theme))
                .context("write to terminal")?;
            changed = false;
        }
        let mut wait = POLL;
        while event::poll(wait).context("wait for terminal")? {
            match event::read().context("read terminal")? {
                Event::Key(key) => match model.update(key, &snapshot) {
                    Action::Quit => return Ok(Exit::Quit),
                    Action::Draw => changed = true,
                    Action::None => {}
                },
                Event::Resize(..) => changed = true,
                _ => {}
            }
            // Keys that came together are drawn once.
            wait = Duration::ZERO;
        }
    }
}
